//! The ZooKeeper session of a broker that is proven dead is closed by the supervisor, and nobody else's ever is.

use crate::{
    stack::{SETTLE, Stack},
    support::{STATE_LIMIT, VERB_LIMIT, process, until, wait::stays},
};
use cdc_supervisor::clients::{kafka::Admin, zookeeper::Session};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

const CALL: Duration = Duration::from_secs(20);

fn zookeeper() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 2181))
}

/// Who is registered as this broker.
fn owner(stack: &Stack, broker: u32) -> Option<i64> {
    stack.call(async {
        let mut session = Session::connect(zookeeper(), CALL).await.unwrap();
        let stat = session.exists(&format!("/brokers/ids/{broker}")).await.unwrap();
        session.close().await.unwrap();
        stat.map(|stat| stat.ephemeral_owner)
    })
}

/// Somebody else who registers as a broker: ConnectRequest and CreateRequest of `zookeeper.jute`, by hand.
struct Stranger(TcpStream);

/// Where a broker of another machine says that it listens, and where broker 2 of this one does.
const ELSEWHERE: &[&str] = &["INTERNAL://127.0.0.1:39999"];
const AS_OURS: &[&str] = &["INTERNAL://127.0.0.1:29093", "EXTERNAL://localhost:9093"];

impl Stranger {
    fn register(broker: u32, endpoints: &[&str]) -> Self {
        let mut stream = TcpStream::connect(zookeeper()).unwrap();
        stream.set_read_timeout(Some(CALL)).unwrap();
        let mut connect = Vec::new();
        connect.extend(0i32.to_be_bytes());
        connect.extend(0i64.to_be_bytes());
        connect.extend(40_000i32.to_be_bytes());
        connect.extend(0i64.to_be_bytes());
        text(&mut connect, &[0; 16]);
        connect.push(0);
        send(&mut stream, &connect);
        answer(&mut stream);
        let data = serde_json::json!({
            "version": 4, "endpoints": endpoints, "host": null, "port": -1, "jmx_port": -1, "timestamp": "1",
            "listener_security_protocol_map": {"INTERNAL": "PLAINTEXT", "EXTERNAL": "PLAINTEXT"},
        })
        .to_string();
        let mut create = Vec::new();
        create.extend(1i32.to_be_bytes());
        create.extend(1i32.to_be_bytes());
        text(&mut create, format!("/brokers/ids/{broker}").as_bytes());
        text(&mut create, data.as_bytes());
        // one entry: everybody may do everything
        create.extend(1i32.to_be_bytes());
        create.extend(31i32.to_be_bytes());
        text(&mut create, b"world");
        text(&mut create, b"anyone");
        // ephemeral
        create.extend(1i32.to_be_bytes());
        send(&mut stream, &create);
        let answer = answer(&mut stream);
        assert_eq!(answer[12..16], [0; 4], "registered without an error");
        Self(stream)
    }

    /// It lives: PingRequest, as it comes from every client that waits.
    fn lives(&mut self) {
        let mut ping = Vec::new();
        ping.extend((-2i32).to_be_bytes());
        ping.extend(11i32.to_be_bytes());
        send(&mut self.0, &ping);
        answer(&mut self.0);
    }

    fn leave(mut self) {
        let mut close = Vec::new();
        close.extend(2i32.to_be_bytes());
        close.extend((-11i32).to_be_bytes());
        send(&mut self.0, &close);
        answer(&mut self.0);
    }
}

fn text(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
    into.extend(bytes);
}

fn send(stream: &mut TcpStream, frame: &[u8]) {
    let length = i32::try_from(frame.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, frame].concat()).unwrap();
}

fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut frame).unwrap();
    frame
}

/// Kinds and texts of a node's events.
fn events(stack: &Stack, node: &str) -> Vec<(String, String)> {
    let lines = stack.ok(&["events", "--json", node]).stdout;
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|e| (e["kind"].as_str().unwrap().to_owned(), e["text"].as_str().unwrap().to_owned())).collect()
}

fn fenced(stack: &Stack, node: &str) -> usize {
    events(stack, node).iter().filter(|(kind, _)| kind == "fenced").count()
}

#[test]
fn the_session_of_a_broker_proven_dead_is_closed_and_nobody_elses_is() {
    let stack = Stack::begun();
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);

    // one that lives, one that is no broker
    let session = owner(&stack, 1).expect("broker 1 is registered");
    let refused = stack.fails(8, &["fence", "broker-1"]);
    assert!(refused.stderr.contains("broker-1 runs: its session is its own"), "{refused}");
    let refused = stack.fails(8, &["fence", "mysql"]);
    assert!(refused.stderr.contains("mysql is no broker"), "{refused}");
    stack.fails(2, &["fence", "broker-9"]);
    assert_eq!(owner(&stack, 1), Some(session));

    // killed by order and not started again: its leaders move all the same
    stack.ok(&["stop", "--now", "broker-2"]);
    until(STATE_LIMIT, "the session is closed", || match fenced(&stack, "broker-2") {
        1 => Ok(()),
        n => Err(format!("{n} events")),
    });
    assert_eq!(owner(&stack, 2), None);
    stack.await_cluster(&admin, "leaders that are not broker 2", |v| {
        v.broker_ids() == [1, 3] && v.partitions().all(|(_, p)| p.leader.is_some_and(|l| l != 2))
    });
    let nothing = stack.ok(&["fence", "broker-2"]);
    assert!(nothing.stdout.contains("broker-2 is not registered in ZooKeeper"), "{nothing}");

    // somebody else takes its name: never closed, neither by hand nor before a start
    let stranger = Stranger::register(2, ELSEWHERE);
    let theirs = owner(&stack, 2).expect("the stranger is registered");
    let refused = stack.fails(8, &["fence", "broker-2"]);
    assert!(refused.stderr.contains("left alone") && refused.stderr.contains("somebody else"), "{refused}");
    let starting = stack.spawn(&["start", "broker-2"]);
    let waits = stack.await_node("broker-2", "it says why it waits", |n| {
        n["detail"].as_str().is_some_and(|d| d.contains("is not closed before"))
    });
    assert!(waits["detail"].as_str().unwrap().contains("expires in up to"), "{waits}");
    assert_eq!(owner(&stack, 2), Some(theirs));
    stranger.leave();
    let started = starting.wait(VERB_LIMIT);
    assert_eq!(started.code, Some(0), "it starts when the name is free: {started}");
    stack.await_whole(&admin);
    assert_eq!(fenced(&stack, "broker-2"), 1, "{:?}", events(&stack, "broker-2"));

    // killed by somebody: closed, started again at once, and no start ends with NodeExists
    let before = stack.pid("broker-3");
    process::kill(before, 9);
    let back = stack.await_node("broker-3", "ready again", |n| n["state"] == "ready" && n["pid"] != before);
    assert_eq!((&back["restarts"], &back["incarnation"]), (&1.into(), &2.into()), "{back}");
    let told = events(&stack, "broker-3");
    assert_eq!(told.iter().filter(|(kind, _)| kind == "fenced").count(), 1, "{told:?}");
    assert!(!told.iter().any(|(_, text)| text.contains("old session")), "{told:?}");
    stack.await_whole(&admin);

    // nobody saw it die: the next daemon closes its session
    let before = stack.pid("broker-1");
    process::kill(stack.daemon(), 9);
    process::kill(before, 9);
    stack.up();
    let back = stack.await_node("broker-1", "ready again", |n| n["state"] == "ready" && n["pid"] != before);
    assert_eq!(back["incarnation"], 2, "{back}");
    assert_eq!(fenced(&stack, "broker-1"), 1, "{:?}", events(&stack, "broker-1"));
    stack.await_whole(&admin);
}

/// Holds broker 2 up until ZooKeeper has given its session up; the process.
fn held_up_beyond_its_session(stack: &Stack) -> i32 {
    let pid = stack.pid("broker-2");
    process::kill(pid, 19);
    until(SETTLE, "its session expires", || if owner(stack, 2).is_none() { Ok(()) } else { Err("it is there".into()) });
    pid
}

#[test]
fn a_name_taken_while_ours_is_held_up_is_somebody_elses_and_a_session_of_ours_made_anew_is_ours() {
    let stack = Stack::begun();
    stack.up();
    let admin = stack.admin();
    stack.await_whole(&admin);

    // held up for longer than its session: it registers anew by itself
    let pid = held_up_beyond_its_session(&stack);
    process::kill(pid, 18);
    until(SETTLE, "its new session is known as its own", || {
        let status = stack.ok(&["status", "--json"]).stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let owners = status["cluster"]["zookeeper"]["owners"].as_array().cloned().unwrap_or_default();
        let ours = owners.iter().filter(|owner| owner["ours"] == true).count();
        if ours == 3 { Ok(()) } else { Err(format!("{owners:?}")) }
    });
    assert_eq!(stack.pid("broker-2"), pid, "it was not restarted");
    stack.await_whole(&admin);

    // killed with its ZooKeeper, which has another process when the broker's session can be closed
    let zookeeper = stack.pid("zookeeper");
    process::kill(pid, 9);
    process::kill(zookeeper, 9);
    stack.await_node("broker-2", "ready again", |n| n["state"] == "ready" && n["pid"] != pid);
    assert_ne!(stack.pid("zookeeper"), zookeeper);
    assert_eq!(fenced(&stack, "broker-2"), 1, "{:?}", events(&stack, "broker-2"));
    stack.await_whole(&admin);

    // somebody takes its name while it still runs
    let pid = held_up_beyond_its_session(&stack);
    let stranger = Stranger::register(2, ELSEWHERE);
    let theirs = owner(&stack, 2).expect("the stranger is registered");
    process::kill(pid, 9);
    stack.await_node("broker-2", "it waits and says whose name it is", |n| {
        let detail = n["detail"].as_str().unwrap_or_default();
        detail.contains(
            "is not closed before: it is registered at INTERNAL://127.0.0.1:39999, where this broker does not",
        )
    });
    let refused = stack.fails(8, &["fence", "broker-2"]);
    assert!(refused.stderr.contains("left alone") && refused.stderr.contains("somebody else"), "{refused}");
    assert_eq!(owner(&stack, 2), Some(theirs));
    stranger.leave();
    stack.await_node("broker-2", "ready when the name is free", |n| n["state"] == "ready");
    assert_eq!(fenced(&stack, "broker-2"), 1, "{:?}", events(&stack, "broker-2"));
    stack.await_whole(&admin);
    with_our_own_listeners_he_is_told_from_ours(&stack, &admin);
}

/// A broker of another machine that says the same of itself takes the name while ours is held up, which then goes on without one: its probe
/// finds everything as it should be. It is never taken for ours, neither while ours lives nor when it is dead.
fn with_our_own_listeners_he_is_told_from_ours(stack: &Stack, admin: &Admin) {
    let pid = held_up_beyond_its_session(stack);
    let mut stranger = Stranger::register(2, AS_OURS);
    let theirs = owner(stack, 2).expect("the stranger is registered");
    process::kill(pid, 18);
    stack.await_node("broker-2", "it serves again", |n| n["state"] == "ready");
    stranger.lives();
    // Each status has the session looked at anew.
    stays(Duration::from_secs(6), "whose it is is not mistaken", || {
        let status = stack.status();
        let owners = status["cluster"]["zookeeper"]["owners"].as_array().cloned().unwrap_or_default();
        owners.iter().filter(|owner| owner["broker"] == 2).all(|owner| owner["ours"] != true)
    });
    stranger.lives();
    process::kill(pid, 9);
    stack.await_node("broker-2", "it waits and says why", |n| {
        let detail = n["detail"].as_str().unwrap_or_default();
        detail.contains("is not closed before") && detail.contains("that run's log knows nothing of this registration")
    });
    stranger.lives();
    let refused = stack.fails(8, &["fence", "broker-2"]);
    assert!(refused.stderr.contains("left alone") && refused.stderr.contains("somebody else"), "{refused}");
    assert_eq!(owner(stack, 2), Some(theirs));
    stranger.leave();
    stack.await_node("broker-2", "ready when the name is free", |n| n["state"] == "ready");
    assert_eq!(fenced(stack, "broker-2"), 1, "{:?}", events(stack, "broker-2"));
    stack.await_whole(admin);
}
