//! kill -9 of the daemon while it makes the ballast: the next one makes it, and what was begun is gone.

use crate::{
    bench::Bench,
    support::{STATE_LIMIT, until},
};
use std::fs;

#[test]
fn a_ballast_is_made_whole_wherever_the_daemon_that_makes_it_dies() {
    // A node whose program is not there has data all the same.
    let bench = Bench::new();
    let store = bench.path("no-programs");
    bench.root.configure_raw(&format!(
        "[artifacts]\nstore = \"{}\"\noffline = true\n[disk]\nlow = \"4M\"\nstop = \"2M\"\nresume = \"3M\"\nballast = \"1M\"\n[zookeeper]\nclient_port = 12181\n",
        store.display()
    ));
    let (ballast, part) = (bench.path("state/ballast"), bench.path("state/ballast.part"));
    for point in ["room.begun", "room.taken"] {
        bench.arm(&format!("{point} kill"));
        drop(bench.spawn(&["run", "--no-fetch"]).try_wait_for(STATE_LIMIT));
        assert!(bench.hit(), "{point} is not reached");
        assert!(!ballast.exists() && part.exists(), "{point}: it has its name only when it is whole");
        bench.disarm();
        fs::remove_file(bench.pair.dir().join("failpoints.hit")).unwrap();
    }
    let run = bench.spawn(&["run", "--no-fetch"]);
    until(STATE_LIMIT, "the ballast is made", || match fs::metadata(&ballast) {
        Ok(meta) if meta.len() == 1 << 20 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(!part.exists(), "what was begun is in nobody's way");
    assert_eq!(bench.run(&["down"]).code, Some(0));
    drop(run.try_wait_for(STATE_LIMIT));
    bench.root.await_empty();
}
