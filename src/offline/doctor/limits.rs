//! Limits: open files, processes, asynchronous I/O, maps, queues; users of nodes; memory caps.

use super::{
    Site,
    check::{Check, Severity},
    fix::Fix,
    starter::Who,
};
use crate::{
    base::{NodeKind, NodeName},
    config::Plan,
    offline::unit,
    sys::{kernel, process},
};
use std::collections::BTreeMap;

/// What is seen of them; none where the kernel does not tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    file_max: Option<u64>,
    threads_max: Option<u64>,
    aio_max: Option<u64>,
    aio_now: Option<u64>,
    map_count: Option<u64>,
    somaxconn: Option<u64>,
    syn_backlog: Option<u64>,
    /// Users that nodes shall run as, with their uid; none: there is no such user.
    users: BTreeMap<String, Option<u32>>,
}

pub(super) fn look(site: &Site) -> Facts {
    let named = site.starting.iter().filter_map(|n| site.plan.node(n)?.care.user.clone());
    let users = named.map(|name| {
        let uid = process::lookup_user(&name).ok().flatten().map(|(uid, _, _)| uid);
        (name, uid)
    });
    Facts {
        file_max: kernel::setting("fs.file-max"),
        threads_max: kernel::setting("kernel.threads-max"),
        aio_max: kernel::setting("fs.aio-max-nr"),
        aio_now: kernel::setting("fs.aio-nr"),
        map_count: kernel::setting("vm.max_map_count"),
        somaxconn: kernel::setting("net.core.somaxconn"),
        syn_backlog: kernel::setting("net.ipv4.tcp_max_syn_backlog"),
        users: users.collect(),
    }
}

pub(super) fn judge(site: &Site, facts: &Facts) -> Vec<Check> {
    let mut rows = vec![open_files(site), processes(site, facts)];
    rows.extend(users(site, facts));
    if site.plan.mysql.is_some() {
        rows.push(aio(site, facts));
    }
    let jvm = site.plan.zookeeper.is_some();
    let at_least =
        |fix: &'static str, name: &str, key: &str, least: u64, found: Option<u64>, bad: Severity, why: &str| {
            let row = |found: String| Check::ok(name, format!("{key} {least} or more"), found, why);
            match found {
                None => row("not readable".into()).unknown(),
                Some(value) if value < least => {
                    let remedy = format!("sysctl -w {key}={least}, and the same in /etc/sysctl.d/");
                    row(value.to_string()).but(bad, remedy).fixed_by(Fix::sysctl(
                        fix,
                        key,
                        value.to_string(),
                        least.to_string(),
                    ))
                }
                // shown in full it would be 9223372036854775807
                Some(value) if value > 1 << 40 => row("no bound".into()),
                Some(value) => row(value.to_string()),
            }
        };
    rows.push(at_least(
        "file-max",
        "open files of the host",
        "fs.file-max",
        1_000_000,
        facts.file_max,
        Severity::Warn,
        "every segment, index and connection is a file",
    ));
    if jvm {
        // three index files a segment are mapped; the kernel's old default, 65530, ends a broker with "Map failed"
        rows.push(at_least(
            "max-map-count",
            "memory maps",
            "vm.max_map_count",
            262_144,
            facts.map_count,
            Severity::Warn,
            "a broker maps two index files per segment and ends with \"Map failed\" when it may not",
        ));
    }
    rows.push(at_least(
        "somaxconn",
        "connection queue",
        "net.core.somaxconn",
        1_024,
        facts.somaxconn,
        Severity::Info,
        "many clients that connect at once wait in it",
    ));
    rows.push(at_least(
        "syn-backlog",
        "half-open connections",
        "net.ipv4.tcp_max_syn_backlog",
        1_024,
        facts.syn_backlog,
        Severity::Info,
        "many clients that connect at once wait in it",
    ));
    rows.push(caps(site));
    rows
}

/// A broker with nothing in it has some 300 files open; below 4096 it will run out of them in its first days.
fn open_files(site: &Site) -> Check {
    const LEAST: u64 = 4_096;
    let wants = site.starting.iter().filter_map(|n| Some((n, site.plan.node(n)?.care.nofile)));
    let (node, wanted) = wants.max_by_key(|(_, n)| *n).map_or((None, 0), |(node, n)| (Some(node), n));
    let whose = node.map(|n| format!(", for {n}")).unwrap_or_default();
    let why = "a node gets what its nofile says, at most the hard limit of the supervisor";
    let row =
        |found: String| Check::ok("open files of a node", format!("hard limit {wanted} or more{whose}"), found, why);
    let Some(hard) = site.starter.open_files else { return row("not readable".into()).unknown() };
    let bound = if hard == u64::MAX { "no limit".into() } else { hard.to_string() };
    let row = row(format!("{bound} {}", site.starter.words()));
    let remedy = site.starter.raise("LimitNOFILE", "nofile", "-Hn", wanted);
    if hard >= wanted {
        return row;
    }
    // A limit of logins changes nothing for a unit, and nothing for a daemon that runs.
    let row = if site.starter.who == Who::Here { row.fixed_by(Fix::open_files(hard, wanted)) } else { row };
    if hard < LEAST && site.plan.kafka.is_some() {
        row.fails(format!("the hard limit of open files is {hard}, a broker runs out of them below {LEAST}"), remedy)
    } else {
        row.but(Severity::Warn, remedy)
    }
}

/// Threads that a node has under load: 28 of ZooKeeper, 81 of a broker, one per connection of mysqld (measured; mysqld's
/// `max_connections` is 100).
fn threads(kind: NodeKind) -> u64 {
    match kind {
        NodeKind::Zookeeper => 64,
        NodeKind::Broker(_) => 128,
        NodeKind::Mysql => 192,
        // like ZooKeeper's; its jar could not be had, so this is reckoned
        NodeKind::KafkaUi => 64,
        NodeKind::Command => 8,
    }
}

fn processes(site: &Site, facts: &Facts) -> Check {
    let need: u64 = site.to_start().filter_map(|n| site.plan.node(n)).map(|n| threads(n.kind)).sum();
    let starter = &site.starter;
    let root = starter.uid == Some(0);
    let of_group = match starter.who {
        Who::Here => "pids.max of this cgroup",
        Who::Daemon(_) => "pids.max of the daemon's cgroup",
        Who::Unit => "TasksMax of the unit",
    };
    let of_user = match starter.who {
        Who::Here => "this user's limit",
        Who::Daemon(_) => "the limit of the daemon's user",
        Who::Unit => "LimitNPROC of the unit",
    };
    let bounds = [
        (of_group, "raise it: TasksMax= in the unit, or the limit of the container".to_owned(), starter.pids),
        // the kernel does not count root's (setrlimit(2), RLIMIT_NPROC)
        (of_user, starter.raise("LimitNPROC", "nproc", "-u", need), starter.processes.filter(|_| !root)),
        ("kernel.threads-max", "raise it: sysctl -w kernel.threads-max".to_owned(), facts.threads_max),
    ];
    let why = "threads count as processes; a JVM that gets none ends with \"unable to create native thread\"";
    let row = |found: String| Check::ok("processes", format!("{need} threads for the nodes to start"), found, why);
    let tightest = bounds.into_iter().filter_map(|(name, how, bound)| Some((bound?, name, how))).min();
    match tightest {
        None => row("no limit to be seen".into()).unknown(),
        Some((bound, name, how)) if bound < need => row(format!("{bound} by {name}")).but(Severity::Warn, how),
        Some((u64::MAX, _, _)) => row("no limit".into()),
        Some((bound, name, _)) => row(format!("{bound} by {name}")),
    }
}

fn users(site: &Site, facts: &Facts) -> Vec<Check> {
    let mut rows = Vec::new();
    let starter = site.starter.uid;
    for (name, uid) in &facts.users {
        let who: Vec<&NodeName> = site
            .starting
            .iter()
            .filter(|n| site.plan.node(n).is_some_and(|v| v.care.user.as_deref() == Some(name)))
            .collect();
        let Some(first) = who.first() else { continue };
        let key = format!("{}.user", Plan::node_key(first));
        let nodes: Vec<&str> = who.iter().map(|n| n.as_str()).collect();
        let why = format!("{} shall run as {name} ({})", nodes.join(", "), site.plan.place(&key));
        let row =
            |found: String| Check::ok(format!("user {name}"), "exists, and may be changed to", found, why.clone());
        let row = match uid {
            None => row("does not exist".into()).fails(
                format!("there is no user {name}"),
                format!("useradd --system --no-create-home {name}, or change the key `user`"),
            ),
            Some(uid) if starter.is_some_and(|starter| starter != 0 && starter != *uid) => {
                let starter = starter.unwrap_or_default();
                row(format!("uid {uid}, the supervisor runs as uid {starter}")).fails(
                    format!("only root can start a program as user {name}"),
                    "take `user` out of the file, or run the supervisor as root or as that user",
                )
            }
            Some(uid) => row(format!("uid {uid}")),
        };
        let alone = who.iter().all(|node| site.is_optional(node));
        rows.push(if alone { row.and_starts() } else { row });
    }
    rows
}

/// InnoDB asks for 256 events for each of its I/O threads, 4 to read and 4 to write by default, and some for the log; when
/// io_setup(2) is refused five times it ends with "Cannot initialize AIO sub-system" (storage/innobase/os/os0file.cc).
fn aio(site: &Site, facts: &Facts) -> Check {
    const SERVER: u64 = 4_096;
    const GOOD: u64 = 65_536;
    let why = "without asynchronous I/O mysqld does not start";
    let row = |found: String| {
        Check::ok("asynchronous I/O", format!("fs.aio-max-nr {GOOD} or more, {SERVER} of it free"), found, why)
    };
    let Some(max) = facts.aio_max else { return row("not readable".into()).unknown() };
    let used = facts.aio_now.unwrap_or(0);
    let row = row(format!("{max}, {used} in use"));
    let wanted = (used + GOOD).next_power_of_two();
    let remedy = format!("sysctl -w fs.aio-max-nr={wanted}, and the same in /etc/sysctl.d/");
    let fixed = |row: Check| row.fixed_by(Fix::sysctl("aio", "fs.aio-max-nr", max.to_string(), wanted.to_string()));
    let starts = site.to_start().any(|n| *n == NodeName::mysql());
    if starts && max.saturating_sub(used) < SERVER {
        fixed(row).fails(
            format!(
                "asynchronous I/O is used up: fs.aio-nr is {used} of fs.aio-max-nr {max}, and mysqld needs {SERVER}"
            ),
            remedy,
        )
    } else if max < GOOD {
        fixed(row).but(Severity::Warn, remedy)
    } else {
        row
    }
}

fn caps(site: &Site) -> Check {
    let why = "a cap keeps a node that grows from taking the host's memory";
    let row = |found: String| Check::ok("memory caps", "a delegated cgroup v2 with the memory controller", found, why);
    let whose = site.starter.words();
    match (&site.starter.caps, site.starter.who) {
        (Ok(()), Who::Daemon(_)) => row(format!("enforced, {whose}")),
        (Ok(()), Who::Here | Who::Unit) => row(format!("can be enforced, {whose}")),
        (Err(why), Who::Unit) => row(why.clone()).but(Severity::Warn, unit::remedy(why)),
        (Err(why), Who::Here | Who::Daemon(_)) => row(format!("not enforced {whose}: {why}")).but(
            Severity::Warn,
            "run the unit, or `systemd-run --user --scope -p Delegate=yes cdc-supervisor up`; without systemd `up` runs uncapped and says so",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{starter::Starter, tests::site},
        *,
    };

    fn named(checks: &[Check], name: &str) -> Check {
        checks.iter().find(|c| c.name == name).cloned().unwrap_or_else(|| panic!("no row {name}: {checks:#?}"))
    }

    /// A site whose nodes are started by an ordinary user with usual limits, from here.
    fn usual(text: &str) -> Site {
        let mut site = site(text);
        let (open_files, processes) = (Some(1_048_576), Some(63_000));
        site.starter =
            Starter { who: Who::Here, uid: Some(1000), open_files, processes, pids: None, caps: Err("a test".into()) };
        site
    }

    fn healthy() -> Facts {
        Facts {
            file_max: Some(i64::MAX.unsigned_abs()),
            threads_max: Some(126_000),
            aio_max: Some(65_536),
            aio_now: Some(0),
            map_count: Some(1_048_576),
            somaxconn: Some(4_096),
            syn_backlog: Some(1_024),
            users: BTreeMap::new(),
        }
    }

    #[test]
    fn a_host_with_its_defaults_is_fine() {
        let mut site = usual("");
        site.starter.caps = Ok(());
        let checks = judge(&site, &healthy());
        assert!(checks.iter().all(|c| c.severity == Severity::Ok), "{checks:#?}");
        assert_eq!(named(&checks, "open files of the host").found, "no bound");
        assert_eq!(named(&checks, "open files of a node").required, "hard limit 100000 or more, for broker-3");
    }

    #[test]
    fn each_limit_that_is_too_low_is_told_with_the_command_that_raises_it() {
        for (facts, name, severity, remedy) in [
            (
                Facts { file_max: Some(1_000), ..healthy() },
                "open files of the host",
                Severity::Warn,
                "fs.file-max=1000000",
            ),
            (Facts { aio_now: Some(65_000), ..healthy() }, "asynchronous I/O", Severity::Fail, "fs.aio-max-nr=131072"),
            (Facts { aio_max: Some(8_192), ..healthy() }, "asynchronous I/O", Severity::Warn, "fs.aio-max-nr=65536"),
            (Facts { map_count: Some(65_530), ..healthy() }, "memory maps", Severity::Warn, "vm.max_map_count=262144"),
            (
                Facts { somaxconn: Some(128), ..healthy() },
                "connection queue",
                Severity::Info,
                "net.core.somaxconn=1024",
            ),
        ] {
            let row = named(&judge(&usual(""), &facts), name);
            assert_eq!(row.severity, severity, "{row:?}");
            assert!(row.remedy.as_deref().unwrap().contains(remedy), "{row:?}");
        }
    }

    #[test]
    fn the_limits_that_count_are_those_of_whoever_starts_the_nodes() {
        let row = |name: &str, change: &dyn Fn(&mut Starter)| {
            let mut site = usual("");
            change(&mut site.starter);
            named(&judge(&site, &healthy()), name)
        };
        let files =
            |who, limit| row("open files of a node", &|s: &mut Starter| (s.who, s.open_files) = (who, Some(limit)));
        assert_eq!(files(Who::Unit, 262_144).severity, Severity::Ok);
        assert_eq!(files(Who::Unit, 262_144).found, "262144 of the unit (cdc-supervisor.service)");
        assert_eq!(files(Who::Daemon(7), u64::MAX).found, "no limit of the daemon (pid 7)");
        for (bad, severity, remedy) in [
            (files(Who::Here, 65_536), Severity::Warn, "ulimit -Hn 100000"),
            (files(Who::Daemon(7), 65_536), Severity::Warn, "prlimit --pid 7 --nofile=100000:100000"),
            (files(Who::Unit, 1_024), Severity::Fail, "LimitNOFILE=100000"),
            (row("processes", &|s: &mut Starter| s.pids = Some(100)), Severity::Warn, "TasksMax="),
            (row("processes", &|s: &mut Starter| s.processes = Some(10)), Severity::Warn, "ulimit -u"),
        ] {
            assert_eq!(bad.severity, severity, "{bad:?}");
            assert!(bad.remedy.as_deref().unwrap().contains(remedy), "{bad:?}");
        }
        // root's processes are not bounded by a user's limit
        let root = row("processes", &|s: &mut Starter| (s.uid, s.processes) = (Some(0), Some(10)));
        assert_eq!(root.severity, Severity::Ok);
    }

    #[test]
    fn a_user_must_exist_and_only_root_may_become_another() {
        let with = |uid: Option<u32>, starter| {
            let mut site = usual("[command.a]\nargv = [\"/x\"]\nuser = \"kafka\"");
            site.starter.uid = Some(starter);
            let facts = Facts { users: BTreeMap::from([("kafka".into(), uid)]), ..healthy() };
            named(&judge(&site, &facts), "user kafka")
        };
        let row = with(None, 0);
        assert_eq!((row.severity, row.stops_start), (Severity::Fail, true));
        assert_eq!(row.problem.as_deref(), Some("there is no user kafka"));
        assert_eq!(row.why, "a shall run as kafka (supervisor.toml line 3)");
        assert_eq!(with(Some(7), 0).severity, Severity::Ok);
        assert_eq!(with(Some(1000), 1000).severity, Severity::Ok);
        assert!(with(Some(7), 1000).problem.unwrap().contains("only root"));
    }

    #[test]
    fn without_mysql_nothing_is_said_of_asynchronous_io() {
        let checks = judge(&usual("[command.a]\nargv = [\"/x\"]"), &healthy());
        assert!(!checks.iter().any(|c| c.name == "asynchronous I/O" || c.name == "memory maps"));
    }

    #[test]
    fn caps_that_cannot_be_enforced_are_a_warning_with_the_reason() {
        let row = named(&judge(&usual(""), &healthy()), "memory caps");
        assert_eq!((row.severity, row.found.as_str()), (Severity::Warn, "not enforced here: a test"));
    }
}
