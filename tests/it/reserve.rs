//! The shim in reserve: there while the daemon lives, named after its node once it has one, missed by nobody.

use crate::support::{Root, STATE_LIMIT, fake, process, until};
use cdc_supervisor::sys::process as sys;

/// Shims that have no node, below the daemon.
fn in_reserve(daemon: i32) -> Vec<i32> {
    let words = format!(" {}", sys::IN_RESERVE);
    sys::children_of(daemon).into_iter().filter(|pid| sys::command_line(*pid).ends_with(&words)).collect()
}

fn await_reserve(daemon: i32) -> i32 {
    until(STATE_LIMIT, "one shim is in reserve", || match in_reserve(daemon)[..] {
        [one] => Ok(one),
        ref other => Err(process::describe(other)),
    })
}

#[test]
fn a_start_after_a_death_takes_the_shim_in_reserve_and_another_takes_its_place() {
    let root = Root::new(&[fake("a", &[]), fake("b", &[])]);
    root.expect_log("node=a");
    root.up();
    let daemon = root.daemon();
    let reserve = await_reserve(daemon);
    process::kill(root.pid("a"), 9);
    root.await_node("a", "ready again", |n| n["state"] == "ready" && n["incarnation"] == 2);
    assert_eq!(root.shim("a"), reserve);
    assert!(sys::command_line(reserve).ends_with("/cdc-shim a 2"), "{}", sys::command_line(reserve));
    assert!(root.path().join("nodes/a/run/shim.log").exists());
    assert_ne!(await_reserve(daemon), reserve);
    root.down();
    root.await_empty();
}

#[test]
fn a_shim_in_reserve_that_was_killed_is_missed_by_nobody() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("node=a");
    root.up();
    let daemon = root.daemon();
    let reserve = await_reserve(daemon);
    process::kill(reserve, 9);
    until(STATE_LIMIT, "it is reaped", || if sys::identity(reserve).is_none() { Ok(()) } else { Err("there".into()) });
    process::kill(root.pid("a"), 9);
    root.await_node("a", "ready again", |n| n["state"] == "ready" && n["restarts"] == 1);
    await_reserve(daemon);
}

#[test]
fn a_shim_in_reserve_ends_with_the_daemon_however_that_ends() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("adopt");
    root.up();
    let daemon = root.daemon();
    let reserve = await_reserve(daemon);
    process::kill(daemon, 9);
    until(STATE_LIMIT, "it is gone", || if process::alive(reserve) { Err("there".into()) } else { Ok(()) });
    root.up();
    let daemon = root.daemon();
    let before = await_reserve(daemon);
    root.ok(&["upgrade-self"]);
    assert_eq!(root.daemon(), daemon, "the same process");
    until(STATE_LIMIT, "that of the program before is gone", || match in_reserve(daemon)[..] {
        [one] if one != before && sys::identity(before).is_none() => Ok(()),
        ref other => Err(process::describe(other)),
    });
    root.down();
    root.await_empty();
}
