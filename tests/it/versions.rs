//! Programs that are older than the data: refused by a reload before anything is stopped, and told by `plan`. With programs in the
//! place of mysqld that never serve, under versions that can be chosen; those that do are in `tests/real`.

use crate::support::{Root, fake, fake_mysql, node::free_port};
use serde_json::Value;
use std::fs;

/// The file: a node that would restart too, and MySQL in this version.
fn body(root: &Root, artifacts: &str, print: &str, version: &str, options: &str) -> String {
    let port = root.file("port");
    let port = fs::read_to_string(&port).unwrap_or_else(|_| {
        let free = free_port().to_string();
        fs::write(&port, &free).unwrap();
        free
    });
    format!(
        "[artifacts]\nsources = [\"file\"]\n{artifacts}[mysql]\nversion = \"{version}\"\nport = {port}\n[mysql.options]\n{options}\n{}",
        fake("a", &[print]).toml()
    )
}

/// Data as an earlier server left them, with this mark.
fn data(root: &Root, mark: &str) {
    let dir = root.path().join("nodes/mysql/data");
    fs::create_dir_all(&dir).unwrap();
    fs::create_dir_all(root.path().join("state/secrets")).unwrap();
    fs::write(dir.join("ibdata1"), "data").unwrap();
    for name in ["mysql-root", "debezium"] {
        fs::write(root.path().join("state/secrets").join(name), "secret\n").unwrap();
    }
    fs::write(dir.join("cdc-supervisor.json"), mark).unwrap();
}

fn mark(root: &Root) -> Value {
    let text = fs::read_to_string(root.path().join("nodes/mysql/data/cdc-supervisor.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn refusals(root: &Root) -> Vec<(i64, String)> {
    let plan: Value = serde_json::from_str(&root.ok(&["plan", "--json"]).stdout).unwrap();
    let of = |r: &Value| (r["exit"].as_i64().unwrap(), format!("{}; {}", r["what"], r["hint"]));
    plan["refusals"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn an_older_program_is_refused_before_anything_is_stopped_and_plan_says_so() {
    let root = Root::new(&[fake("a", &["print=1"])]);
    root.expect_log("reload:");
    root.up();
    let pid = root.pid("a");
    data(&root, r#"{"schema":1,"product":"MySQL","version":"9.7.2"}"#);
    let artifacts = fake_mysql::offer(root.home(), &["8.4.11"], &root.path().join("nodes/mysql/data"));
    root.configure_raw(&body(&root, &artifacts, "print=2", "8.4.11", ""));
    // A name in the place of a program that is not there yet is no version that could be too old.
    assert_eq!(refusals(&root), []);
    let plan = root.ok(&["plan"]);
    assert!(plan.to_string().contains("whether its version may have the data is looked at then"), "{plan}");
    root.ok(&["fetch"]);
    let told = refusals(&root);
    let [(8, words)] = told.as_slice() else { panic!("{told:?}") };
    let wanted = ["mysql: the data in", "written by MySQL 9.7.2 (its mark says), and this is MySQL 8.4.11"];
    for part in wanted.iter().chain(&["run MySQL 9.7.2 or newer again", "load a dump into it"]) {
        assert!(words.contains(part), "{part}: {words}");
    }
    let output = root.fails(8, &["reload"]);
    for part in wanted.iter().chain(&["nothing was changed", "run MySQL 9.7.2 or newer again"]) {
        assert!(output.stderr.contains(part), "{part}\n{output}");
    }
    assert_eq!(root.pid("a"), pid);
    assert!(root.status()["nodes"].as_array().unwrap().iter().all(|n| n["name"] != "mysql"));
    root.down();
}

#[test]
fn the_mark_of_a_program_that_wrote_nothing_is_taken_back_and_of_one_that_wrote_it_holds() {
    let root = Root::raw("");
    for words in ["reload:", "node=mysql", "mysql"] {
        root.expect_log(words);
    }
    let artifacts = fake_mysql::offer(root.home(), &["8.4.11", "9.7.2"], &root.path().join("nodes/mysql/data"));
    let configure = |print: &str, version: &str, options: &str| {
        root.configure_raw(&body(&root, &artifacts, print, version, options));
    };
    configure("print=1", "8.4.11", "");
    root.ok(&["fetch"]);
    data(&root, r#"{"schema":1,"product":"MySQL","version":"8.4.11"}"#);
    configure("print=1", "9.7.2", "");
    // It does not serve, and has written nothing.
    let up = root.run(&["up", "--detach"]);
    assert_eq!(up.code, Some(6), "{up}");
    root.await_state("mysql", "failed");
    let raised = mark(&root);
    assert_eq!((&raised["version"], &raised["before"]["version"]), (&"9.7.2".into(), &"8.4.11".into()), "{raised}");
    let pid = root.pid("a");

    // A slip is found by the program itself, before anything restarts.
    configure("print=2", "9.7.2", "slip = \"1\"");
    let output = root.fails(3, &["reload"]);
    for words in ["mysqld does not know an option", "unknown variable 'slip=1'", "nothing was changed", "loose_slip"] {
        assert!(output.stderr.contains(words), "{words}\n{output}");
    }
    assert_eq!(root.pid("a"), pid);
    assert!(!root.path().join("nodes/mysql/conf/my.cnf.asked").exists());

    // The older one may have the data, and does not serve either: back to the newer.
    configure("print=1", "8.4.11", "");
    assert_eq!(refusals(&root), []);
    let output = root.fails(6, &["reload"]);
    assert!(output.stderr.contains("mysql did not come up with its new settings"), "{output}");
    root.await_state("mysql", "failed");
    let again = mark(&root);
    assert_eq!((&again["version"], &again["before"]), (&raised["version"], &raised["before"]), "raised anew: {again}");

    // Now it writes.
    fs::write(root.home().join("writes"), "").unwrap();
    root.run(&["start", "mysql"]);
    root.await_state("mysql", "failed");
    assert!(root.path().join("nodes/mysql/data/written").exists());
    let told = refusals(&root);
    assert!(matches!(told.as_slice(), [(8, words)] if words.contains("written by MySQL 9.7.2")), "{told:?}");
    let output = root.fails(8, &["reload"]);
    assert!(output.stderr.contains("and this is MySQL 8.4.11"), "{output}");
    // Whoever goes back with a snapshot says so first: nobody starts what is stopped.
    root.ok(&["stop", "mysql"]);
    let plan = root.ok(&["plan"]);
    assert!(plan.to_string().contains("mysql will be refused its next start"), "{plan}");
    let output = root.ok(&["reload"]);
    assert!(output.to_string().contains("changed for the next start mysql"), "{output}");
    let start = root.fails(8, &["start", "mysql"]);
    assert!(start.stderr.contains("and this is MySQL 8.4.11"), "{start}");
    root.down();
}
