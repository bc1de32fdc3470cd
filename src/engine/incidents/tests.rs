//! Which ends are put on record, once each, and what is told of them later.

use super::*;
use crate::base::{ByteSize, NodeKind, incident::Evidence, outcome::OomBy};
use crate::engine::snapshot::WaitsFor;
use std::fs;

struct Bench {
    _dir: tempfile::TempDir,
    layout: Layout,
    journal: Journal,
    incidents: Incidents,
    last: Snapshot,
    now: i64,
}

fn name() -> NodeName {
    NodeName::broker(2)
}

fn node(state: &'static str, incarnation: u64) -> NodeSnapshot {
    NodeSnapshot::sample(name(), NodeKind::Broker(2), state, incarnation)
}

fn failed(incarnation: u64, what: &str) -> NodeSnapshot {
    let failure = Failure { cause: Cause::PortTaken, what: what.into(), remedy: "free it".into() };
    NodeSnapshot { failure: Some(failure), ..node("failed", incarnation) }
}

fn record(incarnation: u64, status: ExitStatus) -> ExitRecord {
    ExitRecord {
        incarnation: Incarnation(incarnation),
        pid: 4711,
        status,
        started_at: Timestamp(1_000),
        ended_at: Timestamp(5_000),
        cpu_ms: 30,
        peak_rss_bytes: 1 << 20,
        cgroup_peak_bytes: Some(768 << 20),
        oom_kills: Some(0),
        oom_by: None,
        cgroup_cap_bytes: None,
        signals_sent: vec![],
    }
}

fn obituary(incarnation: u64, cause: Cause) -> Obituary {
    Obituary {
        record: Some(record(incarnation, ExitStatus::Signal(9))),
        ready: Some(true),
        ..Obituary::new(Incarnation(incarnation), cause, Timestamp(5_000))
    }
}

fn recipe() -> Recipe {
    let mut recipe = crate::services::of_a_command();
    recipe.node = name();
    recipe.kind = NodeKind::Broker(2);
    recipe.launch.memory_max = Some(ByteSize::mib(768));
    recipe.launch.heap = Some(ByteSize::mib(384));
    recipe
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.secrets()).unwrap();
        let (journal, incidents) = (Journal::start(&layout), Incidents::open(&layout));
        Self { _dir: dir, layout, journal, incidents, last: Snapshot::default(), now: 6_000 }
    }

    fn turn(&mut self, node: NodeSnapshot, obituaries: Vec<Obituary>) {
        let next = Snapshot { nodes: vec![node.into()], ending: false };
        let ended = BTreeMap::from([(name(), obituaries)]);
        self.now += 1_000;
        let recipe = |_: &NodeName| Some(Arc::new(recipe()));
        self.incidents.turn(&self.last, &next, ended, recipe, Timestamp(self.now), &self.journal);
        self.last = next;
    }

    /// As the next daemon finds it.
    fn next_daemon(&mut self) {
        self.journal.flush();
        self.incidents = Incidents::open(&self.layout);
        self.last = Snapshot::default();
    }

    fn all(&self) -> Vec<Incident> {
        self.journal.flush();
        let entries = incident_files::list(&self.layout.incidents()).unwrap();
        entries.iter().map(|e| incident_files::read(&e.path).unwrap()).collect()
    }
}

#[test]
fn a_restart_that_waits_for_an_old_session_is_told_as_one() {
    let mut bench = Bench::new();
    bench.turn(node("ready", 1), vec![]);
    bench.turn(node("preparing", 1), vec![obituary(1, Cause::KilledByOther)]);
    assert_eq!(bench.all()[0].did, "restart ordered at once");
    for seconds in [9, 8] {
        let detail = format!("waits: old session 0x1 of broker 2 expires in up to {seconds} s");
        let waits = NodeSnapshot { waits_for: Some(WaitsFor::OldSession), detail, ..node("waiting", 1) };
        bench.turn(waits, vec![]);
    }
    bench.turn(node("ready", 2), vec![]);
    let incident = bench.all().remove(0);
    assert_eq!(incident.did, "restart ordered; waits: old session 0x1 of broker 2 expires in up to 9 s");
    assert_eq!(incident.outcome.state, "back");
}

#[test]
fn every_end_but_an_ordered_clean_one_counts_once() {
    for cause in Cause::ALL {
        for (state, wanted, counted) in [
            ("preparing", Wanted::Up, cause != Cause::Stopped),
            ("down", Wanted::Down, !matches!(cause, Cause::Stopped | Cause::KilledByOrder | Cause::Completed)),
            ("down", Wanted::Up, !matches!(cause, Cause::Stopped | Cause::KilledByOrder | Cause::Completed)),
        ] {
            let mut bench = Bench::new();
            bench.turn(node("ready", 1), vec![]);
            let after = NodeSnapshot { wanted, ..node(state, 1) };
            bench.turn(after.clone(), vec![obituary(1, cause)]);
            bench.turn(after, vec![obituary(1, cause)]);
            assert_eq!(bench.all().len(), usize::from(counted), "{cause} {state} {wanted:?}");
        }
    }
}

#[test]
fn a_death_is_told_from_its_cause_to_its_end_also_by_the_next_daemon() {
    let mut bench = Bench::new();
    fs::write(bench.layout.secret("debezium"), "S3cr3t-of-ours\n").unwrap();
    bench.turn(node("ready", 3), vec![]);
    let tail = (0..100).map(|n| format!("line {n} S3cr3t-of-ours\n")).collect();
    let killed = Obituary { words: LastWords::of_a_start(tail), ..obituary(3, Cause::OutOfMemory) };
    bench.turn(node("preparing", 3), vec![killed]);
    let open = &bench.all()[0];
    assert_eq!((open.id, open.outcome.state.as_str(), open.verdict.as_str()), (1, "open", "act"));
    assert_eq!(open.remedy.as_deref(), Some("heap 384M, peak 768M: set kafka.brokers.2.memory_max = \"896M\""));
    assert_eq!(open.summary, "killed by the kernel at its memory cap after 4.0 s");
    let Evidence { log, .. } = &open.evidence;
    assert_eq!((log.len(), log.last().unwrap().as_str()), (30, "line 99 ***"));
    bench.next_daemon();
    let back = NodeSnapshot { started_at: Some(Timestamp(5_400)), adopted: true, ..node("starting", 4) };
    bench.turn(back.clone(), vec![]);
    bench.turn(NodeSnapshot { ready_since: Some(Timestamp(7_400)), state: "ready", serves: true, ..back }, vec![]);
    let all = bench.all();
    assert_eq!(all.len(), 1);
    let outcome = &all[0].outcome;
    assert_eq!(
        (outcome.state.as_str(), outcome.back_after_ms, outcome.ready_after_ms, outcome.incarnation),
        ("back", Some(400), Some(2_400), Some(4))
    );
    assert_eq!(outcome.text, "back after 0.4 s, ready after 2.4 s");
    bench.next_daemon();
    bench.turn(node("starting", 5), vec![obituary(3, Cause::OutOfMemory)]);
    assert_eq!(bench.all().len(), 1, "the same death again is none");
    bench.turn(node("preparing", 5), vec![obituary(5, Cause::Crashed)]);
    assert_eq!(bench.all()[1].id, 2, "numbers go on");
}

#[test]
fn advice_goes_by_the_cap_that_was_met_and_by_how_often_that_one_was() {
    let mut bench = Bench::new();
    bench.turn(node("ready", 1), vec![]);
    for (start, in_force) in [(1, 256), (2, 256), (3, 256), (4, 768), (5, 768), (6, 768)] {
        let mut killed = obituary(start, Cause::OutOfMemory);
        let record = killed.record.as_mut().unwrap();
        (record.oom_by, record.cgroup_cap_bytes) = (Some(OomBy::Cap), Some(in_force << 20));
        bench.turn(node("preparing", start), vec![killed]);
        bench.turn(node("starting", start + 1), vec![]);
    }
    let all = bench.all();
    let of = |n: usize| {
        let Incident { memory, verdict, remedy, .. } = &all[n];
        (
            memory.cap_in_force_bytes,
            memory.oom_times,
            verdict.as_str(),
            remedy.as_deref().unwrap_or_default().to_owned(),
        )
    };
    let (in_force, times, verdict, remedy) = of(2);
    assert_eq!((in_force, times, verdict), (Some(256 << 20), 3, "explained"));
    assert!(remedy.starts_with("its memory.max was 256M then, not 768M"), "{remedy}");
    let first = "heap 384M, peak 768M: set kafka.brokers.2.memory_max = \"896M\"".to_owned();
    assert_eq!(of(3), (None, 4, "act", first));
    assert!(of(5).3.ends_with("\"1088M\""), "the third time at this cap by two steps: {}", of(5).3);
}

#[test]
fn a_system_call_that_a_filter_forbids_is_told_as_that() {
    let mut bench = Bench::new();
    bench.turn(node("ready", 1), vec![]);
    let record = Some(record(1, ExitStatus::Signal(31)));
    bench.turn(node("preparing", 1), vec![Obituary { record, ..obituary(1, Cause::Crashed) }]);
    let incident = bench.all().remove(0);
    assert_eq!(incident.what.as_deref(), Some("it asked for a system call that a filter forbids"));
    assert!(incident.remedy.is_some_and(|r| r.contains("SystemCallFilter=")));
}

#[test]
fn a_node_that_dies_again_before_it_serves_links_the_two() {
    let mut bench = Bench::new();
    bench.turn(node("ready", 1), vec![]);
    bench.turn(node("preparing", 1), vec![obituary(1, Cause::Crashed)]);
    bench.turn(node("starting", 2), vec![]);
    bench.turn(node("preparing", 2), vec![obituary(2, Cause::Crashed)]);
    let all = bench.all();
    assert_eq!((all[0].outcome.state.as_str(), all[0].outcome.next), ("died-again", Some(2)));
    assert_eq!(all[1].outcome.state, "open");
}

#[test]
fn a_refused_start_is_one_incident_however_often_it_is_tried_and_under_however_many_daemons() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.turn(node("preparing", 0), vec![]);
        bench.turn(failed(0, "port 9092 is taken"), vec![]);
    }
    bench.next_daemon();
    bench.turn(node("preparing", 0), vec![]);
    bench.turn(failed(0, "port 9092 is taken"), vec![]);
    let all = bench.all();
    assert_eq!((all.len(), all[0].times, all[0].incarnation), (1, 4, None));
    assert_eq!((all[0].outcome.state.as_str(), all[0].verdict.as_str()), ("failed", "act"));
    assert_eq!(all[0].outcome.text, "it stays down until `cdc-supervisor start broker-2`", "why is said once");
    bench.turn(node("preparing", 0), vec![]);
    bench.turn(NodeSnapshot { lacks_program: true, ..failed(0, "kafka is not in the store") }, vec![]);
    assert_eq!(bench.all().len(), 2, "another reason is another incident");
    assert_eq!(bench.all()[1].outcome.text, "it starts by itself when its program is there");
    bench.turn(node("starting", 1), vec![]);
    bench.turn(node("ready", 1), vec![]);
    assert_eq!(bench.all()[1].outcome.state, "back");
}

#[test]
fn a_start_refused_for_the_same_reason_after_the_node_was_back_is_a_new_incident_also_for_the_next_daemon() {
    for new_daemon in [false, true] {
        let mut bench = Bench::new();
        bench.turn(node("preparing", 0), vec![]);
        bench.turn(failed(0, "port 9092 is taken"), vec![]);
        bench.turn(node("ready", 1), vec![]);
        bench.turn(NodeSnapshot { wanted: Wanted::Down, ..node("down", 1) }, vec![]);
        if new_daemon {
            bench.next_daemon();
        }
        bench.turn(node("preparing", 1), vec![]);
        bench.turn(failed(1, "port 9092 is taken"), vec![]);
        let all = bench.all();
        let states: Vec<_> = all.iter().map(|i| (i.outcome.state.as_str(), i.times)).collect();
        assert_eq!(states, [("back", 1), ("failed", 1)], "new daemon: {new_daemon}");
    }
}

#[test]
fn a_damaged_record_hides_nothing_and_its_number_is_not_used_again() {
    let mut bench = Bench::new();
    bench.turn(node("preparing", 1), vec![obituary(1, Cause::Crashed)]);
    let path = incident_files::list(&bench.layout.incidents()).unwrap();
    bench.journal.flush();
    let path = path.first().map_or_else(
        || bench.layout.incidents().join(incident_files::file_name(1, &name(), Some(1))),
        |e| e.path.clone(),
    );
    fs::write(&path, "{\"schema\":").unwrap();
    bench.next_daemon();
    bench.turn(node("starting", 2), vec![obituary(1, Cause::Crashed)]);
    bench.turn(node("preparing", 2), vec![obituary(2, Cause::Crashed)]);
    bench.journal.flush();
    let entries = incident_files::list(&bench.layout.incidents()).unwrap();
    assert_eq!(entries.iter().map(|e| e.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(fs::read_to_string(path).unwrap(), "{\"schema\":", "what is there stays for a look");
}

#[test]
fn a_remedy_that_names_many_directories_is_whole() {
    let remedy = format!("empty {} together", "/a/directory/with/a/long/name, ".repeat(60));
    assert_eq!(super::story::clean(&remedy), remedy);
}

#[test]
fn a_record_cut_short_at_any_byte_costs_neither_its_number_nor_what_is_known_of_its_start() {
    let mut bench = Bench::new();
    bench.turn(node("ready", 1), vec![]);
    bench.turn(node("preparing", 1), vec![obituary(1, Cause::KilledByOther)]);
    bench.turn(node("ready", 2), vec![]);
    assert_eq!(bench.all().len(), 1);
    let path = incident_files::list(&bench.layout.incidents()).unwrap().remove(0).path;
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() - 1 {
        fs::write(&path, &whole[..cut]).unwrap();
        let opened = Incidents::open(&bench.layout);
        assert_eq!((opened.next, opened.newest(&name()), opened.open.len()), (2, Incarnation(1), 0), "at {cut}");
    }
}

#[test]
fn what_became_of_an_incident_is_written_when_the_journal_has_room_again() {
    let mut bench = Bench::new();
    let (journal, take) = Journal::unread();
    bench.journal = journal;
    bench.turn(node("preparing", 1), vec![obituary(1, Cause::KilledByOther)]);
    assert_eq!(take(), 1, "the incident");
    let did = || Change::Did { id: 1, node: name(), did: "x".into() };
    while bench.journal.change(did()).is_none() {}
    let ready = NodeSnapshot { serves: true, ready_since: Some(Timestamp(9_000)), ..node("ready", 2) };
    bench.turn(ready.clone(), vec![]);
    assert!(bench.incidents.open.is_empty());
    assert!(take() >= 128);
    bench.turn(ready, vec![]);
    assert_eq!(take(), 1, "its outcome");
}
