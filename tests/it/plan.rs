//! `plan`: what the file would change is shown, with and without a daemon, and nothing is changed by looking.

use crate::support::{Root, fake, node::free_port, process};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

fn plan(root: &Root) -> Value {
    let output = root.ok(&["plan", "--json"]);
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}\n{output}"))
}

/// Every file below a directory with its time and size.
fn files(dir: &Path) -> BTreeMap<String, (std::time::SystemTime, u64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(meta) = path.symlink_metadata() {
            found.insert(path.display().to_string(), (meta.modified().unwrap(), meta.len()));
        }
    }
    found
}

#[test]
fn without_any_applied_plan_everything_is_new_and_nothing_is_made() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[]).after(&["a"])]);
    let document = plan(&root);
    assert_eq!(
        (&document["applied"], &document["daemon"], &document["unchanged"]),
        (&false.into(), &Value::Null, &false.into())
    );
    for (at, name) in ["a", "b"].iter().enumerate() {
        assert_eq!(
            (&document["nodes"][at]["name"], &document["nodes"][at]["does"]),
            (&Value::from(*name), &"start".into())
        );
    }
    let output = root.ok(&["plan"]);
    assert!(output.stdout.contains("everything is new"), "{output}");
    assert!(!root.path().exists(), "looking makes no root");
}

#[test]
fn a_plan_shows_what_applies_live_what_restarts_and_changes_nothing() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[]), fake("gone", &[])]);
    root.up();
    let document = plan(&root);
    assert_eq!((&document["unchanged"], &document["daemon"]), (&true.into(), &root.daemon().into()), "{document}");
    root.configure(&[
        fake("a", &[]).text("memory_max", "64M"),
        fake("b", &["print=--password=sesame"]).key("env", "{ TOKEN = \"sesame\" }"),
        fake("new", &[]),
    ]);
    let pids = [root.pid("a"), root.pid("b"), root.pid("gone")];
    let before = files(&root.path().join("state"));
    let document = plan(&root);
    let does: Vec<String> = document["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| format!("{} {}", s["node"].as_str().unwrap(), s["does"].as_str().unwrap()))
        .collect();
    assert_eq!(does, ["b restart", "new start", "a live", "gone stop"]);
    assert_eq!(document["refusals"], Value::Array(vec![]));
    let output = root.ok(&["plan"]);
    for words in [
        "memory_max: 256M -> 64M  (applies live)",
        "b  restart: its command line; its environment",
        "gone  stop and drop",
        "new  start: it is new",
        "cdc-supervisor reload",
    ] {
        assert!(output.stdout.contains(words), "{words} is missing\n{output}");
    }
    assert!(!output.stdout.contains("sesame") && !document.to_string().contains("sesame"), "{output}");
    assert_eq!([root.pid("a"), root.pid("b"), root.pid("gone")], pids);
    assert_eq!(files(&root.path().join("state")), before);
}

#[test]
fn without_a_daemon_the_plan_is_the_same_and_says_who_applies_it() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("adopt");
    root.up();
    root.configure(&[fake("a", &["print=other"])]);
    let with = plan(&root);
    let daemon = root.daemon();
    process::kill(daemon, 9);
    crate::support::until(crate::support::STATE_LIMIT, "the daemon is gone", || {
        if process::alive(daemon) { Err("alive".into()) } else { Ok(()) }
    });
    let without = plan(&root);
    assert_eq!((&without["steps"], &without["nodes"]), (&with["steps"], &with["nodes"]));
    assert_eq!(without["daemon"], Value::Null);
}

/// Neither product refuses it: it would be restarted for a line that does nothing.
#[test]
fn a_setting_that_its_product_does_not_have_is_told_wherever_somebody_decides() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    root.configure_raw(&format!(
        "[artifacts]\noffline = true\n[zookeeper]\nclient_port = {}\n[zookeeper.properties]\nsnapCont = 5\n{}",
        free_port(),
        fake("a", &[]).toml()
    ));
    let what = "supervisor.toml line 8: ZooKeeper has no setting snapCont";
    let advice = "did you mean snapCount?";
    let notes = plan(&root)["notes"].to_string();
    assert!(notes.contains(&format!("{what}, so the line does nothing; {advice}")), "{notes}");
    // the jars are not there, so it goes no further
    root.expect_log("has no setting snapCont");
    root.expect_log("the file cannot be applied");
    let reload = root.fails(5, &["reload"]).stderr;
    assert!(reload.contains("note: ") && reload.contains(what) && reload.contains(advice), "{reload}");
    let doctor: Value = serde_json::from_str(&root.run(&["doctor", "--json"]).stdout).unwrap();
    let row = doctor["checks"].as_array().unwrap().iter().find(|c| c["name"] == "names of settings").unwrap();
    assert_eq!((row["severity"].as_str(), row["stops_start"].as_bool()), (Some("warn"), Some(false)), "{row}");
    assert!(row["found"].as_str().unwrap().ends_with(&format!("supervisor.toml line 8): {advice}")), "{row}");
    root.down();
    let up = root.fails(5, &["up", "--detach"]).stderr;
    assert!(up.contains(&format!("warning: {what}")) && up.contains(advice), "{up}");
}

#[test]
fn a_plan_names_what_would_be_refused_with_its_code() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    root.configure(&[
        fake("a", &[]).text("memory_max", "1T"),
        fake("b", &[]).key("ports", &format!("[\"127.0.0.1:{port}\"]")).text("user", "nobody-at-all"),
    ]);
    let output = root.run(&["plan", "--json"]);
    let document: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}\n{output}"));
    let exits: Vec<i64> =
        document["refusals"].as_array().unwrap().iter().map(|r| r["exit"].as_i64().unwrap()).collect();
    // memory, port, user: what a reload would refuse, in the words of the look before a start
    assert_eq!(exits, [3, 4, 4], "{document}");
    let text = root.ok(&["plan"]).stdout;
    assert!(
        text.contains(&format!("port {port} is taken by")) && text.contains("nothing of it would be applied"),
        "{text}"
    );
    root.configure_raw("[command.a]\nargv = 3\n");
    root.fails(3, &["plan"]);
}
