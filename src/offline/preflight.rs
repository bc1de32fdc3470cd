//! The short look at the host before anything is started: memory, ports, the root.

use crate::{
    base::{Layout, NodeName, Timestamp, recipe::PortUse},
    config::{self, ConfigErrors, Plan},
    sys::{
        clock, host,
        net::{self, PortOwner},
    },
};
use jiff::tz::TimeZone;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::Path,
};

/// What stands in the way of a start.
#[derive(Debug)]
pub enum Preflight {
    /// The caps do not fit into the host's memory: the configuration is wrong for this host.
    Memory(ConfigErrors),
    /// The host is not fit; never empty.
    Host(Vec<Problem>),
}

/// One thing that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One sentence.
    pub what: String,
    /// Why it matters.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: String,
}

/// Looks. `starting` are the nodes that shall be started; those of them in `living` run already (without a daemon) and
/// have their ports themselves.
pub fn check(plan: &Plan, starting: &BTreeSet<NodeName>, living: &[NodeName]) -> Result<(), Preflight> {
    if let Some(memory) = host::total_memory() {
        config::check_ledger(plan, memory).map_err(Preflight::Memory)?;
    }
    let mut problems: Vec<Problem> = root_problem(&plan.layout()).into_iter().collect();
    let ports = plan.ports();
    let looked_at = ports.iter().filter(|(node, _)| starting.contains(node) && !living.contains(node));
    problems.extend(looked_at.filter_map(|(node, port)| port_problem(plan, node, port)));
    if problems.is_empty() { Ok(()) } else { Err(Preflight::Host(problems)) }
}

/// Makes the root if it is missing and writes a file into it: asking for permission bits would not see a read-only or full
/// file system.
fn root_problem(layout: &Layout) -> Option<Problem> {
    let test = |dir: &Path| {
        let file = dir.join(format!(".write-test.{}", std::process::id()));
        File::create_new(&file).and_then(|_| fs::remove_file(&file))
    };
    let tried = fs::create_dir_all(layout.root()).and_then(|()| test(layout.root()));
    let (dir, e) = match tried {
        Err(e) => (layout.root().to_owned(), e),
        Ok(()) => {
            let dirs = [layout.state(), layout.run(), layout.nodes()];
            dirs.into_iter().filter(|d| d.exists()).find_map(|d| test(&d).err().map(|e| (d, e)))?
        }
    };
    let hint = match e.kind() {
        io::ErrorKind::PermissionDenied => "run it as the owner of the root, or name another with --root",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or name another root with --root"
        }
        _ => "name another root with --root",
    };
    Some(Problem {
        what: format!("the root cannot be written: {}", dir.display()),
        causes: vec![e.to_string()],
        hint: hint.into(),
    })
}

fn port_problem(plan: &Plan, node: &NodeName, port: &PortUse) -> Option<Problem> {
    let needs = format!("{node} needs it {}({})", purpose(&port.name), plan.place(&port.key));
    match net::is_taken(port.address) {
        Ok(false) => None,
        Ok(true) => {
            let owner = net::listener_owner(port.address);
            Some(taken(port, owner.as_ref(), needs, clock::wall()))
        }
        Err(e) => Some(Problem {
            what: format!("{} cannot be bound", port.address),
            causes: vec![e.to_string(), needs],
            hint: format!("set {} to a port that this user may bind, on an address of this host", port.key),
        }),
    }
}

fn purpose(name: &str) -> String {
    match name {
        "INTERNAL" | "EXTERNAL" => format!("for its {name} listener "),
        "client" | "mysql" => "for its clients ".to_owned(),
        _ => String::new(),
    }
}

/// The words for a taken port.
fn taken(port: &PortUse, owner: Option<&PortOwner>, needs: String, now: Timestamp) -> Problem {
    let number = port.port();
    let (what, stop) = match owner {
        Some(PortOwner { pid: Some(pid), command, user, since, .. }) => {
            let command = command.as_deref().unwrap_or_default();
            let mut facts = vec![format!("pid {pid}")];
            if !command.is_empty() {
                facts.push(format!("`{}`", shortened(command)));
            }
            facts.extend(since.map(|since| format!("since {}", local_time(since, now))));
            facts.extend(user.as_ref().map(|user| format!("user {user}")));
            (
                format!("port {number} is taken by {} ({})", program(command), facts.join(", ")),
                "stop that program".to_owned(),
            )
        }
        Some(PortOwner { user: Some(user), .. }) => (
            format!("port {number} is taken by a program of user {user} that this user may not look at"),
            format!("see which it is with `sudo ss -ltnp 'sport = :{number}'` and stop it"),
        ),
        Some(_) | None => (
            format!("port {number} is taken by a program that cannot be seen from here"),
            format!("see which it is with `sudo ss -ltnp 'sport = :{number}'` and stop it"),
        ),
    };
    Problem { what, causes: vec![needs], hint: format!("{stop}, or set {}", port.key) }
}

/// `python3` of `/usr/bin/python3 -m http.server 9092`.
fn program(command: &str) -> &str {
    let first = command.split(' ').next().unwrap_or_default();
    match first.rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        Some(_) | None => "a program",
    }
}

/// A JVM's command line has thousands of characters; its beginning names it.
fn shortened(command: &str) -> String {
    const MAX: usize = 80;
    if command.chars().count() <= MAX { command.to_owned() } else { command.chars().take(MAX).chain(['…']).collect() }
}

/// `14:02` for a moment of the last 18 hours, with the date before that. In the user's time zone.
fn local_time(at: Timestamp, now: Timestamp) -> String {
    const RECENT_MS: i64 = 18 * 3_600_000;
    let zoned =
        jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system());
    let format = if now.0.saturating_sub(at.0) < RECENT_MS { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    zoned.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn plan(root: &Path, text: &str) -> Plan {
        let source =
            config::Source { text, name: "supervisor.toml", root_override: None, default_root: root.to_owned() };
        config::load(&source).unwrap()
    }

    fn external() -> PortUse {
        PortUse {
            name: "EXTERNAL".into(),
            address: "127.0.0.1:9092".parse().unwrap(),
            key: "kafka.brokers.1.external_port".into(),
        }
    }

    #[test]
    fn a_taken_port_is_told_as_the_design_draws_it() {
        let since = Timestamp(1_763_867_279_042);
        let owner = PortOwner {
            pid: Some(4711),
            command: Some("/usr/bin/python3 -m http.server 9092".into()),
            user: Some("kim".into()),
            since: Some(since),
            address: "0.0.0.0:9092".parse().unwrap(),
        };
        let needs = "broker-1 needs it for its EXTERNAL listener (supervisor.toml line 31)".to_owned();
        let problem = taken(&external(), Some(&owner), needs.clone(), since);
        let clock = local_time(since, since);
        assert_eq!(clock.len(), 5);
        assert_eq!(
            problem.what,
            format!(
                "port 9092 is taken by python3 (pid 4711, `/usr/bin/python3 -m http.server 9092`, since {clock}, user kim)"
            )
        );
        assert_eq!(problem.causes, [needs]);
        assert_eq!(problem.hint, "stop that program, or set kafka.brokers.1.external_port");
        let hidden = PortOwner { pid: None, command: None, since: None, ..owner };
        let problem = taken(&external(), Some(&hidden), String::new(), since);
        assert!(problem.what.contains("of user kim") && problem.hint.contains("ss -ltnp"), "{problem:?}");
        assert!(local_time(since, Timestamp(since.0 + 86_400_000)).starts_with("2025-11-2"));
    }

    #[test]
    fn every_taken_port_is_told_with_the_line_that_sets_it_and_living_nodes_have_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let held = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
        let [a, b] = held.each_ref().map(|l| l.local_addr().unwrap().port());
        let text = format!(
            "[command.one]\nargv = [\"/bin/true\"]\nports = [\"127.0.0.1:{a}\"]\n[command.two]\nargv = [\"/bin/true\"]\nports = [\"127.0.0.1:{b}\"]\n"
        );
        let plan = plan(dir.path(), &text);
        let [one, two] = ["one", "two"].map(|n| NodeName::new(n).unwrap());
        let all = BTreeSet::from([one.clone(), two]);
        let problems = |starting: &BTreeSet<NodeName>, living: &[NodeName]| match check(&plan, starting, living) {
            Ok(()) => Vec::new(),
            Err(Preflight::Host(problems)) => problems,
            Err(Preflight::Memory(e)) => panic!("{e}"),
        };
        let found = problems(&all, &[]);
        assert_eq!(found.len(), 2);
        assert!(found[0].what.starts_with(&format!("port {a} is taken by ")), "{found:?}");
        assert!(found[0].what.contains(&format!("pid {}", std::process::id())), "{found:?}");
        assert_eq!(found[0].causes, ["one needs it (supervisor.toml line 3)"]);
        assert_eq!(found[1].hint, "stop that program, or set command.two.ports[0]");
        assert_eq!(problems(&all, std::slice::from_ref(&one)).len(), 1);
        assert!(problems(&BTreeSet::from([one.clone()]), &[one]).is_empty());
    }

    #[test]
    fn a_root_that_cannot_be_made_is_a_problem_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        File::create(&file).unwrap();
        let problem = root_problem(&Layout::new(file.join("root"))).unwrap();
        assert!(problem.what.contains("file/root") && problem.causes[0].contains("Not a directory"), "{problem:?}");
        let fine = dir.path().join("a/b");
        assert!(root_problem(&Layout::new(&fine)).is_none());
        assert_eq!(fs::read_dir(fine).unwrap().count(), 0, "the look leaves nothing behind");
    }

    #[test]
    fn caps_beyond_the_memory_are_an_error_of_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let big = |i| format!("[command.big-{i}]\nargv = [\"/bin/true\"]\nmemory_max = \"1T\"\n");
        let plan = plan(dir.path(), &(0..64).map(big).collect::<String>());
        assert!(matches!(check(&plan, &BTreeSet::new(), &[]), Err(Preflight::Memory(_))));
    }
}
