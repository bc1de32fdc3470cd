//! `upgrade-self`: has the daemon become the program that lies at its place now, and sees what came of it.

use crate::{
    base::Layout,
    cli::{
        context::{Context, TICK, unexpected},
        error::{CliError, refusal},
        exit::Exit,
        live::Live,
        signals::Signals,
    },
    control::{
        client::{Client, ClientError},
        wire::{Answer, Hello, Order},
    },
    offline::status,
};
use std::time::{Duration, Instant};

/// How long the new program may take until it takes orders: the start of a daemon on a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// How long there may be no daemon at all: systemd and `up` start another within a second.
const ANOTHER_WITHIN: Duration = Duration::from_secs(5);

/// How long the program of before may still answer after it has announced the hand-over: it only waits for its clients' last
/// answers.
const ANNOUNCED: Duration = Duration::from_secs(5);

/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn run(context: &Context) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    let before = match context.ask(&layout, Order::Hello).await?.next().await? {
        Some(Answer::Hello(hello)) => hello,
        Some(answer) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
        None => return Err(unexpected()),
    };
    if before.started_at.is_none() {
        return Err(CliError::new(
            Exit::Refused,
            format!("the daemon (version {}) is too old to hand over to another program", before.version),
        )
        .hint(
            "kill -9 it where something starts it again (systemd, `up`): nodes run on, and the new one takes them over",
        ));
    }
    match context.carry_out(&layout, "upgrade", Order::UpgradeSelf).await {
        Ok(_) => {}
        // Its last words can be lost with it; what is there now tells.
        Err(e) if e.exit == Exit::NoDaemon => {}
        Err(e) => return Err(e),
    }
    let after = answers(context, &layout, &before).await?;
    let text = judge(&before, &after)?;
    context.printer.data(&text)?;
    Ok(Exit::Done)
}

/// Who answers in the end.
async fn answers(context: &Context, layout: &Layout, before: &Hello) -> Result<Hello, CliError> {
    let mut signals = Signals::listen()?;
    let mut live = Live::begin(context.printer, "upgrade");
    let began = Instant::now();
    let mut seen = began;
    loop {
        let asked = async { Client::connect(&layout.control_socket()).await?.ask(Order::Hello).await?.next().await };
        let last = tokio::select! {
            answer = tokio::time::timeout(TICK, asked) => match answer {
                Ok(Ok(Some(Answer::Hello(hello)))) => {
                    let failed = hello.handover_failed.is_some() && hello.handover_failed != before.handover_failed;
                    if hello.started_at != before.started_at || failed || began.elapsed() > ANNOUNCED {
                        return Ok(hello);
                    }
                    "the program of before still answers".to_owned()
                }
                Ok(Ok(Some(answer))) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
                Ok(Ok(None)) => return Err(unexpected()),
                // It may have died at once; who starts it again needs a moment.
                Ok(Err(e @ (ClientError::NoDaemon { .. } | ClientError::WentAway))) => e.to_string(),
                Ok(Err(e)) => return Err(e.into()),
                Err(_) => "it does not answer yet".to_owned(),
            },
            () = signals.next() => return Err(CliError::new(Exit::Interrupted, "interrupted; the hand-over goes on")),
        };
        if status::daemon_holds(layout) {
            seen = Instant::now();
        }
        if began.elapsed() > BACK_WITHIN || seen.elapsed() > ANOTHER_WITHIN {
            let seconds = began.elapsed().as_secs();
            return Err(CliError::new(Exit::NoDaemon, format!("the new program takes no orders after {seconds} s"))
                .causes([last])
                .hint("nodes run on; the daemon's log says why, and a start of the daemon takes them over"));
        }
        live.show("the new program takes over");
        tokio::time::sleep(LOOK).await;
    }
}

/// What came of it: the same process must be another program now.
fn judge(before: &Hello, after: &Hello) -> Result<String, CliError> {
    let (old, new) = (&before.version, &after.version);
    if before.pid != after.pid {
        return Err(CliError::new(
            Exit::Unexpected,
            format!(
                "the new program (version {new}?) ended at once; another daemon took its place (pid {}, was {})",
                after.pid, before.pid
            ),
        )
        .hint("nodes run on; the daemon's log says why it ended"));
    }
    if before.started_at == after.started_at {
        return Err(CliError::new(Exit::Unexpected, format!("the daemon is still the one of before (version {old})"))
            .causes(after.handover_failed.clone())
            .hint("nodes run on under it; its log says more"));
    }
    let versions = if old == new { format!("version {new} again") } else { format!("{old} -> {new}") };
    Ok(format!("daemon replaced: {versions} (pid {}, as before); nodes run on", after.pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;

    fn hello(pid: i32, version: &str, started_at: i64) -> Hello {
        Hello {
            v: 1,
            version: version.into(),
            pid,
            plan_digest: String::new(),
            started_at: Some(Timestamp(started_at)),
            handover_failed: None,
        }
    }

    #[test]
    fn only_another_program_in_the_same_process_is_a_success() {
        let before = hello(7, "0.1.0", 1000);
        let done = judge(&before, &hello(7, "0.2.0", 2000)).unwrap();
        assert_eq!(done, "daemon replaced: 0.1.0 -> 0.2.0 (pid 7, as before); nodes run on");
        assert!(judge(&before, &hello(7, "0.1.0", 2000)).unwrap().contains("version 0.1.0 again"));
        assert_eq!(judge(&before, &hello(8, "0.2.0", 2000)).unwrap_err().exit, Exit::Unexpected);
        let same = Hello { handover_failed: Some("cannot run /p: text busy".into()), ..before.clone() };
        let error = judge(&before, &same).unwrap_err();
        assert_eq!(error.exit, Exit::Unexpected);
        assert!(format!("{error:?}").contains("text busy"), "{error:?}");
    }
}
