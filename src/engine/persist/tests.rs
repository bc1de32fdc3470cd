//! State files of older, newer and torn kinds.

use super::*;
use crate::{
    base::{Cause, ExitStatus, Launched, Timestamp, incident::Incident},
    engine::{identity::Identities, journal::Journal},
    logs::incident_files,
    services::identity::Record,
};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A root whose node `mysql` has this state file.
fn with(text: &str) -> (tempfile::TempDir, Layout, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    std::fs::create_dir_all(layout.node_states()).unwrap();
    let path = layout.node_state(&NodeName::mysql());
    std::fs::write(&path, text).unwrap();
    (dir, layout, path)
}

#[test]
fn state_files_of_version_1_are_read_as_they_were_meant() {
    let (_dir, layout, _) = with(&golden("nodes/ran.json"));
    let OnRecord { state, trouble: warning, .. } = read(&layout, &NodeName::mysql());
    assert_eq!(warning, None);
    assert_eq!((state.wanted_up, state.incarnation, state.restarts), (true, Incarnation(7), 2));
    assert_eq!(state.process.as_ref().unwrap().pid, 4711);
    let last = state.last_exit.clone().unwrap();
    assert_eq!(
        (last.incarnation, last.status, last.cause),
        (Incarnation(6), ExitStatus::Signal(9), Cause::KilledByOther)
    );
    // A later key of the same version.
    let (_dir, layout, _) = with(&golden("../v1b/ran.json"));
    let later = read(&layout, &NodeName::mysql()).state;
    assert_eq!(later.log_start.map(|mark| (mark.inode, mark.length)), Some((4242, 65_536)));
    assert_eq!(NodeState { log_start: None, ..later }, state);
    let (_dir, layout, _) = with(&golden("nodes/never-ran.json"));
    assert_eq!(read(&layout, &NodeName::mysql()), OnRecord::nothing());
    assert!(newer_state(&layout).is_empty());
}

/// What an older program looks for is there with the same meaning, whatever else is.
fn holds(now: &Value, older: &Value) -> bool {
    match (now, older) {
        (Value::Object(now), Value::Object(older)) => {
            older.iter().all(|(key, value)| now.get(key).is_some_and(|now| holds(now, value)))
        }
        (Value::Array(now), Value::Array(older)) => {
            now.len() == older.len() && now.iter().zip(older).all(|(now, older)| holds(now, older))
        }
        _ => now == older,
    }
}

/// One that writes what it has read of a golden file writes all of it, for a program that may be put back.
fn comes_back<T: serde::Serialize>(read: &T, golden: &str) {
    let (now, older) = (serde_json::to_value(read).unwrap(), serde_json::from_str(golden).unwrap());
    assert!(holds(&now, &older), "{now:#}\nlacks something of\n{golden}");
}

/// A node that runs is restarted by a reload when this says something else than what it was launched with.
#[test]
fn a_launch_record_of_version_1_is_read_and_has_the_digest_it_had() {
    let text = golden("launched.json");
    let (_dir, layout, _) = with("");
    std::fs::create_dir_all(layout.node_run(&NodeName::mysql())).unwrap();
    std::fs::write(layout.launched(&NodeName::mysql()), &text).unwrap();
    let launched: Launched = read_launched(&layout, &NodeName::mysql()).unwrap();
    let file = &launched.files[0];
    assert_eq!((file.path.to_str().unwrap(), file.mode), ("/srv/cdc/nodes/mysql/conf/my.cnf", 0o640));
    assert_eq!((file.meaning().count(), launched.argv.len(), launched.env.len()), (7, 6, 2));
    assert_eq!((launched.nofile, launched.oom_score_adj, launched.notify), (10_000, -800, true));
    assert_eq!(launched.log, [("log.max_bytes".into(), "32M".into()), ("log.keep".into(), "8".into())]);
    assert_eq!(launched.digest(), "a0f01fafd7de22530851bf8f3d0c6aefc7361d1904f415a88e514703a0286c0a");
    comes_back(&launched, &text);
    write_launched(&layout, &NodeName::mysql(), &launched).unwrap();
    assert_eq!(read_launched(&layout, &NodeName::mysql()), Some(launched));
}

#[test]
fn incidents_of_version_1_are_read_and_written_with_all_that_they_said() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/incidents");
    let entries = incident_files::list(&dir).unwrap();
    let read = |at: usize| -> Incident { incident_files::read(&entries[at].path).unwrap() };
    assert_eq!(entries.len(), 2);
    let (ran, refused) = (read(0), read(1));
    assert_eq!((ran.id, ran.incarnation, ran.cause.as_str()), (1, Some(1), "killed-by-other"));
    assert_eq!(ran.exit.as_ref().unwrap().signal.as_deref(), Some("SIGKILL"));
    assert_eq!((ran.evidence.log.len(), ran.evidence.around.len(), ran.outcome.state.as_str()), (3, 3, "back"));
    assert_eq!((refused.id, refused.incarnation, refused.cause.as_str()), (3, None, "newer-data"));
    for (incident, entry) in [ran, refused].iter().zip(&entries) {
        comes_back(incident, &std::fs::read_to_string(&entry.path).unwrap());
    }
}

/// The first lines are of a time when an event had no `reason`.
#[test]
fn an_event_log_of_version_1_is_read_and_gone_on_with() {
    let (_dir, layout, _) = with("");
    std::fs::write(layout.events(), golden("events.jsonl")).unwrap();
    let journal = Journal::start(&layout);
    journal.flush();
    let events = journal.since(Timestamp(0));
    let lines = golden("events.jsonl");
    assert_eq!(events.len(), lines.lines().count());
    for (event, line) in events.iter().zip(lines.lines()) {
        comes_back(event, line);
    }
    assert_eq!(events[2].by.unwrap().pid, Some(28_336));
    assert_eq!((events[4].reason.as_deref(), events[1].took_ms), (Some("by-hand"), Some(2_123)));
    assert_eq!(events[3].cause.as_deref(), Some("killed-by-other"));
}

#[test]
fn a_record_of_whose_data_it_is_of_version_1_is_remembered() {
    let (_dir, layout, _) = with("");
    let read = |name: &str| {
        std::fs::write(layout.identity(), golden(name)).unwrap();
        Identities::open(&layout, Journal::start(&layout)).now()
    };
    // A later key of the same version.
    let later = read("../v1b/identity.json");
    let reached = later.zookeeper.unwrap();
    assert_eq!((reached.most.controller_epoch, reached.most.producer_ids), (Some(7), Some(3999)));
    assert_eq!(reached.seen, Timestamp(1_763_867_279_042));
    comes_back(
        &reached,
        &serde_json::from_str::<Value>(&golden("../v1b/identity.json")).unwrap()["zookeeper"].to_string(),
    );
    let record = read("identity.json");
    assert_eq!(Record { zookeeper: None, machine: record.machine.clone(), ..later }, record);
    assert_eq!(record.cluster.as_deref(), Some("XP-MI9SiSYml01ycTIH6WQ"));
    assert_eq!(record.brokers[&3].to_str(), Some("/srv/cdc/nodes/broker-3/data"));
    assert_eq!(record.mysql.as_ref().unwrap().server_uuid, "20248361-e968-11f1-9065-0b2dbf39ddaa");
    let machine = serde_json::from_str::<Value>(&golden("identity.json")).unwrap()["machine"].clone();
    let as_written = Record { machine: serde_json::from_value(machine).unwrap(), ..record };
    comes_back(&as_written, &golden("identity.json"));
}

#[test]
fn a_state_file_torn_at_any_byte_is_put_aside_and_never_stops_a_start() {
    let whole = golden("nodes/ran.json");
    for at in 1..whole.trim_end().len() {
        let (_dir, layout, path) = with(&whole[..at]);
        let OnRecord { state, trouble, wish_lost } = read(&layout, &NodeName::mysql());
        assert_eq!((state, wish_lost), (NodeState::default(), true), "torn at {at}");
        assert!(trouble.unwrap().contains("json.bad"), "torn at {at}");
        assert!(!path.exists() && path.with_extension("json.bad").exists());
        // a torn file is no matter of versions, so it keeps nobody from a hand-over
        assert!(newer_state(&layout).is_empty());
    }
}

#[test]
fn a_record_of_a_start_that_is_torn_at_any_byte_is_none() {
    let (_dir, layout, _) = with("{}");
    let node = NodeName::mysql();
    std::fs::create_dir_all(layout.node_run(&node)).unwrap();
    let launched = Launched {
        files: Vec::new(),
        argv: vec!["/bin/a".into()],
        env: vec![("A".into(), "1".into())],
        dir: "/r".into(),
        user: None,
        nofile: 1024,
        oom_score_adj: 0,
        notify: false,
        log: Vec::new(),
    };
    write_launched(&layout, &node, &launched).unwrap();
    assert_eq!(read_launched(&layout, &node), Some(launched));
    let whole = std::fs::read(layout.launched(&node)).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(layout.launched(&node), &whole[..cut]).unwrap();
        assert_eq!(read_launched(&layout, &node), None, "cut at {cut}");
    }
}

#[test]
fn an_empty_state_file_is_what_a_loss_of_power_leaves_and_no_trouble() {
    let (_dir, layout, path) = with("");
    assert_eq!(read(&layout, &NodeName::mysql()), OnRecord::lost(None));
    assert!(path.exists() && newer_state(&layout).is_empty());
}

#[test]
fn a_newer_state_file_is_used_as_far_as_it_is_known_and_kept() {
    let newer = golden("nodes/ran.json").replace("\"schema\": 1", "\"schema\": 2, \"weather\": \"fine\"");
    let (_dir, layout, path) = with(&newer);
    assert_eq!(newer_state(&layout).len(), 1);
    let OnRecord { state, trouble: warning, .. } = read(&layout, &NodeName::mysql());
    assert_eq!((state.schema, state.incarnation), (SCHEMA, Incarnation(7)), "no incarnation is used twice");
    let warning = warning.unwrap();
    assert!(warning.contains("schema 2") && warning.contains("json.schema-2"), "{warning}");
    assert_eq!(std::fs::read_to_string(path.with_extension("json.schema-2")).unwrap(), newer);
    // one that means something else by its keys
    let (_dir, layout, path) = with("{\"schema\": 3, \"incarnation\": {\"major\": 7}}");
    let OnRecord { state, trouble: warning, .. } = read(&layout, &NodeName::mysql());
    assert_eq!(state, NodeState::default());
    assert!(warning.unwrap().contains("json.schema-3"));
    assert!(path.with_extension("json.schema-3").exists());
}

#[test]
fn every_state_file_of_a_later_version_is_told_as_that_but_the_session() {
    let (_dir, layout, _) = with(&golden("nodes/ran.json"));
    for name in ["identity", "operation", "unrolled", "topics", "dynamic-broker-2", "exchange"] {
        let path = layout.state().join(format!("{name}.json"));
        for (schema, count) in [(1, 0), (2, 1)] {
            std::fs::write(&path, format!("{{\"schema\": {schema}}}")).unwrap();
            let newer = newer_state(&layout);
            assert_eq!(newer.len(), count, "{name}: {newer:?}");
            assert!(newer.iter().all(|words| words.contains(name)), "{newer:?}");
        }
        std::fs::remove_file(path).unwrap();
    }
    std::fs::write(layout.session(), "{\"schema\": 9}").unwrap();
    assert!(newer_state(&layout).is_empty(), "it says the same in more words");
}

#[test]
fn an_exit_record_of_a_later_version_is_told_as_that() {
    let (_dir, layout, _) = with(&golden("nodes/ran.json"));
    let record = layout.exit_record(&NodeName::mysql(), Incarnation(7));
    std::fs::create_dir_all(record.parent().unwrap()).unwrap();
    for (text, count) in [
        (golden("exit-record.ran"), 0),
        (golden("exit-record.never-ran"), 0),
        (golden("exit-record.ran").replace("cdc-exit 1", "cdc-exit 2"), 1),
        ("cdc-exit".to_owned(), 0),
    ] {
        std::fs::write(&record, &text).unwrap();
        assert_eq!(newer_state(&layout).len(), count, "{text}");
    }
}

#[tokio::test]
async fn a_flush_ends_when_everything_before_it_is_in_its_file() {
    let (_dir, layout, path) = with("");
    let mut writer = Writer::start(layout.clone());
    for restarts in 1..=50 {
        writer.save(&NodeName::mysql(), NodeState { restarts, ..NodeState::default() });
    }
    writer.flush().await;
    let state: NodeState = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(state.restarts, 50);
    writer.finish();
}

#[test]
fn of_a_burst_the_last_state_of_every_node_is_on_disk_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    fs::make_dir(&layout.node_states(), 0o755).unwrap();
    let names: Vec<NodeName> = (0..20).map(|n| NodeName::new(format!("n{n}")).unwrap()).collect();
    let mut writer = Writer::start(layout.clone());
    for restarts in 0..50 {
        for name in &names {
            writer.save(name, NodeState { restarts, ..NodeState::default() });
        }
    }
    writer.finish();
    for name in &names {
        let OnRecord { state, trouble: warning, .. } = read(&layout, name);
        assert_eq!((state.restarts, warning), (49, None), "{name}");
    }
}

#[test]
fn a_state_is_written_without_another_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    fs::make_dir(&layout.node_states(), 0o755).unwrap();
    let node = NodeName::mysql();
    let mut writer = Writer::start(layout.clone());
    for incarnation in 1..4 {
        writer.save(&node, NodeState { incarnation: Incarnation(incarnation), ..NodeState::default() });
        let began = std::time::Instant::now();
        while read(&layout, &node).state.incarnation != Incarnation(incarnation) {
            assert!(began.elapsed() < Duration::from_secs(20), "start {incarnation} was never written");
            thread::sleep(Duration::from_millis(1));
        }
    }
    writer.finish();
}

#[test]
fn a_state_that_the_disk_does_not_take_is_written_when_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let node = NodeName::mysql();
    let mut writer = Writer::start(layout.clone());
    for incarnation in 1..=2 {
        writer.save(&node, NodeState { incarnation: Incarnation(incarnation), ..NodeState::default() });
    }
    assert!(!layout.node_state(&node).exists(), "there is no directory for it");
    std::fs::create_dir_all(layout.node_states()).unwrap();
    let began = Instant::now();
    while !layout.node_state(&node).exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "it was never written");
        thread::sleep(Duration::from_millis(10));
    }
    writer.finish();
    assert_eq!(read(&layout, &node).state.incarnation, Incarnation(2), "the newest");
}

#[test]
fn what_is_promised_is_on_record_before_it_is_said() {
    let (_dir, layout, path) = with("");
    let mut writer = Writer::start(layout);
    let node = NodeName::mysql();
    let state = |starts: u64| NodeState { incarnation: Incarnation(starts), ..NodeState::default() };
    let (said, heard) = mpsc::channel();
    // The first is written at once; those that follow within 20 ms are gathered.
    for starts in 1..=20 {
        writer.save(&node, state(starts));
        let (said, path) = (said.clone(), path.clone());
        writer.when_tried(move |left| drop(said.send((left, std::fs::read_to_string(path).unwrap()))));
        let (left, text) = heard.recv().unwrap();
        assert_eq!(left, 0);
        assert_eq!(serde_json::from_str::<NodeState>(&text).unwrap().incarnation, Incarnation(starts));
    }
    writer.finish();
}

#[test]
fn what_is_due_when_the_end_begins_is_done_before_a_state_of_that_end_is_written() {
    let (_dir, layout, path) = with("");
    let node = NodeName::mysql();
    let mut writer = Writer::start(layout);
    let wanted = |up: bool| NodeState { wanted_up: up, ..NodeState::default() };
    let (sender, seen) = mpsc::channel();
    writer.at_end(Box::new(move || {
        let state: NodeState = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        sender.send(state.wanted_up).unwrap();
        Ok(())
    }));
    writer.save(&node, wanted(true));
    let (tried, was) = mpsc::channel();
    writer.when_tried(move |left| tried.send(left).unwrap());
    assert_eq!(was.recv().unwrap(), 0);
    writer.ending();
    writer.save(&node, wanted(false));
    writer.ending();
    writer.finish();
    assert_eq!(seen.iter().collect::<Vec<_>>(), [true], "once, and while it was wanted up");
}
