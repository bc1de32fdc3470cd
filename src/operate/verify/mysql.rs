//! MySQL as Debezium meets it: its login makes its calls, and row changes come back out of the binlog whole.

use super::Checks;
use crate::{
    clients::{
        ClientError,
        mysql::{BinlogPlace, Image, Mysql, Place, RowChange, Stretch, gtids_in, read_password},
    },
    operate::prove::MysqlTargets,
};
use std::{path::Path, time::Duration};

/// Bound of a login and of each call.
const LIMIT: Duration = Duration::from_secs(15);

/// Our own database and table: nobody else's row is changed.
const DATABASE: &str = "cdc_supervisor";
const TABLE: &str = "verify";

/// Transactions that the changes below are: an insert, an update and a delete.
const OURS: u64 = 3;

pub(super) async fn look(targets: &MysqlTargets, checks: &mut Checks, report: &mut (dyn FnMut(String) + Send)) {
    report("making Debezium's calls to MySQL".into());
    let as_debezium = Place::Loopback(targets.port);
    // That it logs in is proven; here only a login that fails is told.
    let mut debezium = match log_in(&as_debezium, "debezium", &targets.debezium_password).await {
        Ok(debezium) => debezium,
        Err(e) => return checks.wrong("debezium's login over TCP", "a session", e.in_one_line()),
    };
    calls(&mut debezium, &targets.database, checks).await;

    report("changing a row and reading it back from the binlog".into());
    let socket = Place::Socket(targets.socket.clone());
    let mut root = match log_in(&socket, "root", &targets.root_password).await {
        Ok(root) => root,
        Err(e) => {
            checks.wrong("root's login over the socket", "a session", e.in_one_line());
            return debezium.close().await;
        }
    };
    let id = format!("{:032x}", rand::random::<u128>());
    let changed = change(&mut root, &id).await;
    root.close().await;
    let Some((place, gtids)) = checks.answered("a row is inserted, updated and deleted", "three transactions", changed)
    else {
        return debezium.close().await;
    };
    let read = debezium.read_binlog(&place, (DATABASE, TABLE)).await;
    let Some(stretch) = checks.answered("debezium reads the binlog as a replica", "its events", read) else { return };
    judge(&stretch, &gtids, &id, checks);
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
async fn change(root: &mut Mysql, id: &str) -> Result<(BinlogPlace, String), ClientError> {
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
    let before = executed(root).await?;
    let place = root.binlog_place().await?;
    root.run(&[
        format!("INSERT INTO {DATABASE}.{TABLE} VALUES ('{id}', 'inserted', 1)"),
        format!("UPDATE {DATABASE}.{TABLE} SET number = 2 WHERE id = '{id}'"),
        format!("DELETE FROM {DATABASE}.{TABLE} WHERE id = '{id}'"),
    ])
    .await?;
    let added = root.texts(&format!("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{before}')")).await?;
    Ok((place, added.into_iter().next().unwrap_or_default()))
}

async fn executed(root: &mut Mysql) -> Result<String, ClientError> {
    let set = root.texts("SELECT @@GLOBAL.gtid_executed").await?.into_iter().next().unwrap_or_default();
    // lines of 8 servers and more are broken
    Ok(set.replace('\n', ""))
}

/// The three changes with whole images, and a GTID for each transaction.
fn judge(stretch: &Stretch, gtids: &str, id: &str, checks: &mut Checks) {
    let row = |number: &str| -> Option<Image> { Some([id, "inserted", number].map(|v| Some(v.to_owned())).to_vec()) };
    let wanted = [
        ("insert", RowChange { before: None, after: row("1") }),
        ("update", RowChange { before: row("1"), after: row("2") }),
        ("delete", RowChange { before: row("2"), after: None }),
    ];
    // Another verification may run at the same time.
    let own = |change: &&RowChange| {
        let images = change.before.iter().chain(&change.after);
        images.flatten().flatten().any(|value| value == id)
    };
    let ours: Vec<&RowChange> = stretch.rows.iter().filter(own).collect();
    for (n, (word, wanted)) in wanted.iter().enumerate() {
        let what = format!("the {word} is in the binlog with whole row images");
        match ours.get(n) {
            Some(found) if *found == wanted => checks.holds(what),
            Some(found) => checks.wrong(what, words(wanted), words(found)),
            None => checks.wrong(what, words(wanted), "no such event"),
        }
    }
    let (counted, what) = (gtids_in(gtids), "each transaction has its GTID");
    // Others may have written meanwhile; alone it is exactly ours.
    let exact = counted == OURS || (counted > OURS && stretch.transactions > OURS);
    if exact {
        checks.holds(what);
    } else {
        checks.wrong(
            what,
            format!("{OURS} more"),
            format!("{counted} more, with {} transactions in the binlog", stretch.transactions),
        );
    }
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

    const GTIDS: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:5-7";

    fn image(values: [&str; 3]) -> Option<Image> {
        Some(values.map(|v| Some(v.to_owned())).to_vec())
    }

    fn whole() -> Stretch {
        Stretch {
            transactions: 3,
            rows: vec![
                RowChange { before: None, after: image(["x", "inserted", "1"]) },
                RowChange { before: image(["x", "inserted", "1"]), after: image(["x", "inserted", "2"]) },
                RowChange { before: image(["x", "inserted", "2"]), after: None },
            ],
        }
    }

    fn wrong(stretch: &Stretch, gtids: &str) -> Vec<String> {
        let mut checks = Checks { part: "mysql", all: Vec::new() };
        judge(stretch, gtids, "x", &mut checks);
        let wrong = checks.all.into_iter().filter_map(|c| Some((c.what, c.wrong?)));
        wrong.map(|(what, w)| format!("{what}: {}, not {}", w.found, w.expected)).collect()
    }

    #[test]
    fn three_whole_changes_with_three_gtids_hold() {
        assert!(wrong(&whole(), GTIDS).is_empty());
    }

    #[test]
    fn changes_of_others_do_not_count() {
        let mut stretch = whole();
        stretch.rows.insert(1, RowChange { before: None, after: image(["y", "inserted", "1"]) });
        stretch.transactions = 4;
        assert!(wrong(&stretch, "3e11fa47-71ca-11e1-9e33-c80aa9429562:5-8").is_empty());
    }

    #[test]
    fn a_minimal_row_image_is_named() {
        let mut stretch = whole();
        stretch.rows[1].before = Some(vec![Some("x".into()), None, None]);
        let told = wrong(&stretch, GTIDS);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("(x, NULL, NULL) -> (x, inserted, 2)"), "{told:?}");
    }

    #[test]
    fn lost_events_and_gtids_are_named() {
        let mut stretch = whole();
        stretch.rows.pop();
        assert!(wrong(&stretch, GTIDS)[0].contains("the delete is in the binlog"), "{:?}", wrong(&stretch, GTIDS));
        assert!(wrong(&whole(), "")[0].contains("0 more"), "without GTIDs");
        assert!(!wrong(&whole(), "3e11fa47-71ca-11e1-9e33-c80aa9429562:5-9").is_empty(), "more than there were");
    }
}
