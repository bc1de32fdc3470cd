//! The rows of a drill: a table of our own, one numbered row per transaction, and everything read back from table and binlog.

use super::ledger::Ledger;
use crate::{
    base::{Moment, drill::Tally},
    clients::{
        ClientError,
        mysql::{BinlogPlace, Mysql, Place, read_password},
    },
    operate::prove::MysqlTargets,
    sys::{clock, failpoint::fail_point},
};
use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

const DATABASE: &str = "cdc_supervisor";
const TABLE: &str = "drill";
/// How the table is known to be ours.
const MARK: &str = "made by cdc-supervisor for a drill, and removed after it";

/// Bound of a login and of each call while rows are written: a commit waits for the disk.
const CALL: Duration = Duration::from_secs(10);
/// Bound of reading everything back.
const READ: Duration = Duration::from_secs(120);
/// Pause before another attempt at a server that is not there.
const RETRY: Duration = Duration::from_millis(20);

/// `ER_DUP_ENTRY`: the attempt before had committed, only its answer was lost.
const DUPLICATE: i32 = 1062;

/// `ER_NO_SUCH_TABLE`.
const NO_SUCH_TABLE: i32 = 1146;

/// The table, and who writes to it.
#[derive(Debug)]
pub(super) struct Rows {
    targets: MysqlTargets,
    run: String,
    ledger: Arc<Mutex<Ledger>>,
    /// Where the binlog stood, and which GTIDs were executed, before the first row.
    before: Option<(BinlogPlace, String)>,
}

fn entries(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    // Nothing under this lock can leave it half changed.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rows {
    /// Nothing is made yet.
    pub(super) fn new(targets: &MysqlTargets, run: &str) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::open(1, clock::now())));
        Self { targets: targets.clone(), run: run.to_owned(), ledger, before: None }
    }

    /// Rows a second beside so many records.
    pub(super) fn rate(records: u32) -> u32 {
        (records / 10).clamp(5, 100)
    }

    /// Whether a table of our name is somebody else's.
    pub(super) async fn is_taken(&self) -> Result<bool, ClientError> {
        let mut root = root(&self.targets, CALL).await?;
        let found = comment(&mut root).await;
        root.close().await;
        Ok(found?.is_some_and(|comment| comment != MARK))
    }

    /// Makes the table, also where one is left of an earlier drill.
    pub(super) async fn make(&mut self) -> Result<(), ClientError> {
        let mut root = root(&self.targets, CALL).await?;
        // Looked at once more: somebody may have made it since. Where the name is taken, the CREATE below says so.
        remove(&mut root).await?;
        let create = [
            format!("CREATE DATABASE IF NOT EXISTS {DATABASE}"),
            format!(
                "CREATE TABLE {DATABASE}.{TABLE} (place BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL UNIQUE, \
                 run CHAR(16) NOT NULL) COMMENT = '{MARK}'"
            ),
        ];
        root.run(&create).await?;
        let gtids = executed(&mut root).await?;
        self.before = Some((root.binlog_place().await?, gtids));
        root.close().await;
        Ok(())
    }

    /// Removes the table.
    pub(super) async fn remove(&self) -> Result<(), ClientError> {
        remove_left(&self.targets).await.map(drop)
    }

    /// Begins to write; what is returned ends it.
    pub(super) fn write(&self, rate: u32) -> Writing {
        let (stop, stopped) = watch::channel(false);
        let writer =
            Writer { targets: self.targets.clone(), run: self.run.clone(), ledger: Arc::clone(&self.ledger), stopped };
        Writing { stop, task: tokio::spawn(writer.run(rate)) }
    }

    /// A row was committed after `since`.
    pub(super) fn flows_since(&self, since: Moment) -> bool {
        entries(&self.ledger).flows_since(since)
    }

    /// Reads everything back; faults that are not about one row are the second part.
    pub(super) async fn judge(&self, fault: Moment) -> Result<(Tally, Vec<String>), ClientError> {
        let mut faults = Vec::new();
        let mut root = root(&self.targets, READ).await?;
        let rows =
            root.texts(&format!("SELECT CONCAT(run, ' ', number) FROM {DATABASE}.{TABLE} ORDER BY place")).await?;
        let table: Vec<Option<u64>> = rows.iter().map(|row| number(row, &self.run)).collect();
        let mut tally = entries(&self.ledger).judge(&[table], fault);
        let Some((place, gtids)) = &self.before else { return Ok((tally, faults)) };
        let kept = root.texts(&format!("SELECT GTID_SUBSET('{gtids}', @@GLOBAL.gtid_executed)")).await?;
        if kept.first().map(String::as_str) != Some("1") {
            faults.push("GTIDs that were executed before the drill are gone".into());
        }
        root.close().await;
        let password = read_password(&self.targets.debezium_password).await?;
        let debezium = Mysql::connect(&Place::Here(self.targets.address), "debezium", Some(&password), READ).await?;
        let stretch = debezium.read_binlog(place, (DATABASE, TABLE)).await?;
        let column = |image: &[Option<String>], at: usize| image.get(at).cloned().flatten().unwrap_or_default();
        let images = stretch.rows.iter().filter_map(|row| row.after.as_ref());
        let binlog: Vec<Option<u64>> =
            images.map(|image| number(&format!("{} {}", column(image, 2), column(image, 1)), &self.run)).collect();
        let of_binlog = entries(&self.ledger).judge(&[binlog], fault);
        for fault in super::ledger::faults("row", &of_binlog, 0) {
            // What the table says of given-up rows, the binlog only repeats.
            if of_binlog.given_up == 0 || !fault.ends_with("given up by the client") {
                faults.push(format!("in the binlog: {fault}"));
            }
        }
        if of_binlog.lost > tally.lost {
            tally.lost = of_binlog.lost;
            tally.lost_numbers = of_binlog.lost_numbers;
        }
        Ok((tally, faults))
    }
}

/// A writer at work.
#[derive(Debug)]
pub(super) struct Writing {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Writing {
    /// Ends it when the row under way is done.
    pub(super) async fn end(self) {
        // One that has ended by itself hears nothing.
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

struct Writer {
    targets: MysqlTargets,
    run: String,
    ledger: Arc<Mutex<Ledger>>,
    stopped: watch::Receiver<bool>,
}

impl Writer {
    async fn run(self, rate: u32) {
        let mut tick = interval(Duration::from_secs(1) / rate.max(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut session = None;
        loop {
            tick.tick().await;
            if self.is_stopped() {
                break;
            }
            let number = entries(&self.ledger).send(clock::now());
            self.insert(&mut session, number).await;
        }
        if let Some(session) = session {
            session.close().await;
        }
    }

    fn is_stopped(&self) -> bool {
        // A drill that was dropped has no sender any more.
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    /// Tries until it is committed; given up only when the drill is over and the server still does not take it.
    async fn insert(&self, session: &mut Option<Mysql>, number: u64) {
        let statement = format!("INSERT INTO {DATABASE}.{TABLE} (number, run) VALUES ({number}, '{}')", self.run);
        let mut over: Option<Moment> = None;
        loop {
            let mysql = match session.take() {
                Some(mysql) => Ok(mysql),
                None => root(&self.targets, CALL).await,
            };
            if let Ok(mut mysql) = mysql {
                match mysql.run(std::slice::from_ref(&statement)).await {
                    Ok(()) | Err(ClientError::Server { code: DUPLICATE, .. }) => {
                        entries(&self.ledger).acknowledge(number, clock::now());
                        *session = Some(mysql);
                        return;
                    }
                    // Whether it was committed is not known: a new session asks again.
                    Err(_) => {}
                }
            }
            if self.is_stopped() && clock::now().since(*over.get_or_insert_with(clock::now)) >= CALL {
                return entries(&self.ledger).give_up(number);
            }
            sleep(RETRY).await;
        }
    }
}

async fn root(targets: &MysqlTargets, limit: Duration) -> Result<Mysql, ClientError> {
    log_in(&Place::Socket(targets.socket.clone()), &targets.root_password, limit).await
}

async fn log_in(place: &Place, password: &Path, limit: Duration) -> Result<Mysql, ClientError> {
    let password = read_password(password).await?;
    Mysql::connect(place, "root", Some(&password), limit).await
}

/// The comment of the table of our name; none: there is none.
async fn comment(root: &mut Mysql) -> Result<Option<String>, ClientError> {
    let query = format!(
        "SELECT table_comment FROM information_schema.tables WHERE table_schema = '{DATABASE}' AND table_name = '{TABLE}'"
    );
    Ok(root.texts(&query).await?.into_iter().next())
}

/// Removes the table if it is there and ours.
///
/// False: one of its name is there and somebody else's.
pub(super) async fn remove_left(targets: &MysqlTargets) -> Result<bool, ClientError> {
    let mut root = root(targets, CALL).await?;
    let removed = remove(&mut root).await;
    // A lock goes with its session.
    root.close().await;
    removed
}

/// The last look is at a table that is locked: nobody puts another in its place between it and the end, and who has the lock may
/// drop the table (MySQL 8.0 Reference Manual, "LOCK TABLES"). One that bears no mark of ours is not locked either.
async fn remove(root: &mut Mysql) -> Result<bool, ClientError> {
    match comment(root).await? {
        None => return Ok(true),
        Some(comment) if comment != MARK => return Ok(false),
        Some(_) => {}
    }
    fail_point!("drill.table-looked");
    let table = format!("{DATABASE}.{TABLE}");
    match root.run(&[format!("LOCK TABLES {table} WRITE")]).await {
        Ok(()) => {}
        Err(ClientError::Server { code: NO_SUCH_TABLE, .. }) => return Ok(true),
        Err(e) => return Err(e),
    }
    let is_ours = comment(root).await?.is_some_and(|comment| comment == MARK);
    let drop = is_ours.then(|| format!("DROP TABLE {table}"));
    root.run(&drop.into_iter().chain(["UNLOCK TABLES".to_owned()]).collect::<Vec<_>>()).await?;
    Ok(is_ours)
}

async fn executed(root: &mut Mysql) -> Result<String, ClientError> {
    let set = root.texts("SELECT @@GLOBAL.gtid_executed").await?.into_iter().next().unwrap_or_default();
    // lines of 8 servers and more are broken
    Ok(set.replace('\n', ""))
}

/// `RUN NUMBER`.
fn number(row: &str, run: &str) -> Option<u64> {
    row.strip_prefix(run)?.strip_prefix(' ')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_its_run_and_number() {
        assert_eq!(number("d00d 17", "d00d"), Some(17));
        assert_eq!(number("d00e 17", "d00d"), None);
        assert_eq!(number("d00d 17 ", "d00d"), None);
    }

    #[test]
    fn rows_are_a_tenth_of_the_records_within_bounds() {
        assert_eq!([10, 500, 5_000].map(Rows::rate), [5, 50, 100]);
    }
}
