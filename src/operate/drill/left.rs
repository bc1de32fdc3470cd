//! What a drill leaves that its daemon did not live to end: a process that is stopped goes on at once; nodes are started again, and
//! topics and table removed, as soon as there is somebody to ask.

use super::{
    brokers,
    fault::{Undo, go_on},
    records, rows,
};
use crate::{
    engine::{EngineOrder, Handle, Wanted},
    operate::{operation::Record, prove::Targets, whole},
    sys::clock,
};
use std::time::Duration;
use tokio::time::sleep;

/// How long the stack may take to be there, so that what is left can be removed.
const WITHIN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Sends SIGCONT to the process that the drill had stopped, if it is still that one. Before anything else: nobody waits for a
/// broker that cannot move. Says what was done.
pub fn continue_paused(left: &Record) -> Option<String> {
    let paused = left.undo::<Undo>()?.paused?;
    Some(match go_on(&paused)? {
        Ok(()) => format!("SIGCONT to pid {}, which it had stopped", paused.pid),
        Err(why) => why,
    })
}

/// Undoes the rest: what it had ordered down is started, what it had made is removed. Says what was done and what was not.
pub async fn undo(left: &Record, engine: &Handle, targets: &Targets) -> Vec<String> {
    let Some(undo) = left.undo::<Undo>() else { return Vec::new() };
    let mut said = Vec::new();
    let snapshot = engine.snapshot();
    let down =
        |name: &&crate::base::NodeName| snapshot.nodes.iter().any(|n| n.name == **name && n.wanted == Wanted::Down);
    let nodes: Vec<_> = undo.down.iter().filter(down).cloned().collect();
    if !nodes.is_empty() {
        let names: Vec<&str> = nodes.iter().map(crate::base::NodeName::as_str).collect();
        let words = names.join(", ");
        said.push(match engine.order(EngineOrder::Start { nodes: nodes.clone(), with_needs: false }).await {
            Ok(_) => format!("started {words} again"),
            Err(e) => format!("{words} did not start: {e:?}"),
        });
    }
    if !undo.topics && !undo.table {
        return said;
    }
    if !until_there(engine, targets).await {
        said.push("its topics and its table are still there: the next drill removes them".into());
        return said;
    }
    if let Some(kafka) = targets.kafka.as_ref().filter(|_| undo.topics) {
        said.push(match records::remove_left(kafka).await {
            Ok(None) => "removed its topics".into(),
            Ok(Some(taken)) => format!("left its topics alone: {} is somebody else's", taken.0),
            Err(e) => format!("its topics are still there ({}): the next drill removes them", e.in_one_line()),
        });
    }
    if let Some(mysql) = targets.mysql.as_ref().filter(|_| undo.table) {
        said.push(match rows::remove_left(mysql).await {
            Ok(()) => "removed its table".into(),
            Err(e) => format!("its table is still there ({}): the next drill removes it", e.in_one_line()),
        });
    }
    said
}

/// Waits until every node serves, and every broker answers for every other. Not for one that somebody has ordered down meanwhile:
/// other operations would be kept away for it.
async fn until_there(engine: &Handle, targets: &Targets) -> bool {
    let began = clock::now();
    while clock::now().since(began) < WITHIN {
        let snapshot = engine.snapshot();
        if snapshot.ending {
            return false;
        }
        let nodes = snapshot.nodes.iter().filter(|n| super::ready::is_of_the_stack(n.kind));
        if nodes.clone().any(|n| n.wanted == Wanted::Down) {
            return false;
        }
        let serve = nodes.clone().all(|n| n.serves);
        let whole = match brokers(targets) {
            Some(brokers) if serve => whole::ask(&brokers).await.in_the_way(None, false, &[]).is_none(),
            Some(_) => false,
            None => serve,
        };
        if whole {
            return true;
        }
        sleep(LOOK_EVERY).await;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Timestamp, ids::ProcessId},
        sys::process,
    };

    fn left(undo: serde_json::Value) -> Record {
        Record {
            schema: 1,
            kind: "drill".into(),
            detail: "broker-pause".into(),
            by: None,
            begun_at: Timestamp(0),
            boot_id: String::new(),
            daemon_pid: 1,
            step: String::new(),
            undo: Some(undo),
            left_down: Vec::new(),
            asked: None,
        }
    }

    #[test]
    fn a_stopped_process_goes_on_and_another_of_its_pid_hears_nothing() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
        };
        let until = |wanted: char| {
            for _ in 0..1_000 {
                if state() == wanted {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            panic!("{} and not {wanted}", state());
        };
        let own = process::identity(pid).unwrap();
        process::pidfd_signal(&process::pidfd_open(pid).unwrap(), libc::SIGSTOP).unwrap();
        until('T');
        let stranger = ProcessId { start_ticks: own.start_ticks + 1, ..own.clone() };
        assert_eq!(continue_paused(&left(serde_json::json!({"paused": stranger}))), None);
        assert_eq!(continue_paused(&left(serde_json::json!({"topics": true}))), None);
        assert_eq!(state(), 'T');
        let said = continue_paused(&left(serde_json::json!({"paused": own, "of_a_later_version": 1}))).unwrap();
        assert!(said.starts_with("SIGCONT to pid"), "{said}");
        until('S');
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
