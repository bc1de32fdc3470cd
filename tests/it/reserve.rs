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

/// Where a process's stack begins (proc_pid_stat(5), field 28): each program that is loaded gets another place, a copy has its model's.
fn stack_of(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(25).unwrap().parse().unwrap()
}

#[test]
fn the_first_shims_of_a_daemon_are_twins_of_one_and_a_killed_one_takes_no_other_along() {
    let nodes = ["a", "b", "c", "d", "e", "f", "g"];
    let begun = || {
        let root = Root::new(&nodes.map(|node| fake(node, &[])));
        root.expect_log("node=a");
        root.up();
        let shims = nodes.map(|node| root.shim(node));
        assert!(shims.iter().all(|shim| process::parent(*shim) == Some(root.daemon())));
        let mut stacks = shims.map(stack_of).to_vec();
        stacks.sort_unstable();
        let most = stacks.chunk_by(|a, b| a == b).map(<[u64]>::len).max().unwrap();
        (root, shims, most)
    };
    // One that was needed before it was there has been started for itself: on a machine that is busy many may be.
    let mut tries = (0..5).map(|_| begun());
    let twins = |(root, shims, most): (Root, [i32; 7], usize)| {
        if most >= 3 {
            return Some((root, shims));
        }
        root.down();
        None
    };
    let (root, shims) = tries.find_map(twins).expect("twins in one of five starts");
    process::kill(shims[0], 9);
    root.await_node("a", "ready again", |n| n["state"] == "ready" && n["incarnation"] == 2);
    assert_eq!(nodes[1..].iter().map(|node| root.shim(node)).collect::<Vec<_>>(), shims[1..]);
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
