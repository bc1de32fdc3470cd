//! One node: what of it differs, what that means for it, and the words for why.

use super::{
    Does, FileChange, Life, NodeChange, Present, Setting, When, With,
    dynamic::{self, Dynamic, Found},
    text,
};
use crate::base::{
    ByteSize, Launched, NodeKind,
    launched::LaunchedFile,
    recipe::{PrepareStep, ProbeKind, Recipe, RestartWhen},
    units::human_duration,
};
use std::{collections::BTreeSet, time::Duration};

/// How many changed keys of a file are named; the diff has them all.
const KEYS_NAMED: usize = 4;

/// A node that is not in the file any more.
pub(super) fn gone(recipe: &Recipe, present: &Present) -> NodeChange {
    let why = match present.life {
        Life::Runs | Life::Trying => "it is not in the file any more; its directory stays",
        Life::Rests => "it is not in the file any more and does not run; its directory stays",
    };
    NodeChange {
        node: recipe.node.clone(),
        does: Does::Stop,
        why: vec![why.into()],
        runs_with_other: false,
        settings: Vec::new(),
        files: Vec::new(),
        argv: Vec::new(),
        env: Vec::new(),
        dynamic: None,
    }
}

/// What changes for a node of the file; none: nothing.
pub(super) fn change(before: Option<&Recipe>, recipe: &Recipe, present: &Present) -> Option<NodeChange> {
    let wanted = recipe.launched();
    let Some(before) = before else {
        let files = wanted.files.iter().map(|file| file_change(None, Some(file))).collect();
        return Some(NodeChange {
            node: recipe.node.clone(),
            does: Does::Start,
            why: vec!["it is new".into()],
            runs_with_other: false,
            settings: Vec::new(),
            files,
            argv: text::argv(&[], &wanted.argv),
            env: Vec::new(),
            dynamic: None,
        });
    };
    let applied = before.launched();
    // What is compared with: that which runs, where something runs; else what the next start would have used.
    let basis = match (present.life, &present.with) {
        (Life::Runs, With::This(launched)) => launched,
        (Life::Runs | Life::Trying | Life::Rests, _) => &applied,
    };
    let unknown = present.life == Life::Runs && present.with == With::Unknown;
    let runs_with_other = unknown || basis.digest() != applied.digest();
    let mut why = compare(basis, &wanted);
    let mut settings = Vec::new();
    let mut dynamic = None;
    if present.life == Life::Runs && !unknown && matches!(recipe.kind, NodeKind::Broker(_)) {
        match dynamic::found(basis, &wanted) {
            Found::All(what, of_its_file) => {
                why.clear();
                settings = of_its_file;
                dynamic = Some(what);
            }
            Found::Restart(words) => why.extend(words),
        }
        if why.is_empty() {
            settings.extend(finish(&mut dynamic, before, recipe, &present.cut_short));
        }
    }
    if unknown {
        why.push("it was launched with settings that are not on record any more".into());
    } else if runs_with_other && !why.is_empty() {
        why.push("it runs with other settings than the applied ones".into());
    }
    let restarts = !why.is_empty() && present.life != Life::Rests;
    settings.extend(live(before, recipe));
    settings.extend(log(basis, &wanted));
    settings.extend(first_start(before, recipe));
    settings.extend(program(before, recipe));
    if restarts {
        for setting in settings.iter_mut().filter(|s| s.when != When::EmptyData) {
            setting.when = When::Restart;
        }
    }
    let files = files(basis, &wanted);
    if why.is_empty() && settings.is_empty() && before == recipe && files.is_empty() {
        return None;
    }
    let does = match present.life {
        Life::Runs | Life::Trying if restarts => Does::Restart,
        Life::Runs | Life::Trying => Does::Live,
        Life::Rests => Does::Keep,
    };
    if does == Does::Keep {
        why.push("it does not run: it has them when it is started".into());
    } else if why.is_empty() {
        why = live_words(&settings);
    }
    Some(NodeChange {
        node: recipe.node.clone(),
        does,
        why,
        runs_with_other,
        settings,
        files,
        argv: text::argv(&basis.argv, &wanted.argv),
        env: text::env(&basis.env, &wanted.env, recipe.kind != NodeKind::Command),
        dynamic,
    })
}

/// A change that was cut short is made again: which of its settings the broker has is not known.
fn finish(dynamic: &mut Option<Dynamic>, before: &Recipe, recipe: &Recipe, cut_short: &[String]) -> Vec<Setting> {
    let known = |puts: &[dynamic::Put], key: &str| puts.iter().any(|put| put.key == key);
    let left: Vec<String> = {
        let to = dynamic.as_ref().map_or(&[][..], |d| &d.to[..]);
        cut_short.iter().filter(|key| !known(to, key)).cloned().collect()
    };
    let again = dynamic::again(recipe, &left);
    if again.is_empty() {
        return Vec::new();
    }
    let all = dynamic.get_or_insert_default();
    all.back
        .extend(dynamic::again(before, &left).into_iter().filter(|put| !known(&all.back, put.key)).collect::<Vec<_>>());
    let words = |key: &str| Setting {
        key: key.to_owned(),
        from: "not known: a reload was cut short".into(),
        to: "as its file says".into(),
        when: When::Live,
    };
    let settings = again.iter().filter(|put| !put.pinned).map(|put| words(put.key)).collect();
    all.to.extend(again.into_iter().filter(|put| !known(&all.to, put.key)).collect::<Vec<_>>());
    settings
}

fn live_words(settings: &[Setting]) -> Vec<String> {
    let keys = |when: When| {
        let list: Vec<&str> = settings.iter().filter(|s| s.when == when).map(|s| s.key.as_str()).collect();
        (!list.is_empty()).then(|| list.join(", "))
    };
    let mut words = Vec::new();
    words.extend(keys(When::Live));
    words.extend(keys(When::NextStart).map(|k| format!("{k} from its next start on")));
    words.extend(keys(When::EmptyData).map(|k| format!("{k} only if its data directory is ever made anew")));
    if words.is_empty() {
        words.push("only comments in its files".into());
    }
    words
}

/// Why a node that was launched with `from` must be restarted to run with `to`: one clause for each reason; empty: it need
/// not.
pub fn compare(from: &Launched, to: &Launched) -> Vec<String> {
    let mut why = Vec::new();
    for file in &to.files {
        let name = file_name(file);
        match from.files.iter().find(|f| f.path == file.path) {
            None => why.push(format!("{name} is new")),
            Some(old) if !old.means_the_same_as(file) => {
                let keys = changed_keys(old, file);
                why.push(if keys.is_empty() { format!("{name} differs") } else { format!("{name}: {keys}") });
            }
            Some(_) => {}
        }
    }
    for file in from.files.iter().filter(|f| !to.files.iter().any(|t| t.path == f.path)) {
        why.push(format!("{} goes", file_name(file)));
    }
    let mut differs = |differs: bool, what: &str| {
        if differs {
            why.push(what.to_owned());
        }
    };
    differs(from.argv != to.argv, "its command line");
    differs(from.env != to.env, "its environment");
    differs(from.dir != to.dir, "its working directory");
    differs(from.user != to.user, "its user");
    differs(from.nofile != to.nofile, "nofile, which a process gets at its start");
    differs(from.oom_score_adj != to.oom_score_adj, "oom_score_adj, which a process gets at its start");
    differs(from.notify != to.notify, "its notify socket");
    why
}

fn file_name(file: &LaunchedFile) -> String {
    file.path.file_name().map_or_else(|| file.path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

/// The keys of a `key=value` or `"key": value` file whose lines differ: `num.io.threads, log.retention.hours and 3 more`.
pub fn changed_keys(from: &LaunchedFile, to: &LaunchedFile) -> String {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (from.meaning().collect(), to.meaning().collect());
    let mut keys: Vec<&str> = Vec::new();
    // In the order of the new file; keys that only the old one has come last.
    let lines = to.meaning().filter(|l| !old.contains(l)).chain(from.meaning().filter(|l| !new.contains(l)));
    for line in lines {
        let key = match line.strip_prefix('"').and_then(|rest| rest.split_once("\": ")) {
            Some((key, _)) => key,
            None => line.split('=').next().unwrap_or(line).trim(),
        };
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    match keys.len().checked_sub(KEYS_NAMED) {
        Some(more @ 1..) => format!("{} and {more} more", keys[..KEYS_NAMED].join(", ")),
        Some(0) | None => keys.join(", "),
    }
}

fn files(from: &Launched, to: &Launched) -> Vec<FileChange> {
    let mut changes = Vec::new();
    for file in &to.files {
        let old = from.files.iter().find(|f| f.path == file.path);
        if old.is_none_or(|old| old != file) {
            changes.push(file_change(old, Some(file)));
        }
    }
    for file in from.files.iter().filter(|f| !to.files.iter().any(|t| t.path == f.path)) {
        changes.push(file_change(Some(file), None));
    }
    changes
}

fn file_change(from: Option<&LaunchedFile>, to: Option<&LaunchedFile>) -> FileChange {
    let path = to.or(from).map(|f| f.path.clone()).unwrap_or_default();
    let contents = |file: Option<&LaunchedFile>| file.map(|f| f.contents.clone()).unwrap_or_default();
    let mut diff = text::unified(&path, &contents(from), &contents(to));
    if let (Some(from), Some(to)) = (from, to)
        && from.mode != to.mode
    {
        diff = format!("mode {:o} to {:o}\n{diff}", from.mode, to.mode);
    }
    let comments_only = from.zip(to).is_some_and(|(from, to)| from.means_the_same_as(to));
    FileChange { path, diff, comments_only }
}

/// A time of a recipe.
type TimeOf = fn(&Recipe) -> Duration;

/// Settings of ours that a running node takes without a restart.
fn live(from: &Recipe, to: &Recipe) -> Vec<Setting> {
    let mut found = Vec::new();
    let mut setting = |key: &str, from: String, to: String| {
        if from != to {
            found.push(Setting { key: key.into(), from, to, when: When::Live });
        }
    };
    let cap = |r: &Recipe| r.launch.memory_max.map_or_else(|| "none".to_owned(), |b| b.to_string());
    setting("memory_max", cap(from), cap(to));
    setting("tasks_max", from.launch.tasks_max.to_string(), to.launch.tasks_max.to_string());
    let bound = |size: Option<ByteSize>| size.map_or_else(|| "none".to_owned(), |b| b.to_string());
    let (old, new) = (from.launch.share, to.launch.share);
    setting("memory_high", bound(old.memory_high), bound(new.memory_high));
    setting("memory_low", bound(old.memory_low), bound(new.memory_low));
    setting("cpu_weight", old.cpu_weight.to_string(), new.cpu_weight.to_string());
    setting("io_weight", old.io_weight.to_string(), new.io_weight.to_string());
    let word = |r: &Recipe| {
        match r.restart.when {
            RestartWhen::Always => "always",
            RestartWhen::OnFailure => "on-failure",
            RestartWhen::Never => "never",
        }
        .to_owned()
    };
    setting("restart", word(from), word(to));
    let time = human_duration;
    setting("healthy_after", time(from.restart.healthy_after), time(to.restart.healthy_after));
    let pauses = |r: &Recipe| format!("{} to {}", time(r.restart.back_off_min), time(r.restart.back_off_max));
    setting("back-off", pauses(from), pauses(to));
    setting("grace", time(from.stop.grace), time(to.stop.grace));
    let signal = |r: &Recipe| crate::base::outcome::signal_name(r.stop.signal);
    setting("stop_signal", signal(from), signal(to));
    let after = |r: &Recipe| r.after.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(" ");
    setting("after", after(from), after(to));
    let ports = |r: &Recipe| r.ports.iter().map(|p| p.address.to_string()).collect::<Vec<_>>().join(" ");
    setting("ports", ports(from), ports(to));
    setting("probe", probe_words(&from.probe.kind), probe_words(&to.probe.kind));
    let times: [(&str, TimeOf); 4] = [
        ("probe.timeout", |r| r.probe.timeout),
        ("probe.interval", |r| r.probe.start_interval),
        ("probe.interval once ready", |r| r.probe.ready_interval),
        ("probe.start_deadline", |r| r.probe.start_deadline),
    ];
    for (key, of) in times {
        setting(key, time(of(from)), time(of(to)));
    }
    setting("probe.failures", from.probe.failures.to_string(), to.probe.failures.to_string());
    found
}

fn probe_words(kind: &ProbeKind) -> String {
    match kind {
        ProbeKind::None => "none".into(),
        ProbeKind::Tcp(address) => format!("tcp {address}"),
        ProbeKind::Http(url) => text::hide(&format!("http {url}")),
        ProbeKind::Exec(argv) => {
            let program = argv.first().cloned().unwrap_or_default();
            // Arguments may hold what a client logs in with.
            format!("exec {program} with {} arguments", argv.len().saturating_sub(1))
        }
        ProbeKind::Notify => "notify".into(),
        ProbeKind::Zookeeper(address) => format!("srvr {address}"),
        ProbeKind::Broker { internal, external, .. } => format!("metadata on {internal} and {external}"),
        ProbeKind::Mysql { socket, .. } => format!("SELECT 1 on {}", socket.display()),
    }
}

/// The log's settings: a shim gets them with its launch order and keeps them for its life.
fn log(from: &Launched, to: &Launched) -> Vec<Setting> {
    let value = |list: &[(String, String)], key: &str| {
        list.iter().find(|(k, _)| k == key).map_or_else(|| "not on record".to_owned(), |(_, v)| v.clone())
    };
    to.log
        .iter()
        .filter(|(key, new)| value(&from.log, key) != *new)
        .map(|(key, new)| Setting {
            key: key.clone(),
            from: value(&from.log, key),
            to: new.clone(),
            when: When::NextStart,
        })
        .collect()
}

/// Its program is in the store again, or not any more, under the same name: what runs, runs on.
fn program(from: &Recipe, to: &Recipe) -> Option<Setting> {
    let words = |recipe: &Recipe| if recipe.lacks_program() { "not in the store" } else { "in the store" };
    let (old, new) = (words(from), words(to));
    (old != new && from.launch.argv == to.launch.argv).then(|| Setting {
        key: "program".into(),
        from: old.into(),
        to: new.into(),
        when: When::NextStart,
    })
}

/// One-time work that is done already when there is data.
fn first_start(from: &Recipe, to: &Recipe) -> Vec<Setting> {
    let statements = |r: &Recipe| {
        r.prepare.iter().find_map(|step| match step {
            PrepareStep::MysqlInitialize(work) => Some(work.statements.clone()),
            PrepareStep::ClassData(_)
            | PrepareStep::DataVersion(_)
            | PrepareStep::BrokerIdentity(_)
            | PrepareStep::MysqlIdentity { .. }
            | PrepareStep::NoProgram { .. }
            | PrepareStep::AwaitBrokerSessionGone { .. }
            | PrepareStep::AwaitTakeover { .. } => None,
        })
    };
    let (old, new) = (statements(from), statements(to));
    if old == new {
        return Vec::new();
    }
    let words =
        |s: &Option<Vec<String>>| s.as_ref().map_or_else(|| "none".to_owned(), |s| format!("{} statements", s.len()));
    vec![Setting { key: "provisioning".into(), from: words(&old), to: words(&new), when: When::EmptyData }]
}
