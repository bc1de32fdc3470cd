//! The real shim with real children: what is promised about output, exits, leftovers and the death of either side.
//!
//! A little past 500 lines: one fact after the other about one program; what they share is in `harness`.

// the harness is test code, though no function in it is a test
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod harness;
#[path = "../support/mod.rs"]
mod support;

use cdc_supervisor::{
    base::{ExitStatus, Incarnation, Layout},
    logs::{names, pump, writer},
    shim::{
        client::Client,
        wire::{Decoder, Report, Request, TwinRequest, Twins, parse_exit_record, parse_launch_failure},
    },
    sys::{children, net, process, socket},
};
use harness::{Node, Spawned, WAIT, gone, launch_failed, order, poll, state};
use std::{
    fs,
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn an_exit_code_is_on_record_before_it_is_told_and_the_shim_cleans_up() {
    let mut node = Node::start("exit 7");
    let told = gone(&mut node.client);
    assert_eq!(told.status, ExitStatus::Code(7));
    assert_eq!((told.incarnation, told.pid), (Incarnation(1), node.state.process.pid));
    assert!(told.ended_at >= told.started_at && told.peak_rss_bytes > 0);
    let text = fs::read_to_string(node.layout.exit_record(&node.name, Incarnation(1))).unwrap();
    assert_eq!(parse_exit_record(&text).unwrap(), told);
    assert_eq!(poll(|| process::try_wait(node.shim)), ExitStatus::Code(0));
    assert!(!node.socket().exists());
    assert!(node.client.next_report(WAIT).unwrap().is_none(), "closed behind Gone");
}

#[test]
fn death_by_a_signal_is_recorded_as_such_and_not_as_sent_by_us() {
    let mut node = Node::start("kill -9 $$");
    let record = gone(&mut node.client);
    assert_eq!((record.status, record.signals_sent), (ExitStatus::Signal(9), vec![]));
}

#[test]
fn all_output_arrives_over_rotations_without_a_cut_line() {
    let mut order = order("seq 1 700000; echo the end");
    order.log_max_bytes = 500_000;
    order.log_keep = 100;
    let mut node = Node::launch(order);
    gone(&mut node.client);
    let dir = node.layout.log_dir(&node.name);
    let rotated = names::rotated_files(&dir).unwrap();
    assert!(rotated.len() >= 8, "{rotated:?}");
    let mut all = Vec::new();
    for file in rotated {
        let part = fs::read(&file).unwrap();
        assert_eq!(part.last(), Some(&b'\n'));
        assert!(part.len() <= 500_000);
        all.extend(part);
    }
    all.extend(fs::read(dir.join("current")).unwrap());
    let mut expected: String = (1..=700_000).map(|i| format!("{i}\n")).collect();
    expected.push_str("the end\n");
    assert!(all == expected.as_bytes(), "{} bytes instead of {}", all.len(), expected.len());
}

#[test]
fn a_node_gets_exactly_the_given_environment_limits_and_descriptors() {
    let script = "env; ulimit -Sn; umask; pwd; cat /proc/self/oom_score_adj; echo fds; ls -l /proc/$$/fd; echo sig; \
                  grep -E 'Sig(Ign|Blk)' /proc/self/status; read line || echo no input >&2";
    let mut order = order(script);
    order.nofile = 321;
    order.oom_score_adj = 123;
    order.dir = "/usr".into();
    order.env = vec![("PATH".into(), "/usr/bin:/bin".into()), ("ONLY".into(), "this".into())];
    let mut node = Node::launch(order);
    gone(&mut node.client);
    let log = node.log();
    for line in ["ONLY=this", "321", "0027", "/usr", "123", "no input"] {
        assert!(log.lines().any(|l| l == line), "{line}: {log}");
    }
    assert!(!log.contains("HOME=") && !log.contains("CARGO"), "{log}");
    assert!(log.lines().filter(|l| l.starts_with("Sig")).all(|l| l.ends_with("0000000000000000")), "{log}");
    let open: Vec<_> = log.lines().filter(|l| l.contains(" -> ")).collect();
    assert_eq!(open.len(), 4, "0, 1, 2 and the lock: {open:?}");
    assert!(open.iter().any(|l| l.ends_with("/run/lock")), "{open:?}");
}

#[test]
fn a_node_that_ignores_the_signal_is_killed_after_its_grace_also_without_a_daemon() {
    let mut node = Node::start("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    poll(|| node.log().contains("ready").then_some(()));
    let before = Instant::now();
    node.client.request(&Request::Stop { signal: libc::SIGTERM, grace_ms: 300 }).unwrap();
    node.forget_daemon();
    let record = node.wait_for_record();
    assert!(before.elapsed() >= Duration::from_millis(290), "{:?}", before.elapsed());
    assert_eq!(record.status, ExitStatus::Signal(libc::SIGKILL));
    assert_eq!(record.signals_sent, [libc::SIGTERM, libc::SIGKILL]);
}

#[test]
fn a_node_that_obeys_is_gone_long_before_its_grace() {
    let mut node = Node::start("trap 'exit 143' TERM; echo ready; while :; do sleep 0.01; done");
    poll(|| node.log().contains("ready").then_some(()));
    node.client.request(&Request::Stop { signal: libc::SIGTERM, grace_ms: 600_000 }).unwrap();
    let record = gone(&mut node.client);
    assert_eq!((record.status, record.signals_sent), (ExitStatus::Code(143), vec![libc::SIGTERM]));
}

#[test]
fn a_grandchild_in_a_session_of_its_own_that_ignores_the_signal_is_gone_after_a_stop() {
    let mut node = Node::start("setsid sh -c 'trap \"\" TERM; echo pid $$; exec sleep 1000' & echo main; wait");
    let grandchild = poll(|| node.pid_in_log());
    let identity = process::identity(grandchild).unwrap();
    node.client.request(&Request::Stop { signal: libc::SIGTERM, grace_ms: 10_000 }).unwrap();
    let Some(Report::MainEnded(record)) = node.client.next_report(WAIT).unwrap() else { panic!() };
    assert_eq!(record.status, ExitStatus::Signal(libc::SIGTERM));
    assert_eq!(gone(&mut node.client), record);
    assert!(!process::is_same_alive(&identity));
}

#[test]
fn leftovers_of_a_node_that_ended_by_itself_are_removed_and_hold_nothing_up() {
    let mut node = Node::start("sleep 1000 & sleep 1000 & exit 3");
    let Some(Report::MainEnded(record)) = node.client.next_report(WAIT).unwrap() else { panic!() };
    assert_eq!(record.status, ExitStatus::Code(3));
    assert_eq!(gone(&mut node.client), record);
}

#[test]
fn killing_the_tree_reaches_stopped_processes_and_every_session() {
    let mut node = Node::start("setsid sh -c 'trap \"\" TERM; setsid sleep 1000 & kill -STOP $$' & echo pid $$; wait");
    poll(|| (process::descendants(node.shim).len() >= 3).then_some(()));
    let tree = process::descendants(node.shim);
    node.client.request(&Request::KillTree).unwrap();
    let record = gone(&mut node.client);
    assert_eq!(record.signals_sent, [libc::SIGKILL]);
    assert!(tree.iter().all(|pid| process::identity(*pid).is_none()));
}

#[test]
fn a_chain_of_forks_in_ever_new_sessions_cannot_run_away() {
    let mut node = Node::launch(harness::helper_order("fork-chain"));
    let Some(Report::MainEnded(_)) = node.client.next_report(WAIT).unwrap() else { panic!() };
    gone(&mut node.client);
}

#[test]
fn the_death_of_the_daemon_changes_nothing_and_the_next_one_subscribes() {
    let mut node = Node::start("trap 'echo bye; exit 5' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done");
    node.forget_daemon();
    let lines = |n: &Node| n.log().lines().count();
    let before = lines(&node);
    poll(|| (lines(&node) > before + 5).then_some(()));
    let mut next = Client::connect(&node.socket()).unwrap();
    next.request(&Request::Subscribe).unwrap();
    assert_eq!(state(&mut next), node.state);
    assert_eq!(next.take_fds().len(), 2, "pipe and pidfd");
    let mut asks = Client::connect(&node.socket()).unwrap();
    asks.request(&Request::State).unwrap();
    assert_eq!(state(&mut asks), node.state);
    assert!(asks.take_fds().is_empty());
    asks.request(&Request::Stop { signal: libc::SIGTERM, grace_ms: 10_000 }).unwrap();
    assert_eq!(gone(&mut next).status, ExitStatus::Code(5));
    assert!(node.log().ends_with("bye\n"));
    assert!(asks.next_report(WAIT).unwrap().is_none(), "who did not subscribe hears nothing but the end");
}

#[test]
fn a_killed_shim_leaves_the_node_alive_locked_and_its_output_readable() {
    let mut node = Node::start("i=0; while :; do i=$((i+1)); echo $i; sleep 0.005; done");
    let [pipe, pidfd] = <[_; 2]>::try_from(node.client.take_fds()).unwrap();
    poll(|| (node.log().lines().count() > 3).then_some(()));
    let shim = process::pidfd_open(node.shim).unwrap();
    process::pidfd_signal(&shim, libc::SIGKILL).unwrap();
    assert_eq!(poll(|| process::try_wait(node.shim)), ExitStatus::Signal(libc::SIGKILL));
    assert!(process::is_same_alive(&node.state.process));

    let mut again = node.order.clone();
    again.incarnation = Incarnation(2);
    let mut second = harness::spawn(&again);
    let (step, errno, text) = launch_failed(&mut second.client);
    assert_eq!((step.as_str(), errno), ("lock", libc::EWOULDBLOCK));
    assert!(text.contains(&format!("{} (", node.state.process.pid)), "{text}");
    assert!(!node.layout.exit_record(&node.name, Incarnation(2)).exists());

    let dir = node.layout.log_dir(&node.name);
    let reader = std::thread::spawn(move || {
        let mut log = writer::LogWriter::open(&dir, 1 << 20, 1).unwrap();
        pump::drain(&pipe, &mut log).unwrap();
    });
    let before = node.log().lines().count();
    poll(|| (node.log().lines().count() > before + 5).then_some(()));
    process::pidfd_signal(&pidfd, libc::SIGKILL).unwrap();
    // a `sleep` of the loop may hold the pipe a moment longer
    reader.join().unwrap();
    let lines: Vec<u32> = node.log().lines().map(|l| l.parse().unwrap()).collect();
    assert!(lines.iter().zip(1..).all(|(a, b)| *a == b), "no line lost and none twice");
    let mut third = harness::spawn(&again);
    assert_eq!(state(&mut third.client).incarnation, Incarnation(2));
    third.client.request(&Request::KillTree).unwrap();
    gone(&mut third.client);
}

#[test]
fn two_shims_never_run_one_node() {
    let mut node = Node::start("echo pid $$; exec sleep 1000");
    for incarnation in [1, 2] {
        let mut order = node.order.clone();
        order.incarnation = Incarnation(incarnation);
        let mut second = harness::spawn(&order);
        assert_eq!(launch_failed(&mut second.client).0, "lock");
    }
    let mut client = Client::connect(&node.socket()).unwrap();
    client.request(&Request::State).unwrap();
    assert_eq!(state(&mut client), node.state, "the first is untouched");
    node.client.request(&Request::KillTree).unwrap();
    gone(&mut node.client);
    assert_eq!(node.log().lines().count(), 1);
}

#[test]
fn a_launch_that_fails_names_step_number_and_operand_and_leaves_a_record() {
    let run = |change: fn(&mut cdc_supervisor::shim::wire::LaunchOrder)| {
        let mut order = order("exit 0");
        change(&mut order);
        let mut spawned = harness::spawn(&order);
        let found = launch_failed(&mut spawned.client);
        let layout = cdc_supervisor::base::Layout::new(&order.root);
        let text = fs::read_to_string(layout.exit_record(&order.node, order.incarnation)).unwrap();
        assert_eq!(parse_exit_record(&text).unwrap().pid, 0);
        assert_eq!(parse_launch_failure(&text).unwrap().unwrap().step, found.0);
        assert_eq!(poll(|| process::try_wait(spawned.shim)), ExitStatus::Code(0));
        assert!(!layout.shim_socket(&order.node, order.incarnation).exists());
        found
    };
    let exec = run(|o| o.argv = vec!["/nonexistent/program".into()]);
    assert_eq!((exec.0.as_str(), exec.1), ("exec", libc::ENOENT));
    assert!(exec.2.contains("/nonexistent/program"), "{}", exec.2);
    let dir = run(|o| o.dir = "/nonexistent/dir".into());
    assert_eq!((dir.0.as_str(), dir.1), ("dir", libc::ENOENT));
    let cgroup = run(|o| o.cgroup = Some("/nonexistent/group".into()));
    assert_eq!((cgroup.0.as_str(), cgroup.1), ("cgroup", libc::ENOENT));
    assert_eq!(run(|o| o.argv.clear()).0, "order");
    assert_eq!(run(|o| o.argv[1] = "a\0b".into()).0, "order");
}

#[test]
fn a_missing_program_does_not_keep_the_next_start_waiting() {
    let mut order = order("exit 0");
    order.argv = vec!["/nonexistent/program".into()];
    launch_failed(&mut harness::spawn(&order).client);
    order.argv = vec!["/bin/true".into()];
    order.incarnation = Incarnation(2);
    let mut second = harness::spawn(&order);
    state(&mut second.client);
    assert_eq!(gone(&mut second.client).status, ExitStatus::Code(0));
}

#[test]
fn garbage_and_clients_that_never_read_change_nothing() {
    let mut node = Node::start("exec sleep 1000");
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0; 64], &[6, 0, 0, 0, 1, 0x12, 99, 0, 0, 0]] {
        let mut stream = UnixStream::connect(node.socket()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        // closed by the shim, with or without unread bytes of ours
        assert!(!matches!(stream.read(&mut [0; 16]), Ok(1..)));
    }
    // one that asks and asks and never reads is dropped, and its write fails sooner or later
    let mut greedy = UnixStream::connect(node.socket()).unwrap();
    greedy.set_write_timeout(Some(WAIT)).unwrap();
    let requests = Request::State.encode().repeat(80);
    assert!((0..100_000).any(|_| greedy.write_all(&requests).is_err()));
    // a full house of silent ones, and half a frame each
    let silent: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = UnixStream::connect(node.socket()).unwrap();
            let _ = stream.write_all(&Request::KillTree.encode()[..5]);
            stream
        })
        .collect();
    let mut client = Client::connect(&node.socket()).unwrap();
    client.request(&Request::State).unwrap();
    assert_eq!(state(&mut client), node.state);
    drop(silent);
    node.client.request(&Request::KillTree).unwrap();
    gone(&mut node.client);
}

#[test]
fn a_shim_without_an_order_waits_and_ends_with_its_daemon() {
    let (near, far) = socket::socketpair().unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_cdc-shim"));
    let null = fs::File::open("/dev/null").unwrap();
    let name = cdc_supervisor::base::NodeName::mysql();
    let shim = process::spawn_shim(program, far, null, (&name, Incarnation(1))).unwrap();
    assert_eq!(process::try_wait(shim), None);
    drop(near);
    assert_eq!(poll(|| process::try_wait(shim)), ExitStatus::Code(0));
}

#[test]
fn a_shim_in_reserve_names_its_node_on_its_command_line_once_it_has_one() {
    let order = order("exec sleep 1000");
    let (near, far) = socket::socketpair().unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_cdc-shim"));
    let shim = process::spawn_reserve_shim(program, far).unwrap();
    let name = format!("{} {}", program.display(), process::IN_RESERVE);
    assert_eq!(poll(|| Some(process::command_line(shim)).filter(|line| line.contains("reserve"))), name);
    let mut client = Client::from_stream(UnixStream::from(near));
    client.launch(&order).unwrap();
    let mut spawned = Spawned { client, shim };
    let told = state(&mut spawned.client);
    assert_eq!(told.shim_pid, shim);
    let name = format!("{} {} {}", program.display(), order.node, order.incarnation);
    assert_eq!(process::command_line(shim), name);
    // behind the answer
    let errors = cdc_supervisor::base::Layout::new(&order.root).shim_log(&order.node);
    assert_eq!(poll(|| fs::read_link(format!("/proc/{shim}/fd/2")).ok().filter(|to| *to == errors)), errors);
    spawned.client.request(&Request::KillTree).unwrap();
    gone(&mut spawned.client);
}

/// Asks a waiting shim for so many others; their ends of the sockets and their pids.
fn twins(asked: &mut UnixStream, many: usize) -> Vec<(UnixStream, i32)> {
    let (near, far): (Vec<_>, Vec<_>) = (0..many).map(|_| socket::socketpair().unwrap()).unzip();
    let far_ends: Vec<_> = far.iter().map(AsFd::as_fd).collect();
    socket::send_with_fds(&*asked, &TwinRequest.encode(), &far_ends).unwrap();
    drop(far);
    asked.set_read_timeout(Some(WAIT)).unwrap();
    let mut decoder = Decoder::default();
    let mut buffer = [0; 256];
    let frame = loop {
        if let Some(frame) = decoder.next().unwrap() {
            break frame;
        }
        let n = asked.read(&mut buffer).unwrap();
        assert_ne!(n, 0, "it ended");
        decoder.push(&buffer[..n]);
    };
    let pids = Twins::decode(&frame).unwrap().0;
    pids.iter().for_each(|pid| children::own(*pid));
    near.into_iter().map(UnixStream::from).zip(pids).collect()
}

#[test]
fn twins_of_a_shim_in_reserve_are_the_daemons_own_children_and_stand_alone() {
    let (near, far) = socket::socketpair().unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_cdc-shim"));
    let first = process::spawn_reserve_shim(program, far).unwrap();
    let mut near = UnixStream::from(near);
    let mut made = twins(&mut near, 3);
    let own = i32::try_from(std::process::id()).unwrap();
    for (_, pid) in &made {
        assert_eq!(support::process::parent(*pid), Some(own));
        // until it has made itself so
        poll(|| (nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(*pid))).unwrap().as_raw() == *pid).then_some(()));
        assert!(process::command_line(*pid).ends_with(process::IN_RESERVE));
    }
    // The first of them becomes a node's, with an orphan in a session of its own that only a subreaper can reap.
    let order = order("(setsid sleep 1000 &) ; exec sleep 1000");
    let (stream, pid) = made.remove(0);
    let mut client = Client::from_stream(stream);
    client.launch(&order).unwrap();
    let mut spawned = Spawned { client, shim: pid };
    let told = state(&mut spawned.client);
    assert_eq!(told.shim_pid, pid);
    let name = format!("{} {} {}", program.display(), order.node, order.incarnation);
    assert_eq!(process::command_line(pid), name);
    poll(|| (process::children_of(pid).len() == 2).then_some(()));
    // Whoever made it may go, and its other twins.
    drop(near);
    assert_eq!(poll(|| process::try_wait(first)), ExitStatus::Code(0));
    let (stream, other) = made.remove(0);
    drop(stream);
    assert_eq!(poll(|| process::try_wait(other)), ExitStatus::Code(0));
    let (stream, last) = made.remove(0);
    assert_eq!((process::try_wait(pid), process::try_wait(last)), (None, None));
    spawned.client.request(&Request::KillTree).unwrap();
    gone(&mut spawned.client);
    // a twin makes twins as well
    let mut stream = stream;
    let (grandchild, grandchild_pid) = twins(&mut stream, 1).remove(0);
    assert_eq!(support::process::parent(grandchild_pid), Some(own));
    drop((stream, grandchild));
    assert_eq!(poll(|| process::try_wait(last)), ExitStatus::Code(0));
    assert_eq!(poll(|| process::try_wait(grandchild_pid)), ExitStatus::Code(0));
}

#[test]
fn a_request_in_single_bytes_is_understood() {
    let mut node = Node::start("exec sleep 1000");
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    for byte in (Request::Stop { signal: libc::SIGTERM, grace_ms: 60_000 }).encode() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(gone(&mut node.client).status, ExitStatus::Signal(libc::SIGTERM));
}

#[test]
fn the_shim_is_deaf_to_the_signals_of_terminals_and_service_managers() {
    let mut node = Node::start("exec sleep 1000");
    let shim = process::pidfd_open(node.shim).unwrap();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        process::pidfd_signal(&shim, signal).unwrap();
    }
    node.client.request(&Request::State).unwrap();
    assert_eq!(state(&mut node.client), node.state);
    node.client.request(&Request::Signal(libc::SIGKILL)).unwrap();
    let record = gone(&mut node.client);
    assert_eq!((record.status, record.signals_sent), (ExitStatus::Signal(9), vec![9]));
}

#[test]
fn what_a_node_says_over_its_notify_socket_is_reported_once_per_change() {
    let mut order = harness::helper_order("notify");
    order.notify = true;
    let mut node = Node::launch(order);
    let Some(Report::Notified(last)) = (0..9)
        .map(|_| node.client.next_report(WAIT).unwrap())
        .find(|r| matches!(r, Some(Report::Notified(n)) if n.ready))
        .flatten()
    else {
        panic!()
    };
    assert_eq!((last.status.as_str(), last.stopping), ("serving", false));
    let stranger = std::os::unix::net::UnixDatagram::unbound().unwrap();
    stranger.send_to(b"STATUS=forged", node.layout.notify_socket(&node.name)).unwrap();
    node.client.request(&Request::State).unwrap();
    assert_eq!(state(&mut node.client).notified, last);
    node.client.request(&Request::KillTree).unwrap();
    gone(&mut node.client);
    assert!(!node.layout.notify_socket(&node.name).exists());
}

#[test]
fn a_log_that_cannot_be_written_never_stops_the_node_and_is_told_once() {
    let mut node = Node::start("while [ ! -e go ]; do sleep 0.01; done; seq 1 200000; touch done; sleep 1000");
    let dir = node.layout.log_dir(&node.name);
    // a file where the directory was: not to be opened, not to be made
    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "").unwrap();
    fs::write(node.order.dir.join("go"), "").unwrap();
    poll(|| node.order.dir.join("done").exists().then_some(()));
    let Some(Report::Trouble(text)) = node.client.next_report(WAIT).unwrap() else { panic!() };
    assert!(text.contains("cannot be written"), "{text}");
    node.client.request(&Request::KillTree).unwrap();
    gone(&mut node.client);
}

/// A small file system of the test's own, gone with this.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(dir: &std::path::Path, size: &str) -> Option<Self> {
        fs::create_dir_all(dir).unwrap();
        let options = format!("size={size},mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(dir);
        mount.stderr(Stdio::null()).status().ok()?.success().then(|| Self(dir.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A node on a disk of 1 MB; it writes 2 MB at `go1`, a line at `go2`, and says when it is done.
fn node_on_small_disk(test: &str, max_bytes: u64) -> Option<(Node, SmallDisk)> {
    let mut order = order(
        "echo the very first; while [ ! -e go1 ]; do sleep 0.01; done; seq 1 300000; touch done1; \
         while [ ! -e go2 ]; do sleep 0.01; done; echo at last; sleep 1000",
    );
    (order.log_max_bytes, order.log_keep) = (max_bytes, 100);
    let Some(disk) = SmallDisk::mount(&Layout::new(&order.root).log_dir(&order.node), "1m") else {
        support::skip(test, "a tmpfs cannot be mounted (root, CAP_SYS_ADMIN)");
        return None;
    };
    Some((Node::launch(order), disk))
}

fn go(node: &Node, n: u32) {
    fs::write(node.order.dir.join(format!("go{n}")), "").unwrap();
}

fn await_trouble(node: &mut Node, words: &str) {
    loop {
        let Some(Report::Trouble(text)) = node.client.next_report(WAIT).unwrap() else { panic!("{words}") };
        if text.contains(words) {
            return;
        }
    }
}

#[test]
fn a_disk_that_fills_up_costs_the_oldest_files_first() {
    let Some((mut node, disk)) = node_on_small_disk("a_disk_that_fills_up_costs_the_oldest_files_first", 100_000)
    else {
        return;
    };
    go(&node, 1);
    // the newest is there to the last line, the oldest is gone
    poll(|| node.log().ends_with("\n300000\n").then_some(()));
    let files = names::rotated_files(&node.layout.log_dir(&node.name)).unwrap();
    assert!(files.len() >= 5 && files.len() <= 10, "{}", files.len());
    let text: String = files.iter().map(|f| fs::read_to_string(f).unwrap()).collect::<String>() + &node.log();
    let first: u32 = text.lines().next().unwrap().parse().unwrap();
    assert!(first > 100_000);
    assert!(text.lines().map(|l| l.parse::<u32>().unwrap()).eq(first..=300_000), "what is left has no gap");
    await_trouble(&mut node, "of the oldest rotated log files of test-node were removed to make room");
    node.client.request(&Request::KillTree).unwrap();
    gone(&mut node.client);
    // before the directory around it goes
    drop(disk);
}

#[test]
fn a_full_disk_never_stops_the_node_and_the_gap_is_marked_once_there_is_room() {
    let test = "a_full_disk_never_stops_the_node_and_the_gap_is_marked_once_there_is_room";
    let Some((mut node, disk)) = node_on_small_disk(test, 10 << 20) else { return };
    let filler = node.layout.log_dir(&node.name).join("somebody-elses");
    fs::write(&filler, vec![0; 500_000]).unwrap();
    go(&node, 1);
    poll(|| node.order.dir.join("done1").exists().then_some(()));
    await_trouble(&mut node, "the log of test-node cannot be written (no space left on device)");
    fs::remove_file(&filler).unwrap();
    go(&node, 2);
    poll(|| node.log().ends_with("\nat last\n").then_some(()));
    let text = node.log();
    let lines: Vec<&str> = text.lines().collect();
    let mark = lines[lines.len() - 2];
    let lost = mark.strip_prefix("[cdc-supervisor] ").unwrap().split_once(" bytes of output lost between 20").unwrap();
    assert!(mark.ends_with("Z: no space left on device"), "{mark}");
    let lost: usize = lost.0.replace(',', "").parse().unwrap();
    let all: usize =
        "the very first\nat last\n".len() + (1..=300_000).map(|n: u32| n.to_string().len() + 1).sum::<usize>();
    // the mark, and the line end in front of it when the gap began within a line
    let ours = mark.len() + 1 + usize::from(text.len() + lost != all + mark.len() + 1);
    assert_eq!(text.len() + lost, all + ours, "every byte is in the log or counted as lost");
    await_trouble(&mut node, "the log of test-node is written again; ");
    node.client.request(&Request::KillTree).unwrap();
    gone(&mut node.client);
    drop(disk);
}

#[test]
fn the_lock_is_free_when_gone_is_told_so_that_a_respawn_never_waits() {
    let mut node = Node::start("exit 0");
    let mut worst = Duration::ZERO;
    for incarnation in 2..12 {
        gone(&mut node.client);
        let before = Instant::now();
        node.respawn(Incarnation(incarnation));
        worst = worst.max(before.elapsed());
    }
    gone(&mut node.client);
    // a lock that is held would cost 200 ms and end in a failure
    println!("slowest of ten launches: {worst:?}");
}

#[test]
fn a_node_as_another_user_runs_as_that_user() {
    if !cdc_supervisor::sys::host::is_root() {
        return;
    }
    let mut order = order("id -u; id -g; id -G");
    order.credentials =
        Some(cdc_supervisor::shim::wire::Credentials { uid: 65534, gid: 65534, groups: vec![65534, 7] });
    order.dir = "/".into();
    let mut node = Node::launch(order);
    gone(&mut node.client);
    assert_eq!(node.log(), "65534\n65534\n65534 7\n");
}

/// A fresh group on a real cgroup v2 tree, where this user may make one.
struct Group(std::path::PathBuf);

impl Group {
    fn make() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find(|l| l.contains(" - cgroup2 "))?.split(' ').nth(4)?.to_owned();
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|l| l.strip_prefix("0::/"))?.to_owned();
        let dir = std::path::Path::new(&mount).join(own).join(format!("cdc-shim-test-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let group = Self(dir);
        // moving somebody in is a right of its own
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().ok()?;
        let moved = fs::write(group.0.join("cgroup.procs"), child.id().to_string());
        child.kill().ok()?;
        child.wait().ok()?;
        moved.ok().map(|()| group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        poll(|| (fs::remove_dir(&self.0).is_ok() || !self.0.exists()).then_some(()));
    }
}

#[test]
fn a_node_is_born_in_its_group_and_strangers_there_go_with_it() {
    let Some(group) = Group::make() else {
        println!("no cgroup v2 tree to write to here");
        return;
    };
    let mut order = order("cat /proc/self/cgroup; echo ready; while :; do sleep 0.05; done");
    order.cgroup = Some(group.0.clone());
    order.leftovers_ms = 50;
    let mut node = Node::launch(order);
    poll(|| node.log().contains("ready").then_some(()));
    assert!(node.log().contains(group.0.file_name().unwrap().to_str().unwrap()), "{}", node.log());
    let mut stranger = Command::new("/bin/sh").args(["-c", "trap '' TERM; exec sleep 1000"]).spawn().unwrap();
    fs::write(group.0.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    node.client.request(&Request::Stop { signal: libc::SIGTERM, grace_ms: 10_000 }).unwrap();
    let Some(Report::MainEnded(record)) = node.client.next_report(WAIT).unwrap() else { panic!() };
    assert_eq!(record.oom_kills, None, "no memory controller or no file: unknown, not zero");
    assert!(stranger.wait().is_ok());
    gone(&mut node.client);
}

#[test]
fn a_port_held_by_a_node_is_named() {
    let mut node = Node::launch(harness::helper_order("listen"));
    let port: u16 = poll(|| node.log().lines().find_map(|l| l.strip_prefix("port ")?.parse().ok()));
    let owner = net::listener_owner(([127, 0, 0, 1], port).into()).unwrap();
    assert_eq!(owner.pid, Some(node.state.process.pid));
    node.client.request(&Request::KillTree).unwrap();
    gone(&mut node.client);
}

/// Not a test of its own: the programs that the nodes above run, in this same executable.
#[test]
fn helper() {
    harness::helper();
}
