//! `down`: everything stops in order, the daemon last; without a daemon through the shims.

use crate::{
    base::Layout,
    cli::{
        context::{Context, TICK},
        error::CliError,
        exit::Exit,
        live::Live,
    },
    control::{
        client::{Client, ClientError},
        wire::Order,
    },
    offline::{
        down::{self, DownError},
        status,
    },
};
use std::time::{Duration, Instant};

/// How long a daemon that has stopped all nodes may take to end.
const DAEMON_ENDS_WITHIN: Duration = Duration::from_secs(20);

/// How long it may be unclear whether a daemon is there: one that starts or ends holds the root and takes no orders.
const UNCLEAR_AT_MOST: Duration = Duration::from_secs(30);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn run(context: &Context, now: bool) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    let mut live = Live::begin(context.printer, "stop");
    let mut unclear_since = None;
    loop {
        let mut unclear = || unclear_since.get_or_insert_with(Instant::now).elapsed() < UNCLEAR_AT_MOST;
        match Client::connect(&layout.control_socket()).await {
            Ok(client) => {
                // Only a knock: an open connection without a request would be waited for.
                drop(client);
                match context.carry_out(&layout, "stop", Order::Down { now }).await {
                    Ok(lines) => {
                        for line in lines {
                            context.printer.data(&line)?;
                        }
                        return daemon_ends(&layout).await;
                    }
                    // It was killed: the kernel takes connections for it until it is gone altogether. Who is there next, a
                    // new daemon or only the shims, gets the order.
                    Err(e) if e.exit == Exit::NoDaemon && unclear() => {}
                    Err(e) => return Err(e),
                }
            }
            Err(ClientError::NoDaemon { .. }) if status::daemon_holds(&layout) && unclear() => {}
            Err(ClientError::NoDaemon { .. }) => break,
            Err(e) => return Err(e.into()),
        }
        live.show("a daemon that starts or ends just now");
        tokio::time::sleep(LOOK).await;
    }
    drop(live);
    without_daemon(context, layout, now).await
}

/// `down` is done when the daemon is gone too: what comes next may be an `up`.
async fn daemon_ends(layout: &Layout) -> Result<Exit, CliError> {
    let began = Instant::now();
    while status::daemon_holds(layout) {
        if began.elapsed() > DAEMON_ENDS_WITHIN {
            let seconds = DAEMON_ENDS_WITHIN.as_secs();
            return Err(CliError::new(
                Exit::Unexpected,
                format!("all nodes are down, but the daemon has not ended after {seconds} s"),
            )
            .hint(format!("its log is {}", layout.supervisor_log().display())));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(Exit::Done)
}

async fn without_daemon(context: &Context, layout: Layout, now: bool) -> Result<Exit, CliError> {
    let printer = context.printer;
    let mut live = Live::begin(printer, "stop");
    let root = layout.root().display().to_string();
    let mut work = tokio::task::spawn_blocking(move || {
        down::down(&layout, now, &|stopped| printer.step("stop", &format!("{}: {}", stopped.node, stopped.text), None))
    });
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(TICK) => live.show("the nodes' shims carry it out, no daemon runs"),
        }
    };
    drop(live);
    let done =
        done.map_err(|e| CliError::new(Exit::Unexpected, "stopping the nodes failed").causes([e.to_string()]))?;
    match done {
        Ok(stopped) if stopped.is_empty() => printer.data(&format!("nothing runs for {root}"))?,
        Ok(stopped) => {
            let names: Vec<&str> = stopped.iter().map(|s| s.node.as_str()).collect();
            printer.data(&format!("stopped without a daemon: {}", names.join(", ")))?;
        }
        Err(e) => {
            let error = CliError::of(exit_of(&e), &e);
            return Err(match e {
                DownError::Left(nodes) => error.causes(nodes.into_iter().map(|(node, why)| format!("{node}: {why}"))),
                DownError::DaemonLives(_) => {
                    error.hint("it starts or it hangs: try again, or look at state/supervisor.log")
                }
                DownError::System(_) => error,
            });
        }
    }
    Ok(Exit::Done)
}

fn exit_of(e: &DownError) -> Exit {
    match e {
        DownError::DaemonLives(_) => Exit::NoDaemon,
        DownError::System(_) | DownError::Left(_) => Exit::Unexpected,
    }
}
