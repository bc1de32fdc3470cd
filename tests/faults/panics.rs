//! A panic of a task of the daemon: it is told at once, the watchdog is not fed any more, no node feels it, and the next daemon takes them over
//! and does what was left. One of the dispatcher itself ends the daemon, and no node.

use crate::{
    begun::both_are_ready,
    bench::{Bench, stays},
    cgroups,
    support::{STATE_LIMIT, VERB_LIMIT, client::Client, node_of, pid_of, process, skip, until, wait},
};
use std::{fs, os::unix::net::UnixDatagram, time::Duration};

const TOLD: &str = "this daemon has lost a task that has panicked: nodes run on, ";

fn pids(bench: &Bench) -> [i32; 2] {
    ["a", "b"].map(|name| pid_of(&bench.node(name).expect("a daemon that answers")))
}

fn log(bench: &Bench) -> String {
    fs::read_to_string(bench.path("state/supervisor.log")).unwrap_or_default()
}

/// The panic's own words, the error that says what to do, and the event, each once. `watched`: a watchdog brings another daemon.
fn is_told(bench: &Bench, log: &str, point: &str, watched: bool) {
    bench.await_event(TOLD);
    let events = bench.run(&["events", "--json", "-n", "100000"]).stdout;
    let told: Vec<&str> = events.lines().filter(|line| line.contains(TOLD)).collect();
    assert!(told.len() == 1 && told[0].contains("\"trouble\""), "{point}: {told:?}");
    assert!(log.contains(&format!("the failpoint {point} is armed with a panic")), "{point}: where it was\n{log}");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(TOLD)).collect();
    assert!(lines.len() == 1 && lines[0].contains("ERROR"), "{point}: {lines:?}\n{log}");
    let remedy = match watched {
        true => "the watchdog is not fed any more, and systemd brings another one".to_owned(),
        false => format!("`kill -9 {}`, then `cdc-supervisor up`", bench.daemon().expect("a daemon that answers")),
    };
    assert!(lines[0].contains(&remedy), "{point}: it says what to do: {}", lines[0]);
}

/// What the log says to do is done: the daemon is killed, and the next one takes over.
fn next_daemon(bench: &Bench) {
    bench.kill_daemon();
    let up = bench.up();
    // 8: a reload was under way
    assert!(matches!(up.code, Some(0 | 8)), "{up}");
    both_are_ready(bench, "a panic");
}

#[test]
fn a_panic_of_a_task_is_told_and_the_next_daemon_has_every_node_and_does_what_was_left() {
    // Of the thread that prepares a start and of the one that judges an end.
    for point in ["prepare.begun", "verdict.reading"] {
        let bench = Bench::new();
        assert_eq!(bench.up().code, Some(0));
        let (daemon, [a, b]) = (bench.daemon(), pids(&bench));
        bench.arm(&format!("{point} panic"));
        process::kill(a, 9);
        bench.has_died(point);
        bench.await_event(TOLD);
        is_told(&bench, &log(&bench), point, false);
        assert_eq!((bench.daemon(), pid_of(&bench.node("b").unwrap())), (daemon, b), "{point}");
        next_daemon(&bench);
        let [again, same] = pids(&bench);
        assert!(again != a && same == b, "{point}: {b} is {same}");
        until(STATE_LIMIT, "the death of a is on record once", || match bench.incidents_of("a") {
            starts if starts == [1] => Ok(()),
            starts => Err(format!("{starts:?}")),
        });
        bench.must_be_whole(true);
    }
}

#[test]
fn a_panic_of_a_task_that_carries_out_an_order_is_told_though_no_node_stirs() {
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    let (daemon, before) = (bench.daemon(), pids(&bench));
    // The look behind a start would make the dispatcher turn, and so tell of anything; in the quiet behind it nothing does.
    wait::stays(Duration::from_secs(3), "no node stirs", || pids(&bench) == before);
    bench.configure(&["after=1"]);
    bench.arm("reload.begun panic");
    let reload = bench.run(&["reload"]);
    assert_eq!(reload.code, Some(1), "{reload}");
    assert!(reload.stderr.contains("the daemon failed while it carried this out"), "{reload}");
    bench.has_died("reload.begun");
    bench.await_event(TOLD);
    is_told(&bench, &log(&bench), "reload.begun", false);
    assert_eq!((bench.daemon(), pids(&bench)), (daemon, before));
    next_daemon(&bench);
    assert_eq!(pids(&bench), before);
    bench.must_be_whole(true);
}

#[test]
fn a_daemon_whose_look_at_a_node_has_panicked_leaves_it_alone_and_the_next_one_takes_it_over() {
    let bench = Bench::new();
    assert_eq!(bench.up().code, Some(0));
    let living = pids(&bench);
    bench.kill_daemon();
    bench.arm("adopt.looking panic");
    let run = bench.spawn(&["run"]);
    bench.has_died("adopt.looking");
    bench.await_event(TOLD);
    is_told(&bench, &run.stderr(), "adopt.looking", false);
    stays("both live", || living.iter().all(|pid| process::alive(*pid)));
    next_daemon(&bench);
    drop(run);
    assert_eq!(pids(&bench), living);
    bench.must_be_whole(true);
}

/// Whether the watchdog was fed by what is in the socket now.
fn fed(manager: &UnixDatagram) -> bool {
    let (mut message, mut fed) = ([0; 1024], false);
    while let Ok(length) = manager.recv(&mut message) {
        fed |= String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "WATCHDOG=1");
    }
    fed
}

#[test]
fn a_watchdog_is_not_fed_any_more_once_a_task_has_panicked_and_only_who_has_one_is_told_of_it() {
    for watched in [true, false] {
        let bench = Bench::new();
        let address = bench.root.home().join("manager");
        let manager = UnixDatagram::bind(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        let (address, program) = (format!("NOTIFY_SOCKET={}", address.display()), bench.pair.supervisor());
        let words = match watched {
            true => vec!["env", &address, "WATCHDOG_USEC=200000", &program],
            false => vec!["env", &address, &program],
        };
        let run = Client::start_program(&bench.root, &words, &["run"]);
        both_are_ready(&bench, "a panic");
        let before = pids(&bench);
        if watched {
            until(STATE_LIMIT, "the watchdog is fed", || if fed(&manager) { Ok(()) } else { Err("not yet".into()) });
        }
        bench.configure(&["after=1"]);
        bench.arm("reload.begun panic");
        drop(bench.run(&["reload"]));
        bench.has_died("reload.begun");
        bench.await_event(TOLD);
        is_told(&bench, &run.stderr(), "reload.begun", watched);
        fed(&manager);
        stays("the watchdog is not fed", || !fed(&manager));
        next_daemon(&bench);
        drop(run);
        assert_eq!(pids(&bench), before);
        bench.must_be_whole(true);
    }
}

#[test]
fn systemd_replaces_a_daemon_whose_task_has_panicked_and_no_node_notices() {
    let guest = match cgroups::guest() {
        Ok(guest) => guest,
        Err(why) => return skip("systemd_replaces_a_daemon_whose_task_has_panicked_and_no_node_notices", why),
    };
    assert_eq!(guest.saw("end"), "reached", "{}", guest.journal());
    let never: Vec<String> =
        guest.saw("never").lines().filter(|l| l.starts_with("panic: ")).map(str::to_owned).collect();
    assert!(never.is_empty(), "{never:?}\n{}", guest.journal());
    let text = guest.saw("panic.reload");
    assert!(text.contains("the daemon failed while it carried this out"), "{text}");
    // The daemon before, the one after it, and how often systemd has brought one by itself.
    let mains = guest.saw("panic.mains");
    let [before, after, restarts] = mains.split(' ').collect::<Vec<_>>()[..] else { panic!("{mains}") };
    assert!(before != after && restarts == "1", "{mains}\n{}", guest.journal());
    let systemd = guest.saw("panic.systemd");
    assert!(systemd.lines().any(|line| line.contains("Watchdog timeout")), "{systemd}");
    let events = guest.saw("panic.events");
    let told: Vec<&str> = events.lines().filter(|line| line.contains(TOLD)).collect();
    assert!(
        told.len() == 1 && told[0].contains("\"trouble\"") && told[0].contains("systemd brings another one"),
        "{events}"
    );
    let (before, after) = (guest.json("panic-before"), guest.json("panic-after"));
    for name in ["a", "b"] {
        for key in ["pid", "incarnation", "restarts", "last_exit"] {
            assert_eq!(node_of(&after, name)[key], node_of(&before, name)[key], "{name}: {key}");
        }
    }
    // The new one has all of its tasks: it carries out what the panic has cut short, and feeds the watchdog.
    assert_eq!(guest.saw("panic.again.rc"), "0", "{}", guest.saw("panic.again"));
    assert_eq!(guest.saw("panic.later"), mains);
}

#[test]
fn a_panic_of_the_dispatcher_ends_the_daemon_and_no_node_is_an_event_and_the_death_it_was_hearing_of_is_on_record_once()
{
    let bench = Bench::new();
    let run = bench.spawn(&["run"]);
    both_are_ready(&bench, "a panic");
    let [a, b] = pids(&bench);
    bench.arm("engine.end-heard panic");
    process::kill(a, 9);
    let ended = run.wait(VERB_LIMIT);
    bench.has_died("engine.end-heard");
    assert_eq!((ended.code, ended.signal), (Some(1), None), "{ended}");
    let said = ended.stderr.lines().any(|line| {
        line.contains("ERROR") && line.contains("the dispatcher ended early, and nodes run on without a daemon")
    });
    assert!(said, "{ended}");
    assert!(process::alive(b), "b ended with the daemon");
    // By the daemon itself: the next one knows nothing of it.
    let events = bench.run(&["events", "--json", "-n", "100000"]).stdout;
    let told: Vec<&str> = events.lines().filter(|line| line.contains("the dispatcher has panicked")).collect();
    assert!(told.len() == 1 && told[0].contains("\"trouble\""), "{told:?}\n{events}");
    assert!(told[0].contains("this daemon ends") && told[0].contains("`cdc-supervisor up`"), "{told:?}");
    assert_eq!(bench.up().code, Some(0));
    both_are_ready(&bench, "a panic");
    let [again, same] = pids(&bench);
    assert!(again != a && same == b, "{b} is {same}");
    assert_eq!(bench.node("a").unwrap()["last_exit"]["signal"], "SIGKILL");
    until(STATE_LIMIT, "the death of a is on record once", || match bench.incidents_of("a") {
        starts if starts == [1] => Ok(()),
        starts => Err(format!("{starts:?}")),
    });
    bench.must_be_whole(true);
}
