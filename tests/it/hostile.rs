//! The control socket in the hands of somebody who does not speak the protocol.

use crate::support::{Node, Root, STATE_LIMIT, fake, process::alive, skip, until};
use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    time::Duration,
};

fn connect(root: &Root) -> UnixStream {
    let stream = UnixStream::connect(root.path().join("run/control.sock")).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends bytes, returns what comes back until the daemon hangs up (or nothing came for 20 s, which fails the test).
fn answer(root: &Root, bytes: &[u8]) -> String {
    let mut stream = connect(root);
    // The daemon may hang up before all is written.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the daemon neither answered nor hung up: {e}"),
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn nonsense_is_refused_in_words_and_harms_nobody() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("control");
    root.up();
    let (daemon, pid) = (root.daemon(), root.pid("a"));
    for nonsense in [
        &b"hello\n"[..],
        b"\n",
        b"\0\xff\xfe\n",
        b"{\"v\":1}\n",
        b"{\"v\":1,\"order\":{\"verb\":\"explode\"}}\n",
        b"{\"v\":1,\"order\":{\"verb\":\"stop\",\"nodes\":[\"../../etc\"]}}\n",
        b"{\"v\":1,\"order\":{\"verb\":\"kill\",\"node\":\"a\",\"signal\":4711}}\n",
        b"[[[[[[[[[[[[[[[[[[[[\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let text = answer(&root, nonsense);
        assert!(text.contains("refused"), "{:?} was answered with {text:?}", String::from_utf8_lossy(nonsense));
    }
    let text = answer(&root, b"{\"v\":999,\"order\":{\"verb\":\"hello\"}}\n");
    assert!(text.contains("999") || text.contains("version"), "{text}");
    assert_eq!((root.daemon(), root.pid("a")), (daemon, pid));
}

#[test]
fn a_line_without_end_is_cut_off() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("control");
    root.up();
    answer(&root, &vec![b'x'; 3 << 20]);
    assert_eq!(root.node("a")["state"], "ready");
}

#[test]
fn clients_that_say_nothing_do_not_keep_others_out() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("control");
    root.up();
    let mut silent: Vec<UnixStream> =
        (0..200).map_while(|_| UnixStream::connect(root.path().join("run/control.sock")).ok()).collect();
    for stream in &mut silent {
        // half a request, then silence
        let _ = stream.write_all(b"{\"v\":1,\"or");
    }
    assert_eq!(root.node("a")["state"], "ready");
    root.ok(&["restart", "a"]);
}

#[test]
fn a_watcher_that_never_reads_does_not_stop_anybody() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("control");
    root.up();
    let watchers: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = connect(&root);
            stream.write_all(b"{\"v\":1,\"order\":{\"verb\":\"watch\"}}\n").unwrap();
            stream
        })
        .collect();
    for _ in 0..5 {
        root.ok(&["restart", "a"]);
    }
    drop(watchers);
    root.down();
}

#[test]
fn the_socket_is_its_owners_alone() {
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    let mode = |path: &str| std::fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("run/control.sock") & 0o007, 0, "{:o}", mode("run/control.sock"));
    assert_eq!(mode("run") & 0o007, 0, "{:o}", mode("run"));
    assert_eq!(mode("state") & 0o002, 0, "{:o}", mode("state"));
    assert!(alive(root.daemon()));
}

/// Resident memory of a process, KiB (`VmRSS` of /proc/PID/status).
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What a daemon may grow by under any of these: 128 clients with their buffers, and what an allocator keeps of them.
const GROWTH_KIB: u64 = 48 << 10;

#[test]
fn a_thousand_connections_starve_nobody_and_cost_a_bounded_memory() {
    let root = Root::new(&[fake("a", &[])]);
    root.expect_log("control");
    root.up();
    let daemon = root.daemon();
    let before = resident(daemon);
    let socket = root.path().join("run/control.sock");
    let mut open = Vec::new();
    for n in 0..1000 {
        let Ok(mut stream) = UnixStream::connect(&socket) else { continue };
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        match n % 4 {
            // silent, half a line, half a megabyte of one, a watcher that never reads
            0 => {}
            1 => drop(stream.write_all(b"{\"v\":1,")),
            2 => drop(stream.write_all(&vec![b' '; 512 << 10])),
            _ => drop(stream.write_all(b"{\"v\":1,\"order\":{\"verb\":\"watch\"}}\n")),
        }
        open.push(stream);
        if n % 250 == 249 {
            assert_eq!(root.daemon(), daemon, "an honest client after {n}");
        }
    }
    root.ok(&["restart", "a"]);
    let grown = resident(daemon).saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB more than before");
    drop(open);
    for _ in 0..1000 {
        drop(UnixStream::connect(&socket));
    }
    root.ok(&["restart", "a"]);
    assert_eq!(root.daemon(), daemon);
    until(STATE_LIMIT, "the connections are given back", || {
        let open = fs::read_dir(format!("/proc/{daemon}/fd")).unwrap().count();
        if open < 60 { Ok(()) } else { Err(format!("{open} descriptors")) }
    });
}

#[test]
fn whoever_has_no_right_cannot_give_orders() {
    if !nix::unistd::Uid::effective().is_root() {
        return skip("whoever_has_no_right_cannot_give_orders", "only root can become somebody else");
    }
    let root = Root::new(&[fake("a", &[])]);
    root.up();
    // others may enter the way to the root, not run/ and not the sockets
    for dir in [root.home(), root.path()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (daemon, pid) = (root.daemon(), root.pid("a"));
    let shim = root.path().join("nodes/a/run/shim.1.sock");
    assert_eq!(fs::metadata(&shim).unwrap().permissions().mode() & 0o077, 0, "a shim's socket is its owner's alone");
    for socket in [root.path().join("run/control.sock"), shim] {
        // The system calls themselves change one thread's credentials, libc's wrappers those of all (nptl(7)): this thread
        // becomes nobody and ends.
        let stranger = std::thread::spawn(move || {
            // SAFETY: no memory is handed over but an empty list.
            let changed = unsafe {
                libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == 0
                    && libc::syscall(libc::SYS_setresgid, 65534, 65534, 65534) == 0
                    && libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) == 0
            };
            assert!(changed, "cannot become nobody: {}", std::io::Error::last_os_error());
            UnixStream::connect(&socket).map(drop).map_err(|e| e.kind())
        });
        assert_eq!(stranger.join().unwrap(), Err(std::io::ErrorKind::PermissionDenied));
    }
    assert!(alive(daemon) && alive(pid));
}

#[test]
fn the_shims_socket_in_strange_hands_harms_neither_the_node_nor_the_next_daemon() {
    let root = Root::new(&[fake("a", &["tick=5"])]);
    root.expect_log("control");
    root.expect_log("adopt");
    root.up();
    let (pid, shim, daemon) = (root.pid("a"), root.shim("a"), root.daemon());
    let before = resident(shim);
    let socket = root.path().join("nodes/a/run/shim.1.sock");
    // length 2, version 1, kind 0x10: a subscription, and the same cut short
    let subscribe = [2u8, 0, 0, 0, 1, 0x10];
    let mut open = Vec::new();
    for n in 0..1000 {
        let Ok(mut stream) = UnixStream::connect(&socket) else { continue };
        let _ = match n % 4 {
            0 => stream.write_all(&subscribe),
            1 => stream.write_all(&subscribe[..4]),
            2 => stream.write_all(b"GET / HTTP/1.1\r\n\r\n"),
            _ => Ok(()),
        };
        open.push(stream);
    }
    // a full house of subscribers: the daemon's own connection may be the one that went, and it comes again
    for _ in 0..40 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // One that is shown the door before it has said anything meets a closed end.
        let _ = stream.write_all(&subscribe);
        open.push(stream);
    }
    assert_eq!((root.pid("a"), root.daemon()), (pid, daemon));
    assert!(resident(shim) < before + 1024, "{} KiB, {before} before", resident(shim));
    // the next daemon gets in past all of them
    crate::support::process::kill(daemon, 9);
    until(STATE_LIMIT, "the daemon is gone", || if alive(daemon) { Err(String::new()) } else { Ok(()) });
    root.up();
    let node = root.node("a");
    assert_eq!((&node["pid"], &node["incarnation"], &node["restarts"]), (&pid.into(), &1.into(), &0.into()), "{node}");
    root.ok(&["stop", "a"]);
    drop(open);
}

#[test]
fn a_node_of_another_user_under_root_writes_to_its_own_places_and_is_probed_as_that_user() {
    const TEST: &str = "a_node_of_another_user_under_root_writes_to_its_own_places_and_is_probed_as_that_user";
    if !nix::unistd::Uid::effective().is_root() {
        return skip(TEST, "it needs uid 0");
    }
    // What a node would do that wants to be root by way of our files.
    let script = "cd .. ; for place in log run conf; do mv $place stolen.$place; ln -s /etc $place; done; \
         ln -s /etc/passwd run/shim.log; ln -s /etc/passwd log/.current.next; \
         true >run/lock; true >conf/own; true >own; true >data/own && true >run/tmp/own && echo tried; exec sleep 1000";
    let node = Node::program("a", &["/bin/sh", "-c", script]).text("user", "nobody").exec(&[
        "/bin/sh",
        "-c",
        "test $(id -u) = $(id -u nobody) && test -e own && : >probed",
    ]);
    let root = Root::new(&[node]);
    fs::set_permissions(root.home(), fs::Permissions::from_mode(0o755)).unwrap();
    root.up();
    let own = root.path().join("nodes/a");
    until(STATE_LIMIT, "it tried", || if root.log("a").contains("tried") { Ok(()) } else { Err(root.log("a")) });
    let names = |dir: &std::path::Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&own), ["conf", "data", "log", "run"]);
    for place in ["", "conf", "log", "run"] {
        let meta = fs::symlink_metadata(own.join(place)).unwrap();
        assert!(meta.is_dir() && meta.uid() == 0 && meta.mode() & 0o027 == 0, "{place}: {meta:?}");
    }
    assert!(names(&own.join("conf")).is_empty() && names(&own.join("log")) == ["current"]);
    let probed = fs::metadata(own.join("data/probed")).unwrap();
    assert_eq!(probed.uid(), nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw());
    root.ok(&["restart", "a"]);
    root.down();
}

#[test]
fn a_node_that_gets_a_user_gets_what_it_had_written_as_root_and_what_a_third_owns_is_refused_with_the_command() {
    const TEST: &str =
        "a_node_that_gets_a_user_gets_what_it_had_written_as_root_and_what_a_third_owns_is_refused_with_the_command";
    if !nix::unistd::Uid::effective().is_root() {
        return skip(TEST, "it needs uid 0");
    }
    let uid = |name| nix::unistd::User::from_name(name).unwrap().unwrap().uid.as_raw();
    let script = "mkdir -p topic-0; echo $(id -u) >>topic-0/0.log && echo written; exec sleep 1000";
    let node = || Node::program("a", &["/bin/sh", "-c", script]);
    let root = Root::new(&[node()]);
    fs::set_permissions(root.home(), fs::Permissions::from_mode(0o755)).unwrap();
    let written = |times: usize| {
        until(STATE_LIMIT, "it has written", || match root.log("a").matches("written").count() {
            seen if seen == times => Ok(()),
            _ => Err(root.log("a")),
        });
    };
    root.up();
    written(1);
    root.down();
    root.configure(&[node().text("user", "nobody")]);
    root.up();
    written(2);
    let log = root.path().join("nodes/a/data/topic-0/0.log");
    let lines = fs::read_to_string(&log).unwrap();
    assert_eq!(lines, format!("0\n{}\n", uid("nobody")));
    let events = root.ok(&["events", "a"]).stdout;
    assert!(events.contains("gave nobody what was root's: "), "{events}");
    root.down();
    // From one user to another nobody but the administrator can say that it is right.
    root.configure(&[node().text("user", "daemon")]);
    root.expect_log("is not given to it");
    let refused = root.fails(6, &["up", "--detach"]).stderr;
    let data = root.path().join("nodes/a/data");
    let command = format!("`chown -R daemon: {}` and `cdc-supervisor start a`", data.display());
    assert!(refused.contains("belongs to nobody") && refused.contains(&command), "{refused}");
    assert_eq!(fs::metadata(&log).unwrap().uid(), uid("nobody"));
    root.down();
}
