//! SIGTERM in the middle of `upgrade-self`: whichever of the two programs has the process then, all nodes are stopped in order and the
//! daemon ends. SIGKILL at the same places is in `points.rs`.

use crate::{
    bench::Bench,
    points::at_all,
    support::{STATE_LIMIT, process, until},
};
use std::fs;

/// From the moment everything is held still, over that from which nothing can be taken back, to that when the new program is about to
/// serve.
const POINTS: [&str; 6] =
    ["handover.still", "handover.closed", "handover.committed", "handover.begun", "daemon.planned", "daemon.adopted"];

#[test]
fn a_sigterm_in_the_middle_of_a_hand_over_stops_all_nodes_in_order() {
    let only = std::env::var("CDC_FAULTS").unwrap_or_default();
    let points: Vec<&str> = POINTS.into_iter().filter(|p| p.contains(&only)).collect();
    at_all(&points, |point| {
        let bench = Bench::new();
        assert_eq!(bench.up().code, Some(0));
        let daemon = bench.daemon().expect("a daemon that answers");
        bench.arm(&format!("{point} delay=500"));
        let upgrade = bench.spawn(&["upgrade-self"]);
        let at = bench.pair.dir().join("failpoints.at");
        until(STATE_LIMIT, "it is there", || match fs::read_to_string(&at) {
            Ok(name) if name == *point => Ok(()),
            other => Err(format!("{other:?}")),
        });
        process::kill(daemon, 15);
        let nobody = || match process::alive(daemon) {
            true => Err("the daemon lives".to_owned()),
            false => Ok(()),
        };
        until(STATE_LIMIT, "the daemon is gone", nobody);
        bench.root.await_empty();
        drop(upgrade.try_wait_for(STATE_LIMIT));
        let events = bench.run(&["events", "-n", "1000"]).stdout;
        assert!(events.contains("SIGTERM to the daemon: stopping all nodes in order"), "{events}");
        bench.disarm();
        assert_eq!(bench.up().code, Some(0));
        for name in ["a", "b"] {
            let exit = bench.node(name).expect("a daemon that answers")["last_exit"].clone();
            assert_eq!(exit["cause"], "stopped", "{name}: {exit}");
        }
        bench.must_be_whole(true);
    });
}
