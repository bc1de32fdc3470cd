//! Room on disk: bytes and files against what the plan will write.

use super::{
    Site,
    check::{Check, Severity, size},
    storage::{Facts, Place},
};
use crate::{base::NodeKind, sys::mounts::FileSystem};

const GIB: u64 = 1 << 30;

/// Below this nothing is started for the first time: the first day would fill it.
const FIRST_START: u64 = 5 * GIB;
/// What a stack with binlogs, offsets and logs wants at the least.
const USUAL: u64 = 20 * GIB;
/// A stack that ran before is not kept down while this is left; below it the first log segment fails.
const LAST: u64 = 256 << 20;
/// The same for commands only, which may write nothing at all.
const LAST_OF_COMMANDS: u64 = 1 << 20;
/// What a throw-away cluster starts with: empty brokers, and a drill that may fill the rest.
const LEAST_OF_THROW_AWAY: u64 = 64 << 20;

pub(super) fn judge(site: &Site, facts: &Facts) -> Vec<Check> {
    let mut rows = Vec::new();
    let mut seen = Vec::new();
    for place in &facts.places {
        let Ok(system) = &place.system else { continue };
        if seen.contains(&system.device) || system.read_only {
            continue;
        }
        seen.push(system.device);
        let here: Vec<&Place> =
            facts.places.iter().filter(|p| p.system.as_ref().is_ok_and(|s| s.device == system.device)).collect();
        rows.push(bytes(site, facts, system, &here));
        rows.push(files(facts, system, &here));
    }
    rows
}

/// What one topic of the default form comes to on a broker: partitions x retention, a copy on each of up to three brokers.
/// None: the file keeps records without a bound.
fn retention(site: &Site, place: &Place) -> Option<u64> {
    let node = site.plan.node(place.node.as_ref()?)?;
    let NodeKind::Broker(id) = node.kind else { return Some(0) };
    let broker = site.plan.kafka.as_ref()?.brokers.get(&id)?;
    // as rendered (`services::kafka`): 3 partitions, 1 GB each, unless the file says otherwise
    let number = |key: &str, otherwise: i64| broker.properties.get(key).map_or(Some(otherwise), |v| v.parse().ok());
    let bytes = number("log.retention.bytes", 1 << 30).and_then(|n| u64::try_from(n).ok())?;
    let partitions = number("num.partitions", 3).and_then(|n| u64::try_from(n).ok())?;
    Some(bytes.saturating_mul(partitions))
}

fn bytes(site: &Site, facts: &Facts, system: &FileSystem, here: &[&Place]) -> Check {
    let products = here.iter().any(|p| p.node.is_some());
    let logs: u64 = if here.iter().any(|p| p.node.is_none()) {
        let kept = site.plan.each_node().map(|(_, n)| n.care.log);
        kept.map(|log| log.max_bytes.0.saturating_mul(u64::from(log.keep) + 1)).fold(0, u64::saturating_add)
    } else {
        0
    };
    let kept: Vec<Option<u64>> = here.iter().filter(|p| p.node.is_some()).map(|p| retention(site, p)).collect();
    let topic: u64 = kept.iter().flatten().sum();
    let wanted = if products { USUAL.max(topic.saturating_mul(3)) } else { logs };
    let required = match (products, topic) {
        (false, _) => format!("{} for the nodes' logs", size(wanted)),
        (true, 0) => format!("{} or more", size(wanted)),
        (true, topic) => format!("{}; one full topic is {}, three times that", size(wanted), size(topic)),
    };
    let why = if kept.contains(&None) {
        "log.retention.bytes keeps records without a bound: nothing but the disk ends their growth"
    } else {
        "a full disk stops brokers and mysqld at once"
    };
    let place = system.mount.display();
    let found = format!("{} free of {} on {place}", size(system.free), size(system.total));
    let row = Check::ok("disk space", required, found, why);
    let (least, last) = match (products, site.throw_away) {
        (_, true) => (LEAST_OF_THROW_AWAY, LEAST_OF_THROW_AWAY),
        (true, false) => (FIRST_START, LAST),
        (false, false) => (LAST_OF_COMMANDS, LAST_OF_COMMANDS),
    };
    let remedy =
        format!("free some space on {place}, or move the data: `root`, data_dir of nodes, log.retention.* of brokers");
    if system.free < least {
        let problem = format!("only {} are free on {place}, at least {} are needed", size(system.free), size(least));
        let row = row.fails(problem, remedy);
        let stops = facts.is_fresh() || system.free < last;
        return if stops { row } else { row.and_starts() };
    }
    if system.free < wanted || kept.contains(&None) { row.but(Severity::Warn, remedy) } else { row }
}

/// Every segment has three index files beside it.
fn files(facts: &Facts, system: &FileSystem, here: &[&Place]) -> Check {
    const WANTED: u64 = 100_000;
    const LEAST: u64 = 1_000;
    const LEAST_OF_COMMANDS: u64 = 100;
    let place = system.mount.display();
    let products = here.iter().any(|p| p.node.is_some());
    let wanted = if products { WANTED } else { LEAST };
    let why = "a disk with room and no free inode is as full as one without";
    let row = |found: String| Check::ok("inodes", format!("{wanted} free"), found, why);
    let Some(free) = system.free_inodes else { return row(format!("not counted on {place}")) };
    let row = row(format!("{free} free on {place}"));
    let remedy = format!("remove files on {place} (`du --inodes -xd1 {place} | sort -n` shows where they are)");
    let least = if products && facts.is_fresh() { LEAST } else { LEAST_OF_COMMANDS };
    if free < least {
        row.fails(format!("only {free} files can still be made on {place}"), remedy)
    } else if free < wanted {
        row.but(Severity::Warn, remedy)
    } else {
        row
    }
}
