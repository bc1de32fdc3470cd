//! The looks that are one question: a connect, a GET, a command, a message, `srvr`.

use super::{Budget, Context};
use crate::base::Verdict;
use crate::clients::{
    http, tcp,
    zookeeper::{Serving, four_letter, parse_srvr},
};
use crate::sys::{
    command::{Cancel, Command, Identity},
    error::SysError,
};
use std::{error::Error, io, net::SocketAddr};

/// A port that refuses, said alike everywhere.
pub(super) fn refuses(address: SocketAddr) -> String {
    format!("port {} refuses connections: still starting", address.port())
}

pub(super) async fn tcp(address: SocketAddr, budget: &Budget) -> Verdict {
    match tcp::connect(address, budget.left()).await {
        Ok(_) => Verdict::Ready(format!("port {} accepts connections", address.port())),
        Err(e) if e.is_refused() => Verdict::not_ready(refuses(address)),
        Err(e) => Verdict::not_ready(e.in_one_line()),
    }
}

pub(super) async fn http(url: &str, budget: &Budget) -> Verdict {
    match http::get_status(url, budget.left()).await {
        Ok(code @ 200..=299) => Verdict::Ready(format!("{url} answers {code}")),
        Ok(code) => Verdict::not_ready(format!("{url} answers {code}")),
        Err(e) => Verdict::not_ready(e.in_one_line()),
    }
}

/// Kills the command when the attempt is given up.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

pub(super) async fn exec(argv: &[String], context: &Context, budget: &Budget) -> Verdict {
    let command = Command { argv: argv.to_vec(), env: context.env.clone(), dir: context.dir.clone(), stdin: None };
    let program = argv.first().cloned().unwrap_or_default();
    let guard = CancelOnDrop(Cancel::default());
    let (cancel, limit, user) = (guard.0.clone(), budget.left(), context.user.clone());
    // The thread waits for the command to its end, as the parent-death signal wants it (Command::start).
    let run = tokio::task::spawn_blocking(move || {
        // As the node itself: what belongs to the node shall not decide what root runs.
        let user = Identity::of(user.as_deref())?;
        command.run_as(user.as_ref(), limit, &cancel)
    });
    match run.await {
        Ok(Ok(done)) if done.ok() => Verdict::Ready(format!("{program} ended with 0")),
        Ok(Ok(done)) => {
            let said: String = done.last_lines(1).chars().take(200).collect();
            let status = done.status.describe();
            Verdict::not_ready(if said.is_empty() {
                format!("{program}: {status}")
            } else {
                format!("{program}: {status}: {said}")
            })
        }
        Ok(Err(e)) => Verdict::not_ready(exec_words(&e, limit)),
        Err(e) => Verdict::not_ready(format!("{program} was not run to its end: {e}")),
    }
}

fn exec_words(e: &SysError, limit: std::time::Duration) -> String {
    if e.kind() == io::ErrorKind::TimedOut {
        // the helper's own text has whole seconds only
        return format!("{e}: not done within {}, killed", crate::base::units::human_duration(limit));
    }
    match e.source() {
        Some(cause) => format!("{e}: {cause}"),
        None => e.to_string(),
    }
}

pub(super) fn notify(notified: Option<&(bool, String)>) -> Verdict {
    match notified {
        Some((true, status)) if status.is_empty() => Verdict::Ready("it said READY=1".into()),
        Some((true, status)) => Verdict::Ready(status.clone()),
        Some((false, status)) => starting_status(status),
        None => Verdict::not_ready("it has not said READY=1"),
    }
}

/// "Not yet" of a node that talks: its status is the reason and the progress mark.
pub(super) fn starting_status(status: &str) -> Verdict {
    if status.is_empty() {
        Verdict::not_ready("it has not said READY=1")
    } else {
        Verdict::NotReady { why: status.to_owned(), progress: Some(status.to_owned()) }
    }
}

pub(super) async fn zookeeper(address: SocketAddr, budget: &Budget) -> Verdict {
    let port = address.port();
    match four_letter(address, "srvr", budget.left()).await {
        Ok(text) => match parse_srvr(&text) {
            Serving::Yes { mode } => Verdict::Ready(format!("Mode: {mode}")),
            Serving::NotYet => Verdict::not_ready("it loads its data and does not serve yet"),
            Serving::WordDisabled => Verdict::not_ready(format!(
                "port {port} answers, but srvr is not in its 4lw.commands.whitelist: allow it again"
            )),
            Serving::NotZookeeper(line) => {
                Verdict::not_ready(format!("port {port} answers {line:?}, which is no ZooKeeper"))
            }
        },
        Err(e) if e.is_refused() => Verdict::not_ready(refuses(address)),
        Err(e) => Verdict::not_ready(e.in_one_line()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_text_is_reason_and_progress_mark() {
        let status = "InnoDB crash recovery in progress".to_owned();
        assert_eq!(
            notify(Some(&(false, status.clone()))),
            Verdict::NotReady { why: status.clone(), progress: Some(status) }
        );
        assert_eq!(notify(Some(&(true, String::new()))), Verdict::Ready("it said READY=1".into()));
        assert_eq!(notify(None), Verdict::not_ready("it has not said READY=1"));
    }
}
