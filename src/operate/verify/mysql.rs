//! MySQL as Debezium meets it: its login makes its calls, and row changes come back out of the binlog whole.

use super::Checks;
use crate::{
    clients::{
        ClientError,
        mysql::{BinlogPlace, Gtid, GtidSet, Image, Mysql, Place, RowChange, Stretch, read_password},
    },
    operate::prove::MysqlTargets,
};
use std::{collections::BTreeSet, path::Path, time::Duration};

/// Bound of a login and of each call.
const LIMIT: Duration = Duration::from_secs(15);

/// Our own database and table: nobody else's row is changed.
const DATABASE: &str = "cdc_supervisor";
const TABLE: &str = "verify";

/// Transactions that the changes below are: an insert, an update and a delete.
const OURS: u64 = 3;

/// How often it is tried again when somebody else's transaction was between the binlog and the set of GTIDs: it is in the one a
/// moment before it is in the other.
const TRIES: u32 = 3;

pub(super) async fn look(targets: &MysqlTargets, checks: &mut Checks, report: &mut (dyn FnMut(String) + Send)) {
    report("making Debezium's calls to MySQL".into());
    let as_debezium = Place::Here(targets.address);
    // That it logs in is proven; here only a login that fails is told.
    let mut debezium = match log_in(&as_debezium, "debezium", &targets.debezium_password).await {
        Ok(debezium) => debezium,
        Err(e) => return checks.wrong("debezium's login over TCP", "a session", e.in_one_line()),
    };
    calls(&mut debezium, &targets.database, checks).await;
    debezium.close().await;

    report("changing a row and reading it back from the binlog".into());
    for tried in 1.. {
        let mut these = Checks { part: checks.part, all: Vec::new() };
        let settled = change_and_read(targets, &mut these).await;
        if settled || tried == TRIES {
            return checks.all.extend(these.all);
        }
    }
}

/// Changes a row and reads that back; false: once more, others were in the way.
async fn change_and_read(targets: &MysqlTargets, checks: &mut Checks) -> bool {
    let socket = Place::Socket(targets.socket.clone());
    let mut root = match log_in(&socket, "root", &targets.root_password).await {
        Ok(root) => root,
        Err(e) => {
            checks.wrong("root's login over the socket", "a session", e.in_one_line());
            return true;
        }
    };
    let id = format!("{:032x}", rand::random::<u128>());
    let changed = change(&mut root, &id).await;
    root.close().await;
    let Some((place, added)) = checks.answered("a row is inserted, updated and deleted", "three transactions", changed)
    else {
        return true;
    };
    let read = async {
        let debezium = log_in(&Place::Here(targets.address), "debezium", &targets.debezium_password).await?;
        debezium.read_binlog(&place, (DATABASE, TABLE)).await
    };
    let Some(stretch) = checks.answered("debezium reads the binlog as a replica", "its events", read.await) else {
        return true;
    };
    judge(&stretch, &added, &id, checks)
}

async fn log_in(place: &Place, user: &str, password: &Path) -> Result<Mysql, ClientError> {
    let password = read_password(password).await?;
    Mysql::connect(place, user, Some(&password), LIMIT).await
}

/// One call for each of its five grants but the last, which the reading of the binlog takes.
async fn calls(debezium: &mut Mysql, database: &str, checks: &mut Checks) {
    match debezium.texts("SHOW DATABASES").await {
        Ok(names) if names.iter().any(|n| n == database) => checks.holds(format!("debezium sees database {database}")),
        Ok(names) => checks.wrong(format!("debezium sees database {database}"), database, names.join(", ")),
        Err(e) => checks.wrong(format!("debezium sees database {database}"), database, e.in_one_line()),
    }
    let rows = debezium.count(database, "orders").await;
    checks.answered(format!("debezium reads {database}.orders"), "its rows", rows);
    // RELOAD is what its snapshot's FLUSH TABLES takes; this flush takes it too, and disturbs nobody.
    let flushed = debezium.run(&["FLUSH LOCAL ERROR LOGS".to_owned()]).await;
    checks.answered("debezium may flush for a snapshot", "no refusal", flushed);
    let place = debezium.binlog_place().await;
    checks.answered("debezium sees the binlog's place", "a file and a position", place);
}

/// Changes one row of our own three times; returns where the binlog stood before, and the GTIDs that were added since.
async fn change(root: &mut Mysql, id: &str) -> Result<(BinlogPlace, GtidSet), ClientError> {
    let there = format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{DATABASE}' AND table_name = '{TABLE}'"
    );
    // Looked at first: IF NOT EXISTS is a transaction of its own, also where there is nothing to do.
    if root.texts(&there).await?.is_empty() {
        root.run(&[
            format!("CREATE DATABASE IF NOT EXISTS {DATABASE}"),
            format!(
                "CREATE TABLE IF NOT EXISTS {DATABASE}.{TABLE} (id CHAR(32) PRIMARY KEY, words VARCHAR(64), number INT)"
            ),
        ])
        .await?;
    }
    // In this order: what is committed in between is in the binlog behind the place, and in the set already.
    let place = root.binlog_place().await?;
    let before = executed(root).await?;
    root.run(&[
        format!("INSERT INTO {DATABASE}.{TABLE} VALUES ('{id}', 'inserted', 1)"),
        format!("UPDATE {DATABASE}.{TABLE} SET number = 2 WHERE id = '{id}'"),
        format!("DELETE FROM {DATABASE}.{TABLE} WHERE id = '{id}'"),
    ])
    .await?;
    let added = root.texts(&format!("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{before}')")).await?;
    Ok((place, GtidSet::read(added.first().map_or("", String::as_str))))
}

async fn executed(root: &mut Mysql) -> Result<String, ClientError> {
    let set = root.texts("SELECT @@GLOBAL.gtid_executed").await?.into_iter().next().unwrap_or_default();
    // lines of 8 servers and more are broken
    Ok(set.replace('\n', ""))
}

/// The three changes with whole images, and a GTID for each transaction: exactly those that the binlog has. False when that is
/// unsettled: ours have theirs, and a transaction of others is in the set and not in what was read.
fn judge(stretch: &Stretch, added: &GtidSet, id: &str, checks: &mut Checks) -> bool {
    let row = |number: &str| -> Option<Image> { Some([id, "inserted", number].map(|v| Some(v.to_owned())).to_vec()) };
    let wanted = [
        ("insert", RowChange { before: None, after: row("1") }),
        ("update", RowChange { before: row("1"), after: row("2") }),
        ("delete", RowChange { before: row("2"), after: None }),
    ];
    // Another verification may run at the same time.
    let own = |change: &RowChange| {
        let images = change.before.iter().chain(&change.after);
        images.flatten().flatten().any(|value| value == id)
    };
    let with_gtids = || stretch.rows.iter().zip(&stretch.gtid_of_row).filter(|(change, _)| own(change));
    let ours: Vec<&RowChange> = with_gtids().map(|(change, _)| change).collect();
    for (n, (word, wanted)) in wanted.iter().enumerate() {
        let what = format!("the {word} is in the binlog with whole row images");
        match ours.get(n) {
            Some(found) if *found == wanted => checks.holds(what),
            Some(found) => checks.wrong(what, words(wanted), words(found)),
            None => checks.wrong(what, words(wanted), "no such event"),
        }
    }
    let named: BTreeSet<&Gtid> = with_gtids().filter_map(|(_, gtid)| gtid.as_ref()).collect();
    let named = named.into_iter().filter(|gtid| added.contains(gtid)).count() as u64;
    // What others committed after the set was read is in the binlog alone, and not counted.
    let read = stretch.gtids.iter().filter(|gtid| added.contains(gtid)).count() as u64;
    let what = "each transaction has its GTID";
    if named == OURS && read == added.count() {
        checks.holds(what);
        return true;
    }
    checks.wrong(
        what,
        format!("{OURS} more for the three changes, and every other one in the binlog"),
        format!("{} more, {read} of them in the binlog, {named} for the three changes", added.count()),
    );
    named != OURS
}

fn words(change: &RowChange) -> String {
    let image = |image: &Option<Image>| {
        image.as_ref().map_or_else(
            || "nothing".to_owned(),
            |values| values.iter().map(|v| v.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join(", "),
        )
    };
    format!("({}) -> ({})", image(&change.before), image(&change.after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn gtid(number: u64) -> Gtid {
        Gtid { source: UUID.into(), number }
    }

    fn image(values: [&str; 3]) -> Option<Image> {
        Some(values.map(|v| Some(v.to_owned())).to_vec())
    }

    /// The transactions 5, 6 and 7.
    fn whole() -> Stretch {
        Stretch {
            gtids: [5, 6, 7].map(gtid).to_vec(),
            anonymous: 0,
            rows: vec![
                RowChange { before: None, after: image(["x", "inserted", "1"]) },
                RowChange { before: image(["x", "inserted", "1"]), after: image(["x", "inserted", "2"]) },
                RowChange { before: image(["x", "inserted", "2"]), after: None },
            ],
            gtid_of_row: [5, 6, 7].map(|n| Some(gtid(n))).to_vec(),
        }
    }

    fn judged(stretch: &Stretch, added: &str) -> (Vec<String>, bool) {
        let mut checks = Checks { part: "mysql", all: Vec::new() };
        let settled = judge(stretch, &GtidSet::read(added), "x", &mut checks);
        let wrong = checks.all.into_iter().filter_map(|c| Some((c.what, c.wrong?)));
        (wrong.map(|(what, w)| format!("{what}: {}, not {}", w.found, w.expected)).collect(), settled)
    }

    fn wrong(stretch: &Stretch, added: &str) -> Vec<String> {
        judged(stretch, &format!("{UUID}:{added}")).0
    }

    #[test]
    fn three_whole_changes_with_three_gtids_hold() {
        assert_eq!(judged(&whole(), &format!("{UUID}:5-7")), (vec![], true));
    }

    #[test]
    fn changes_of_others_do_not_count_and_have_their_gtids_too() {
        let mut stretch = whole();
        stretch.rows.insert(1, RowChange { before: None, after: image(["y", "inserted", "1"]) });
        stretch.gtid_of_row.insert(1, Some(gtid(8)));
        stretch.gtids.push(gtid(8));
        assert!(wrong(&stretch, "5-8").is_empty());
        assert!(wrong(&stretch, "5-7").is_empty(), "committed after the set was read");
    }

    #[test]
    fn gtids_that_no_transaction_of_the_binlog_has_are_counted() {
        let mut stretch = whole();
        stretch.gtids.push(gtid(8));
        let (told, settled) = judged(&stretch, &format!("{UUID}:5-404"));
        assert_eq!(
            told,
            [
                "each transaction has its GTID: 400 more, 4 of them in the binlog, 3 for the three changes, not 3 more for \
              the three changes, and every other one in the binlog"
            ]
        );
        assert!(!settled, "somebody else may have written meanwhile: looked at again");
        // a set of another server's, as many
        let (told, settled) = judged(&whole(), "11111111-2222-3333-4444-555555555555:5-7");
        assert!(told[0].contains("3 more, 0 of them in the binlog, 0 for the three changes") && settled, "{told:?}");
    }

    #[test]
    fn changes_in_one_transaction_or_without_a_gtid_are_not_three() {
        let mut stretch = whole();
        stretch.gtid_of_row[1] = Some(gtid(5));
        assert!(wrong(&stretch, "5-7")[0].contains("2 for the three changes"));
        let mut stretch = whole();
        (stretch.gtids, stretch.anonymous, stretch.gtid_of_row) = (Vec::new(), 3, vec![None; 3]);
        let (told, settled) = judged(&stretch, "");
        assert!(told[0].contains("0 more, 0 of them in the binlog, 0 for the three changes") && settled, "{told:?}");
    }

    #[test]
    fn a_minimal_row_image_is_named() {
        let mut stretch = whole();
        stretch.rows[1].before = Some(vec![Some("x".into()), None, None]);
        let told = wrong(&stretch, "5-7");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("(x, NULL, NULL) -> (x, inserted, 2)"), "{told:?}");
    }

    #[test]
    fn lost_events_are_named() {
        let mut stretch = whole();
        stretch.rows.pop();
        stretch.gtid_of_row.pop();
        assert!(wrong(&stretch, "5-7")[0].contains("the delete is in the binlog"), "{:?}", wrong(&stretch, "5-7"));
        assert!(!wrong(&whole(), "5-9").is_empty(), "more than there were");
    }
}
