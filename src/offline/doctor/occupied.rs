//! Who works on a data directory that no node of this root has at the moment: servers started by hand or by another root.

use crate::{
    base::{NodeKind, NodeName},
    config::Plan,
    services,
    sys::{mounts, process},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The process that works on the data of `node` in `dir`: pid and command line; none: nobody, or nobody who can be seen.
pub(super) fn by(plan: &Plan, node: &NodeName, dir: &Path) -> Option<(i32, String)> {
    let pid = match plan.node(node)?.kind {
        // Kafka's LogManager locks this file, InnoDB its system tablespace
        NodeKind::Broker(_) => holder(&dir.join(".lock")),
        NodeKind::Mysql => holder(&dir.join("ibdata1")),
        // ZooKeeper locks nothing
        NodeKind::Zookeeper => zookeeper(dir),
        NodeKind::KafkaUi | NodeKind::Command => None,
    }?;
    Some((pid, process::command_line(pid)))
}

fn holder(file: &Path) -> Option<i32> {
    file.exists().then(|| mounts::lock_holders(file).first().copied())?
}

/// One that has served anybody has its transaction log open to write; one that has not is known by its configuration.
fn zookeeper(dir: &Path) -> Option<i32> {
    let real = fs::canonicalize(dir).ok()?;
    // in an empty one nobody works yet
    fs::read_dir(&real).ok()?.next()?.ok()?;
    process::all().into_iter().find(|pid| process::writes_below(*pid, &real) || is_configured(*pid, &real))
}

/// Whether a process is a ZooKeeper whose configuration names this directory, links resolved.
fn is_configured(pid: i32, real: &Path) -> bool {
    let at = |path: &str| PathBuf::from(format!("/proc/{pid}/cwd")).join(path);
    let read = |path: &str| fs::read_to_string(at(path)).ok();
    let named = services::zookeeper_data_dirs(&process::arguments(pid), read);
    named.iter().any(|dir| fs::canonicalize(at(dir)).is_ok_and(|dir| dir == real))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::site, *};
    use std::fs::File;

    #[test]
    fn a_zookeeper_that_has_its_log_open_to_write_is_found_and_a_reader_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (plan, node) = (site("").plan, NodeName::zookeeper());
        let file = dir.path().join("version-2");
        fs::create_dir(&file).unwrap();
        let file = file.join("log.1");
        assert_eq!(by(&plan, &node, dir.path()), None);
        let writer = File::create(&file).unwrap();
        assert_eq!(by(&plan, &node, dir.path()).unwrap().0, std::process::id().cast_signed());
        drop(writer);
        let _reader = File::open(&file).unwrap();
        assert_eq!(by(&plan, &node, dir.path()), None);
    }
}
