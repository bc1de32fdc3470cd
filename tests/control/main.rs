//! Server and client against each other, and the server against clients that misbehave.

// Test code: a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cdc_supervisor::control::{
    client::{Answers, Client, ClientError},
    server::{AnswerSink, BoxFuture, CONNECTIONS_MAX, Handler, Peer, serve_patiently},
    wire::{Answer, Caps, Hello, LINE_MAX, Order, Request, Status, Supervisor, VERSION},
};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

const LONG: Duration = Duration::from_secs(30);

/// Answers `Hello`; counts `Prove`s that were carried out to the end; sends statuses to `Watch` as told.
#[derive(Default)]
struct Fake {
    proved: AtomicUsize,
    peers: Mutex<Vec<Peer>>,
    watchers_gone: AtomicUsize,
}

struct Shared(Arc<Fake>);

impl Handler for Shared {
    fn handle(&self, peer: Peer, order: Order, out: AnswerSink) -> BoxFuture {
        let fake = Arc::clone(&self.0);
        Box::pin(async move {
            fake.peers.lock().unwrap().push(peer);
            match order {
                Order::Hello => out.send(Answer::Hello(Hello {
                    v: VERSION,
                    version: "0.0.0".into(),
                    pid: 1,
                    plan_digest: "d".into(),
                    started_at: None,
                    handover_failed: None,
                })),
                Order::Status => out.send(Answer::Status(Box::new(status("one")))),
                Order::Watch => {
                    for i in 0..20_000 {
                        out.send(Answer::Status(Box::new(status(&format!("{i}")))));
                        if i % 100 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    out.closed().await;
                    fake.watchers_gone.fetch_add(1, Ordering::SeqCst);
                }
                Order::Prove => {
                    out.progress("working");
                    // work that takes its time
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    fake.proved.fetch_add(1, Ordering::SeqCst);
                    out.send(Answer::Done { text: vec!["proved".into()] });
                }
                Order::Down { .. } => std::future::pending::<()>().await,
                Order::Kill { .. } => panic!("a handler that fails"),
                Order::Start { .. }
                | Order::Stop { .. }
                | Order::Restart { .. }
                | Order::Fence { .. }
                | Order::Verify
                | Order::Snapshot { .. }
                | Order::Restore { .. }
                | Order::Reset { .. }
                | Order::Reload { .. }
                | Order::Roll { .. }
                | Order::Drill(_)
                | Order::WhyNot { .. }
                | Order::Topics
                | Order::TopicsApply
                | Order::TopicRemove { .. }
                | Order::UpgradeSelf => {}
            }
        })
    }
}

struct Daemon {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    fake: Arc<Fake>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn daemon() -> Daemon {
    daemon_with(LONG)
}

fn daemon_with(patience: Duration) -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let fake = Arc::new(Fake::default());
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve_patiently(listener, Arc::new(Shared(Arc::clone(&fake))), stopped, patience));
    Daemon { _dir: dir, socket, fake, stop, task }
}

impl Daemon {
    async fn ask(&self, order: Order) -> Answers {
        Client::connect(&self.socket).await.unwrap().ask(order).await.unwrap()
    }

    async fn raw(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    async fn still_answers(&self) {
        let answer = timeout(LONG, async { self.ask(Order::Hello).await.next().await }).await.unwrap().unwrap();
        assert!(matches!(answer, Some(Answer::Hello(_))), "{answer:?}");
    }
}

fn status(root: &str) -> Status {
    Status {
        schema: 1,
        supervisor: Supervisor {
            pid: None,
            version: "0".into(),
            started_at: None,
            up_ms: None,
            root: root.into(),
            caps: Caps { enforced: true, why: None },
            memory: None,
        },
        nodes: Vec::new(),
        cluster: None,
        disks: None,
        cut_short: None,
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + LONG;
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn all_of(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    // A reset instead of an end is as good: the server may close while bytes of ours are unread.
    let _ = timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("the server ends the connection");
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn an_order_is_answered_step_by_step_until_its_last_answer() {
    let d = daemon();
    let mut answers = d.ask(Order::Prove).await;
    assert_eq!(answers.next().await.unwrap(), Some(Answer::Progress { node: None, text: "working".into() }));
    assert_eq!(answers.next().await.unwrap(), Some(Answer::Done { text: vec!["proved".into()] }));
    assert_eq!(answers.next().await.unwrap(), None);
    let mut one = d.ask(Order::Status).await;
    assert!(matches!(one.next().await.unwrap(), Some(Answer::Status(_))));
    assert_eq!(one.next().await.unwrap(), None, "one status answers Status");
}

#[tokio::test]
async fn the_handler_hears_who_asks_from_the_kernel() {
    let d = daemon();
    d.still_answers().await;
    let peer = d.fake.peers.lock().unwrap()[0];
    assert_eq!(peer, Peer { uid: nix::unistd::getuid().as_raw(), pid: Some(nix::unistd::getpid().as_raw()) });
}

#[tokio::test]
async fn a_missing_and_a_stale_socket_are_both_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    assert!(matches!(Client::connect(&socket).await, Err(ClientError::NoDaemon { .. })));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(matches!(Client::connect(&socket).await, Err(ClientError::NoDaemon { .. })));
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_answers_and_not_its_order() {
    let d = daemon();
    let mut answers = d.ask(Order::Prove).await;
    assert!(answers.next().await.unwrap().is_some());
    drop(answers);
    until("the order is carried out", || d.fake.proved.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_gets_the_newest_status_and_holds_up_nobody() {
    let d = daemon();
    let mut answers = d.ask(Order::Watch).await;
    d.still_answers().await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|r| r != "19999") {
        match timeout(LONG, answers.next()).await.unwrap().unwrap() {
            Some(Answer::Status(s)) => seen.push(s.supervisor.root),
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.len() < 20_000, "old statuses were skipped, {} came", seen.len());
    drop(answers);
    until("the handler learns that nobody watches", || d.fake.watchers_gone.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_daemon_that_goes_away_in_the_middle_is_an_error_with_words() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut answers = Client::connect(&socket).await.unwrap().ask(Order::Prove).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"{\"answer\":\"progress\",\"node\":null,\"text\":\"a\"}\n{\"answer\":\"do").await.unwrap();
    drop(stream);
    assert!(matches!(answers.next().await, Ok(Some(Answer::Progress { .. }))));
    let e = answers.next().await.unwrap_err();
    assert_eq!(e.to_string(), "the daemon went away before it had answered");
}

#[tokio::test]
async fn an_answer_line_without_end_is_refused_by_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut answers = Client::connect(&socket).await.unwrap().ask(Order::Prove).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let writer = tokio::spawn(async move {
        let block = vec![b'x'; 64 << 10];
        while stream.write_all(&block).await.is_ok() {}
    });
    assert!(matches!(answers.next().await, Err(ClientError::TooLong)));
    drop(answers);
    timeout(LONG, writer).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_handler_that_ends_or_fails_without_an_answer_is_answered_for() {
    let d = daemon();
    let node = cdc_supervisor::base::NodeName::mysql();
    for (order, words) in [
        (Order::Kill { node, signal: 9 }, "failed while"),
        (Order::Stop { nodes: vec![], now: false, anyway: false }, "without an answer"),
    ] {
        match d.ask(order).await.next().await.unwrap() {
            Some(Answer::Refused { exit: 1, message, .. }) => assert!(message.contains(words), "{message}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn garbage_is_answered_with_one_refusal_and_hurts_nobody() {
    let d = daemon();
    let cases: [(&[u8], &str); 8] = [
        (b"\n", "not understood"),
        (b"GET / HTTP/1.1\r\n\r\n", "not understood"),
        (b"\xff\xfe\x00\n", "not understood"),
        (b"{}\n", "no version number"),
        (b"{\"v\":2,\"order\":{\"verb\":\"fly\"}}\n", "protocol version 2"),
        (b"{\"v\":1,\"order\":{\"verb\":\"fly\"}}\n", "fly"),
        (b"{\"v\":1,\"order\":{\"verb\":\"stop\",\"nodes\":[\"../etc\"]}}\n", "node name"),
        (b"{\"v\":1,\"order\":{\"verb\":\"stop\",\"nodes\":[],\"extra\":1}}\n", "extra"),
    ];
    for (bytes, words) in cases {
        let mut stream = d.raw().await;
        stream.write_all(bytes).await.unwrap();
        let text = all_of(&mut stream).await;
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("refused") && text.contains(words), "{bytes:?}: {text}");
    }
    d.still_answers().await;
}

#[tokio::test]
async fn a_request_line_without_end_is_cut_off_at_the_limit() {
    let d = daemon();
    let mut stream = d.raw().await;
    let block = vec![b'x'; 64 << 10];
    let mut sent = 0;
    while sent < 8 * LINE_MAX && stream.write_all(&block).await.is_ok() {
        sent += block.len();
    }
    assert!(sent < 8 * LINE_MAX, "the server stopped reading");
    d.still_answers().await;
}

#[tokio::test]
async fn half_a_line_and_an_end_is_refused() {
    let d = daemon();
    let mut stream = d.raw().await;
    stream.write_all(b"{\"v\":1,").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(all_of(&mut stream).await.contains("in the middle of its line"));
}

#[tokio::test]
async fn a_client_that_only_ends_its_sending_half_is_still_answered() {
    let d = daemon();
    let mut stream = d.raw().await;
    stream.write_all(b"{\"v\":1,\"order\":{\"verb\":\"prove\"}}\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(all_of(&mut stream).await.contains("proved"));
}

#[tokio::test]
async fn a_silent_client_is_dropped_after_its_time() {
    let d = daemon_with(Duration::from_millis(200));
    let mut silent = d.raw().await;
    let mut slow = d.raw().await;
    slow.write_all(b"{\"v\":1,\"or").await.unwrap();
    assert!(all_of(&mut silent).await.contains("no request line within 0.2 s"));
    assert!(all_of(&mut slow).await.contains("no request line within 0.2 s"));
}

#[tokio::test]
async fn clients_past_the_bound_are_refused_and_slots_come_free_again() {
    let d = daemon();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = d.raw().await;
        stream.write_all(b"{\"v\":1,\"order\":{\"verb\":\"down\",\"now\":false}}\n").await.unwrap();
        held.push(stream);
    }
    until("all are served", || d.fake.peers.lock().unwrap().len() == CONNECTIONS_MAX).await;
    let mut refused = 0;
    for _ in 0..72 {
        match d.ask(Order::Hello).await.next().await {
            Ok(Some(Answer::Refused { message, .. })) => {
                assert!(message.contains("128 clients"), "{message}");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 72);
    drop(held);
    // The slots come free when the server has seen the ends.
    let end = tokio::time::Instant::now() + LONG;
    while !matches!(d.ask(Order::Hello).await.next().await, Ok(Some(Answer::Hello(_)))) {
        assert!(tokio::time::Instant::now() < end, "slots never came free");
    }
}

#[tokio::test]
async fn silent_clients_make_room_for_those_that_ask() {
    let d = daemon();
    let mut silent = Vec::new();
    for _ in 0..2 * CONNECTIONS_MAX {
        silent.push(d.raw().await);
    }
    for _ in 0..3 {
        d.still_answers().await;
    }
    assert!(all_of(&mut silent[0]).await.contains("no request line yet"), "the oldest goes first");
    let newest = silent.last_mut().unwrap();
    newest.write_all(b"{\"v\":1,\"order\":{\"verb\":\"hello\"}}\n").await.unwrap();
    assert!(all_of(newest).await.contains("hello"), "the newest stays");
}

#[tokio::test]
async fn when_the_daemon_ends_watchers_end_and_open_orders_are_told() {
    let d = daemon();
    let mut watch = d.ask(Order::Watch).await;
    let mut open = d.ask(Order::Down { now: false }).await;
    until("both are served", || d.fake.peers.lock().unwrap().len() == 2).await;
    d.stop.send(true).unwrap();
    let told = timeout(LONG, open.next()).await.unwrap().unwrap();
    assert!(matches!(&told, Some(Answer::Refused { message, .. }) if message.contains("daemon ended")), "{told:?}");
    let end = loop {
        match timeout(LONG, watch.next()).await.unwrap() {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(end, Err(ClientError::WentAway)), "{end:?}");
    timeout(LONG, d.task).await.unwrap().unwrap();
}

/// Keys that came after version 1 was written down and are never missing: unknown is null.
const ADDED: [&str; 11] = [
    "incident",
    "up_ms",
    "kernel_bytes",
    "trend_bytes_per_hour",
    "hours_to_cap",
    "memory",
    "oom_by",
    "cluster",
    "disks",
    "stalls",
    "cut_short",
];

/// Each line, read and written again, is the line: what version 1 looks like from outside does not change by accident.
fn unchanged<T: serde::de::DeserializeOwned + serde::Serialize>(golden: &str) {
    for line in golden.lines() {
        let value: T = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let written = serde_json::to_string(&value).unwrap();
        let known = ADDED.iter().fold(written, |text, key| text.replace(&format!(",\"{key}\":null"), ""));
        assert_eq!(known, line);
    }
}

#[test]
fn requests_and_answers_of_version_1_stay_as_they_are() {
    unchanged::<Request>(include_str!("../golden/wire-v1/requests.jsonl"));
    unchanged::<Answer>(include_str!("../golden/wire-v1/answers.jsonl"));
    unchanged::<Status>(include_str!("../golden/wire-v1/status.json"));
}
