//! The incidents of a root, for the verb `incidents` and the lines below `status`.

use crate::{
    base::{
        ByteSize, Layout, NodeName, Timestamp,
        incident::{Incident, VERDICTS},
        printable::printable,
        units::human_duration,
    },
    logs::incident_files::{self, Entry},
    offline::events::local,
    sys::error::SysError,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

/// Which incidents are wanted.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only this one.
    pub id: Option<u64>,
    /// Only of these nodes; empty: all.
    pub nodes: Vec<NodeName>,
    /// Only what is as new as this.
    pub since: Option<Timestamp>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Found {
    /// The incidents, oldest first.
    pub incidents: Vec<Incident>,
    /// What is wrong with files that could not be read, one sentence each.
    pub unreadable: Vec<String>,
}

/// Reads the incidents that are wanted.
pub fn find(layout: &Layout, choice: &Choice) -> Result<Found, SysError> {
    let mut found = Found::default();
    for entry in incident_files::list(&layout.incidents())? {
        let named = choice.nodes.is_empty() || choice.nodes.contains(&entry.node);
        if !named || choice.id.is_some_and(|id| id != entry.id) {
            continue;
        }
        match incident_files::read(&entry.path) {
            Ok(incident) if choice.since.is_none_or(|since| incident.last_at >= since) => {
                found.incidents.push(incident);
            }
            Ok(_) => {}
            // Pushed out of the bound since the listing.
            Err(_) if !entry.path.exists() => {}
            Err(why) => found.unreadable.push(printable(&why, 400)),
        }
    }
    Ok(found)
}

/// The number of the newest incident of each node: from the names of the files alone.
pub fn newest(layout: &Layout) -> BTreeMap<NodeName, u64> {
    let entries = incident_files::list(&layout.incidents()).unwrap_or_default();
    entries.into_iter().map(|e| (e.node, e.id)).collect()
}

/// Follows a root's incidents: what is new or has changed since the last look.
#[derive(Debug, Default)]
pub struct Follower {
    seen: BTreeMap<u64, (u64, Option<SystemTime>)>,
}

impl Follower {
    /// Takes what is there as seen.
    pub fn begin(&mut self, layout: &Layout) -> Result<(), SysError> {
        self.changed(layout).map(|_| ())
    }

    /// What is new or has changed.
    pub fn next(&mut self, layout: &Layout, choice: &Choice) -> Result<Found, SysError> {
        let changed = self.changed(layout)?;
        if changed.is_empty() {
            return Ok(Found::default());
        }
        let mut found = find(layout, choice)?;
        found.incidents.retain(|i| changed.contains(&i.id));
        Ok(found)
    }

    fn changed(&mut self, layout: &Layout) -> Result<BTreeSet<u64>, SysError> {
        let stamp = |e: &Entry| {
            let meta = std::fs::metadata(&e.path).ok()?;
            Some((std::os::unix::fs::MetadataExt::ino(&meta), meta.modified().ok()))
        };
        let now: BTreeMap<_, _> =
            incident_files::list(&layout.incidents())?.iter().filter_map(|e| Some((e.id, stamp(e)?))).collect();
        let changed = now.iter().filter(|(id, s)| self.seen.get(id) != Some(s)).map(|(id, _)| *id).collect();
        self.seen = now;
        Ok(changed)
    }
}

/// `incidents --json`.
#[derive(Debug, Serialize)]
pub struct List {
    /// 1.
    pub schema: u32,
    /// Oldest first.
    pub incidents: Vec<Incident>,
    /// The verdict that needs somebody most; `explained` where there are none.
    pub verdict: String,
}

impl List {
    /// The list of these.
    pub fn of(incidents: Vec<Incident>) -> Self {
        let rank = |i: &Incident| VERDICTS.iter().position(|v| *v == i.verdict).unwrap_or(VERDICTS.len() - 1);
        let worst = incidents.iter().map(rank).max().unwrap_or(0);
        Self { schema: 1, incidents, verdict: VERDICTS[worst].to_owned() }
    }
}

/// A row of the list: one incident, or several in a row of one node that are the same but for numbers.
#[derive(Debug)]
pub struct Row<'a> {
    /// The newest of them.
    pub incident: &'a Incident,
    /// The number of the first, when there are several.
    pub first: Option<&'a Incident>,
    /// How many.
    pub count: usize,
}

/// Folds a list: a crash loop is one row.
pub fn rows(incidents: &[Incident]) -> Vec<Row<'_>> {
    let same = |a: &Incident, b: &Incident| {
        let plain = |i: &Incident| i.summary.split(" after ").next().unwrap_or_default().to_owned();
        a.node == b.node && a.cause == b.cause && a.what == b.what && plain(a) == plain(b)
    };
    let mut rows: Vec<Row<'_>> = Vec::new();
    for incident in incidents {
        match rows.iter_mut().rev().find(|r| r.incident.node == incident.node) {
            // Only without a healthy run in between: a node that came back for good begins a new row.
            Some(row)
                if same(row.incident, incident)
                    && (row.incident.outcome.state == "died-again" || incident.deaths_in_a_row > 1) =>
            {
                row.first = row.first.or(Some(row.incident));
                row.incident = incident;
                row.count += 1;
            }
            Some(_) | None => rows.push(Row { incident, first: None, count: 1 }),
        }
    }
    rows.sort_by_key(|r| r.incident.id);
    rows
}

impl Row<'_> {
    /// Number and node, the sentence, and what became of it: the lines of the list. Nothing in them controls a terminal.
    pub fn lines(&self) -> Vec<String> {
        let i = self.incident;
        let number = match self.first {
            Some(first) => format!("#{}-{}", first.id, i.id),
            None => format!("#{}", i.id),
        };
        let mut lines = vec![format!("{number:<4} {}  {}  {}", local(i.at), i.node, i.summary)];
        if self.count > 1 {
            lines.push(format!("     {} times in a row", self.count));
        }
        if i.times > 1 {
            lines.push(format!("     met {} times, the last at {}", i.times, local(i.last_at)));
        }
        lines.push(format!("     {}; {}", i.did, i.outcome.text));
        if let Some(remedy) = i.remedy.as_ref().filter(|_| i.verdict != "explained") {
            lines.push(format!("     to do: {remedy}"));
        }
        lines.iter().map(|l| printable(l, usize::MAX)).collect()
    }
}

/// The whole story of one incident, for people. Nothing in it controls a terminal.
pub fn story(i: &Incident) -> Vec<String> {
    let mut lines = vec![format!("#{}  {}  {}", i.id, i.node, i.summary)];
    let mut part = |name: &str, text: String| lines.push(format!("  {name:<10}{text}"));
    let when = match i.incarnation {
        Some(n) => format!("{}, start {n}", local(i.at)),
        None => local(i.at),
    };
    part("when", when);
    if i.noted_at.0 > i.at.0.saturating_add(1_000) {
        part("", format!("put on record at {}", local(i.noted_at)));
    }
    if i.times > 1 {
        part("", format!("met {} times, the last at {}", i.times, local(i.last_at)));
    }
    part("cause", format!("{} ({})", i.cause, i.verdict));
    if let Some(exit) = &i.exit {
        part("exit", exit_words(exit));
    }
    if let Some(ran) = i.ran_for_ms {
        let ready = match i.ready {
            Some(true) => "and had been ready",
            Some(false) => "and had never been ready",
            None => "",
        };
        part("ran", format!("{} {ready}", human_ms(ran)).trim_end().to_owned());
    }
    let memory = memory_words(i);
    if !memory.is_empty() {
        part("memory", memory.join(", "));
    }
    if let Some(limit) = &i.memory.limit {
        part("limit", limit_words(limit));
    }
    if i.memory.limit.is_some() && !i.memory.settings.is_empty() {
        part("settings", i.memory.settings.join(" "));
    }
    if i.memory.oom_times > 1 {
        let since = i.memory.oom_first_at.map_or_else(String::new, |at| format!(" since {}", local(at)));
        part("how often", format!("{} out-of-memory kills of {} on record{since}", i.memory.oom_times, i.node));
    }
    part("did", i.did.clone());
    part("outcome", i.outcome.text.clone());
    part("to do", i.remedy.clone().unwrap_or_else(|| "nothing".into()));
    if let Some(known) = &i.evidence.known {
        let told = i.what.as_ref().is_some_and(|what| what.contains(&known.meaning));
        let (cause, line) = ("known", format!("in its log: {}", known.line));
        if told {
            // the summary says what it means, and `to do` what to do about it
            part(cause, line);
        } else {
            part(cause, format!("{}; {}", known.meaning, known.remedy));
            part("", line);
        }
    }
    if !i.evidence.telling.is_empty() {
        lines.push(String::new());
        lines.push("what it told of memory and faults".into());
        lines.extend(i.evidence.telling.iter().map(|l| format!("  | {l}")));
    }
    if !i.evidence.log.is_empty() {
        lines.push(String::new());
        lines.push("its last lines".into());
        lines.extend(i.evidence.log.iter().map(|l| format!("  | {l}")));
    }
    if !i.evidence.around.is_empty() {
        lines.push(String::new());
        lines.push("what else happened then".into());
        for event in &i.evidence.around {
            let node = event.node.as_ref().map_or("-", |n| n.as_str());
            let by = event.by.map_or_else(String::new, |by| format!(" ({by})"));
            lines.push(format!("  {}  {node:<12} {:<17} {}{by}", local(event.at), event.kind, event.text));
        }
    }
    lines.iter().map(|l| printable(l, usize::MAX)).collect()
}

fn exit_words(exit: &crate::base::incident::Exit) -> String {
    let mut words = vec![match (&exit.signal, exit.code) {
        (Some(signal), _) => signal.clone(),
        (None, Some(code)) => format!("code {code}"),
        (None, None) => "not seen".to_owned(),
    }];
    words.extend(exit.pid.map(|pid| format!("pid {pid}")));
    words.extend(exit.cpu_ms.map(|ms| format!("{} of CPU time", human_ms(ms))));
    if !exit.signals_sent.is_empty() {
        words.push(format!("sent by order: {}", exit.signals_sent.join(", ")));
    }
    words.join(", ")
}

fn memory_words(i: &Incident) -> Vec<String> {
    let m = &i.memory;
    let size = |name: &str, bytes: Option<u64>| bytes.map(|b| format!("{name} {}", ByteSize(b)));
    let mut words = Vec::new();
    words.extend(size("cap", m.cap_bytes));
    words.extend(size("in force then", m.cap_in_force_bytes));
    words.extend(size("heap", m.heap_bytes));
    words.extend(size("peak", m.peak_bytes));
    words.extend(size("peak of the main process", i.exit.as_ref().and_then(|e| e.peak_rss_bytes)));
    if let (Some(anon), Some(at)) = (m.anon_bytes, m.seen_at) {
        let part =
            |name: &str, bytes: Option<u64>| bytes.map_or_else(String::new, |b| format!(" + {name} {}", ByteSize(b)));
        let parts = format!("anon {}{}{}", ByteSize(anon), part("file", m.file_bytes), part("kernel", m.kernel_bytes));
        words.push(format!("{parts} {} before", human_ms(u64::try_from(i.at.0.saturating_sub(at.0)).unwrap_or(0))));
    }
    words
}

/// Which limit on memory was met, in words.
fn limit_words(limit: &str) -> String {
    match limit {
        "cap" => "its own cap (memory.max of its cgroup)".to_owned(),
        "group-above" => "a limit on a group above it: of the unit, or of its slice".to_owned(),
        "host" => "none of its own: the whole machine was out of memory".to_owned(),
        "java-heap" => "the Java heap (-Xmx), not the cap: the JVM ended itself".to_owned(),
        "java-metaspace" => "the JVM's room for classes (-XX:MaxMetaspaceSize), not the cap".to_owned(),
        "java-direct" => "the JVM's direct buffers (-XX:MaxDirectMemorySize), not the cap".to_owned(),
        "java-threads" => "threads: the JVM could make no more (tasks_max, or the host's limits)".to_owned(),
        other => other.to_owned(),
    }
}

fn human_ms(ms: u64) -> String {
    human_duration(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{
        EventKind, EventLine,
        incident::{Evidence, Exit, Memory, Outcome},
    };
    use std::fs;

    pub(crate) fn incident(id: u64, node: &str) -> Incident {
        Incident {
            schema: 1,
            id,
            node: NodeName::new(node).unwrap(),
            kind: "command".into(),
            incarnation: Some(id),
            at: Timestamp(1_763_867_279_042),
            noted_at: Timestamp(1_763_867_279_050),
            cause: "crashed".into(),
            summary: format!("crashed (exit 3) after {id}.0 s"),
            what: None,
            exit: Some(Exit {
                code: Some(3),
                signal: None,
                pid: Some(4711),
                started_at: None,
                cpu_ms: Some(20),
                peak_rss_bytes: Some(5 << 20),
                signals_sent: vec![],
            }),
            ran_for_ms: Some(id * 1_000),
            ready: Some(false),
            while_no_daemon: false,
            memory: Memory { cap_bytes: Some(64 << 20), ..Memory::default() },
            evidence: Evidence { log: vec!["last words".into()], ..Evidence::default() },
            deaths_in_a_row: 0,
            did: "restart ordered at once".into(),
            outcome: Outcome::open(),
            remedy: Some("read its log".into()),
            times: 1,
            last_at: Timestamp(1_763_867_279_042),
            verdict: "unexplained".into(),
        }
    }

    #[test]
    fn a_crash_loop_is_one_row_and_a_node_that_came_back_begins_another() {
        let mut all: Vec<Incident> = (1..=5).map(|n| incident(n, "a")).collect();
        for i in &mut all[..3] {
            i.outcome.state = "died-again".into();
        }
        // Without a probe it counts as back at once; the next death says that it was not for long.
        all[3].outcome.state = "back".into();
        let mut fifth = incident(6, "a");
        fifth.deaths_in_a_row = 2;
        all.push(fifth);
        all.insert(2, incident(9, "b"));
        let rows = rows(&all);
        let shape: Vec<(u64, usize)> = rows.iter().map(|r| (r.incident.id, r.count)).collect();
        assert_eq!(shape, [(4, 4), (6, 2), (9, 1)]);
        assert!(rows[0].lines()[0].starts_with("#1-4 "), "{:?}", rows[0].lines());
        assert_eq!(rows[0].lines()[1], "     4 times in a row");
    }

    #[test]
    fn the_story_tells_everything_and_controls_no_terminal() {
        let mut i = incident(7, "a");
        i.evidence.log.push("\u{1b}]0;owned\u{7}\u{1b}[2Jx".into());
        i.summary.push_str("\u{1b}[31m");
        let mib = |n: u64| Some(n << 20);
        i.memory = Memory {
            cap_bytes: mib(64),
            limit: Some("cap".into()),
            settings: vec!["-Xmx64m".into()],
            anon_bytes: mib(60),
            file_bytes: mib(1),
            kernel_bytes: mib(2),
            seen_at: Some(Timestamp(i.at.0 - 1_000)),
            oom_times: 3,
            oom_first_at: Some(i.at),
            cap_in_force_bytes: mib(32),
            ..Memory::default()
        };
        i.evidence.telling = vec!["x ERROR y".into()];
        let by = Some(crate::base::OrderedBy { uid: 1_000, pid: Some(4_242) });
        i.evidence.around = vec![EventLine { by, ..EventLine::new(EventKind::Order, "kill a") }];
        let text = story(&i).join("\n");
        for part in [
            "#7  a  crashed (exit 3)",
            "code 3, pid 4711",
            "never been ready",
            "cap 64M, in force then 32M",
            "| last words",
            "limit     its own cap",
            "settings  -Xmx64m",
            "3 out-of-memory kills of a on record since",
            "anon 60M + file 1M + kernel 2M 1.0 s before",
            "| x ERROR y",
            "kill a (uid 1000, pid 4242)",
            "to do     read its log",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
        assert!(!Row { incident: &i, first: None, count: 1 }.lines().concat().contains('\u{1b}'));
    }

    #[test]
    fn what_a_known_line_means_is_said_once() {
        let mut i = incident(7, "a");
        i.evidence.known = Some(crate::base::incident::KnownLine {
            line: "OS errno 13".into(),
            meaning: "may not use a file".into(),
            remedy: "give it".into(),
        });
        assert!(story(&i).join("\n").contains("known     may not use a file; give it"));
        i.what = Some("may not use a file: \"OS errno 13\"".into());
        let text = story(&i).join("\n");
        assert!(text.contains("known     in its log: OS errno 13") && !text.contains("give it"), "{text}");
    }

    #[test]
    fn torn_files_are_told_and_hide_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert!(find(&layout, &Choice::default()).unwrap().incidents.is_empty());
        for id in 1..=3 {
            incident_files::write(&layout.incidents(), &incident(id, "a")).unwrap();
        }
        let whole = fs::read(layout.incidents().join("000002.a.2.json")).unwrap();
        for cut in 0..whole.len() - 3 {
            fs::write(layout.incidents().join("000002.a.2.json"), &whole[..cut]).unwrap();
            let found = find(&layout, &Choice::default()).unwrap();
            assert_eq!((found.incidents.len(), found.unreadable.len()), (2, 1), "cut at {cut}");
        }
        assert_eq!(newest(&layout)[&NodeName::new("a").unwrap()], 3);
        let list = List::of(find(&layout, &Choice::default()).unwrap().incidents);
        assert_eq!(list.verdict, "unexplained");
        assert_eq!(List::of(vec![]).verdict, "explained");
    }

    #[test]
    fn a_follower_sees_what_is_new_and_what_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let mut follower = Follower::default();
        let choice = Choice::default();
        incident_files::write(&layout.incidents(), &incident(1, "a")).unwrap();
        follower.begin(&layout).unwrap();
        let mut ids =
            || -> Vec<u64> { follower.next(&layout, &choice).unwrap().incidents.iter().map(|i| i.id).collect() };
        assert!(ids().is_empty());
        incident_files::write(&layout.incidents(), &incident(2, "a")).unwrap();
        assert_eq!(ids(), [2]);
        incident_files::write(&layout.incidents(), &incident(1, "a")).unwrap();
        assert_eq!(ids(), [1]);
        assert!(ids().is_empty());
    }
}
