//! Against a tree of plain files that looks like a delegated unit.

use super::*;
use crate::base::{ByteSize, Moment, outcome::OomBy, recipe::Share};

struct Fake {
    dir: tempfile::TempDir,
    places: Places,
}

/// A mount with `/unit.service/supervisor` in it, membership pointing to `own`.
fn fake(own: &str, controllers: &str) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mnt point");
    let unit = mount.join("unit.service");
    // a group below has no controllers before its parent enables them
    for (group, controllers) in [(&unit, controllers), (&unit.join(OWN_GROUP), ""), (&unit.join(NODES_GROUP), "")] {
        fs::create_dir_all(group).unwrap();
        for (file, text) in [("cgroup.controllers", controllers), ("cgroup.procs", ""), ("cgroup.subtree_control", "")]
        {
            fs::write(group.join(file), text).unwrap();
        }
    }
    let places = Places {
        membership: dir.path().join("cgroup"),
        mountinfo: dir.path().join("mountinfo"),
        systemd: dir.path().join("absent"),
    };
    fs::write(&places.membership, format!("4:memory:/x\n0::{own}\n")).unwrap();
    let mounts = format!(
        "21 1 0:20 / /proc rw - proc proc rw\n30 25 0:26 / {} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
        mount.display().to_string().replace(' ', "\\040")
    );
    fs::write(&places.mountinfo, mounts).unwrap();
    Fake { dir, places }
}

fn node_files(root: &CgroupRoot, node: &NodeName) -> PathBuf {
    let dir = root.node(node);
    fs::create_dir_all(&dir).unwrap();
    for file in ["memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cgroup.kill", "cgroup.procs"] {
        fs::write(dir.join(file), "").unwrap();
    }
    dir
}

const CAPS: Caps = Caps { memory_max: Some(ByteSize::mib(64)), pids_max: None, oom_group: true, share: Share::KERNEL };

#[test]
fn a_daemon_in_the_sub_group_finds_its_unit_and_enables_controllers() {
    let fake = fake("/unit.service/supervisor", "cpu io memory pids");
    let root = detect_at(&fake.places).unwrap();
    let unit = fake.dir.path().join("mnt point/unit.service");
    assert_eq!(root.unit(), unit);
    for group in [unit.clone(), unit.join(NODES_GROUP)] {
        assert_eq!(fs::read_to_string(group.join("cgroup.subtree_control")).unwrap(), "+memory +pids");
    }
    assert_eq!(fs::read_to_string(unit.join("supervisor/cgroup.procs")).unwrap(), "", "already there");
}

#[test]
fn a_daemon_in_the_unit_itself_moves_into_the_sub_group() {
    let fake = fake("/unit.service", "memory pids");
    let root = detect_at(&fake.places).unwrap();
    assert_eq!(fs::read_to_string(root.unit().join("supervisor/cgroup.procs")).unwrap(), "0");
}

#[test]
fn whoever_started_the_daemon_in_its_delegated_group_moves_along() {
    let fake = fake("/unit.service", "memory pids");
    fs::write(fake.dir.path().join("mnt point/unit.service/cgroup.procs"), "17\n").unwrap();
    let root = detect_at(&fake.places).unwrap();
    assert_eq!(fs::read_to_string(root.unit().join("supervisor/cgroup.procs")).unwrap(), "17");
}

#[test]
fn every_reason_for_no_caps_is_said_in_words() {
    let without_memory = fake("/unit.service", "cpu");
    assert!(detect_at(&without_memory.places).unwrap_err().contains("(it has: cpu)"));

    let no_v2 = fake("/unit.service", "memory pids");
    fs::write(&no_v2.places.membership, "4:memory:/x\n").unwrap();
    assert_eq!(detect_at(&no_v2.places).unwrap_err(), "this process is in no cgroup v2 group");

    let unmounted = fake("/unit.service", "memory pids");
    fs::write(&unmounted.places.mountinfo, "21 1 0:20 / /proc rw - proc proc rw\n").unwrap();
    assert_eq!(detect_at(&unmounted.places).unwrap_err(), "no cgroup v2 file system is mounted");

    let not_ours = fake("/unit.service", "memory pids");
    fs::remove_file(not_ours.dir.path().join("mnt point/unit.service/cgroup.procs")).unwrap();
    assert!(detect_at(&not_ours.places).unwrap_err().contains("cgroup.procs was not delegated"));

    if crate::sys::host::is_root() {
        let mut managed = fake("/unit.service", "memory pids");
        managed.places.systemd = managed.dir.path().to_owned();
        assert!(detect_at(&managed.places).unwrap_err().contains("belongs to systemd"));
    }
}

#[test]
fn on_a_hybrid_host_the_hierarchy_that_has_the_memory_controller_is_named() {
    // systemd's hybrid layout: cgroup v2 without controllers beside the hierarchies of v1.
    let hybrid = fake("/unit.service", "");
    let mount = hybrid.dir.path().join("mnt point");
    fs::write(mount.join("cgroup.controllers"), "").unwrap();
    let v2 = fs::read_to_string(&hybrid.places.mountinfo).unwrap();
    let v1 = "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:7 - cgroup cgroup rw,cpu,cpuacct\n\
        34 25 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:8 - cgroup cgroup rw,memory\n";
    fs::write(&hybrid.places.mountinfo, format!("{v2}{v1}")).unwrap();
    let wanted = "the memory controller is that of cgroup v1 here (/sys/fs/cgroup/memory)";
    assert_eq!(detect_at(&hybrid.places).unwrap_err(), wanted);
    assert_eq!(memory_at(&hybrid.places).unwrap_err(), wanted);
    assert_eq!(v1_memory(&v2), None);
}

#[test]
fn a_group_above_that_keeps_the_memory_controller_to_itself_is_named() {
    let fake = fake("/unit.service/supervisor", "cpu");
    let mount = fake.dir.path().join("mnt point");
    let why = |fake: &Fake| detect_at(&fake.places).unwrap_err();
    fs::write(mount.join("cgroup.controllers"), "cpu io memory pids\n").unwrap();
    assert!(why(&fake).ends_with(&format!("(it has: cpu): {} has it and does not pass it on", mount.display())));
    assert_eq!(memory_at(&fake.places), Ok(()));
    fs::write(mount.join("cgroup.controllers"), "cpu io\n").unwrap();
    assert!(why(&fake).ends_with("(it has: cpu)"), "the kernel has none: {}", why(&fake));
    assert!(memory_at(&fake.places).unwrap_err().ends_with("(it has: cpu io)"));
}

#[test]
fn a_part_of_the_tree_mounted_in_a_container_is_followed() {
    let fake = fake("/outer/unit.service/supervisor", "memory pids");
    let text = fs::read_to_string(&fake.places.mountinfo).unwrap().replace("0:26 / ", "0:26 /outer ");
    fs::write(&fake.places.mountinfo, text).unwrap();
    assert!(detect_at(&fake.places).unwrap().unit().ends_with("mnt point/unit.service"));
}

#[test]
fn a_nodes_limits_are_written_and_read_back() {
    let fake = fake("/unit.service/supervisor", "memory pids");
    let root = detect_at(&fake.places).unwrap();
    let node = NodeName::mysql();
    let dir = node_files(&root, &node);
    assert_eq!(root.make_node(&node, &CAPS).unwrap(), (dir.clone(), vec![]));
    assert_eq!(read_limit(&dir.join("memory.max")), Some(Limit::At(64 << 20)));
    assert_eq!(read_limit(&dir.join("memory.swap.max")), Some(Limit::At(0)));
    assert_eq!(read_limit(&dir.join("memory.oom.group")), Some(Limit::At(1)));
    assert_eq!(read_limit(&dir.join("pids.max")), Some(Limit::Unlimited));
}

#[test]
fn a_limit_that_does_not_hold_and_a_missing_controller_are_errors() {
    let fake = fake("/unit.service/supervisor", "memory pids");
    let root = detect_at(&fake.places).unwrap();
    let node = NodeName::mysql();
    let e = root.make_node(&node, &CAPS).unwrap_err();
    assert!(e.to_string().contains("memory.max") && e.kind() == ErrorKind::NotFound, "{e}");
    let dir = node_files(&root, &node);
    fs::remove_file(dir.join("memory.max")).unwrap();
    std::os::unix::fs::symlink("/dev/null", dir.join("memory.max")).unwrap();
    let e = root.make_node(&node, &CAPS).unwrap_err();
    assert!(e.to_string().contains("set ") && e.source.to_string().contains("holds \"\""), "{e}");
}

#[test]
fn absent_unlimited_and_zero_are_three_values() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("memory.max");
    assert_eq!(read_limit(&file), None);
    fs::write(&file, "max\n").unwrap();
    assert_eq!(read_limit(&file), Some(Limit::Unlimited));
    fs::write(&file, "0\n").unwrap();
    assert_eq!(read_limit(&file), Some(Limit::At(0)));
    assert_eq!(memory_now(dir.path()), MemoryNow { max: Some(Limit::At(0)), ..MemoryNow::default() });
}

#[test]
fn incidents_are_counted_by_group_kills_and_peak_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let incidents = || oom_counts(dir.path()).map(|c| c.incidents);
    assert_eq!(incidents(), None);
    fs::write(dir.path().join("memory.events"), "low 0\noom 1\noom_kill 3\noom_group_kill 1\n").unwrap();
    fs::write(dir.path().join("memory.stat"), "anon 10\nfile 20\nkernel 7\nfile_mapped 5\n").unwrap();
    fs::write(dir.path().join("memory.current"), "33\n").unwrap();
    let now = memory_now(dir.path());
    assert_eq!(
        (now.current, now.anon, now.file, now.kernel, now.peak, now.oom_kills),
        (Some(33), Some(10), Some(20), Some(7), None, Some(1))
    );
    // A kill in a group that the node made below its own is none of the node.
    fs::write(dir.path().join("memory.events.local"), "oom 0\noom_kill 0\noom_group_kill 0\n").unwrap();
    assert_eq!(incidents(), Some(0));
    fs::remove_file(dir.path().join("memory.events.local")).unwrap();
    fs::write(dir.path().join("memory.events"), "oom_kill 2\n").unwrap();
    fs::write(dir.path().join("memory.stat"), "slab 3\nkernel_stack 2\n").unwrap();
    assert_eq!((incidents(), memory_now(dir.path()).kernel), (Some(2), Some(5)), "older kernels");
}

#[test]
fn an_out_of_memory_kill_is_told_by_whose_limit_was_met() {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("unit/nodes/a");
    fs::create_dir_all(&node).unwrap();
    let events = |group: &str, oom: u64, kills: u64| {
        let text = format!("oom {oom}\noom_kill {kills}\noom_group_kill {kills}\n");
        for file in ["memory.events", "memory.events.local"] {
            fs::write(dir.path().join(group).join(file), &text).unwrap();
        }
        oom_counts(&node).unwrap_or_default()
    };
    events("unit", 4, 0);
    events("unit/nodes", 0, 0);
    let before = events("unit/nodes/a", 2, 1);
    assert_eq!(oom_by(before, before), None);
    assert_eq!(oom_by(before, events("unit/nodes/a", 3, 2)), Some(OomBy::Cap));
    assert_eq!(oom_by(before, events("unit/nodes/a", 2, 2)), Some(OomBy::Host), "no limit was met");
    assert_eq!(oom_by(before, events("unit", 5, 0)), Some(OomBy::GroupAbove));
}

#[test]
fn a_victim_that_is_gone_before_its_incident_is_counted_was_out_of_memory() {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("nodes/a");
    fs::create_dir_all(&node).unwrap();
    let events = |victims: u64, below: u64, incidents: u64| {
        let text = |victims: u64| format!("oom 0\noom_kill {victims}\noom_group_kill {incidents}\n");
        fs::write(node.join("memory.events"), text(victims + below)).unwrap();
        fs::write(node.join("memory.events.local"), text(victims)).unwrap();
        oom_counts(&node).unwrap()
    };
    let since = OomSince::launch(events(3, 0, 1));
    let early = events(4, 0, 1);
    assert_eq!((since.by(early), since.incidents(early)), (Some(OomBy::Host), 1));
    let counted = events(6, 0, 2);
    assert_eq!((since.by(counted), since.incidents(counted)), (Some(OomBy::Host), 1));
    let of_a_group_below = events(3, 2, 1);
    assert_eq!((since.by(of_a_group_below), since.incidents(of_a_group_below)), (None, 0));
}

#[test]
fn what_a_node_has_outlived_is_not_what_it_is_killed_for_later() {
    let counts =
        |incidents, own_limit, limits_above| OomCounts { incidents, victims: incidents, own_limit, limits_above };
    let at = |seconds: u64| Moment(seconds * 1_000);
    let mut since = OomSince::launch(counts(7, 7, 2));
    since.lives(at(10), counts(7, 7, 2));
    assert_eq!(since.due(), None, "nothing has happened that is not known");
    // another node is killed at a limit above
    since.lives(at(20), counts(7, 7, 3));
    assert_eq!(since.due(), Some(at(25)));
    assert_eq!(since.by(counts(8, 7, 3)), Some(OomBy::GroupAbove), "it may still be this one's end");
    since.lives(at(24), counts(7, 7, 4));
    assert_eq!(since.due(), Some(at(25)), "one after the other");
    since.lives(at(25), counts(7, 7, 4));
    assert_eq!(since.due(), Some(at(30)), "the second has its own time");
    assert_eq!(since.by(counts(8, 7, 4)), Some(OomBy::GroupAbove));
    since.lives(at(31), counts(7, 7, 4));
    assert_eq!(since.due(), None);
    assert_eq!(since.by(counts(8, 7, 4)), Some(OomBy::Host), "outlived");
    assert_eq!(since.by(counts(8, 8, 4)), Some(OomBy::Cap));
    assert_eq!(since.by(counts(8, 7, 5)), Some(OomBy::GroupAbove));
    assert_eq!(since.by(counts(7, 7, 5)), None, "no kill");
    assert_eq!(since.incidents(counts(9, 9, 4)), 2);
}

#[test]
fn a_victim_that_takes_its_time_to_die_has_not_outlived_its_end() {
    let counts = |incidents, limits_above| OomCounts { incidents, victims: incidents, own_limit: 0, limits_above };
    let mut since = OomSince::launch(OomCounts::default());
    since.lives(Moment(0), counts(0, 1));
    for at in [5_000, 60_000] {
        since.lives(Moment(at), counts(1, 1));
        assert_eq!((since.due(), since.by(counts(1, 1))), (None, Some(OomBy::GroupAbove)));
    }
    // and the kill may be seen with the limit
    let mut since = OomSince::launch(OomCounts::default());
    since.lives(Moment(0), counts(1, 1));
    assert_eq!((since.due(), since.by(counts(1, 1))), (None, Some(OomBy::GroupAbove)));
}

#[test]
fn limits_that_have_drifted_are_named_and_put_right() {
    let fake = fake("/unit.service/supervisor", "memory pids");
    let root = detect_at(&fake.places).unwrap();
    let node = NodeName::mysql();
    let dir = node_files(&root, &node);
    fs::write(dir.join("cgroup.controllers"), "memory pids\n").unwrap();
    for (file, text) in
        [("memory.high", "max"), ("memory.low", "0"), ("cpu.weight", "100"), ("io.weight", "default 100")]
    {
        fs::write(dir.join(file), text).unwrap();
    }
    let share = Share { memory_low: Some(ByteSize::mib(8)), cpu_weight: 300, ..Share::KERNEL };
    let caps = Caps { share, ..CAPS };
    fs::write(root.unit().join("memory.low"), "4096\n").unwrap();
    let missing = root.make_node(&node, &caps).unwrap().1;
    assert!(missing.len() == 1 && missing[0].contains("set MemoryLow= of the unit"), "{missing:?}");
    let own = i32::try_from(std::process::id()).unwrap();
    fs::write(dir.join("cgroup.procs"), format!("{own}\n")).unwrap();
    assert_eq!(root.mend(&node, &caps, own), []);
    fs::write(dir.join("memory.max"), "max\n").unwrap();
    fs::write(dir.join("cpu.weight"), "50\n").unwrap();
    let texts: Vec<String> = root.mend(&node, &caps, own).into_iter().map(|d| d.text).collect();
    assert_eq!(texts, ["memory.max was max, not 67108864; put right", "cpu.weight was 50, not 300; put right"]);
    assert_eq!(root.mend(&node, &caps, own), [], "once");
    fs::remove_file(dir.join("pids.max")).unwrap();
    let found = root.mend(&node, &caps, own);
    assert!(!found[0].mended && found[0].text.contains("pids.max was not there"), "{found:?}");
    fs::write(dir.join("pids.max"), "max\n").unwrap();
    fs::write(dir.join("cgroup.procs"), "1\n").unwrap();
    let found = root.mend(&node, &caps, own);
    assert!(process::cgroup_of(own).is_none() || found.iter().any(|d| d.what == "cgroup"), "{found:?}");
}

#[test]
fn a_weight_that_the_host_cannot_give_is_told_and_no_reason_not_to_start() {
    let fake = fake("/unit.service/supervisor", "memory pids");
    let root = detect_at(&fake.places).unwrap();
    let node = NodeName::mysql();
    node_files(&root, &node);
    assert_eq!(root.make_node(&node, &CAPS).unwrap().1, Vec::<String>::new(), "nothing was asked for");
    let caps = Caps { share: Share { io_weight: 300, ..Share::KERNEL }, ..CAPS };
    let missing = root.make_node(&node, &caps).unwrap().1;
    assert!(missing.len() == 1 && missing[0].starts_with("io.weight = 300 is not in force here"), "{missing:?}");
    let caps = Caps { share: Share { memory_high: Some(ByteSize::mib(32)), ..Share::KERNEL }, ..CAPS };
    assert!(root.make_node(&node, &caps).is_err(), "a limit on memory that was asked for must hold");
}

#[test]
fn a_group_is_killed_looked_at_and_removed_with_what_is_below() {
    let dir = tempfile::tempdir().unwrap();
    assert!(kill(&dir.path().join("gone")).is_ok());
    assert_eq!(populated(dir.path()), None);
    fs::write(dir.path().join("cgroup.kill"), "").unwrap();
    fs::write(dir.path().join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
    fs::write(dir.path().join("cgroup.procs"), "17\n4\n").unwrap();
    kill(dir.path()).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("cgroup.kill")).unwrap(), "1");
    assert_eq!(populated(dir.path()), Some(true));
    assert_eq!(members(dir.path()), [17, 4]);

    let fake = fake("/unit.service/supervisor", "memory pids");
    let root = detect_at(&fake.places).unwrap();
    let node = NodeName::mysql();
    fs::create_dir_all(root.node(&node).join("below/deeper")).unwrap();
    root.remove_node(&node).unwrap();
    assert!(!root.node(&node).exists());
    root.remove_node(&node).unwrap();
}
