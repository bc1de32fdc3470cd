//! Ports: who holds one that a node needs, who answers in its place on the other address family, and which ones the kernel
//! may give away.

use super::{
    Site,
    check::{Check, Severity},
    fix::Fix,
};
use crate::{
    base::{NodeName, Timestamp, recipe::PortUse},
    sys::{
        clock, kernel,
        net::{self, PortOwner},
    },
};
use jiff::tz::TimeZone;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// What is known of one port that is needed.
#[derive(Clone, Debug)]
pub(super) struct Port {
    node: NodeName,
    port: PortUse,
    state: State,
    /// Who listens on the same port of `::1`, where this one is on 127.0.0.1.
    beside: Option<PortOwner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// A node of ours that runs has it.
    Ours,
    Taken(Option<PortOwner>),
    /// It cannot be bound for another reason.
    NotBindable(String),
}

/// What is seen of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    ports: Vec<Port>,
    ephemeral: Option<(u16, u16)>,
    reserved: Vec<(u16, u16)>,
    now: Timestamp,
}

pub(super) fn look(site: &Site) -> Facts {
    let wanted = site.plan.ports().into_iter().filter(|(node, _)| site.starting.contains(node));
    let ports = wanted.map(|(node, port)| {
        let held = |ports: &BTreeSet<u16>| ports.contains(&port.address.port());
        let ours = site.held.as_ref().map_or_else(|| site.living.contains(&node), held);
        let state = if ours { State::Ours } else { state(port.address) };
        let loopback = port.address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST);
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port.address.port()));
        // bound first: the kernel's table of sockets takes it 10 ms and more to write, for each port
        let taken = loopback && state == State::Free && net::is_taken(six).unwrap_or(false);
        let beside = taken.then(|| net::exact_owner(six)).flatten();
        Port { node, port, state, beside }
    });
    Facts {
        ports: ports.collect(),
        ephemeral: kernel::ephemeral_ports(),
        reserved: kernel::reserved_ports(),
        now: clock::wall(),
    }
}

fn state(address: SocketAddr) -> State {
    match net::is_taken(address) {
        Ok(false) => State::Free,
        Ok(true) => State::Taken(net::listener_owner(address)),
        Err(e) => State::NotBindable(e.to_string()),
    }
}

pub(super) fn judge(site: &Site, facts: &Facts) -> Vec<Check> {
    let mut rows: Vec<Check> = facts.ports.iter().filter_map(|p| bad(site, p, facts.now)).collect();
    rows.extend(facts.ports.iter().filter_map(|p| answered_beside(p, facts.now)));
    if !facts.ports.is_empty() {
        rows.push(good(&facts.ports));
        rows.push(ephemeral(facts));
    }
    rows
}

fn bad(site: &Site, p: &Port, now: Timestamp) -> Option<Check> {
    let Port { node, port, .. } = p;
    let needs = format!("{node} needs it {}({})", purpose(&port.name), site.plan.place(&port.key));
    let row = |found: String| {
        Check::ok(format!("port {}", port.port()), format!("free on {}", port.address.ip()), found, needs)
    };
    let failed = match &p.state {
        State::Free | State::Ours => None,
        State::Taken(owner) => {
            let (who, stop) = taken(port, owner.as_ref(), now);
            Some(
                row(format!("taken by {who}"))
                    .fails(format!("port {} is taken by {who}", port.port()), format!("{stop}, or set {}", port.key)),
            )
        }
        State::NotBindable(why) => Some(row(format!("cannot be bound: {why}")).fails(
            format!("{} cannot be bound: {why}", port.address),
            format!("set {} to a port that this user may bind, on an address of this host", port.key),
        )),
    };
    // the node fails with these words itself
    failed.map(|row| if site.is_optional(node) { row.and_starts() } else { row })
}

/// The row of all ports that are as they should be.
fn good(ports: &[Port]) -> Check {
    let list = |state: &State| {
        let numbers: Vec<String> =
            ports.iter().filter(|p| p.state == *state).map(|p| p.port.port().to_string()).collect();
        numbers.join(" ")
    };
    let (free, ours) = (list(&State::Free), list(&State::Ours));
    let found = match (free.is_empty(), ours.is_empty()) {
        (true, true) => "none".to_owned(),
        (false, true) => format!("free: {free}"),
        (true, false) => format!("held by nodes of this root: {ours}"),
        (false, false) => format!("free: {free}; held by nodes of this root: {ours}"),
    };
    Check::ok("ports", "each free, or held by its own node", found, "a node that finds its port taken ends at once")
}

/// `localhost` is `::1` for most clients first (RFC 6724): somebody else who listens there gets them.
fn answered_beside(p: &Port, now: Timestamp) -> Option<Check> {
    let number = p.port.port();
    let (who, _) = taken(&p.port, Some(p.beside.as_ref()?), now);
    let row = Check::ok(
        format!("port {number} on ::1"),
        "nobody else",
        format!("taken by {who}"),
        format!("clients that take localhost for ::1 reach it instead of {}", p.node),
    );
    Some(row.but(Severity::Warn, format!("stop that program, or let clients use 127.0.0.1:{number}")))
}

/// A fixed port inside the range may be in use by an outgoing connection at the moment a node wants to bind it.
fn ephemeral(facts: &Facts) -> Check {
    let why = "the kernel gives ports of this range to outgoing connections, and then a node cannot bind its own";
    let Some((from, to)) = facts.ephemeral else {
        return Check::ok("ephemeral range", "holds none of our ports", "not readable", why).unknown();
    };
    let row = |found: String| Check::ok("ephemeral range", format!("{from}-{to} holds none of our ports"), found, why);
    let reserved = |port: u16| facts.reserved.iter().any(|(a, b)| (*a..=*b).contains(&port));
    let mut inside: Vec<u16> = facts.ports.iter().map(|p| p.port.address.port()).collect();
    inside.retain(|port| (from..=to).contains(port) && !reserved(*port));
    inside.sort_unstable();
    inside.dedup();
    if inside.is_empty() {
        return row("none of them".into());
    }
    let list: Vec<String> = inside.iter().map(u16::to_string).collect();
    let list = list.join(",");
    // the kernel replaces the whole list
    let all = ranges(facts.reserved.iter().copied().chain(inside.iter().map(|port| (*port, *port))));
    let now = ranges(facts.reserved.iter().copied());
    let key = "net.ipv4.ip_local_reserved_ports";
    row(format!("{list} inside"))
        .but(Severity::Warn, format!("sysctl -w {key}={all}, and the same in /etc/sysctl.d/"))
        .fixed_by(Fix::sysctl("reserved-ports", key, now, all))
}

/// As the kernel shows a list of ports: in order, neighbours as a range.
fn ranges(ports: impl Iterator<Item = (u16, u16)>) -> String {
    let mut all: Vec<(u16, u16)> = ports.collect();
    all.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (from, to) in all {
        match merged.last_mut() {
            Some((_, end)) if from <= end.saturating_add(1) => *end = (*end).max(to),
            Some(_) | None => merged.push((from, to)),
        }
    }
    let shown = merged.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    shown.collect::<Vec<_>>().join(",")
}

fn purpose(name: &str) -> String {
    match name {
        "INTERNAL" | "EXTERNAL" => format!("for its {name} listener "),
        "client" | "mysql" => "for its clients ".to_owned(),
        "http" => "for its page ".to_owned(),
        _ => String::new(),
    }
}

/// Who has a port, and what to do about it.
fn taken(port: &PortUse, owner: Option<&PortOwner>, now: Timestamp) -> (String, String) {
    let number = port.port();
    match owner {
        Some(PortOwner { pid: Some(pid), command, user, since, .. }) => {
            let command = command.as_deref().unwrap_or_default();
            let mut facts = vec![format!("pid {pid}")];
            if !command.is_empty() {
                facts.push(format!("`{}`", shortened(command)));
            }
            facts.extend(since.map(|since| format!("since {}", local_time(since, now))));
            facts.extend(user.as_ref().map(|user| format!("user {user}")));
            (format!("{} ({})", program(command), facts.join(", ")), "stop that program".to_owned())
        }
        Some(PortOwner { user: Some(user), .. }) => (
            format!("a program of user {user} that this user may not look at"),
            format!("see which it is with `sudo ss -ltnp 'sport = :{number}'` and stop it"),
        ),
        Some(_) | None => (
            "a program that cannot be seen from here".to_owned(),
            format!("see which it is with `sudo ss -ltnp 'sport = :{number}'` and stop it"),
        ),
    }
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
pub(super) fn shortened(command: &str) -> String {
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
    use super::{super::tests::site, *};
    use std::net::TcpListener;

    fn external() -> PortUse {
        PortUse {
            name: "EXTERNAL".into(),
            address: "127.0.0.1:9092".parse().unwrap(),
            key: "kafka.brokers.1.external_port".into(),
        }
    }

    const SINCE: Timestamp = Timestamp(1_763_867_279_042);

    fn python() -> PortOwner {
        PortOwner {
            pid: Some(4711),
            command: Some("/usr/bin/python3 -m http.server 9092".into()),
            user: Some("kim".into()),
            since: Some(SINCE),
            address: "0.0.0.0:9092".parse().unwrap(),
        }
    }

    fn port(state: State, beside: Option<PortOwner>) -> Port {
        Port { node: NodeName::broker(1), port: external(), state, beside }
    }

    #[test]
    fn a_taken_port_is_told_as_the_design_draws_it() {
        let site = site("");
        let row = bad(&site, &port(State::Taken(Some(python())), None), SINCE).unwrap();
        let clock = local_time(SINCE, SINCE);
        assert_eq!(clock.len(), 5);
        let who = format!("python3 (pid 4711, `/usr/bin/python3 -m http.server 9092`, since {clock}, user kim)");
        assert_eq!(row.problem.unwrap(), format!("port 9092 is taken by {who}"));
        assert_eq!(row.found, format!("taken by {who}"));
        assert_eq!(row.why, "broker-1 needs it for its EXTERNAL listener (supervisor.toml)");
        assert_eq!(row.remedy.unwrap(), "stop that program, or set kafka.brokers.1.external_port");
        let hidden = PortOwner { pid: None, command: None, since: None, ..python() };
        let row = bad(&site, &port(State::Taken(Some(hidden)), None), SINCE).unwrap();
        assert!(row.problem.unwrap().contains("of user kim") && row.remedy.unwrap().contains("ss -ltnp"));
        assert!(local_time(SINCE, Timestamp(SINCE.0 + 86_400_000)).starts_with("2025-11-2"));
    }

    #[test]
    fn somebody_on_the_other_loopback_address_is_a_warning() {
        let row = answered_beside(&port(State::Free, Some(python())), SINCE).unwrap();
        assert_eq!(row.severity, Severity::Warn);
        assert!(row.why.ends_with("reach it instead of broker-1"), "{row:?}");
        assert_eq!(answered_beside(&port(State::Free, None), SINCE), None);
    }

    #[test]
    fn a_port_inside_the_ephemeral_range_is_told_with_the_whole_new_list() {
        let facts = |from, reserved: &[(u16, u16)]| Facts {
            ports: vec![port(State::Free, None)],
            ephemeral: Some((from, 60_999)),
            reserved: reserved.to_vec(),
            now: SINCE,
        };
        assert_eq!(ephemeral(&facts(32_768, &[])).severity, Severity::Ok);
        assert_eq!(ephemeral(&facts(9_000, &[(9_000, 9_100)])).severity, Severity::Ok);
        let row = ephemeral(&facts(1_024, &[(8_080, 8_080), (10_000, 10_010)]));
        assert_eq!((row.severity, row.found.as_str()), (Severity::Warn, "9092 inside"));
        assert!(row.remedy.unwrap().contains("reserved_ports=8080,9092,10000-10010,"));
        // as the kernel shows it, so that it can be seen whether it holds
        let row = ephemeral(&facts(1_024, &[(9_093, 9_094), (8_080, 8_080)]));
        let fix = row.fix.unwrap();
        assert_eq!((fix.now.as_str(), fix.wanted.as_str()), ("8080,9093-9094", "8080,9092-9094"));
    }

    #[test]
    fn every_taken_port_is_found_with_the_line_that_sets_it_and_living_nodes_have_theirs() {
        let held = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
        let [a, b] = held.each_ref().map(|l| l.local_addr().unwrap().port());
        let mut site = site(&format!(
            "[command.one]\nargv = [\"/bin/true\"]\nports = [\"127.0.0.1:{a}\"]\n[command.two]\nargv = [\"/bin/true\"]\nports = [\"127.0.0.1:{b}\"]\n"
        ));
        let fails = |site: &Site| -> Vec<Check> {
            judge(site, &look(site)).into_iter().filter(|c| c.severity == Severity::Fail).collect()
        };
        let found = fails(&site);
        assert_eq!(found.len(), 2);
        let problem = found[0].problem.as_deref().unwrap();
        assert!(problem.starts_with(&format!("port {a} is taken by ")), "{found:?}");
        assert!(problem.contains(&format!("pid {}", std::process::id())), "{found:?}");
        assert_eq!(found[0].why, "one needs it (supervisor.toml line 3)");
        assert_eq!(found[1].remedy.as_deref(), Some("stop that program, or set command.two.ports[0]"));
        let one = NodeName::new("one").unwrap();
        site.living = vec![one.clone()];
        assert_eq!(fails(&site).len(), 1);
        site.starting = [one].into();
        assert!(fails(&site).is_empty());
        let rows = judge(&site, &look(&site));
        assert!(rows.iter().any(|c| c.found == format!("held by nodes of this root: {a}")), "{rows:?}");
    }
}
