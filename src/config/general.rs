//! Reads what is no node: `root`, `[host]`, `[artifacts]`, and the keys that every node has.

use super::{
    Artifacts, Care, ConfigError, Host, Logs, Source, SourceKind,
    canonical::restart_word,
    defaults,
    read::{Section, no_control, plain_path},
};
use crate::base::{
    ByteSize,
    recipe::{LogPolicy, RestartWhen, Share},
};
use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

/// Where the root of a plan came from, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RootFrom {
    Override,
    File,
    Default,
}

impl RootFrom {
    /// Words behind a path.
    pub fn words(self) -> &'static str {
        match self {
            RootFrom::Override => " (from --root)",
            RootFrom::File => "",
            RootFrom::Default => " (the default)",
        }
    }
}

/// `--root`, else `root` in the file, else the default.
pub(super) fn root(top: &Section<'_, '_>, source: &Source<'_>) -> (PathBuf, RootFrom) {
    // Read even when overridden: a broken line in the file is worth a word.
    let in_file = top.path("root");
    let (root, from) = match (&source.root_override, in_file) {
        (Some(root), _) => (root.clone(), RootFrom::Override),
        (None, Some(root)) => return (root, RootFrom::File),
        (None, None) => (source.default_root.clone(), RootFrom::Default),
    };
    let checked = match root.to_str() {
        Some(text) => plain_path(text),
        None => Err(format!("{root:?} is not UTF-8, which Java and mysqld need")),
    };
    match checked {
        Ok(root) => (root, from),
        Err(why) => {
            let error = ConfigError::new("root", format!("{why}{}", from.words()));
            top.reading.report(error.hint("use an absolute path such as /var/lib/cdc-supervisor"));
            (root, from)
        }
    }
}

/// `[host]`.
pub(super) fn host(top: &Section<'_, '_>) -> Host {
    let s = top.sub("host");
    let host = Host {
        os_floor: s.size("os_floor", ByteSize(0)..=ByteSize::gib(1024)).unwrap_or(defaults::OS_FLOOR),
        supervisor: s.size("supervisor", ByteSize::mib(16)..=ByteSize::gib(16)).unwrap_or(defaults::SUPERVISOR),
        allow_volatile_root: s.flag("allow_volatile_root").unwrap_or(false),
    };
    s.finish();
    host
}

/// `[logs]`.
pub(super) fn logs(top: &Section<'_, '_>) -> Logs {
    let s = top.sub("logs");
    let logs = Logs {
        total: s.size("total", ByteSize::mib(1)..=ByteSize::gib(16_384)).unwrap_or(defaults::LOGS_TOTAL),
        // An hour at least: what is younger may still be needed to explain a death. Ten years are as good as for ever.
        max_age: s.time("max_age", Duration::from_secs(3_600)..=Duration::from_secs(3_650 * 86_400)),
        compress: s.flag("compress").unwrap_or(true),
    };
    s.finish();
    logs
}

/// `[artifacts]`.
pub(super) fn artifacts(top: &Section<'_, '_>) -> Artifacts {
    let s = top.sub("artifacts");
    let words = SourceKind::ALL.map(SourceKind::as_str);
    let sources = s.list("sources", words.join(", "), |value| {
        let text = value.as_str().ok_or(super::read::Bad::Type)?;
        let meant = || super::read::did_you_mean(super::suggest::closest(text, words));
        let kind = SourceKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| format!("{text:?} is no source{}", meant()).into())
    });
    if let Some(sources) = &sources {
        let twice = sources.iter().enumerate().find(|(i, kind)| sources[..*i].contains(kind));
        if let Some((_, kind)) = twice {
            let error = s.reading.fault("artifacts.sources", format!("{:?} is named twice", kind.as_str()));
            s.reading.report(error);
        }
        if sources.is_empty() && !s.reading.failed("artifacts.sources[0]") {
            let error = s.reading.fault("artifacts.sources", "is empty, so nothing could be fetched");
            s.reading.report(error.hint("to work without a network set offline = true"));
        }
    }
    let mirror = s.text("mirror", "a URL such as \"http://10.0.0.2/mirror\"", |url| {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        match rest {
            None => Err(format!("{url:?} starts with neither http:// nor https://")),
            Some(rest) => authority(url, rest),
        }
    });
    let artifacts = Artifacts {
        store: s.path("store"),
        files: s.path("files"),
        sources: sources.filter(|list| !list.is_empty()).unwrap_or_else(|| defaults::SOURCES.to_vec()),
        mirror: mirror.map(|url| url.trim_end_matches('/').to_owned()),
        offline: s.flag("offline").unwrap_or(false),
        java_home: s.path("java_home"),
        // Less than a modem's would take weeks.
        rate_limit: s.size("rate_limit", ByteSize(4_096)..=ByteSize::gib(16)),
        ca_file: s.path("ca_file"),
        signatures: s.flag("signatures").unwrap_or(false),
        list: s.path("list"),
    };
    s.finish();
    artifacts
}

/// Checks `host[:port]` at the start of what follows a URL's scheme.
pub(super) fn authority(url: &str, rest: &str) -> Result<(), String> {
    if url.chars().any(char::is_whitespace) {
        return Err(format!("{url:?} holds a blank"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        return Err("a password in a URL would be shown in messages; it is not taken".into());
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of `[::1]` belongs to the address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() {
        return Err(format!("{url:?} names no host"));
    }
    match port.map(str::parse::<u16>) {
        None => Ok(()),
        Some(Ok(port)) if port > 0 => Ok(()),
        Some(_) => Err(format!("{url:?} has a port that is none")),
    }
}

/// What `memory_high` and `memory_low` may be; that they fit under the cap is a rule of its own.
const MEMORY_BOUND: RangeInclusive<ByteSize> = ByteSize::mib(1)..=ByteSize::gib(1024);

/// `enabled`, `user`, `grace`, `restart`, `healthy_after`, `tasks_max`, `nofile`, `memory_high`, `memory_low`, `cpu_weight`,
/// `io_weight` and `[*.log]` of a node's table, each falling back to `otherwise`. The first value says whether the node is enabled.
pub(super) fn care(s: &Section<'_, '_>, otherwise: &Care) -> (bool, Care) {
    let enabled = s.flag("enabled").unwrap_or(true);
    let restarts = [RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never].map(|w| (restart_word(w), w));
    let log = s.sub("log");
    // cgroup-v2.rst: "in the range [1, 10000]".
    let weight = |key: &str| s.count(key, 1..=10_000).and_then(|n| u16::try_from(n).ok());
    let care = Care {
        user: s.text("user", "the name of a user of this host", user).or_else(|| otherwise.user.clone()),
        grace: s.time("grace", Duration::ZERO..=Duration::from_secs(3_600)).unwrap_or(otherwise.grace),
        restart: s.word("restart", &restarts).unwrap_or(otherwise.restart),
        healthy_after: s
            .time("healthy_after", Duration::ZERO..=Duration::from_secs(86_400))
            .unwrap_or(otherwise.healthy_after),
        // The kernel's own bound: PID_MAX_LIMIT, 2^22 on 64-bit hosts (proc(5), pid_max).
        tasks_max: s.count("tasks_max", 1..=4_194_304).unwrap_or(otherwise.tasks_max),
        share: Share {
            memory_high: s.size("memory_high", MEMORY_BOUND).or(otherwise.share.memory_high),
            memory_low: s.size("memory_low", MEMORY_BOUND).or(otherwise.share.memory_low),
            cpu_weight: weight("cpu_weight").unwrap_or(otherwise.share.cpu_weight),
            io_weight: weight("io_weight").unwrap_or(otherwise.share.io_weight),
        },
        // fs.nr_open is 2^20 by default (proc(5)); no limit can be above it.
        nofile: s.count("nofile", 64..=1_048_576).unwrap_or(otherwise.nofile),
        log: LogPolicy {
            max_bytes: log.size("max_bytes", ByteSize(4_096)..=ByteSize::gib(16)).unwrap_or(otherwise.log.max_bytes),
            keep: log.count("keep", 0..=1_000).and_then(|n| u32::try_from(n).ok()).unwrap_or(otherwise.log.keep),
        },
    };
    log.finish();
    (enabled, care)
}

/// The portable shape of a user name (useradd(8)); whether the user exists is the preflight's question.
fn user(name: &str) -> Result<(), String> {
    no_control(name)?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 32 || name.starts_with('-') || !name.chars().all(good) {
        return Err(format!("{name:?} is not a user name"));
    }
    Ok(())
}
