//! The guard of `[disk]` while a drill fills a file system: every broker is stopped in order before it is full, and comes back by itself
//! when there is room. Judged by what nodes, their files and the event log show.

use super::evidence::{Shown, brokers, words};
use crate::{
    base::{
        ByteSize, Cause, EventKind, EventLine, Incarnation, Layout, Moment, NodeKind, NodeName, units::human_duration,
    },
    engine::{Handle, NodeSnapshot, Snapshot, disk::NO_ROOM},
    sys::{
        clock,
        fs::read_lossy_optional,
        mounts,
        room::{self, Held},
    },
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// How long the watch may take to make the ballast: it looks every five seconds at the least.
const BALLAST_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a broker leaves in its data when it has closed all its logs (`CleanShutdownFile.scala`), and takes away when it opens them.
const CLEAN: &str = ".kafka_cleanshutdown";

/// What whoever meets a full disk is told (strerror(3) of ENOSPC).
const FULL: &str = "No space left on device";

/// What is known from before the disk fills up, and the least that was free since.
#[derive(Debug)]
pub(super) struct Guarded {
    layout: Layout,
    began: Moment,
    /// The last start of each broker.
    before: BTreeMap<NodeName, Incarnation>,
    total: u64,
    least: u64,
}

impl Guarded {
    /// Waits until there is a ballast to be given up.
    pub(super) async fn begin(engine: &Handle, layout: &Layout) -> Result<Self, String> {
        let began = clock::now();
        while !is_held(layout) {
            if clock::now().since(began) >= BALLAST_WITHIN {
                return Err(format!("no ballast was made within {}", human_duration(BALLAST_WITHIN)));
            }
            sleep(LOOK_EVERY).await;
        }
        let system = mounts::file_system(layout.root()).map_err(|e| e.in_one_line())?;
        let before = brokers(&engine.snapshot()).map(|n| (n.name.clone(), n.incarnation)).collect();
        let (total, least) = (system.total, system.free);
        Ok(Self { layout: layout.clone(), began: clock::now(), before, total, least })
    }

    /// Whether every broker was stopped in order, before the disk was full.
    pub(super) fn shown(&mut self, snapshot: &Snapshot, flows: bool, engine: &Handle) -> Shown {
        let free = mounts::file_system(self.layout.root()).map_err(|e| e.in_one_line())?.free;
        self.least = self.least.min(free);
        let mut said = self.stopped(snapshot, flows)?;
        for broker in self.before.keys() {
            if !self.layout.data(broker).join(CLEAN).exists() {
                return Err(format!("{broker} has ended and has not closed its logs"));
            }
            // A small file, on a file system in memory.
            let log = read_lossy_optional(&self.layout.log(broker)).map_err(|e| e.in_one_line())?;
            if let Some(line) = log.iter().flat_map(|text| text.lines()).find(|line| line.contains(FULL)) {
                return Err(format!("{broker} has met the full disk: {line}"));
            }
        }
        said.extend(told(&engine.journal().noted_since(self.began))?);
        Ok(said)
    }

    fn stopped(&self, snapshot: &Snapshot, flows: bool) -> Shown {
        let free = |bytes: u64| ByteSize(bytes).rounded();
        for node in brokers(snapshot) {
            if node.failure.is_some() {
                return Err(words(node));
            }
            if node.process.is_some() {
                return Err(format!("{} runs, and {} are free at the least", node.name, free(self.least)));
            }
            let in_order = |n: &NodeSnapshot| {
                let last = n.last_exit.as_ref().filter(|exit| Some(&exit.incarnation) == self.before.get(&n.name));
                last.is_some_and(|exit| exit.cause == Cause::Stopped)
            };
            if !in_order(node) || !node.detail.contains(NO_ROOM) {
                return Err(format!("{}, and was not stopped for want of room", words(node)));
            }
        }
        let zookeeper = snapshot.nodes.iter().find(|n| n.kind == NodeKind::Zookeeper);
        if let Some(node) = zookeeper.filter(|n| n.process.is_none()) {
            return Err(format!("{}, though it does not fill the disk", words(node)));
        }
        if flows {
            return Err("writes go on".into());
        }
        if self.least == 0 {
            return Err("nothing was free on the file system at one moment".into());
        }
        let names: Vec<&str> = self.before.keys().map(NodeName::as_str).collect();
        Ok(vec![format!(
            "{} stopped in order, every log closed, before the file system was full: {} of {} were free at the least",
            names.join(", "),
            free(self.least),
            free(self.total)
        )])
    }

    /// What is not as it was when there is room again; none: all of it is.
    pub(super) fn still_missing(&self) -> Option<String> {
        (!is_held(&self.layout)).then(|| "the ballast is not made again yet".to_owned())
    }

    /// Everything is whole: what is said of the way there, `after` there was room; or what was wrong with it.
    pub(super) fn came_back(&self, snapshot: &Snapshot, after: Duration) -> Result<String, String> {
        for node in brokers(snapshot) {
            let starts = self.before.get(&node.name).map_or(0, |old| node.incarnation.0.saturating_sub(old.0));
            if starts != 1 {
                return Err(format!(
                    "{} was started {starts} times when there was room again, and once is enough",
                    node.name
                ));
            }
        }
        let names: Vec<&str> = self.before.keys().map(NodeName::as_str).collect();
        Ok(format!(
            "{} came back by themselves, each started once, and the ballast is held again: all of it {} after there was room",
            names.join(", "),
            human_duration(after)
        ))
    }
}

fn is_held(layout: &Layout) -> bool {
    matches!(room::held(&layout.ballast()), Held::Bytes(_))
}

/// What was told of it: that there is little room, that the ballast is given up, who is stopped.
fn told(events: &[(Moment, EventLine)]) -> Shown {
    let wanted = [
        (EventKind::DiskLow, ""),
        (EventKind::DiskBallast, "given up"),
        (EventKind::DiskStop, "stopped before it is full"),
    ];
    let mut said = Vec::new();
    for (kind, part) in wanted {
        match events.iter().find(|(_, event)| event.is(kind) && event.text.contains(part)) {
            Some((_, event)) => said.push(event.text.clone()),
            None => return Err(format!("no event {kind} tells of it yet")),
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{ExitStatus, Timestamp, ids::ProcessId, outcome::Failure},
        engine::LastExit,
    };
    use std::sync::Arc;

    const WAITS: &str = "waits: stopped: disk space: less than 64M were free";

    fn guarded() -> Guarded {
        let before = (1..=3).map(|id| (NodeName::broker(id), Incarnation(4))).collect();
        Guarded { layout: Layout::new("/r"), began: Moment(7), before, total: 256 << 20, least: 61 << 20 }
    }

    fn exit(cause: Cause, incarnation: u64) -> Option<LastExit> {
        let (incarnation, status, at) = (Incarnation(incarnation), ExitStatus::Code(143), Timestamp(0));
        Some(LastExit { incarnation, status, cause, at, oom_by: None, ran_ms: None })
    }

    /// ZooKeeper that runs, and three brokers that wait; the second is changed.
    fn world(change: impl Fn(&mut NodeSnapshot)) -> Snapshot {
        let process = ProcessId { pid: 1, start_ticks: 1, boot_id: "b".into() };
        let mut zookeeper = NodeSnapshot::sample(NodeName::zookeeper(), NodeKind::Zookeeper, "ready", 1);
        zookeeper.process = Some(process);
        let broker = |id| {
            let mut node = NodeSnapshot::sample(NodeName::broker(id), NodeKind::Broker(id), "waiting", 4);
            (node.process, node.detail, node.last_exit) = (None, WAITS.into(), exit(Cause::Stopped, 4));
            if id == 2 {
                change(&mut node);
            }
            Arc::new(node)
        };
        Snapshot { nodes: std::iter::once(Arc::new(zookeeper)).chain((1..=3).map(broker)).collect(), ending: false }
    }

    #[test]
    fn only_brokers_that_were_all_stopped_in_order_and_wait_for_room_show_it() {
        let said = guarded().stopped(&world(|_| ()), false).unwrap();
        let words = "broker-1, broker-2, broker-3 stopped in order, every log closed, before the file system was full: 61M of 256M were free at the least";
        assert_eq!(said, [words]);
        let not = |part: &str, change: &dyn Fn(&mut NodeSnapshot)| {
            let why = guarded().stopped(&world(change), false).unwrap_err();
            assert!(why.contains(part), "{part}: {why}");
        };
        let failed = Failure { cause: Cause::DiskFull, what: "the disk is full".into(), remedy: "make room".into() };
        not("broker-2 failed (disk-full)", &|n| n.failure = Some(failed.clone()));
        not("broker-2 runs, and 61M are free", &|n| {
            n.process = Some(ProcessId { pid: 1, start_ticks: 1, boot_id: "b".into() });
        });
        for cause in [Cause::Crashed, Cause::DiskFull, Cause::KilledAfterGrace] {
            not("was not stopped for want of room", &|n| n.last_exit = exit(cause, 4));
        }
        not("was not stopped for want of room", &|n| n.last_exit = exit(Cause::Stopped, 3));
        not("was not stopped for want of room", &|n| n.detail = "pause".into());
        assert_eq!(guarded().stopped(&world(|_| ()), true).unwrap_err(), "writes go on");
        let none = Guarded { least: 0, ..guarded() };
        assert!(none.stopped(&world(|_| ()), false).unwrap_err().contains("nothing was free"));
        let mut without = world(|_| ());
        Arc::make_mut(&mut without.nodes[0]).process = None;
        assert!(guarded().stopped(&without, false).unwrap_err().contains("zookeeper"));
    }

    #[test]
    fn what_was_told_is_part_of_it() {
        let event = |kind, text: &str| (Moment(8), EventLine::new(kind, text));
        let all = [
            event(EventKind::DiskLow, "80M free on /r, less than 96M"),
            event(EventKind::DiskBallast, "32M of ballast on /r are given up, so that a stop has room"),
            event(EventKind::DiskStop, "63M free on /r: broker-1 stopped before it is full"),
        ];
        assert_eq!(told(&all).unwrap().len(), 3);
        for missing in 0..3 {
            let rest: Vec<_> = all.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, e)| e.clone()).collect();
            assert!(told(&rest).unwrap_err().contains(&all[missing].1.kind), "{missing}");
        }
    }

    #[test]
    fn who_came_back_was_started_once() {
        let back = |starts: u64| world(|n| n.incarnation = Incarnation(4 + starts));
        let mut all = back(1);
        for node in &mut all.nodes {
            Arc::make_mut(node).incarnation = Incarnation(5);
        }
        let words = guarded().came_back(&all, Duration::from_secs(4)).unwrap();
        assert!(words.starts_with("broker-1, broker-2, broker-3 came back by themselves"), "{words}");
        Arc::make_mut(&mut all.nodes[2]).incarnation = Incarnation(7);
        assert!(guarded().came_back(&all, Duration::ZERO).unwrap_err().starts_with("broker-2 was started 3 times"));
    }
}
