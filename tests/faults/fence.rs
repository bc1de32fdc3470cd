//! kill -9 of the daemon right before and right after it closes a dead broker's session: the next one ends what was begun.

use crate::{
    bench::Bench,
    support::{pid_of, process, skip},
};

#[test]
fn a_session_is_closed_once_wherever_the_daemon_that_closes_it_dies() {
    let Ok(store) = std::env::var("CDC_TEST_STORE") else {
        return skip("a_session_is_closed_once", "CDC_TEST_STORE names no filled artifact store");
    };
    let _turn = crate::real_ports();
    let text = format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n[kafka.brokers.1]\n");
    let bench = Bench::with(&text);
    for (round, point) in ["fence.closing", "fence.closed"].into_iter().enumerate() {
        let output = bench.run(&["up", "--detach"]);
        assert_eq!(output.code, Some(0), "{point}\n{output}");
        let before = pid_of(&bench.node("broker-1").expect("a daemon that answers"));
        bench.killed(point, || process::kill(before, 9));
        let output = bench.run(&["up", "--detach"]);
        assert_eq!(output.code, Some(0), "{point}\n{output}");
        let back = bench.node("broker-1").expect("a daemon that answers");
        assert_eq!((&back["state"], &back["incarnation"]), (&"ready".into(), &(round + 2).into()), "{point}: {back}");
        let events = bench.run(&["events", "--json", "broker-1"]).stdout;
        assert!(!events.contains("old session"), "{point}: nobody had to wait for it\n{events}");
    }
    assert_eq!(bench.run(&["down"]).code, Some(0));
    bench.root.await_empty();
}
