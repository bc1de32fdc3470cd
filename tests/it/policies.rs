//! When a node that ended by itself is started again.

use crate::support::{Root, fake, process, wait::stays};
use std::time::Duration;

#[test]
fn never_means_never() {
    let root = Root::new(&[fake("a", &["after=500", "exit=5"]).text("restart", "never")]);
    root.expect_log("node=a");
    root.run(&["up", "--detach"]);
    let node = root.await_node("a", "has ended", |n| n["last_exit"].is_object());
    assert_eq!((&node["last_exit"]["code"], &node["last_exit"]["cause"]), (&5.into(), &"crashed".into()));
    stays(Duration::from_secs(1), "it is not started again", || root.node("a")["incarnation"] == 1);
    assert_eq!(root.node("a")["pid"], serde_json::Value::Null);
    root.run(&["start", "a"]);
    root.await_node("a", "an order starts it", |n| n["incarnation"] == 2);
}

#[test]
fn on_failure_starts_again_after_a_crash_and_not_after_success() {
    let root = Root::raw("");
    let once = root.file("once");
    root.configure(&[
        fake("crasher", &[&format!("once={once}:9")]).text("restart", "on-failure"),
        fake("worker", &["after=300", "exit=0"]).text("restart", "on-failure"),
    ]);
    root.expect_log("node=crasher");
    root.expect_log("node=worker");
    root.run(&["up", "--detach"]);
    let node = root.await_node("crasher", "back", |n| n["state"] == "ready" && n["restarts"] == 1);
    assert_eq!(node["last_exit"]["code"], 9);
    let node = root.await_node("worker", "has done its work", |n| n["state"] == "down");
    assert_eq!(node["last_exit"]["cause"], "completed");
    stays(Duration::from_secs(1), "success is not repeated", || root.node("worker")["incarnation"] == 1);
}

#[test]
fn always_starts_again_after_success_too() {
    let root = Root::raw("");
    let once = root.file("once");
    root.configure(&[fake("a", &[&format!("once={once}:0")]).text("restart", "always")]);
    root.expect_log("node=a");
    root.run(&["up", "--detach"]);
    let node = root.await_node("a", "back", |n| n["state"] == "ready" && n["restarts"] == 1);
    assert_eq!((&node["last_exit"]["code"], &node["last_exit"]["cause"]), (&0.into(), &"completed".into()));
}

#[test]
fn the_first_restart_after_a_healthy_run_is_immediate() {
    let root = Root::new(&[fake("a", &[]).text("healthy_after", "1s")]);
    root.expect_log("node=a");
    root.up();
    stays(Duration::from_millis(1200), "a healthy run", || root.node("a")["state"] == "ready");
    for incarnation in 2..=3 {
        process::kill(root.pid("a"), 9);
        root.await_node("a", "back", |n| n["state"] == "ready" && n["incarnation"] == incarnation);
        stays(Duration::from_millis(1200), "a healthy run", || root.node("a")["state"] == "ready");
    }
    let events = root.ok(&["events", "--json", "a"]).stdout;
    assert_eq!(events.matches("\"kind\":\"started\"").count(), 3, "{events}");
    assert!(!events.contains("restart-scheduled"), "it was waited: {events}");
}
