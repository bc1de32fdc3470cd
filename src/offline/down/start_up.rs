//! A broker that still starts is asked to stop only once it has started: without a daemon its log tells.

use super::Stopped;
use crate::{
    base::{Layout, NodeKind, NodeName},
    services,
};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long a start-up may go on without writing a line: the recipes' own start deadline.
const SILENT_AT_MOST: Duration = Duration::from_secs(60);

/// How often its log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How often it is told what is waited for.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// It is told again by then, or the wait is over.
pub(super) const TOLD_AGAIN_WITHIN: Duration = TELL_EVERY.saturating_add(SILENT_AT_MOST);

/// How much of a log's end is read: the lines of a recovery of ten thousand logs.
const TAIL: u64 = 8 << 20;

/// Waits until the node's start-up is over, or has been silent for too long. Returns at once for what can be asked anytime.
pub(super) fn await_end(layout: &Layout, node: &NodeName, told: &(dyn Fn(&Stopped) + Sync)) {
    let Some(id) = node.as_str().strip_prefix("broker-").and_then(|id| id.parse().ok()) else { return };
    await_end_of(NodeKind::Broker(id), &layout.log(node), SILENT_AT_MOST, &|text| {
        told(&Stopped { node: node.clone(), text });
    });
}

fn await_end_of(kind: NodeKind, log: &Path, silent_at_most: Duration, tell: &dyn Fn(String)) {
    // Not a length: the first look always counts.
    let mut length: Option<Option<u64>> = None;
    let mut moved = Instant::now();
    let mut said: Option<Instant> = None;
    while moved.elapsed() < silent_at_most {
        let now = std::fs::metadata(log).map(|m| m.len()).ok();
        if length != Some(now) {
            (length, moved) = (Some(now), Instant::now());
            let text = tail(log);
            if !services::is_starting(kind, &text) {
                return;
            }
            if said.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                said = Some(Instant::now());
                let mark = services::progress(kind, &text).unwrap_or_else(|| "no sign of progress yet".into());
                tell(format!("still starts ({mark}); it is asked to stop once it has started, `down --now` kills it"));
            }
        }
        thread::sleep(LOOK);
    }
}

fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // Without its log nothing is known of a start: it is asked as anything else.
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, sync::Mutex};

    const STARTING: &str = "2026-11-23T04:11:27.475Z INFO starting (kafka.server.KafkaServer)\n";

    #[test]
    fn a_starting_broker_is_waited_for_and_told_about() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("current");
        std::fs::write(&log, STARTING).unwrap();
        let said = Mutex::new(Vec::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                while said.lock().unwrap().is_empty() {
                    thread::sleep(Duration::from_millis(5));
                }
                let mut file = File::options().append(true).open(&log).unwrap();
                writeln!(file, "2026-11-23T04:11:29.475Z INFO [KafkaServer id=1] started (kafka.server.KafkaServer)")
                    .unwrap();
            });
            await_end_of(NodeKind::Broker(1), &log, SILENT_AT_MOST, &|text| said.lock().unwrap().push(text));
        });
        assert!(said.lock().unwrap()[0].starts_with("still starts"), "{said:?}");
    }

    #[test]
    fn a_silent_start_ends_the_wait_and_everything_else_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("current");
        std::fs::write(&log, STARTING).unwrap();
        await_end_of(NodeKind::Broker(1), &log, Duration::from_millis(1), &|_| {});
        await_end_of(NodeKind::Mysql, &log, SILENT_AT_MOST, &|text| panic!("{text}"));
        await_end_of(NodeKind::Broker(1), &dir.path().join("none"), SILENT_AT_MOST, &|text| panic!("{text}"));
    }
}
