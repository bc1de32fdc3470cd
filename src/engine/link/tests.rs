//! A link in front of a shim of the test's own.

use super::*;
use crate::base::ids::ProcessId;
use std::{
    fs::File,
    io::Read,
    os::unix::net::UnixListener,
    sync::atomic::{AtomicUsize, Ordering},
};

const FIRST: Incarnation = Incarnation(1);

fn state(node: &NodeName) -> ShimState {
    let own = std::process::id().cast_signed();
    ShimState {
        node: node.clone(),
        incarnation: FIRST,
        shim_pid: own,
        process: ProcessId { pid: own, start_ticks: 0, boot_id: String::new() },
        started_at: Timestamp(0),
        stopping: false,
        notified: Notified::default(),
    }
}

/// The end of a main process as no program of today writes it: its status is of a kind of its own.
fn garbled() -> Vec<u8> {
    let mut frame = Report::MainEnded(unseen_end(FIRST, 10, Timestamp(0))).encode();
    // Behind length, version, kind, incarnation and pid.
    frame[4 + 1 + 1 + 8 + 4] = 9;
    let mut decoder = Decoder::default();
    decoder.push(&frame);
    let cut = decoder.next().unwrap().unwrap();
    assert!(matches!(Report::decode(&cut), Err(WireError::Field(_) | WireError::Truncated)));
    frame
}

#[tokio::test]
async fn a_shim_that_cannot_be_understood_is_not_asked_without_a_pause() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, node) = (Layout::new(dir.path()), NodeName::new("a").unwrap());
    std::fs::create_dir_all(layout.node_run(&node)).unwrap();
    let listener = UnixListener::bind(layout.shim_socket(&node, FIRST)).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let (counted, name) = (Arc::clone(&asked), node.clone());
    std::thread::spawn(move || {
        let null = File::open("/dev/null").unwrap();
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            // A connection that is over already is as good.
            let _ = stream.read(&mut [0; 64]);
            let says = [Report::State(state(&name)).encode(), garbled()].concat();
            let _ = socket::send_with_fds(&stream, &says, &[null.as_fd(), null.as_fd()]);
            std::mem::forget(stream);
        }
    });
    let (connection, hold) = subscribe(&layout, &node, FIRST).await.unwrap();
    let (sink, _told) = mpsc::unbounded_channel();
    let (orders, commands) = mpsc::unbounded_channel();
    let notified = watch::Sender::new(Notified::default());
    let context = LinkContext {
        layout,
        node,
        incarnation: FIRST,
        log_max_bytes: 1 << 20,
        log_keep: 1,
        cgroup: None,
        sink,
        notified,
        commands,
    };
    let link = tokio::spawn(adopt(context, connection, hold));
    // The moment in which it would be asked thousands of times.
    sleep(ASK_AGAIN / 4).await;
    let times = asked.load(Ordering::Relaxed);
    assert!(times <= 2, "{times} times");
    drop(orders);
    link.await.unwrap();
}
