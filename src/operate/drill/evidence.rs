//! What the supervisor must say and do while something is broken that it may not mend: a full disk, a port that another program
//! has, a ZooKeeper without its data. Pure but for its callers: a judgement on what the nodes look like.

use crate::{
    base::{Cause, Incarnation, Moment, NodeKind, NodeName},
    engine::{NodeSnapshot, Snapshot},
};
use std::collections::BTreeMap;

/// What a look came to: the sentences that show it, or why it is not shown yet.
pub(super) type Shown = Result<Vec<String>, String>;

/// What is looked for, from the fault on.
#[derive(Debug)]
pub(super) struct Evidence {
    /// When it was shown first, and the last start of each node by then: one that loops may have a process at that moment.
    shown: Option<(Moment, BTreeMap<NodeName, Incarnation>)>,
    /// Sentences for the report.
    pub(super) observed: Vec<String>,
    /// Why it was not shown, the last time.
    last: String,
}

impl Evidence {
    /// Nothing was seen yet.
    pub(super) fn new() -> Self {
        Self { shown: None, observed: Vec::new(), last: "nothing was seen yet".into() }
    }

    /// Takes a look; the first that shows it counts.
    pub(super) fn look(&mut self, shown: Shown, snapshot: &Snapshot, now: Moment) {
        if self.shown.is_some() {
            return;
        }
        match shown {
            Ok(sentences) => {
                self.observed = sentences;
                self.shown = Some((now, starts(snapshot)));
            }
            Err(why) => self.last = why,
        }
    }

    /// Since when it is shown.
    pub(super) fn since(&self) -> Option<Moment> {
        self.shown.as_ref().map(|(at, _)| *at)
    }

    /// Why not yet.
    pub(super) fn waiting_for(&self) -> &str {
        &self.last
    }

    /// What is wrong when it is about to be mended: never shown, or a node was started again and again meanwhile. `held` is how
    /// long it was looked at since.
    pub(super) fn faults(&mut self, snapshot: &Snapshot, held: &str) -> Vec<String> {
        let Some((_, before)) = &self.shown else {
            return vec![format!("the supervisor did not answer as it should: {}", self.last)];
        };
        let again: Vec<String> = snapshot
            .nodes
            .iter()
            .filter(|n| before.get(&n.name).is_some_and(|old| n.incarnation > *old))
            .map(|n| format!("{} was started again although that could cure nothing", n.name))
            .collect();
        if again.is_empty() {
            self.observed.push(format!("nothing was started again in the {held} after that"));
        }
        again
    }
}

/// The last start of each node.
fn starts(snapshot: &Snapshot) -> BTreeMap<NodeName, Incarnation> {
    snapshot.nodes.iter().map(|n| (n.name.clone(), n.incarnation)).collect()
}

pub(super) fn brokers(snapshot: &Snapshot) -> impl Iterator<Item = &NodeSnapshot> {
    snapshot.nodes.iter().map(AsRef::as_ref).filter(|node| match node.kind {
        NodeKind::Broker(_) => true,
        NodeKind::Zookeeper | NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command => false,
    })
}

/// `broker-2 failed (disk-full): the file system is full: "…"`.
pub(super) fn words(node: &NodeSnapshot) -> String {
    match &node.failure {
        Some(failure) => format!("{} failed ({}): {}; {}", node.name, failure.cause, failure.what, failure.remedy),
        None => format!("{} is {} ({})", node.name, node.state, node.detail),
    }
}

/// A full file system: writes stand still, and each broker that is down is so because of it, said in its own words.
pub(super) fn disk_full(snapshot: &Snapshot, flows: bool) -> Shown {
    let down: Vec<&NodeSnapshot> = brokers(snapshot).filter(|n| n.process.is_none()).collect();
    if down.is_empty() {
        return Err("no broker has met the full disk yet".into());
    }
    if flows {
        return Err("writes go on".into());
    }
    let of_it = |node: &NodeSnapshot| node.failure.as_ref().is_some_and(|f| f.cause == Cause::DiskFull);
    // ZooKeeper writes to the same file system: a broker may wait for it.
    let zookeeper = snapshot.nodes.iter().map(AsRef::as_ref).find(|n| n.kind == NodeKind::Zookeeper && of_it(n));
    if let Some(other) = down.iter().find(|n| !of_it(n) && zookeeper.is_none()) {
        return Err(words(other));
    }
    Ok(zookeeper.into_iter().chain(down).map(words).collect())
}

/// A port that another program has: the broker is not started, and the program is named with its pid and command.
pub(super) fn port_taken(snapshot: &Snapshot, victim: &NodeName, port: u16, thief: i32, command: &str) -> Shown {
    let Some(node) = snapshot.nodes.iter().find(|n| n.name == *victim) else {
        return Err(format!("there is no {victim}"));
    };
    let Some(failure) = node.failure.as_ref().filter(|f| f.cause == Cause::PortTaken) else {
        return Err(words(node));
    };
    for name in [port.to_string(), format!("pid {thief}"), command.to_owned()] {
        if !failure.what.contains(&name) {
            return Err(format!("{}, which does not name {name}", words(node)));
        }
    }
    Ok(vec![words(node)])
}

/// ZooKeeper without its data: the start was refused as unsafe, no broker was started, each says why with the cluster's id.
pub(super) fn mixed_up(
    snapshot: &Snapshot,
    refused: &Result<(), Vec<String>>,
    before: &BTreeMap<NodeName, Incarnation>,
    cluster_id: &str,
) -> Shown {
    if refused.is_ok() {
        return Err("the start was not refused".into());
    }
    let brokers: Vec<&NodeSnapshot> = brokers(snapshot).collect();
    for broker in &brokers {
        if before.get(&broker.name).is_some_and(|old| broker.incarnation > *old) {
            return Err(format!("{} was started on data of another cluster", broker.name));
        }
        let said =
            broker.failure.as_ref().is_some_and(|f| f.cause == Cause::WrongIdentity && f.what.contains(cluster_id));
        if !said {
            return Err(words(broker));
        }
    }
    let mut shown = vec!["the start was refused as unsafe (exit 8), and no broker was started".to_owned()];
    shown.extend(brokers.first().map(|broker| words(broker)));
    // Once more: the reasons may be long, and it is what somebody has to do.
    shown.extend(brokers.first().and_then(|broker| Some(broker.failure.as_ref()?.remedy.clone())));
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{ids::ProcessId, outcome::Failure},
        engine::NodeSnapshot,
    };
    use std::sync::Arc;

    fn node(name: &NodeName, kind: NodeKind, incarnation: u64, failed: Option<(Cause, &str)>) -> Arc<NodeSnapshot> {
        let mut node = NodeSnapshot::sample(name.clone(), kind, "ready", incarnation);
        node.process = Some(ProcessId { pid: 1, start_ticks: incarnation, boot_id: "b".into() });
        if let Some((cause, what)) = failed {
            node.state = "failed";
            node.process = None;
            node.failure = Some(Failure { cause, what: what.into(), remedy: "mend it".into() });
        }
        Arc::new(node)
    }

    fn three(failed: &[Option<(Cause, &str)>]) -> Snapshot {
        let node =
            |(id, failed): (u32, &Option<(Cause, &str)>)| node(&NodeName::broker(id), NodeKind::Broker(id), 4, *failed);
        Snapshot { nodes: (1..).zip(failed).map(node).collect(), ending: false }
    }

    const FULL: Option<(Cause, &str)> = Some((Cause::DiskFull, "the file system is full"));

    #[test]
    fn a_full_disk_is_shown_when_writes_stand_still_and_every_broker_that_is_down_says_so() {
        assert!(disk_full(&three(&[None, None, None]), false).unwrap_err().contains("no broker has met"));
        assert_eq!(disk_full(&three(&[FULL, None, None]), true).unwrap_err(), "writes go on");
        assert_eq!(disk_full(&three(&[FULL, FULL, None]), false).unwrap().len(), 2);
        let crashed = Some((Cause::Crashed, "nobody knows"));
        let why = disk_full(&three(&[FULL, crashed, None]), false).unwrap_err();
        assert!(why.starts_with("broker-2 failed (crashed): nobody knows"), "{why}");
        let mut with_zookeeper = three(&[crashed, None, None]);
        with_zookeeper.nodes.push(node(&NodeName::zookeeper(), NodeKind::Zookeeper, 1, FULL));
        assert!(disk_full(&with_zookeeper, false).unwrap()[0].starts_with("zookeeper failed (disk-full)"));
    }

    #[test]
    fn a_thief_is_shown_when_the_failure_names_its_port_pid_and_command() {
        let of = |what: &'static str| {
            port_taken(
                &three(&[None, Some((Cause::PortTaken, what)), None]),
                &NodeName::broker(2),
                20_001,
                77,
                "hold-port",
            )
        };
        assert_eq!(of("port 20001 is taken by x hold-port y (pid 77)").unwrap().len(), 1);
        assert!(of("port 20001 is taken by x (pid 77)").unwrap_err().ends_with("which does not name hold-port"));
        assert!(of("port 20001 is taken by hold-port (pid 78)").unwrap_err().contains("does not name pid 77"));
        let other = port_taken(&three(&[None, FULL, None]), &NodeName::broker(2), 1, 77, "x").unwrap_err();
        assert!(other.starts_with("broker-2 failed (disk-full)"), "{other}");
    }

    #[test]
    fn a_mix_up_is_shown_when_nothing_was_started_and_everybody_names_the_cluster() {
        let wrong = Some((Cause::WrongIdentity, "ZooKeeper knows no cluster, the data is of cAfE"));
        let refused = Err(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        let before: BTreeMap<NodeName, Incarnation> =
            (1..=3).map(|id| (NodeName::broker(id), Incarnation(4))).collect();
        let all = three(&[wrong, wrong, wrong]);
        assert!(mixed_up(&all, &refused, &before, "cAfE").unwrap()[0].contains("exit 8"));
        assert!(mixed_up(&all, &Ok(()), &before, "cAfE").unwrap_err().contains("not refused"));
        assert!(mixed_up(&all, &refused, &before, "other").is_err());
        assert!(mixed_up(&three(&[wrong, None, wrong]), &refused, &before, "cAfE").is_err());
        let earlier: BTreeMap<NodeName, Incarnation> = [(NodeName::broker(2), Incarnation(3))].into();
        assert!(mixed_up(&all, &refused, &earlier, "cAfE").unwrap_err().contains("broker-2 was started on data"));
    }

    #[test]
    fn a_loop_is_a_fault_and_so_is_what_was_never_shown() {
        let mut evidence = Evidence::new();
        evidence.look(Err("not yet".into()), &three(&[FULL]), Moment(1));
        assert_eq!(evidence.waiting_for(), "not yet");
        assert_eq!(evidence.faults(&three(&[FULL]), "5 s"), ["the supervisor did not answer as it should: not yet"]);
        evidence.look(Ok(vec!["shown".into()]), &three(&[FULL]), Moment(2));
        evidence.look(Err("again".into()), &three(&[FULL]), Moment(3));
        assert_eq!(evidence.since(), Some(Moment(2)));
        let mut later = three(&[FULL]);
        let mut looped = (*later.nodes[0]).clone();
        looped.incarnation = Incarnation(5);
        later.nodes[0] = Arc::new(looped);
        assert!(evidence.faults(&later, "5 s")[0].starts_with("broker-1 was started again"));
        assert_eq!(evidence.faults(&three(&[FULL]), "5 s"), Vec::<String>::new());
        let mut beside = Evidence::new();
        beside.look(Ok(vec!["shown".into()]), &three(&[FULL, None]), Moment(2));
        let mut later = three(&[FULL, None]);
        later.nodes[1] = node(&NodeName::broker(2), NodeKind::Broker(2), 5, None);
        assert!(
            beside.faults(&later, "5 s")[0].starts_with("broker-2 was started again"),
            "it had a process at that look"
        );
        assert_eq!(beside.observed, ["shown"]);
        assert_eq!(evidence.observed, ["shown", "nothing was started again in the 5 s after that"]);
    }
}
