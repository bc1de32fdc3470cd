//! The record of operations: at most one of those that must not meet runs under a root, and the next daemon knows of one that was
//! cut short.
//!
//! One daemon runs per root, so a lock in its memory keeps operations apart. The file is for the daemon after it: what was
//! being done, how far it was, and what has to be undone.
//!
//! Past 500 lines: a quarter of it are its tests, which share how a record is planted and read.

use crate::{
    base::{EventKind, EventLine, Layout, NodeName, OrderedBy, Timestamp},
    engine::Journal,
    sys::{clock, error::SysError, failpoint::fail_point, fs},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long an order waits for a change of topics: one ends when its controller has not answered within 15 s (`topics::keep`), and looks at
/// what came of it for another 5.
const TOPICS_WITHIN: Duration = Duration::from_secs(20);

/// Pause between looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What must not meet another of its kind, or any other here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Another configuration is applied. Leaves no record: `state/reload.toml` says what it applies.
    Reload,
    /// Brokers are restarted one by one.
    Roll,
    /// Something is broken on purpose.
    Drill,
    /// The stores are copied.
    Snapshot,
    /// The stores are replaced.
    Restore,
    /// Stores are deleted.
    Reset,
    /// Topics are made, changed or deleted. Leaves no record: what is due is found by a look.
    Topics,
}

impl Kind {
    /// Those that work on the data of nodes that are down for it.
    const DOWN: [Kind; 3] = [Kind::Snapshot, Kind::Restore, Kind::Reset];
    /// Those that start again what they have had down.
    const STARTING: [Kind; 4] = [Kind::Snapshot, Kind::Restore, Kind::Reset, Kind::Drill];

    /// The word in the record, and in sentences ("a roll is under way").
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Reload => "reload",
            Kind::Roll => "roll",
            Kind::Drill => "drill",
            Kind::Snapshot => "snapshot",
            Kind::Restore => "restore",
            Kind::Reset => "reset",
            Kind::Topics => "change of topics",
        }
    }

    /// Whether the next daemon has to know of one that was cut short, and events tell of it.
    fn is_recorded(self) -> bool {
        match self {
            // they have events and files of their own
            Kind::Reload | Kind::Topics => false,
            Kind::Roll | Kind::Drill | Kind::Snapshot | Kind::Restore | Kind::Reset => true,
        }
    }
}

/// `state/operation.json`: there while one runs. Keys are added, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// 1; a newer one says the same with more words.
    #[serde(default = "first")]
    pub schema: u32,
    /// A word of [`Kind`], or a later version's.
    pub kind: String,
    /// Which one: the drill's name, the brokers to be restarted.
    #[serde(default)]
    pub detail: String,
    /// Who ordered it.
    #[serde(default)]
    pub by: Option<OrderedBy>,
    /// When it began.
    pub begun_at: Timestamp,
    /// In which boot: of another one no process is left to be mended.
    #[serde(default)]
    pub boot_id: String,
    /// By which daemon.
    #[serde(default)]
    pub daemon_pid: u32,
    /// How far it is, in words.
    #[serde(default)]
    pub step: String,
    /// What the next daemon has to undo; only the operation itself knows what that means.
    #[serde(default)]
    pub undo: Option<serde_json::Value>,
    /// Nodes that somebody has stopped since it began: whoever starts again what was stopped for it leaves these down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_down: Vec<NodeName>,
    /// What was asked, for a next daemon that finishes it; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<serde_json::Value>,
}

fn first() -> u32 {
    1
}

impl Record {
    /// Of nothing yet, begun by this daemon.
    pub fn begun_now() -> Self {
        Self {
            schema: first(),
            kind: String::new(),
            detail: String::new(),
            by: None,
            begun_at: clock::wall(),
            boot_id: clock::boot_id().to_owned(),
            daemon_pid: std::process::id(),
            step: String::new(),
            undo: None,
            left_down: Vec::new(),
            asked: None,
        }
    }

    /// `drill broker-kill`.
    pub fn name(&self) -> String {
        if self.detail.is_empty() { self.kind.clone() } else { format!("{} {}", self.kind, self.detail) }
    }

    /// Whether it began in this boot of the machine.
    pub fn is_of_this_boot(&self) -> bool {
        self.boot_id == clock::boot_id()
    }

    /// What has to be undone, read by the operation that has written it; none: nothing, or words of another version.
    pub fn undo<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_value(self.undo.clone()?).ok()
    }

    /// What was asked, likewise.
    pub fn asked<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_value(self.asked.clone()?).ok()
    }
}

/// `, ordered by uid 0 (pid 11)`; empty: nobody is on record.
pub fn ordered(by: Option<OrderedBy>) -> String {
    by.map_or_else(String::new, |by| match by.pid {
        Some(pid) => format!(", ordered by uid {} (pid {pid})", by.uid),
        None => format!(", ordered by uid {}", by.uid),
    })
}

/// Why an operation does not begin.
#[derive(Debug)]
pub enum Refused {
    /// Another one runs.
    Busy(Box<Record>),
    /// A restore or a reset has stopped half-way, and the record has what the next daemon does after it has finished.
    HalfExchanged(PathBuf),
    /// Its record cannot be written; nothing was begun.
    NotRecorded(SysError),
}

impl Refused {
    /// The other one in one sentence: what, since when, how far, whose.
    fn words(record: &Record) -> String {
        let by = ordered(record.by);
        let step = if record.step.is_empty() { String::new() } else { format!(": {}", record.step) };
        format!("{} is under way since {}{by}{step}", record.name(), record.begun_at)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Busy(record) => f.write_str(&Self::words(record)),
            Refused::HalfExchanged(path) => write!(f, "data directories are half exchanged ({})", path.display()),
            Refused::NotRecorded(_) => f.write_str("the operation's record cannot be written; nothing was begun"),
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Refused::Busy(_) | Refused::HalfExchanged(_) => None,
            Refused::NotRecorded(e) => Some(e),
        }
    }
}

impl Refused {
    /// The exit code of the contract, and what to do.
    pub fn advice(&self) -> (u8, &'static str) {
        match self {
            Refused::Busy(_) => (8, "try again when it has ended; `cdc-supervisor events -f` shows how far it is"),
            Refused::HalfExchanged(_) => (
                8,
                "mend what kept them from being exchanged, then restart the daemon: it finishes before it starts anything",
            ),
            Refused::NotRecorded(_) => (1, "free space, then try again"),
        }
    }
}

/// The operations of one daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operations(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    layout: Layout,
    journal: Journal,
    running: Mutex<Option<Record>>,
    /// The one that runs undoes or finishes what was left. Not told by the daemon's pid: in a container the next one often has the same, and
    /// what a drill of this daemon left is removed by itself later.
    resumed: AtomicBool,
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, Option<Record>> {
        // The value is replaced as a whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, kind: EventKind, text: String, by: Option<OrderedBy>) {
        let event = EventLine::new(kind, text);
        self.journal.note(match by {
            Some(by) => event.by(by),
            None => event,
        });
    }

    fn write(&self, record: &Record) -> Result<(), SysError> {
        // A struct of texts and numbers always becomes JSON.
        let text = serde_json::to_string_pretty(record).unwrap_or_default();
        fs::write_atomic(&self.layout.operation(), text.as_bytes(), 0o640, durability(record))
    }
}

/// A crash of the machine ends processes, and nodes that were ordered down: another boot starts all that the record had. The topics and the
/// table of a drill outlive it, since those who have them sync them.
fn durability(record: &Record) -> fs::Durability {
    let makes_something = record.kind == Kind::Drill.as_str() && record.undo.is_some();
    if makes_something { fs::Durability::PowerLoss } else { fs::Durability::ProcessCrash }
}

impl Operations {
    /// None runs yet.
    pub fn new(layout: Layout, journal: Journal) -> Self {
        Self(Arc::new(Shared { layout, journal, running: Mutex::default(), resumed: AtomicBool::new(false) }))
    }

    /// The one that runs, in one sentence: what else must wait for it says so.
    pub fn running(&self) -> Option<String> {
        self.0.running().as_ref().map(Refused::words)
    }

    /// The same unless it is a change of topics, which others of its kind join.
    pub fn runs_besides_topics(&self) -> Option<String> {
        self.0.running().as_ref().filter(|r| r.kind != Kind::Topics.as_str()).map(Refused::words)
    }

    /// The one that runs, in one sentence, when nothing may be started meanwhile: it works on the data of nodes that are down.
    pub fn keeps_down(&self) -> Option<String> {
        self.one_of(&Kind::DOWN)
    }

    /// The one that runs, in one sentence, when it takes nodes away itself: nobody else should meanwhile.
    pub fn takes_nodes_away(&self) -> Option<String> {
        self.one_of(&[Kind::Reload, Kind::Roll, Kind::Drill, Kind::Snapshot, Kind::Restore, Kind::Reset])
    }

    /// The one that runs, in one sentence, when it keeps nodes down that it has stopped on purpose. One that was left is being undone: to
    /// start nodes is what that does.
    pub fn breaks_nodes(&self) -> Option<String> {
        self.one_of(&[Kind::Drill]).filter(|_| !self.0.resumed.load(Ordering::SeqCst))
    }

    /// Somebody stops these all the same, while the one that runs has them down and would start them again: it does not, and neither
    /// does the daemon after this one. On record when this returns.
    pub fn leave_down(&self, nodes: &[NodeName]) -> Result<(), SysError> {
        let mut running = self.0.running();
        let Some(mut record) = running.clone().filter(|r| Kind::STARTING.iter().any(|kind| kind.as_str() == r.kind))
        else {
            return Ok(());
        };
        let new = nodes.iter().filter(|node| !record.left_down.contains(node)).cloned().collect::<Vec<_>>();
        record.left_down.extend(new);
        self.0.write(&record)?;
        // Who is told that it was not written down is not obeyed either.
        *running = Some(record);
        Ok(())
    }

    fn one_of(&self, kinds: &[Kind]) -> Option<String> {
        self.0.running().as_ref().filter(|r| kinds.iter().any(|kind| kind.as_str() == r.kind)).map(Refused::words)
    }

    /// Begins one, unless another runs. `detail` says which (the drill's name); it ends when what is returned is dropped.
    pub fn begin(&self, kind: Kind, detail: impl Into<String>, by: Option<OrderedBy>) -> Result<Running, Refused> {
        self.begin_asked(kind, detail, by, None, "")
    }

    /// The same of what somebody has ordered: a change of topics that nobody ordered is waited for.
    pub async fn begin_by_order(&self, kind: Kind, detail: &str, by: Option<OrderedBy>) -> Result<Running, Refused> {
        self.begin_by_order_asked(kind, detail, by, None).await
    }

    /// Both.
    pub async fn begin_by_order_asked(
        &self,
        kind: Kind,
        detail: &str,
        by: Option<OrderedBy>,
        asked: Option<serde_json::Value>,
    ) -> Result<Running, Refused> {
        after_topics(TOPICS_WITHIN, || self.begin_asked(kind, detail, by, asked.clone(), "")).await
    }

    /// The same of one that a next daemon may have to finish: `asked` is for that one, `why` stands behind the words that it begins.
    pub fn begin_asked(
        &self,
        kind: Kind,
        detail: impl Into<String>,
        by: Option<OrderedBy>,
        asked: Option<serde_json::Value>,
        why: &str,
    ) -> Result<Running, Refused> {
        let mut running = self.0.running();
        if let Some(other) = running.as_ref() {
            return Err(Refused::Busy(Box::new(other.clone())));
        }
        let half = self.0.layout.exchange();
        if half.exists() {
            return Err(Refused::HalfExchanged(half));
        }
        let record = Record { kind: kind.as_str().to_owned(), detail: detail.into(), by, asked, ..Record::begun_now() };
        if kind.is_recorded() {
            self.0.write(&record).map_err(Refused::NotRecorded)?;
            fail_point!("operation.recorded");
            self.0.note(EventKind::OperationBegun, format!("{} begins{why}", record.name()), by);
        }
        self.0.resumed.store(false, Ordering::SeqCst);
        *running = Some(record);
        Ok(Running { of: Arc::clone(&self.0), recorded: kind.is_recorded(), said: None, leaves: false })
    }

    /// Goes on with one that an earlier daemon left, to finish or to undo it: others are kept away meanwhile, and its record
    /// stays until this has ended, so that a daemon that dies over it leaves it to the one after.
    pub fn resume(&self, left: Record) -> Result<Running, Refused> {
        let mut running = self.0.running();
        if let Some(other) = running.as_ref() {
            return Err(Refused::Busy(Box::new(other.clone())));
        }
        self.0.resumed.store(true, Ordering::SeqCst);
        *running = Some(left);
        Ok(Running { of: Arc::clone(&self.0), recorded: true, said: None, leaves: false })
    }
}

/// Begins again and again for so long, while all that runs is a change of topics.
async fn after_topics(
    limit: Duration,
    begin: impl Fn() -> Result<Running, Refused> + Send,
) -> Result<Running, Refused> {
    let until = Instant::now() + limit;
    loop {
        let begun = begin();
        let waits = matches!(&begun, Err(Refused::Busy(other)) if other.kind == Kind::Topics.as_str());
        if !waits || Instant::now() >= until {
            return begun;
        }
        drop(begun);
        sleep(LOOK_EVERY).await;
    }
}

/// One that runs. Dropping it ends it: [`Running::end`] says with which words. Dropped without words, its record stays if
/// something has to be undone.
#[derive(Debug)]
pub struct Running {
    of: Arc<Shared>,
    recorded: bool,
    /// The last words; none: it was cut short in this daemon.
    said: Option<String>,
    /// Its record stays.
    leaves: bool,
}

impl Running {
    /// How far it is, in words; kept for the next daemon with what that one has to undo from here on. An error means that it
    /// would not know, so whoever is about to do something that must be undone does not.
    pub fn step(&self, text: impl Into<String>, undo: Option<serde_json::Value>) -> Result<(), SysError> {
        self.step_of(None, text, undo)
    }

    /// The same of a step that is about one node: it is among that node's events.
    pub fn step_of(
        &self,
        node: Option<&NodeName>,
        text: impl Into<String>,
        undo: Option<serde_json::Value>,
    ) -> Result<(), SysError> {
        let mut running = self.of.running();
        let Some(record) = running.as_mut() else { return Ok(()) };
        record.step = text.into();
        record.undo = undo;
        if self.recorded {
            let words = format!("{}: {}", record.name(), record.step);
            self.of.write(record)?;
            fail_point!("operation.stepped");
            let event = EventLine::new(EventKind::OperationStep, words);
            self.of.journal.note(match node {
                Some(node) => event.node(node),
                None => event,
            });
        }
        Ok(())
    }

    /// Nodes that somebody has stopped since it began.
    pub fn left_down(&self) -> Vec<NodeName> {
        self.of.running().as_ref().map_or_else(Vec::new, |record| record.left_down.clone())
    }

    /// The same, asked later.
    pub fn left_down_then(&self) -> impl FnOnce() -> Vec<NodeName> + Send + 'static {
        let of = Arc::clone(&self.of);
        move || of.running().as_ref().map_or_else(Vec::new, |record| record.left_down.clone())
    }

    /// Its record as it is now; none: it has ended.
    pub fn record(&self) -> Option<Record> {
        self.of.running().clone()
    }

    /// Ends it with these words.
    pub fn end(mut self, text: impl Into<String>) {
        self.said = Some(text.into());
    }

    /// Ends it with these words and leaves its record to the next daemon, which undoes what is left.
    pub fn leave(mut self, text: impl Into<String>) {
        self.leaves = true;
        self.said = Some(text.into());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.of.running();
        let Some(record) = running.take() else { return };
        if !self.recorded {
            return;
        }
        let ended = self.said.is_some();
        let said = self.said.take().unwrap_or_else(|| "cut short".to_owned());
        self.of.note(EventKind::OperationEnded, format!("{}: {said}", record.name()), record.by);
        // One that is dropped with its daemon's runtime has no last words, and what it would have undone is left.
        if self.leaves || (!ended && record.undo.is_some()) {
            return;
        }
        fail_point!("operation.ending");
        if let Err(e) = fs::remove_optional(&self.of.layout.operation()) {
            // The next daemon takes it for one that was cut short, and finds nothing to undo.
            tracing::warn!(error = %e.source, "{e}");
        }
    }
}

/// What an earlier daemon left.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// It did not live to end this one.
    Half(Box<Record>),
    /// Something was under way, and its record cannot be read: why.
    Torn(String),
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Left::Half(record) => {
                let step = if record.step.is_empty() { "nothing was done yet" } else { &record.step };
                write!(
                    f,
                    "{}, begun at {}, was cut short with its daemon (pid {}): {step}",
                    record.name(),
                    record.begun_at,
                    record.daemon_pid
                )
            }
            Left::Torn(why) => write!(f, "an operation was cut short, and its record cannot be read: {why}"),
        }
    }
}

/// Looks for one that an earlier daemon did not live to end. It stays on record until [`forget`]: a daemon that dies while it
/// undoes it leaves it to the one after.
pub fn leftover(layout: &Layout) -> Option<Left> {
    match fs::read_lossy_optional(&layout.operation()) {
        Ok(None) => None,
        Ok(Some(text)) => Some(match serde_json::from_str(&text) {
            Ok(record) => Left::Half(Box::new(record)),
            Err(e) => Left::Torn(e.to_string()),
        }),
        Err(e) => Some(Left::Torn(format!("{e}: {}", e.source))),
    }
}

/// What was left is undone or told: the record goes.
pub fn forget(layout: &Layout) {
    fail_point!("operation.undone");
    if let Err(e) = fs::remove_optional(&layout.operation()) {
        tracing::warn!(error = %e.source, "{e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_version_1_is_read_and_written_with_all_that_it_said() {
        let golden = include_str!("../../tests/golden/v1/operation.json");
        let record: Record = serde_json::from_str(golden).unwrap();
        assert_eq!((record.name().as_str(), record.by.unwrap().uid), ("drill broker-pause", 1_000));
        assert!(!record.is_of_this_boot());
        assert_eq!(serde_json::to_value(&record).unwrap(), serde_json::from_str::<serde_json::Value>(golden).unwrap());
    }

    fn root() -> (tempfile::TempDir, Layout, Operations) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let journal = Journal::start(&layout);
        let operations = Operations::new(layout.clone(), journal);
        (dir, layout, operations)
    }

    fn told(operations: &Operations) -> Vec<String> {
        operations.0.journal.since(Timestamp(0)).into_iter().map(|e| format!("{} {}", e.kind, e.text)).collect()
    }

    const BY: Option<OrderedBy> = Some(OrderedBy { uid: 7, pid: Some(11) });

    #[test]
    fn one_runs_at_a_time_and_the_other_is_named() {
        let (_dir, layout, operations) = root();
        let running = operations.begin(Kind::Drill, "broker-kill", BY).unwrap();
        running.step("broker-2 is killed", None).unwrap();
        running.step_of(Some(&NodeName::broker(2)), "broker-2 is killed", None).unwrap();
        let refused = operations.begin(Kind::Roll, "", None).unwrap_err().to_string();
        assert!(refused.starts_with("drill broker-kill is under way since 20"), "{refused}");
        assert_eq!(
            (operations.takes_nodes_away().as_ref(), operations.breaks_nodes().as_ref(), operations.keeps_down()),
            (Some(&refused), Some(&refused), None)
        );
        let of_node = operations.0.journal.since(Timestamp(0)).into_iter().rev().find(|e| e.node.is_some());
        assert_eq!(of_node.map(|e| e.kind), Some("operation-step".into()), "it is among the node's events");
        assert!(refused.ends_with(", ordered by uid 7 (pid 11): broker-2 is killed"), "{refused}");
        assert_eq!(operations.running(), Some(refused));
        assert!(layout.operation().exists());
        running.end("nothing lost");
        assert!(!layout.operation().exists());
        drop(operations.begin(Kind::Roll, "", None).unwrap());
        assert_eq!(operations.running(), None);
        assert_eq!(
            told(&operations),
            [
                "operation-begun drill broker-kill begins",
                "operation-step drill broker-kill: broker-2 is killed",
                "operation-step drill broker-kill: broker-2 is killed",
                "operation-ended drill broker-kill: nothing lost",
                "operation-begun roll begins",
                "operation-ended roll: cut short",
            ]
        );
    }

    #[test]
    fn what_a_drill_has_made_is_on_disk_before_it_is_made() {
        let (_dir, _layout, operations) = root();
        for (kind, undo, wanted) in [
            (Kind::Drill, Some(serde_json::json!({"topics": true})), fs::Durability::PowerLoss),
            (Kind::Drill, None, fs::Durability::ProcessCrash),
            (Kind::Snapshot, Some(serde_json::json!({"start": ["mysql"]})), fs::Durability::ProcessCrash),
        ] {
            let running = operations.begin(kind, "x", None).unwrap();
            running.step("on its way", undo).unwrap();
            assert_eq!(durability(&running.record().unwrap()), wanted, "{kind:?}");
            running.end("done");
        }
    }

    #[test]
    fn a_reload_keeps_others_away_and_leaves_no_record() {
        let (_dir, layout, operations) = root();
        let reload = operations.begin(Kind::Reload, "", BY).unwrap();
        assert!(!layout.operation().exists());
        let refused = operations.begin(Kind::Drill, "mysql-kill", None).unwrap_err();
        assert!(matches!(refused, Refused::Busy(_)), "{refused}");
        assert!(operations.takes_nodes_away().is_some() && operations.breaks_nodes().is_none());
        drop(reload);
        assert!(told(&operations).is_empty());
        drop(operations.begin(Kind::Drill, "mysql-kill", None).unwrap());
    }

    #[test]
    fn what_somebody_stops_while_a_drill_runs_is_none_of_what_it_starts_again() {
        let (_dir, _layout, operations) = root();
        let drill = operations.begin(Kind::Drill, "two-brokers", BY).unwrap();
        let left_down = drill.left_down_then();
        operations.leave_down(&[NodeName::broker(2)]).unwrap();
        assert_eq!((left_down(), drill.left_down()), (vec![NodeName::broker(2)], vec![NodeName::broker(2)]));
        assert!(operations.keeps_down().is_none(), "others are started beside it");
    }

    #[tokio::test]
    async fn an_order_waits_for_a_change_of_topics_so_long_and_for_nothing_else() {
        let (_dir, _layout, operations) = root();
        let topics = operations.begin(Kind::Topics, "", None).unwrap();
        let refused = after_topics(Duration::ZERO, || operations.begin(Kind::Roll, "", BY)).await.unwrap_err();
        assert!(refused.to_string().starts_with("change of topics is under way since"), "{refused}");
        let waits = operations.begin_by_order(Kind::Roll, "broker-1", BY);
        tokio::pin!(waits);
        tokio::select! {
            biased;
            begun = &mut waits => panic!("{begun:?}"),
            () = tokio::task::yield_now() => {}
        }
        drop(topics);
        let roll = waits.await.unwrap();
        let refused = operations.begin_by_order(Kind::Drill, "broker-kill", BY).await.unwrap_err();
        assert!(refused.to_string().starts_with("roll broker-1 is under way since"), "{refused}");
        drop(roll);
    }

    #[test]
    fn what_somebody_stops_while_data_are_worked_on_is_on_record_and_stays_there() {
        let (_dir, layout, operations) = root();
        let recorded = || {
            let Some(Left::Half(left)) = leftover(&layout) else { panic!("nothing is left") };
            left.left_down
        };
        operations.leave_down(&[NodeName::mysql()]).unwrap();
        let snapshot = operations.begin(Kind::Snapshot, "s", BY).unwrap();
        assert_eq!(snapshot.left_down(), [], "of before");
        assert_eq!(operations.takes_nodes_away(), operations.keeps_down(), "a stop by hand stands back");
        for _ in 0..2 {
            operations.leave_down(&[NodeName::mysql()]).unwrap();
        }
        snapshot.step("the data is being worked on", Some(serde_json::json!({"start": ["mysql"]}))).unwrap();
        assert_eq!((snapshot.left_down(), recorded()), (vec![NodeName::mysql()], vec![NodeName::mysql()]));
        std::fs::remove_dir_all(layout.state()).unwrap();
        assert!(operations.leave_down(&[NodeName::broker(1)]).is_err(), "not answered, then");
        assert_eq!(snapshot.left_down(), [NodeName::mysql()], "nor done");
        drop(snapshot);
    }

    #[test]
    fn what_a_daemon_leaves_is_known_to_the_next_until_it_is_forgotten() {
        let (_dir, layout, operations) = root();
        assert_eq!(leftover(&layout), None);
        let running = operations.begin(Kind::Drill, "broker-pause", None).unwrap();
        running.step("broker-2 is stopped", Some(serde_json::json!({"paused": [1, 2]}))).unwrap();
        for _ in 0..2 {
            let Some(Left::Half(left)) = leftover(&layout) else { panic!("nothing is left") };
            assert_eq!(left.name(), "drill broker-pause");
            assert!(left.is_of_this_boot());
            let undo: std::collections::BTreeMap<String, Vec<i32>> = left.undo().unwrap();
            assert_eq!(undo["paused"], [1, 2]);
            assert_eq!(left.undo::<u8>(), None, "of another shape");
            let words = Left::Half(left).to_string();
            assert!(
                words.contains("was cut short with its daemon") && words.ends_with("broker-2 is stopped"),
                "{words}"
            );
        }
        let next = Operations::new(layout.clone(), Journal::start(&layout));
        let Some(Left::Half(left)) = leftover(&layout) else { panic!("nothing is left") };
        assert_eq!(left.daemon_pid, std::process::id(), "as the next one's in a container");
        let resumed = next.resume(*left).unwrap();
        assert!(
            next.breaks_nodes().is_none() && next.takes_nodes_away().is_some(),
            "what it undoes is that nodes are down"
        );
        assert!(next.begin(Kind::Roll, "", None).unwrap_err().to_string().starts_with("drill broker-pause is"));
        assert!(leftover(&layout).is_some(), "until it has ended");
        resumed.end("undone");
        assert_eq!(leftover(&layout), None);
        forget(&layout);
        drop(running);
        let again = next.begin(Kind::Drill, "cold-restart", None).unwrap();
        assert!(next.breaks_nodes().is_some(), "one of its own");
        again.leave("left to the next daemon");
        assert_eq!(next.running(), None);
        assert!(leftover(&layout).is_some());
    }

    #[test]
    fn a_record_torn_at_any_byte_is_one_that_cannot_be_read() {
        let (_dir, layout, operations) = root();
        let running = operations.begin(Kind::Snapshot, "s", BY).unwrap();
        let whole = std::fs::read(layout.operation()).unwrap();
        for at in 0..whole.len() {
            std::fs::write(layout.operation(), &whole[..at]).unwrap();
            assert!(matches!(leftover(&layout), Some(Left::Torn(_))), "torn at {at}");
        }
        std::fs::write(layout.operation(), b"\xff\xfe").unwrap();
        assert!(leftover(&layout).unwrap().to_string().contains("cannot be read"));
        drop(running);
    }

    #[test]
    fn a_later_versions_record_is_read_by_its_words() {
        let (_dir, layout, _operations) = root();
        let later = r#"{"schema":2,"kind":"levitate","begun_at":"2026-01-02T03:04:05.006Z","height":3}"#;
        std::fs::write(layout.operation(), later).unwrap();
        let Some(Left::Half(left)) = leftover(&layout) else { panic!() };
        assert_eq!((left.name().as_str(), left.is_of_this_boot()), ("levitate", false));
    }

    #[test]
    fn nothing_begins_over_the_record_of_an_exchange_that_stopped_half_way() {
        let (_dir, layout, operations) = root();
        let restore = operations.begin(Kind::Restore, "s", BY).unwrap();
        restore.step("stopping the nodes", Some(serde_json::json!({"start": ["mysql"]}))).unwrap();
        std::fs::write(layout.exchange(), "{}").unwrap();
        restore.leave("directories are half exchanged");
        let kept = std::fs::read(layout.operation()).unwrap();
        for kind in [Kind::Roll, Kind::Drill, Kind::Reload, Kind::Snapshot] {
            let refused = operations.begin(kind, "", None).unwrap_err();
            assert!(matches!(refused, Refused::HalfExchanged(_)) && refused.advice().0 == 8, "{refused}");
        }
        assert_eq!(std::fs::read(layout.operation()).unwrap(), kept);
        std::fs::remove_file(layout.exchange()).unwrap();
        drop(operations.begin(Kind::Roll, "", None).unwrap());
    }

    #[test]
    fn without_a_record_nothing_begins() {
        let (dir, layout, operations) = root();
        std::fs::rename(layout.state(), dir.path().join("away")).unwrap();
        let refused = operations.begin(Kind::Drill, "broker-kill", None).unwrap_err();
        assert!(matches!(refused, Refused::NotRecorded(_)), "{refused}");
        assert_eq!(operations.running(), None);
    }
}
