//! A drill on a throw-away cluster: its place is made, its daemon started, told to drill and to end, and all of it removed again,
//! also at Ctrl-C and where an earlier one was killed. The user's own daemon has no part in it.

use crate::{
    base::drill::{Plan, Report},
    cli::{
        context::{Context, TICK, unexpected},
        error::{CliError, refusal},
        exit::Exit,
        launch::{Daemon, Launch, Started},
        live::Live,
        signals::Signals,
    },
    control::{
        client::{Client, ClientError},
        wire::{Answer, Order, Status},
    },
    offline::{
        down, drills,
        scope::{self, Scope},
        throw_away::{Made, NotMade, Place, Reached},
    },
};
use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long ZooKeeper and three brokers may take until they are ready, on a slow machine.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// How long a daemon may take until it has taken everything down at once, before it is ended itself.
const DOWN_WITHIN: Duration = Duration::from_secs(10);
/// How long everything may take to be gone after SIGKILL.
const GONE_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// How long a service manager may take to give a scope. It takes milliseconds.
const SCOPE_WITHIN: Duration = Duration::from_secs(5);

impl From<NotMade> for CliError {
    fn from(not: NotMade) -> Self {
        let error = CliError::new(Exit::of_code(not.exit), not.message).causes(not.causes);
        match not.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Makes the drill; `on` names another place than the root. The report is in the root's history.
pub(super) async fn made(context: &Context, plan: Plan, on: Option<PathBuf>) -> Result<Box<Report>, CliError> {
    let loaded = context.load()?;
    let own = loaded.plan.layout();
    // As `up` has it: an ordinary user's caps are in a scope of their own. Asked before root acts as anybody else, who is no such user.
    let scope = blocking(scope::wanted).await?;
    let mut signals = Signals::listen()?;
    let mut live = Live::begin(context.printer, "drill");
    let base = match on {
        None => own.root().to_owned(),
        Some(dir) => std::path::absolute(&dir).map_err(|e| {
            CliError::new(Exit::Usage, format!("--on {}: no such place", dir.display())).causes([e.to_string()])
        })?,
    };
    let place = blocking(move || Place::claim(&base)).await??;
    let place = tokio::select! {
        place = cleared(context, place, &mut live) => place?,
        () = signals.next() => return Err(CliError::new(Exit::Interrupted, "interrupted; no drill was begun")),
    };
    let asked = plan.clone();
    let (place, made) = blocking(move || {
        let made = place.make(&loaded.plan, &asked).map(|made| {
            let scope = scope.filter(|scope| is_given(scope, &made));
            (made, scope)
        });
        (place, made)
    })
    .await?;
    let launch = made.map(|(made, scope)| {
        let config = Some(made.config.clone());
        (made.small, Launch { layout: place.root().clone(), config, only: Vec::new(), scope, throw_away: Some(made) })
    });
    // On this thread, which lives as long as the process: the daemon ends with the thread that has started it.
    let mut standing =
        launch.map_err(CliError::from).and_then(|(small, launch)| Standing::start(&launch, small, &place));
    let report = match &mut standing {
        Ok(standing) => tokio::select! {
            report = standing.drill(plan, &mut live) => report,
            () = signals.next() => Err(CliError::new(Exit::Interrupted, "interrupted; the throw-away cluster is removed")),
        },
        Err(e) => Err(e.clone()),
    };
    let removed = tokio::select! {
        removed = removed(context, standing.ok(), place, &mut live) => removed,
        () = signals.insists() => Err(CliError::new(Exit::Interrupted, "interrupted again before everything was ended")),
    };
    drop(live);
    if let Err(e) = &removed {
        let text = e.render(false).unwrap_or_default();
        context.printer.warn(&format!("what the drill has made is still there, and the next one removes it\n{text}"));
    }
    let mut report = report?;
    if removed.is_ok() {
        // With the cluster it is gone, too.
        report.left.clear();
    }
    if let Err(e) = drills::keep(&own, &mut report) {
        context.printer.warn(&format!("the drill's report is in no history: {e}: {}", e.source));
    }
    Ok(report)
}

/// Whether a scope is given to who asks from the cluster's surroundings, too: a service manager may know nothing of a process in a user
/// namespace. Without one the cluster runs as it did: without caps.
fn is_given(scope: &Scope, made: &Made) -> bool {
    let Some((program, arguments)) = scope.argv.split_first() else { return false };
    let mut trial = Command::new(program);
    trial.args(arguments).arg("true").env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    trial.envs(scope.env.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    made.surroundings.apply(&mut trial);
    let Ok(mut child) = trial.spawn() else { return false };
    let began = Instant::now();
    while began.elapsed() < SCOPE_WITHIN {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(LOOK),
            Err(_) => break,
        }
    }
    // Our own child, by its handle; reaped so that nothing of the trial is left.
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// The cluster, while it stands.
struct Standing {
    daemon: Daemon,
    reached: Reached,
}

impl Standing {
    fn start(launch: &Launch, small: bool, place: &Place) -> Result<Self, CliError> {
        let daemon = launch.start()?;
        let reached = if small {
            Reached::of(daemon.pid(), place.root()).ok_or_else(|| {
                CliError::new(Exit::Unexpected, "the throw-away cluster's own file system cannot be looked into")
                    .causes(daemon.tail())
            })?
        } else {
            Reached::plain(place.root())
        };
        Ok(Self { daemon, reached })
    }

    async fn drill(&mut self, plan: Plan, live: &mut Live) -> Result<Box<Report>, CliError> {
        let socket = self.reached.layout.control_socket();
        match self.daemon.answers(&socket).await? {
            Started::Answers => {}
            Started::AnotherRuns => return Err(self.ended("another daemon has its root")),
            Started::Killed(_) => return Err(self.ended("it was killed")),
        }
        self.ready(live).await?;
        self.asked(Order::Prove, live, "looking whether the cluster is whole").await?;
        match self.asked(Order::Drill(plan), live, "the drill begins").await? {
            Answer::Drilled(report) => Ok(report),
            answer => Err(refusal(&answer).unwrap_or_else(unexpected)),
        }
    }

    fn ended(&self, why: &str) -> CliError {
        CliError::new(Exit::NotReady, format!("the throw-away cluster's daemon takes no orders: {why}"))
            .causes(self.daemon.tail())
    }

    /// Waits until every node is ready.
    async fn ready(&mut self, live: &mut Live) -> Result<(), CliError> {
        let began = Instant::now();
        loop {
            let status = self.status().await?;
            let Some(sick) = status.nodes.iter().find(|n| n.state != "ready") else { return Ok(()) };
            let words = format!("{} is {} ({})", sick.name, sick.state, sick.detail);
            if sick.state == "failed" || began.elapsed() > READY_WITHIN {
                return Err(CliError::new(Exit::NotReady, format!("the throw-away cluster did not start: {words}")));
            }
            live.show(&format!("a throw-away cluster starts: {words}"));
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn status(&self) -> Result<Box<Status>, CliError> {
        let client = Client::connect(&self.reached.layout.control_socket()).await?;
        match client.ask(Order::Status).await?.next().await? {
            Some(Answer::Status(status)) => Ok(status),
            Some(answer) => Err(refusal(&answer).unwrap_or_else(unexpected)),
            None => Err(unexpected()),
        }
    }

    /// Gives an order; the last answer comes back.
    async fn asked(&self, order: Order, live: &mut Live, doing: &str) -> Result<Answer, CliError> {
        let client = Client::connect(&self.reached.layout.control_socket()).await?;
        let mut answers = client.ask(order).await?;
        let mut doing = doing.to_owned();
        loop {
            tokio::select! {
                answer = answers.next() => match answer? {
                    Some(Answer::Progress { text, .. }) => doing = text,
                    Some(answer @ Answer::Refused { .. }) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
                    Some(answer) => return Ok(answer),
                    None => return Err(unexpected()),
                },
                () = tokio::time::sleep(TICK) => {}
            }
            live.show(&doing);
        }
    }
}

/// Ends and removes the cluster that stands, and whatever else of the place runs.
async fn removed(context: &Context, standing: Option<Standing>, place: Place, live: &mut Live) -> Result<(), CliError> {
    live.show("removing the throw-away cluster");
    if let Some(Standing { mut daemon, reached }) = standing {
        quieted(&reached).await?;
        // Reaps it.
        daemon.gone(GONE_WITHIN).await;
    }
    cleared(context, place, live).await.map(drop)
}

/// Ends what an earlier drill has left, and removes it.
async fn cleared(context: &Context, place: Place, live: &mut Live) -> Result<Place, CliError> {
    let (place, left) = blocking(move || {
        let left = place.left();
        (place, left)
    })
    .await?;
    for reached in left {
        if !reached.is_quiet() {
            live.show("ending what an earlier drill has left");
            context.printer.step("drill", "ending the throw-away cluster of an earlier drill that was killed", None);
            quieted(&reached).await?;
        }
    }
    let (place, cleared) = blocking(move || {
        let cleared = place.clear();
        (place, cleared)
    })
    .await?;
    cleared?;
    Ok(place)
}

/// Ends everything that runs in a throw-away root, at once: its data is worth nothing.
async fn quieted(reached: &Reached) -> Result<(), CliError> {
    let began = Instant::now();
    while !reached.is_quiet() {
        told_to_go(reached).await?;
        if began.elapsed() > GONE_WITHIN {
            let root = reached.layout.root().display();
            return Err(CliError::new(Exit::Unexpected, format!("not everything below {root} could be ended")));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Asks the daemon, or does it where there is none.
async fn told_to_go(reached: &Reached) -> Result<(), CliError> {
    match Client::connect(&reached.layout.control_socket()).await {
        Ok(client) => {
            // What it answers, and whether it lives to answer, shows in what still runs.
            let told = async {
                if let Ok(mut answers) = client.ask(Order::Down { now: true }).await {
                    while let Ok(Some(_)) = answers.next().await {}
                }
            };
            if tokio::time::timeout(DOWN_WITHIN, told).await.is_err() {
                // It takes connections, and is stopped or stuck. What it ran goes without it, next time round.
                let layout = reached.layout.clone();
                blocking(move || down::kill_daemon(&layout)).await?;
            }
            Ok(())
        }
        Err(ClientError::NoDaemon { .. }) => {
            let layout = reached.layout.clone();
            // A daemon that begins or ends holds the root for a moment: then again.
            let _ = blocking(move || down::down(&layout, true, &|_| {})).await?;
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| CliError::new(Exit::Unexpected, "the drill's own work failed").causes([e.to_string()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_taken_only_where_it_is_given_from_within_the_surroundings() {
        let made = Made { config: PathBuf::new(), surroundings: Default::default(), small: false };
        let scope = |argv: &[&str]| Scope {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![("GIVEN".into(), "yes".into())],
            lingers: false,
        };
        let given = r#"[ "$GIVEN$HOME" = yes ] && exec "$@""#;
        assert!(is_given(&scope(&["/bin/sh", "-c", given, "sh"]), &made), "with its own variables and no others");
        for argv in [&["/bin/sh", "-c", "exit 1", "sh"][..], &["/nonexistent"], &[]] {
            assert!(!is_given(&scope(argv), &made), "{argv:?}");
        }
    }
}
