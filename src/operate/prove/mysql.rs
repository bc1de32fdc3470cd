//! The facts about MySQL: binlog, GTID, the grants and the login of `debezium`, the test data.

use super::{Findings, MysqlTargets};
use crate::clients::{
    ClientError,
    mysql::{Grant, Mysql, Place, read_password},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Bound of the login and of each question. A loaded server answers these in milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// Variables a change-data-capture source needs (ON_PERMISSIVE is not ON: debezium/debezium#7981).
const VARIABLES: [(&str, &str); 5] = [
    ("log_bin", "ON"),
    ("binlog_format", "ROW"),
    ("binlog_row_image", "FULL"),
    ("gtid_mode", "ON"),
    ("enforce_gtid_consistency", "ON"),
];

/// What Debezium needs and nothing else (mission).
const GRANTS: [&str; 5] = ["SELECT", "RELOAD", "SHOW DATABASES", "REPLICATION SLAVE", "REPLICATION CLIENT"];

/// Rows of test data in `orders`.
const ROWS_MIN: u64 = 3;

pub(super) async fn prove(targets: &MysqlTargets, findings: &mut Findings, report: &mut (dyn FnMut(String) + Send)) {
    report("looking at MySQL's binlog, grants and rows".into());
    let place = Place::Socket(targets.socket.clone());
    match log_in(&place, "root", &targets.root_password).await {
        Ok(mut root) => {
            as_root(&mut root, targets, findings).await;
            root.close().await;
        }
        Err(e) => findings.fault("root's login over the socket", "a session", e.in_one_line()),
    }
    let before = findings.faults.len();
    match log_in(&Place::Here(targets.address), "debezium", &targets.debezium_password).await {
        Ok(mut debezium) => {
            if let Err(e) = debezium.ping().await {
                findings.fault("debezium's session over TCP", "an answer", e.in_one_line());
            }
            debezium.close().await;
        }
        Err(e) => findings.fault("debezium's login over TCP", "a session", e.in_one_line()),
    }
    findings.proven_unless_faults_since(before, || format!("debezium logs in on port {}", targets.address.port()));
}

async fn log_in(place: &Place, user: &str, password: &std::path::Path) -> Result<Mysql, ClientError> {
    let password = read_password(password).await?;
    Mysql::connect(place, user, Some(&password), LIMIT).await
}

async fn as_root(root: &mut Mysql, targets: &MysqlTargets, findings: &mut Findings) {
    let before = findings.faults.len();
    match root.variables(&VARIABLES.map(|(name, _)| name)).await {
        Ok(found) => check_variables(&found, findings),
        Err(e) => findings.fault("MySQL's binlog variables", "an answer", e.in_one_line()),
    }
    findings.proven_unless_faults_since(before, || "binlog ROW/FULL, GTID on".into());

    let before = findings.faults.len();
    match root.grants("debezium", "%").await {
        Ok(found) => check_grants(&found, findings),
        Err(e) => findings.fault("debezium's grants", GRANTS.join(", "), e.in_one_line()),
    }
    findings.proven_unless_faults_since(before, || "debezium has its five grants and no other".into());

    let table = format!("{}.orders", targets.database);
    match root.count(&targets.database, "orders").await {
        Ok(rows) if rows >= ROWS_MIN => findings.proven.push(format!("{rows} rows in {table}")),
        Ok(rows) => findings.fault(format!("rows in {table}"), format!("{ROWS_MIN} or more"), rows.to_string()),
        Err(e) => findings.fault(format!("rows in {table}"), format!("{ROWS_MIN} or more"), e.in_one_line()),
    }
}

fn check_variables(found: &BTreeMap<String, String>, findings: &mut Findings) {
    for (name, expected) in VARIABLES {
        match found.get(name) {
            Some(value) if value.eq_ignore_ascii_case(expected) => {}
            Some(value) => findings.fault(name, expected, value.as_str()),
            None => findings.fault(name, expected, "no such variable"),
        }
    }
}

fn check_grants(found: &[Grant], findings: &mut Findings) {
    let expected: BTreeSet<String> = GRANTS.map(str::to_owned).into();
    // USAGE is how the server writes "nothing"
    let real: Vec<&Grant> = found.iter().filter(|g| g.privileges.iter().any(|p| p != "USAGE")).collect();
    let exact = matches!(real.as_slice(),
        [one] if one.privileges == expected && one.on.as_deref() == Some("*.*") && !one.grantable);
    if !exact {
        let words = |g: &&Grant| {
            let privileges: Vec<&str> = g.privileges.iter().map(String::as_str).collect();
            let on = g.on.as_deref().map(|on| format!(" on {on}")).unwrap_or_default();
            format!("{}{on}{}", privileges.join(", "), if g.grantable { " with grant option" } else { "" })
        };
        let found: Vec<String> = real.iter().map(words).collect();
        let found = if found.is_empty() { "none".into() } else { found.join(" and ") };
        findings.fault("debezium's grants", format!("exactly {} on *.*", GRANTS.join(", ")), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: &str =
        "GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `debezium`@`%`";

    fn faults_of(lines: &[&str]) -> Vec<String> {
        let mut findings = Findings::default();
        check_grants(&lines.iter().map(|l| Grant::read(l)).collect::<Vec<_>>(), &mut findings);
        findings.faults.into_iter().map(|f| f.found).collect()
    }

    #[test]
    fn exactly_the_five_grants_pass() {
        assert!(faults_of(&[EXACT]).is_empty());
        assert!(faults_of(&["GRANT USAGE ON *.* TO `debezium`@`%`", EXACT]).is_empty());
    }

    #[test]
    fn a_grant_too_many_or_too_few_is_named() {
        assert_eq!(faults_of(&["GRANT USAGE ON *.* TO `debezium`@`%`"]), ["none"]);
        assert_eq!(faults_of(&["GRANT SELECT ON *.* TO `debezium`@`%`"]), ["SELECT on *.*"]);
        assert!(
            faults_of(&[EXACT, "GRANT INSERT ON `trading`.* TO `debezium`@`%`"])[0].contains("INSERT on `trading`.*")
        );
        assert!(faults_of(&[&format!("{EXACT} WITH GRANT OPTION")])[0].ends_with("with grant option"));
        assert!(faults_of(&["GRANT ALL PRIVILEGES ON *.* TO `debezium`@`%`"])[0].contains("ALL PRIVILEGES"));
    }

    #[test]
    fn a_permissive_gtid_mode_is_not_on() {
        let mut found: BTreeMap<String, String> =
            VARIABLES.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        found.insert("gtid_mode".into(), "ON_PERMISSIVE".into());
        found.remove("log_bin");
        let mut findings = Findings::default();
        check_variables(&found, &mut findings);
        let words: Vec<String> = findings.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            ["log_bin: expected ON, found no such variable", "gtid_mode: expected ON, found ON_PERMISSIVE"]
        );
    }
}
