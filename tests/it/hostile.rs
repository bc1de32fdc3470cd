//! The control socket in the hands of somebody who does not speak the protocol.

use crate::support::{Root, fake, process::alive};
use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
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
