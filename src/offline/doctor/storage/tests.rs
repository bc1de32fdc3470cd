//! The judges of storage with handed-in facts, and the look with real directories.

use super::*;
use crate::offline::doctor::tests::{site, site_at};

const GIB: u64 = 1 << 30;

fn disk(kind: &str) -> FileSystem {
    FileSystem {
        discards: false,
        kind: kind.into(),
        mount: "/srv".into(),
        source: "/dev/sda1".into(),
        read_only: false,
        device: 7,
        free: 300 * GIB,
        total: 500 * GIB,
        free_inodes: Some(30_000_000),
    }
}

fn at(node: Option<NodeName>, path: &str, system: FileSystem) -> Place {
    let (path, real) = (path.into(), path.into());
    Place { node, path, real, filled: false, writable: true, read_only: false, system: Ok(system), user: None }
}

/// The root on this file system, a directory of our own.
fn facts(site: &Site, system: FileSystem) -> Facts {
    Facts {
        root: Root::Directory { uid: site.euid, mode: 0o755, kept_by: None },
        unwritable: None,
        places: vec![at(None, "/srv/cdc", system)],
        syncs: None,
        starting: true,
        systemd: false,
        in_unit: false,
        alien: None,
    }
}

fn named(checks: &[Check], name: &str) -> Check {
    checks.iter().find(|c| c.name == name).cloned().unwrap_or_else(|| panic!("no row {name}: {checks:#?}"))
}

#[test]
fn each_kind_of_file_system_is_told_by_what_becomes_of_the_data() {
    let site = site("[command.a]\nargv = [\"/x\"]");
    for (kind, severity, stops) in [
        ("ext4", Severity::Ok, false),
        ("xfs", Severity::Ok, false),
        ("btrfs", Severity::Ok, false),
        ("tmpfs", Severity::Fail, false),
        ("overlay", Severity::Warn, false),
        ("fuse.fuse-overlayfs", Severity::Warn, false),
        ("nfs4", Severity::Fail, true),
        ("cifs", Severity::Fail, true),
        ("fuse.sshfs", Severity::Fail, true),
        ("vfat", Severity::Fail, true),
        ("9p", Severity::Warn, false),
        ("somefs", Severity::Unknown, false),
    ] {
        let row = named(&judge(&site, &facts(&site, disk(kind))), "file system of root");
        assert_eq!((row.severity, row.stops_start), (severity, stops), "{row:?}");
    }
}

#[test]
fn what_only_the_units_sandbox_makes_read_only_is_told_with_the_drop_in() {
    let site = site("[mysql]\ndata_dir = \"/srv/sql\"");
    let place = Place { writable: false, read_only: true, ..at(Some(NodeName::mysql()), "/srv/sql", disk("ext4")) };
    let remedies = |in_unit: bool| {
        let read_only = FileSystem { read_only: true, ..disk("ext4") };
        let cannot =
            Unwritable { dir: "/srv/cdc".into(), kind: io::ErrorKind::ReadOnlyFilesystem, why: "EROFS".into() };
        let places = vec![at(None, "/srv/cdc", read_only), place.clone()];
        let facts = Facts {
            places,
            in_unit,
            unwritable: Some(cannot),
            ..facts(&Site { euid: 997, ..site.clone() }, disk("ext4"))
        };
        let rows = judge(&Site { euid: 997, ..site.clone() }, &facts);
        ["root", "file system of root", "data of mysql"].map(|name| named(&rows, name).remedy.unwrap())
    };
    assert!(remedies(true).iter().all(|r| r.contains("unit-paths --write")), "{:?}", remedies(true));
    assert!(remedies(false).iter().all(|r| !r.contains("unit-paths")), "{:?}", remedies(false));
    assert!(remedies(true)[2].contains("ReadWritePaths=/srv/sql"));
    assert!(remedies(false)[2].starts_with("mount the file system"), "no chown helps");
}

#[test]
fn a_volatile_root_that_is_wanted_is_only_told() {
    let site = site("[host]\nallow_volatile_root = true\n[command.a]\nargv = [\"/x\"]");
    for kind in ["tmpfs", "overlay"] {
        assert_eq!(named(&judge(&site, &facts(&site, disk(kind))), "file system of root").severity, Severity::Info);
    }
    let nfs = named(&judge(&site, &facts(&site, disk("nfs"))), "file system of root");
    assert_eq!(nfs.severity, Severity::Fail, "the key is about reboots only");
}

#[test]
fn directories_for_temporary_files_are_told() {
    let site = site("[command.a]\nargv = [\"/x\"]");
    let row = |path: &str, systemd: bool| {
        let facts = Facts { places: vec![at(None, path, disk("ext4"))], systemd, ..facts(&site, disk("ext4")) };
        named(&judge(&site, &facts), "file system of root")
    };
    assert_eq!(row("/tmp/cdc", true).severity, Severity::Fail);
    assert!(!row("/tmp/cdc", true).stops_start);
    assert_eq!(row("/tmp/cdc", false).severity, Severity::Warn);
    assert_eq!(row("/var/tmp/cdc", true).severity, Severity::Warn);
    assert_eq!(row("/tmpx", true).severity, Severity::Ok);
}

#[test]
fn a_stack_that_ran_before_is_not_refused_for_what_it_ran_with() {
    let site = site("[mysql]");
    let mut facts = facts(&site, FileSystem { free: 3 * GIB, ..disk("nfs4") });
    facts.places.push(at(Some(NodeName::mysql()), "/srv/cdc/nodes/mysql/data", disk("nfs4")));
    let stops = |facts: &Facts| -> Vec<String> {
        judge(&site, facts).into_iter().filter(|c| c.stops_start).map(|c| c.name).collect()
    };
    assert_eq!(stops(&facts), ["file system of root", "disk space"]);
    facts.places[1].filled = true;
    assert!(stops(&facts).is_empty());
    assert_eq!(named(&judge(&site, &facts), "disk space").severity, Severity::Fail, "it is told all the same");
    let full = FileSystem { free: 200 << 20, ..disk("nfs4") };
    facts.places[0].system = Ok(full);
    assert_eq!(stops(&facts), ["disk space"], "the first segment would fail");
}

#[test]
fn room_is_reckoned_from_what_the_plan_keeps() {
    let with = |text: &str| {
        let site = site(text);
        let mut facts = facts(&site, FileSystem { free: 25 * GIB, ..disk("ext4") });
        for (node, path) in site.plan.data_directories() {
            facts.places.push(at(Some(node), &path.display().to_string(), disk("ext4")));
        }
        named(&judge(&site, &facts), "disk space")
    };
    let row = with("");
    assert_eq!(row.required, "27G; one full topic is 9G, three times that", "3 brokers x 3 partitions x 1G");
    assert_eq!((row.severity, row.found.as_str()), (Severity::Warn, "25G free of 500G on /srv"));
    assert_eq!(with("[mysql]").severity, Severity::Ok);
    assert_eq!(with("[zookeeper]\n[kafka]\nproperties.log.retention.bytes = 1048576").severity, Severity::Ok);
    let unbounded = with("[zookeeper]\n[kafka]\nproperties.log.retention.bytes = -1");
    assert!(unbounded.severity == Severity::Warn && unbounded.why.contains("without a bound"), "{unbounded:?}");
    let commands = with("[command.a]\nargv = [\"/x\"]");
    assert_eq!((commands.severity, commands.required.as_str()), (Severity::Ok, "288M for the nodes' logs"));
}

#[test]
fn no_free_inode_is_a_full_disk() {
    let site = site("[command.a]\nargv = [\"/x\"]");
    let row = |free| named(&judge(&site, &facts(&site, FileSystem { free_inodes: free, ..disk("ext4") })), "inodes");
    assert_eq!((row(Some(3)).severity, row(Some(3)).stops_start), (Severity::Fail, true));
    assert_eq!(row(Some(500)).severity, Severity::Warn);
    assert_eq!(row(None).severity, Severity::Ok);
}

#[test]
fn a_read_only_file_system_stops_a_start_and_nothing_more_is_said_of_its_room() {
    let site = site("[command.a]\nargv = [\"/x\"]");
    let checks = judge(&site, &facts(&site, FileSystem { read_only: true, free: 0, ..disk("ext4") }));
    assert!(named(&checks, "file system of root").problem.unwrap().contains("read-only"));
    assert_eq!(checks.iter().filter(|c| c.severity == Severity::Fail).count(), 1);
}

#[test]
fn a_root_that_is_none_is_told_in_its_own_words() {
    let site = site("[command.a]\nargv = [\"/x\"]");
    let me = site.euid;
    for (root, words) in [
        (Root::NoDirectory, "is not a directory"),
        (Root::Dangling("/mnt/gone".into()), "is a link to /mnt/gone, which does not exist"),
        (Root::Directory { uid: me + 1, mode: 0o777, kept_by: Some(me + 1) }, "belongs to user"),
        (Root::Unseen("Permission denied".into()), "cannot be looked at: Permission denied"),
    ] {
        let row = named(&judge(&site, &Facts { root, ..facts(&site, disk("ext4")) }), "root");
        let problem = row.problem.unwrap();
        assert!(row.stops_start && problem.contains(words) && problem.contains("/nonexistent/root"), "{problem}");
    }
    let open = Facts { root: Root::Directory { uid: me, mode: 0o777, kept_by: None }, ..facts(&site, disk("ext4")) };
    assert_eq!(named(&judge(&site, &open), "root").severity, Severity::Warn);
}

#[test]
fn an_administrator_may_look_at_the_root_of_the_units_user() {
    let mut site = site("[command.a]\nargv = [\"/x\"]");
    site.euid = 0;
    let row = |starting: bool, kept_by: Option<u32>| {
        let root = Root::Directory { uid: 998, mode: 0o755, kept_by };
        named(&judge(&site, &Facts { root, starting, ..facts(&site, disk("ext4")) }), "root")
    };
    assert_eq!(row(false, Some(998)).severity, Severity::Info);
    assert_eq!(row(true, Some(998)).severity, Severity::Fail, "root would write into what 998 keeps");
    assert_eq!(row(true, None).severity, Severity::Warn, "nobody keeps anything there yet");
}

#[test]
fn data_of_two_nodes_that_meets_through_a_link_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    fs::create_dir(home.join("data")).unwrap();
    std::os::unix::fs::symlink(home.join("data"), home.join("link")).unwrap();
    let text = |z: &str, m: &str| {
        format!("[zookeeper]\ndata_dir = \"{0}/{z}\"\n[mysql]\ndata_dir = \"{0}/{m}\"\n", home.display())
    };
    let shared = |z: &str, m: &str| {
        let site = site_at(home.join("r"), &text(z, m));
        judge(&site, &look(&site, false)).into_iter().find(|c| c.name == "data of zookeeper and mysql")
    };
    let row = shared("data", "link").unwrap();
    assert!(row.stops_start && row.problem.unwrap().contains("would share a data directory"));
    assert!(shared("data", "link/inside/deep").is_some(), "also what is not there yet");
    assert!(shared("data", "other").is_none());
}

#[test]
fn data_that_somebody_works_on_is_refused_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let held = File::create(data.join("ibdata1")).unwrap();
    held.lock().unwrap();
    let mut site = site_at(dir.path().join("r"), &format!("[mysql]\ndata_dir = {data:?}\n"));
    let used = |site: &Site| judge(site, &look(site, false)).into_iter().find(|c| c.name == "data of mysql");
    let problem = used(&site).unwrap().problem.unwrap();
    assert!(problem.contains(&format!("pid {}", std::process::id())), "{problem}");
    site.living = vec![NodeName::mysql()];
    assert!(used(&site).is_none(), "our own node");
    site.living.clear();
    drop(held);
    assert!(used(&site).is_none());
}

#[test]
fn brokers_on_one_disk_are_told() {
    let brokers = |devices: [u64; 2]| {
        let place = |(i, device): (usize, u64)| {
            at(Some(NodeName::broker(u32::try_from(i).unwrap() + 1)), "/x", FileSystem { device, ..disk("ext4") })
        };
        shared(&devices.into_iter().enumerate().map(place).collect::<Vec<_>>()).unwrap().severity
    };
    assert_eq!(brokers([1, 1]), Severity::Info);
    assert_eq!(brokers([1, 2]), Severity::Ok);
    assert_eq!(shared(&[]), None);
}

#[test]
fn slow_syncs_are_a_warning_with_the_figures() {
    let ms = |list: &[u64]| Ok(list.iter().map(|n| Duration::from_millis(*n)).collect::<Vec<_>>());
    let row = syncs(&ms(&[1, 2, 3, 60]));
    assert_eq!(row.severity, Severity::Warn);
    assert_eq!(row.found, "median 2.0 ms, 99 of 100 60.0 ms (4 syncs of 4 KiB)");
    assert_eq!(syncs(&ms(&[1])).severity, Severity::Ok);
    assert_eq!(syncs(&Err("no".into())).severity, Severity::Unknown);
}

#[test]
fn a_root_that_cannot_be_made_is_told_with_its_reason_by_both_looks() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    File::create(&file).unwrap();
    for make in [true, false] {
        let site = site_at(file.join("root"), "[command.a]\nargv = [\"/x\"]");
        let row = named(&judge(&site, &look(&site, make)), "root");
        assert!(row.problem.unwrap().contains("file/root"), "{make}");
        assert!(row.why.to_lowercase().contains("not a directory"), "{make}: {}", row.why);
    }
}
