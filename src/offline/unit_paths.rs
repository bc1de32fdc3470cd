//! Where the units may write: the drop-in that a configuration needs whose root, data, store or snapshots lie elsewhere than
//! below the system's root (`ProtectSystem=strict` makes everything else read-only), and what runs by an earlier one.

use super::{
    plan, served, status,
    unit::{self, Said},
};
pub use crate::sys::error::SysError;
use crate::{
    base::Layout,
    config::{Plan, SYSTEM_ROOT},
    sys::{
        command::{Cancel, Command},
        fs::{self, Durability},
        mounts::file_system,
    },
};
use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The drop-in's name in the directory of each unit; behind those of `systemctl edit`, so that a list that is reset there is not
/// reset here.
const FILE: &str = "zz-cdc-supervisor-paths.conf";

/// Where an administrator's drop-ins are (systemd.unit(5)).
const PLACE: &str = "/etc/systemd/system";

const HEAD: &str = "# Written by `cdc-supervisor unit-paths --write`, from the configuration and what runs: run it again after a change.\n";

/// Directories that others use as well: below them only what is ours is opened.
const SHARED: [&str; 17] = [
    "/",
    "/boot",
    "/etc",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
    "/var/opt",
    "/var/tmp",
];

/// What `ProtectHome=yes` hides (systemd.exec(5)).
const HIDDEN: [&str; 3] = ["/home", "/root", "/run/user"];

/// What the nodes and the daemon of a plan write to elsewhere than below the system's root. Looks where links lead.
pub fn outside(plan: &Plan) -> Vec<PathBuf> {
    outermost(places(plan))
}

/// [`outside`] with what lies below another of them.
fn places(plan: &Plan) -> Vec<PathBuf> {
    let layout = plan.layout();
    let mut paths = vec![plan.root.clone()];
    // A restore renames beside it, and the ballast of another file system lies beside it.
    let above = |dir: &Path| match dir.parent() {
        Some(parent) if !SHARED.iter().any(|shared| parent == Path::new(shared)) => parent.to_owned(),
        Some(_) | None => dir.to_owned(),
    };
    for (_, dir) in plan.data_directories() {
        paths.extend(leads_to(&dir));
        paths.extend([above(&dir), dir]);
    }
    let store = plan.artifacts.store(&layout);
    // A store that is somebody else's is only read.
    if owner(&store).is_none_or(|uid| owner(&plan.root).is_none_or(|root| root == uid)) {
        paths.extend(leads_to(&store));
        paths.push(store);
    }
    paths.extend(leads_to(&layout.snapshots()));
    paths.retain(|path| !is_systems(path));
    paths
}

/// Whose it is, where a link leads; none: there is no such thing.
fn owner(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|meta| meta.uid())
}

/// It lies below the system's root, whichever way it is written (a link, `root` of a process in proc(5)). What is not there yet lies where
/// what is there of its way leads.
fn is_systems(path: &Path) -> bool {
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let leads = there.and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?)));
    path.starts_with(SYSTEM_ROOT) || leads.is_some_and(|real| real.starts_with(SYSTEM_ROOT))
}

/// Sorted, without those that lie below another.
fn outermost(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| !all.iter().any(|other| other != path && path.starts_with(other)));
    paths
}

/// What the units must be able to write, and what must be mounted before they start: by the configuration, and by what runs. That may be
/// of an earlier configuration, and no next daemon and no stop could reach it where the units could not write it any more.
/// `noted`: where the unit notes which root it serves.
///
/// The note and the plans below the root are files of the unit's user, and root writes what comes of them into its units: of those is
/// opened only what belongs to that user.
pub fn needed(plan: &Plan, noted: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut paths, mut mounted) = (outside(plan), mounts(plan));
    if let Some(layout) = what_runs(plan, noted) {
        let whose = owner(noted).or_else(|| owner(layout.root()));
        let theirs = |path: &PathBuf| whose.is_some() && owner(path) == whose;
        // Of a plan that is lost there is the root, where the daemon and the shims are.
        paths.extend(Some(layout.root().to_owned()).filter(|root| !is_systems(root) && theirs(root)));
        for applied in plan::applied(&layout).ok().flatten().into_iter().chain(plan::unfinished(&layout)) {
            paths.extend(places(&applied).into_iter().filter(theirs));
            mounted.extend(mounts(&applied));
        }
    }
    mounted.sort();
    mounted.dedup();
    (outermost(paths), mounted)
}

/// The root below which nodes live: the one that is served, or the configuration's.
fn what_runs(plan: &Plan, noted: &Path) -> Option<Layout> {
    let own = || Some(plan.layout()).filter(|layout| !status::nodes_that_live(layout).is_empty());
    served::elsewhere(noted, &plan.root).or_else(own)
}

/// What must be mounted before the units start: the root, the data and the programs. Not where the snapshots are: a disk for them that is
/// missing keeps nothing from running. What lies on the file system of something above it needs no line of its own.
pub fn mounts(plan: &Plan) -> Vec<PathBuf> {
    mounts_by(plan, |path| file_system(path).ok().map(|found| found.mount))
}

/// `mounted_at`: where the file system of a path is mounted.
fn mounts_by(plan: &Plan, mounted_at: impl Fn(&Path) -> Option<PathBuf>) -> Vec<PathBuf> {
    let mut paths = vec![plan.root.clone(), plan.artifacts.store(&plan.layout())];
    paths.extend(plan.data_directories().into_iter().map(|(_, dir)| dir));
    let links: Vec<PathBuf> = paths.iter().filter_map(|path| leads_to(path)).collect();
    paths.extend(links);
    paths.sort();
    paths.dedup();
    let all = paths.clone();
    // Of its own directory systemd knows by itself (`StateDirectory=`).
    let above = |path: &Path| {
        let others = all.iter().map(PathBuf::as_path).filter(|other| *other != path);
        others
            .chain([Path::new(SYSTEM_ROOT)])
            .filter(|other| path.starts_with(other))
            .max_by_key(|other| other.as_os_str().len())
    };
    let own = |path: &Path, above: &Path| mounted_at(path).is_some_and(|at| at != above && at.starts_with(above));
    paths.retain(|path| above(path).is_none_or(|above| path != above && own(path, above)));
    paths
}

/// Where a link leads; none for anything else.
fn leads_to(path: &Path) -> Option<PathBuf> {
    let is_link = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    if is_link { path.canonicalize().ok() } else { None }
}

/// A unit file can name it: a line end in a path would begin a line of its own there, and where a link leads its owner says.
fn can_be_named(path: &Path) -> bool {
    !path.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control)
}

/// What of these no drop-in names.
pub fn left_out(paths: &[PathBuf], mounts: &[PathBuf]) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = paths.iter().chain(mounts).filter(|path| !can_be_named(path)).cloned().collect();
    out.sort();
    out.dedup();
    out
}

/// The drop-in's text for what is written and what must be mounted, without what is [`left_out`]; none: no unit needs one.
pub fn drop_in(paths: &[PathBuf], mounts: &[PathBuf]) -> Option<String> {
    let [paths, mounts] = [paths, mounts].map(|all| all.iter().filter(|path| can_be_named(path)).collect::<Vec<_>>());
    if paths.is_empty() && mounts.is_empty() {
        return None;
    }
    let hidden = |path: &Path| HIDDEN.iter().any(|home| path.starts_with(home));
    let line = |key: &str, path: &Path| format!("{key}={}\n", quoted(path));
    let mut text = format!("{HEAD}[Unit]\n");
    for path in mounts {
        // A file system that is mounted late (`nofail`, an automount) is waited for; without it nothing is started.
        text += &mounts_for(path).map_or_else(String::new, |word| format!("RequiresMountsFor={word}\n"));
    }
    if paths.is_empty() {
        return Some(text);
    }
    text += "[Service]\n";
    if paths.iter().any(|path| hidden(path)) {
        // Empty directories in the place of the homes, with what is named in them.
        text += "ProtectHome=tmpfs\n";
    }
    for path in paths {
        text += &line(if hidden(path) { "BindPaths" } else { "ReadWritePaths" }, path);
    }
    Some(text)
}

/// A path as `RequiresMountsFor=` has it, which knows no escapes; none: it cannot be written there.
fn mounts_for(path: &Path) -> Option<String> {
    let text = path.display().to_string().replace('%', "%%");
    let can_be = !text.contains(['"', '\'', '\\']);
    can_be.then(|| if text.contains([' ', '\t']) { format!("\"{text}\"") } else { text })
}

/// A path as a unit file has it, where nothing need be (`-`): blanks and quotes in quotes, `%` is its own specifier.
fn quoted(path: &Path) -> String {
    let text = format!("-{}", path.display()).replace('%', "%%");
    if !text.contains([' ', '\t', '"', '\'', '\\', ':']) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace(':', "\\:"))
}

/// What of these paths a unit may not write, by what systemd says of it ([`KEYS`]).
pub fn lacking(paths: &[PathBuf], said: &Said) -> Vec<PathBuf> {
    let value = |key: &str| said.get(key).map(String::as_str).unwrap_or_default();
    if value("ProtectSystem") != "strict" {
        return Vec::new();
    }
    let list = format!("{} {}", value("ReadWritePaths"), value("BindPaths"));
    let open: Vec<&str> = list
        .split_whitespace()
        .map(|word| word.trim_start_matches(['-', '+']))
        // `SOURCE:PLACE:OPTIONS`
        .map(|word| word.split_once(':').map_or(word, |(source, _)| source))
        .filter(|word| word.starts_with('/'))
        .collect();
    paths.iter().filter(|path| !open.iter().any(|dir| path.starts_with(dir))).cloned().collect()
}

/// What [`lacking`] asks for.
pub const KEYS: &str = "LoadState,ProtectSystem,ReadWritePaths,BindPaths";

/// What to do about a path that a unit of ours may not write.
pub fn remedy(path: &Path) -> String {
    format!(
        "let the unit write there: `sudo cdc-supervisor unit-paths --write` makes the drop-ins (ReadWritePaths={}), then \
         `systemctl restart {}`; where the file system itself is read-only (`findmnt -T {}`), mount it writable",
        quoted(path).trim_start_matches('-'),
        unit::UNIT,
        path.display()
    )
}

/// Puts the drop-in into the directory of each unit, or removes what an earlier configuration needed, and has systemd read it.
/// What was done, in words.
pub fn write(text: Option<&str>) -> Result<Vec<String>, SysError> {
    let (done, changed) = write_below(Path::new(PLACE), text)?;
    if changed && unit::booted() {
        let argv = ["systemctl", "daemon-reload"].map(str::to_owned).to_vec();
        let env = vec![("PATH".to_owned(), std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into()))];
        let reload = Command { argv, env, dir: "/".into(), stdin: None };
        let finished = reload.run(Duration::from_secs(60), &Cancel::default())?;
        if !finished.ok() {
            let why = io::Error::other(finished.last_lines(1));
            return Err(SysError::new("have systemd read the drop-ins (systemctl daemon-reload)", why));
        }
    }
    Ok(done)
}

fn write_below(place: &Path, text: Option<&str>) -> Result<(Vec<String>, bool), SysError> {
    let (mut done, mut changed) = (Vec::new(), false);
    for unit in unit::UNITS {
        let dir = place.join(format!("{unit}.d"));
        let file = dir.join(FILE);
        let before = fs::read_optional(&file)?;
        if before.as_deref() == text {
            continue;
        }
        changed = true;
        match text {
            Some(text) => {
                fs::make_dir(&dir, 0o755)?;
                fs::write_atomic(&file, text.as_bytes(), 0o644, Durability::PowerLoss)?;
                done.push(format!("written  {}", file.display()));
            }
            None => {
                fs::remove_optional(&file)?;
                // There may be others in it.
                let _ = std::fs::remove_dir(&dir);
                done.push(format!("removed  {}", file.display()));
            }
        }
    }
    Ok((done, changed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::NodeName, config, sys::fs::Lock};

    fn plan(text: &str) -> Plan {
        let source =
            config::Source { text, name: "supervisor.toml", root_override: None, default_root: SYSTEM_ROOT.into() };
        config::load(&source).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_default_stack_needs_no_drop_in() {
        assert_eq!(outside(&plan("")), Vec::<PathBuf>::new());
        assert_eq!(outside(&plan("[mysql]\ndata_dir = \"/var/lib/cdc-supervisor/mysql\"\n")), Vec::<PathBuf>::new());
        assert_eq!(drop_in(&[], &mounts(&plan(""))), None);
    }

    #[test]
    fn what_lies_elsewhere_is_opened_and_of_a_place_that_others_use_only_what_is_ours() {
        let text = "root = \"/data/cdc\"\n[artifacts]\nstore = \"/opt/store\"\n[zookeeper]\ndata_dir = \"/srv/zk\"\n\
            [kafka.brokers.1]\ndata_dir = \"/disk 1/kafka/b\"\n[kafka.brokers.2]\ndata_dir = \"/data/cdc/b2\"\n\
            [kafka.brokers.3]\ndata_dir = \"/home/kim/50%/b3\"\n[mysql]\ndata_dir = \"/srv/sql/data\"\n";
        let paths = outside(&plan(text));
        let wanted = ["/data/cdc", "/disk 1/kafka", "/home/kim/50%", "/opt/store", "/srv/sql", "/srv/zk"];
        assert_eq!(paths, wanted.map(PathBuf::from));
        let text = drop_in(&paths, &mounts_by(&plan(text), |_| None)).unwrap();
        let lines = [
            "[Unit]",
            "RequiresMountsFor=/data/cdc",
            "RequiresMountsFor=\"/disk 1/kafka/b\"",
            "RequiresMountsFor=/home/kim/50%%/b3",
            "RequiresMountsFor=/opt/store",
            "RequiresMountsFor=/srv/sql/data",
            "RequiresMountsFor=/srv/zk",
            "[Service]",
            "ProtectHome=tmpfs",
            "ReadWritePaths=-/data/cdc",
            "ReadWritePaths=\"-/disk 1/kafka\"",
            "BindPaths=-/home/kim/50%%",
            "ReadWritePaths=-/opt/store",
        ];
        assert!(text.starts_with(&format!("{HEAD}{}\n", lines.join("\n"))), "{text}");
    }

    #[test]
    fn what_runs_by_an_earlier_configuration_stays_open_as_long_as_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (root, place) = (dir.path().join("cdc"), dir.path().join("noted"));
        let sql = dir.path().join("sql");
        let before = format!("root = \"{}\"\n[mysql]\ndata_dir = \"{}/data\"\n", root.display(), sql.display());
        let layout = Layout::new(root.clone());
        for made in [&place, &layout.node_run(&NodeName::mysql()), &root.join("state"), &sql.join("data")] {
            std::fs::create_dir_all(made).unwrap();
        }
        std::fs::write(layout.plan(), plan::enclosed(&before)).unwrap();
        served::note(&place, &root).unwrap();
        let asked = |text: &str| needed(&plan(text), &place);
        let moved = "[mysql]\ndata_dir = \"/disk/sql/data\"\n";
        let only_data = format!("root = \"{}\"\n{moved}", root.display());
        let new = PathBuf::from("/disk/sql");
        let held = Lock::try_take(&layout.node_lock(&NodeName::mysql())).unwrap();
        let sorted = |paths: &[&PathBuf]| outermost(paths.iter().map(|path| (*path).clone()).collect());
        assert_eq!(asked("").0, sorted(&[&root, &sql]));
        assert_eq!(asked(""), asked(&before), "as if the file had not been changed");
        assert_eq!(asked(moved).0, sorted(&[&root, &sql, &new]));
        assert_eq!(asked(&only_data), asked(moved), "a data directory that is changed below the same root");
        std::fs::write(layout.plan(), "torn").unwrap();
        assert_eq!(asked("").0, [root], "what ran is lost, and its root is known");
        drop(held);
        assert_eq!(asked(moved).0, [new], "nothing runs: the file alone counts");
    }

    #[test]
    fn no_path_adds_a_line_to_a_unit_and_what_is_below_the_systems_root_is_known_by_any_spelling() {
        let dir = tempfile::tempdir().unwrap();
        let noted = dir.path().join("noted");
        let evil = Layout::new(dir.path().join("x\nExecStartPre=+/bin/sh\n#"));
        for made in [&noted, &evil.node_run(&NodeName::mysql())] {
            std::fs::create_dir_all(made).unwrap();
        }
        served::note(&noted, evil.root()).unwrap();
        let _held = Lock::try_take(&evil.node_lock(&NodeName::mysql())).unwrap();
        assert_eq!(needed(&plan(""), &noted), (Vec::new(), Vec::new()));
        // where a link of the unit's user leads to
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink(evil.root(), root.join("snapshots")).unwrap();
        let text = format!("root = \"{}\"\n[mysql]\n", root.display());
        let (paths, _) = needed(&plan(&text), &noted);
        let named = drop_in(&paths, &paths).unwrap();
        assert!(named.contains(&format!("ReadWritePaths=-{}\n", root.display())), "{named}");
        assert!(named.lines().all(|line| !line.contains("Exec") && !line.contains("/x")), "{named}");
        assert_eq!(drop_in(&[evil.root().into()], &[evil.root().into()]), None);
        assert_eq!(left_out(&paths, &[]), [evil.root().canonicalize().unwrap()]);
        let other = |root: &str| outside(&plan(&format!("root = \"{root}\"\n[mysql]\n")));
        assert_eq!(other(&format!("/proc/self/root{SYSTEM_ROOT}/x")), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_plan_applied_last_which_is_the_units_users_opens_only_what_belongs_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (root, noted, data) = (dir.path().join("cdc"), dir.path().join("noted"), dir.path().join("sql/data"));
        let layout = Layout::new(root.clone());
        for made in [&noted, &layout.node_run(&NodeName::mysql()), &root.join("state"), &data] {
            std::fs::create_dir_all(made).unwrap();
        }
        served::note(&noted, &root).unwrap();
        let _held = Lock::try_take(&layout.node_lock(&NodeName::mysql())).unwrap();
        let applied = format!(
            "[mysql]\ndata_dir = \"{}\"\n[zookeeper]\ndata_dir = \"/none/of/it\"\n[artifacts]\nstore = \"/none/store\"\n",
            data.display()
        );
        std::fs::write(layout.plan(), plan::enclosed(&applied)).unwrap();
        assert_eq!(needed(&plan(""), &noted).0, [root, dir.path().join("sql")]);
    }

    #[test]
    fn snapshots_on_another_disk_are_opened_where_their_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        let (root, disk) = (real.join("root"), real.join("disk"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&disk).unwrap();
        std::os::unix::fs::symlink(&disk, root.join("snapshots")).unwrap();
        let plan = plan(&format!("root = \"{}\"\n[command.x]\nargv = [\"/x\"]\n", root.display()));
        let paths = outside(&plan);
        assert_eq!(paths, [disk, root.clone()]);
        // A disk for them that is missing keeps nothing from running.
        let text = drop_in(&paths, &mounts(&plan)).unwrap();
        let waited: Vec<&str> = text.lines().filter(|line| line.starts_with("RequiresMountsFor=")).collect();
        assert_eq!(waited, [format!("RequiresMountsFor={}", root.display())]);
    }

    #[test]
    fn a_disk_that_is_mounted_on_a_data_directory_itself_is_waited_for() {
        let waited = |text: &str, disks: &[&str]| {
            let at = |path: &Path| disks.iter().map(PathBuf::from).find(|disk| path.starts_with(disk));
            mounts_by(&plan(text), at).iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let own = "[mysql]\ndata_dir = \"/data/mysql\"\n";
        // whether it is mounted just now or not
        assert_eq!(waited(own, &[]), ["/data/mysql"]);
        let below = "/var/lib/cdc-supervisor/nodes/mysql/data";
        assert_eq!(waited("", &[below]), [below]);
        assert_eq!(waited("", &["/var/lib/cdc-supervisor"]), Vec::<String>::new());
        assert_eq!(waited("root = \"/r\"\n", &["/r/nodes/mysql"]), ["/r", "/r/nodes/mysql/data"]);
        let text = drop_in(&[], &[below.into()]).unwrap();
        assert_eq!(text, format!("{HEAD}[Unit]\nRequiresMountsFor={below}\n"));
    }

    #[test]
    fn what_a_unit_may_not_write_is_told_from_what_systemd_says() {
        let said = |text: &str| -> Said {
            text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
        };
        let paths = [PathBuf::from("/data/cdc"), "/home/kim/x".into(), "/srv/zk".into()];
        let strict =
            said("ProtectSystem=strict\nReadWritePaths=-/data /srv/zk2\nBindPaths=-/home/kim/x:/home/kim/x:rbind");
        assert_eq!(lacking(&paths, &strict), [PathBuf::from("/srv/zk")]);
        assert_eq!(lacking(&paths, &said("ProtectSystem=full\nReadWritePaths=")), Vec::<PathBuf>::new());
        assert!(remedy(Path::new("/srv/zk")).contains("ReadWritePaths=/srv/zk)"));
    }

    #[test]
    fn drop_ins_are_written_once_and_removed_when_nothing_needs_them() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: Option<&str>| write_below(dir.path(), text).unwrap();
        let (done, changed) = write(Some("x"));
        assert!(changed && done.len() == 3 && done[2].contains("cdc-supervisor-nodes.service.d/"), "{done:?}");
        assert_eq!(write(Some("x")), (Vec::new(), false));
        assert!(write(None).1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(write(None), (Vec::new(), false));
    }
}
