//! Reads `[command.NAME]` and its probe.

use super::{
    Command, CommandProbe, CommandProbeKind, ConfigError, defaults, general, owned,
    read::{Bad, Section, integer, no_control, no_nul, port},
};
use crate::base::{ByteSize, NodeName, outcome::parse_signal};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use toml::de::DeValue;

/// Names that belong to nodes of ours, those of a later version included (README, "Node names").
const RESERVED: [&str; 4] = ["zookeeper", "mysql", "connect", "kafka-ui"];

/// Reads every `[command.*]`. Disabled ones are checked too, then only their names are kept.
pub(super) fn read(tables: &Section<'_, '_>, disabled: &mut Vec<NodeName>) -> Vec<Command> {
    let mut commands = Vec::new();
    for name in tables.names() {
        let key = tables.key(name);
        let node = match NodeName::new(name) {
            Ok(node) => node,
            Err(why) => {
                let error = tables.reading.fault(&key, why);
                tables.reading.report(error.label("allowed: 1 to 32 of a-z, 0-9 and dashes inside"));
                continue;
            }
        };
        if is_reserved(name) {
            let error = tables.reading.fault(&key, format!("the name {name:?} belongs to a node of the supervisor"));
            tables.reading.report(error.hint("give the command another name"));
        }
        let (enabled, command) = command(tables.named(name), node);
        if enabled {
            commands.push(command);
        } else {
            disabled.push(command.name);
        }
    }
    commands
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.strip_prefix("broker-").is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit()))
}

fn command(s: Section<'_, '_>, name: NodeName) -> (bool, Command) {
    let (enabled, care) = general::care(&s, &defaults::command_care());
    let command = Command {
        argv: argv(&s, "argv").unwrap_or_default(),
        env: s.passed_through("env", ["false", "true"], no_nul, owned::environment_name),
        dir: s.path("dir"),
        memory_max: s.size("memory_max", ByteSize::mib(1)..=ByteSize::gib(1024)).unwrap_or(defaults::COMMAND_MEMORY),
        after: after(&s),
        stop_signal: s.value("stop_signal", "a name such as \"SIGTERM\", or 1 to 64", signal).unwrap_or(libc::SIGTERM),
        probe: probe(s.sub("probe")),
        ports: s
            .list("ports", "ports such as 8088, or \"127.0.0.1:8088\"", |v| address(v, Ipv4Addr::UNSPECIFIED))
            .unwrap_or_default(),
        name,
        care,
    };
    if !s.holds("argv") {
        let error = ConfigError::new(s.key("argv"), "is missing").at(s.reading.span(&s.path));
        s.reading.report(error.hint(format!("add argv = [\"/path/of/the/program\", \"argument\"] to [{}]", s.path)));
    }
    s.finish();
    (enabled, command)
}

/// A command line: an absolute program and its arguments.
fn argv(s: &Section<'_, '_>, key: &str) -> Option<Vec<String>> {
    let argv = s.texts(key)?;
    let path = s.key(key);
    match argv.first() {
        None if s.reading.failed(&format!("{path}[0]")) => {}
        None => s.reading.report(s.reading.fault(&path, "is empty").label("a program and its arguments")),
        Some(program) => {
            let why = if !program.starts_with('/') {
                Some(format!("the program {program:?} is not an absolute path"))
            } else {
                no_control(program).err()
            };
            if let Some(why) = why {
                let error = s.reading.fault(&format!("{path}[0]"), why);
                s.reading.report(error.hint("write the whole path: no PATH is searched and no shell is started"));
            }
        }
    }
    Some(argv)
}

fn after(s: &Section<'_, '_>) -> Vec<NodeName> {
    let mut names = s
        .list("after", "node names such as \"broker-1\"", |value| Ok(NodeName::new(value.as_str().ok_or(Bad::Type)?)?))
        .unwrap_or_default();
    names.sort();
    names.dedup();
    names
}

fn signal(value: &DeValue<'_>) -> Result<i32, Bad> {
    let text = match (value.as_str(), integer(value)) {
        (Some(text), _) => text.to_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => return Err(Bad::Type),
    };
    let signal = parse_signal(&text)?;
    if signal == libc::SIGSTOP {
        return Err(Bad::Because("SIGSTOP halts a program, it does not end it".into()));
    }
    Ok(signal)
}

/// A port alone, or `ADDRESS:PORT`. `localhost` is 127.0.0.1: our own clients use IPv4 (DESIGN.md, "Binding").
fn address(value: &DeValue<'_>, alone: Ipv4Addr) -> Result<SocketAddr, Bad> {
    if value.is_integer() {
        return Ok(SocketAddr::new(IpAddr::V4(alone), port(value)?.0));
    }
    let text = value.as_str().ok_or(Bad::Type)?;
    let written = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    match written.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(address),
        Ok(_) | Err(_) => Err(Bad::Because(format!("{text:?} is not an address with a port"))),
    }
}

fn probe(s: Section<'_, '_>) -> CommandProbe {
    let tick = |key, on: CommandProbeKind| s.flag(key).filter(|yes| *yes).map(|_| on);
    let url =
        s.text("http", "a URL such as \"http://127.0.0.1:8088/health\"", |url| match url.strip_prefix("http://") {
            None if url.starts_with("https://") => Err("https is not probed: the look goes to this host only".into()),
            None => Err(format!("{url:?} does not start with http://")),
            Some(rest) => general::authority(url, rest),
        });
    let exec = argv(&s, "exec");
    let tcp = s.value("tcp", "an address such as \"127.0.0.1:8088\", or a port", |v| address(v, Ipv4Addr::LOCALHOST));
    let kinds: Vec<CommandProbeKind> = [
        tick("none", CommandProbeKind::None),
        tcp.map(CommandProbeKind::Tcp),
        url.map(CommandProbeKind::Http),
        exec.map(CommandProbeKind::Exec),
        tick("notify", CommandProbeKind::Notify),
    ]
    .into_iter()
    .flatten()
    .collect();
    if kinds.len() > 1 {
        let error = s.reading.fault(&s.path, "names more than one kind of look");
        s.reading.report(error.hint("keep one of none, tcp, http, exec, notify"));
    }
    let second = Duration::from_secs(1);
    let probe = CommandProbe {
        kind: kinds.into_iter().next().unwrap_or(CommandProbeKind::None),
        timeout: s.time("timeout", second / 10..=second * 600).unwrap_or(defaults::PROBE_TIMEOUT),
        interval: s.time("interval", second / 10..=second * 3_600).unwrap_or(defaults::PROBE_INTERVAL),
        failures: s
            .count("failures", 1..=1_000)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(defaults::PROBE_FAILURES),
        start_deadline: s.time("start_deadline", second..=second * 86_400).unwrap_or(defaults::PROBE_DEADLINE),
    };
    s.finish_with(|key| match key {
        "kind" | "type" => Some(
            "the kind is the key: tcp = \"127.0.0.1:8088\", http = \"http://127.0.0.1:8088/\", exec = [\"/path\"]"
                .into(),
        ),
        "address" | "port" | "host" => Some("write tcp = \"127.0.0.1:8088\"".into()),
        "url" => Some("write http = \"http://127.0.0.1:8088/\"".into()),
        "argv" | "command" => Some("write exec = [\"/path/of/the/program\"]".into()),
        _ => None,
    });
    probe
}
