//! The ZooKeeper client against a server that speaks its frames, and against strangers.

use crate::fake::{self, Fake};
use cdc_supervisor::clients::{
    ClientError,
    zookeeper::{Serving, Session, close_session, four_letter, parse_srvr},
};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);
const OWNER: i64 = 0x0100_0018_673c_0003;

fn reply(xid: i32, error: i32, body: &[u8]) -> Vec<u8> {
    [&xid.to_be_bytes()[..], &9i64.to_be_bytes(), &error.to_be_bytes(), body].concat()
}

fn stat() -> Vec<u8> {
    [
        &1i64.to_be_bytes()[..],
        &2i64.to_be_bytes(),
        &1_795_404_821_621i64.to_be_bytes(),
        &1_795_404_821_622i64.to_be_bytes(),
        &5i32.to_be_bytes(),
        &0i32.to_be_bytes(),
        &0i32.to_be_bytes(),
        &OWNER.to_be_bytes(),
        &4i32.to_be_bytes(),
        &0i32.to_be_bytes(),
        &1i64.to_be_bytes(),
    ]
    .concat()
}

/// A server with the one node `/brokers/ids/1`. Before each answer it sends a late pong and an event, as a server may.
async fn zookeeper(timeout_ms: i32) -> Fake {
    fake::server(move |mut stream| async move {
        let Some(hello) = fake::read_frame(&mut stream).await else { return };
        assert_eq!(hello.len(), 45);
        let answer = [
            &0i32.to_be_bytes()[..],
            &timeout_ms.to_be_bytes(),
            &7i64.to_be_bytes(),
            &16i32.to_be_bytes(),
            &[3; 16],
            &[0],
        ]
        .concat();
        fake::write_frame(&mut stream, &answer).await;
        while let Some(request) = fake::read_frame(&mut stream).await {
            let xid = i32::from_be_bytes(request[..4].try_into().unwrap());
            let op = i32::from_be_bytes(request[4..8].try_into().unwrap());
            let there = request.windows(14).any(|w| w == b"/brokers/ids/1");
            fake::write_frame(&mut stream, &reply(-1, 0, b"an event")).await;
            let body = match (op, there) {
                (-11 | 11, _) => reply(xid, 0, &[]),
                (3, true) => reply(xid, 0, &stat()),
                (4, true) => reply(xid, 0, &[&4i32.to_be_bytes()[..], b"data", &stat()].concat()),
                (8, _) => reply(xid, 0, &[&2i32.to_be_bytes()[..], &[0, 0, 0, 1, b'1'], &[0, 0, 0, 1, b'2']].concat()),
                (_, false) => reply(xid, -101, &[]),
                _ => reply(xid, -6, &[]),
            };
            fake::write_frame(&mut stream, &body).await;
            if op == -11 {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_session_looks_at_nodes_and_closes() {
    let server = zookeeper(4000).await;
    let mut session = Session::connect(server.address, LIMIT).await.unwrap();
    assert_eq!((session.identity().id, session.timeout()), (7, Duration::from_secs(4)));
    assert_eq!(format!("{:?}", session.identity()), "session 0x7", "the password is not shown");
    let stat = session.exists("/brokers/ids/1").await.unwrap().unwrap();
    assert_eq!((stat.ephemeral_owner, stat.ctime, stat.version), (OWNER, 1_795_404_821_621, 5));
    assert_eq!(session.exists("/brokers/ids/9").await.unwrap(), None);
    assert_eq!(session.get_data("/brokers/ids/1").await.unwrap().unwrap().0, b"data");
    assert_eq!(session.get_data("/nope").await.unwrap(), None);
    assert_eq!(session.get_children("/brokers/ids").await.unwrap().unwrap(), ["1", "2"]);
    session.ping().await.unwrap();
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_session_that_the_server_does_not_grant_is_an_error() {
    let server = zookeeper(0).await;
    let e = Session::connect(server.address, LIMIT).await.unwrap_err();
    assert!(matches!(e, ClientError::Server { code: -112, .. }), "{e}");
}

#[tokio::test]
async fn a_closed_port_is_refused_and_named() {
    let address = fake::closed_port().await;
    let e = Session::connect(address, LIMIT).await.unwrap_err();
    assert!(e.is_refused());
    assert_eq!(e.to_string(), format!("{address} refuses connections"));
}

#[tokio::test]
async fn silence_and_half_an_answer_end_with_the_time() {
    for server in [fake::silent().await, fake::stalls_after_a_byte().await] {
        let before = Instant::now();
        let e = Session::connect(server.address, SHORT).await.unwrap_err();
        assert!(matches!(e, ClientError::TimedOut { .. }), "{e}");
        let e = four_letter(server.address, "srvr", SHORT).await.unwrap_err();
        assert_eq!(
            e.to_string(),
            format!("cannot ask ZooKeeper at {} for \"srvr\": no answer within 0.2 s", server.address)
        );
        assert!(before.elapsed() < LIMIT);
    }
}

#[tokio::test]
async fn a_hang_up_and_garbage_are_told_apart() {
    let server = fake::says(b"").await;
    let e = Session::connect(server.address, LIMIT).await.unwrap_err();
    assert!(matches!(e, ClientError::Closed { .. }), "{e}");
    assert!(matches!(four_letter(server.address, "srvr", LIMIT).await, Err(ClientError::Closed { .. })));

    let server = fake::says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let e = Session::connect(server.address, LIMIT).await.unwrap_err();
    assert_eq!(
        e.to_string(),
        format!(
            "cannot open a ZooKeeper session at {}: its answer announces 1213486160 bytes, at most 1048576 are accepted",
            server.address
        )
    );
    let text = four_letter(server.address, "srvr", LIMIT).await.unwrap();
    assert_eq!(parse_srvr(&text), Serving::NotZookeeper("HTTP/1.1 400 Bad Request".into()));
}

#[tokio::test]
async fn an_endless_answer_to_a_word_is_cut() {
    let server = fake::says(vec![b'x'; 1 << 20]).await;
    assert_eq!(four_letter(server.address, "mntr", LIMIT).await.unwrap().len(), 64 << 10);
}

#[tokio::test]
async fn a_session_is_not_used_again_after_an_answer_that_did_not_come() {
    let server = fake::server(|mut stream| async move {
        let _ = fake::read_frame(&mut stream).await;
        let hello = [&[0; 4][..], &4000i32.to_be_bytes(), &7i64.to_be_bytes(), &0i32.to_be_bytes()].concat();
        fake::write_frame(&mut stream, &hello).await;
        while fake::read_frame(&mut stream).await.is_some() {}
    })
    .await;
    let mut session = Session::connect(server.address, SHORT).await.unwrap();
    assert!(matches!(session.exists("/a").await, Err(ClientError::TimedOut { .. })));
    assert!(session.exists("/a").await.unwrap_err().to_string().contains("an earlier question"));
}

fn hello(timeout_ms: i32, session: i64) -> Vec<u8> {
    [&0i32.to_be_bytes()[..], &timeout_ms.to_be_bytes(), &session.to_be_bytes(), &16i32.to_be_bytes(), &[3; 17]]
        .concat()
}

/// Takes a takeover of `OWNER`'s session, answers these frames and hangs up.
async fn answers_takeover(frames: Vec<Vec<u8>>) -> Fake {
    fake::server(move |mut stream| {
        let frames = frames.clone();
        async move {
            let Some(asked) = fake::read_frame(&mut stream).await else { return };
            assert_eq!((asked.len(), &asked[16..24]), (45, &OWNER.to_be_bytes()[..]));
            assert_ne!(asked[28..44], [0; 16], "with the session's password");
            // It came in the same write: whoever dies in between leaves no session moved to a connection that stays open.
            let close = fake::read_frame(&mut stream).await.unwrap();
            assert_eq!(close[4..8], (-11i32).to_be_bytes());
            for frame in &frames {
                fake::write_frame(&mut stream, frame).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_session_is_closed_when_the_server_says_so_or_hangs_up_after_it_let_us_in() {
    for frames in [vec![hello(4_000, OWNER), reply(1, 0, &[])], vec![hello(4_000, OWNER)]] {
        let server = answers_takeover(frames).await;
        close_session(server.address, LIMIT, OWNER).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_else_that_a_server_says_counts_as_closed() {
    for (what, frames, code) in [
        ("it has expired", vec![hello(0, 0)], Some(-112)),
        ("it has expired, and it is named", vec![hello(0, OWNER)], Some(-112)),
        ("a negative time", vec![hello(-1, OWNER), reply(1, 0, &[])], Some(-112)),
        ("another session", vec![hello(4_000, OWNER + 1), reply(1, 0, &[])], Some(-112)),
        ("it lets us in and refuses", vec![hello(4_000, OWNER), reply(1, -4, &[])], Some(-4)),
        ("it hangs up before it lets us in", vec![], None),
        ("a frame that is no greeting", vec![vec![0; 7]], None),
        ("an empty frame", vec![vec![]], None),
        ("a reply that is none", vec![hello(4_000, OWNER), vec![1]], None),
    ] {
        let server = answers_takeover(frames).await;
        let e = close_session(server.address, LIMIT, OWNER).await.expect_err(what);
        match (code, &e) {
            (Some(code), ClientError::Server { code: said, .. }) => assert_eq!(code, *said, "{what}: {e}"),
            (None, ClientError::Closed { .. } | ClientError::Malformed { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
        assert!(e.to_string().contains(&format!("close session {OWNER:#x}")), "{what}: {e}");
    }
}

#[tokio::test]
async fn a_server_that_is_none_closes_no_session_and_takes_no_longer_than_given() {
    let e = close_session(fake::closed_port().await, LIMIT, OWNER).await.unwrap_err();
    assert!(e.is_refused(), "{e}");
    for server in [fake::silent().await, fake::stalls_after_a_byte().await] {
        let before = Instant::now();
        let e = close_session(server.address, SHORT, OWNER).await.unwrap_err();
        assert!(matches!(e, ClientError::TimedOut { .. }), "{e}");
        assert!(before.elapsed() < LIMIT);
    }
    // lets us in and then says nothing more: not known
    let server = fake::server(|mut stream| async move {
        fake::write_frame(&mut stream, &hello(4_000, OWNER)).await;
        while fake::read_frame(&mut stream).await.is_some() {}
    })
    .await;
    let e = close_session(server.address, SHORT, OWNER).await.unwrap_err();
    assert!(matches!(e, ClientError::TimedOut { .. }), "{e}");
    let http = fake::says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!(matches!(close_session(http.address, LIMIT, OWNER).await, Err(ClientError::Malformed { .. })));
}

/// Any bytes for an answer: an error within the time, never a panic, and closed only when the greeting was for that session.
#[tokio::test]
async fn any_answer_to_a_takeover_is_bounded() {
    for round in 0..200u32 {
        let length = usize::try_from(round % 60).unwrap();
        let mut bytes: Vec<u8> = (0..length).map(|_| rand::random()).collect();
        if round % 2 == 0 && length > 4 {
            // a length that fits, so that what is in the frame is read
            bytes[..4].copy_from_slice(&u32::try_from(length - 4).unwrap().to_be_bytes());
        }
        let greets = bytes.windows(8).any(|eight| eight == OWNER.to_be_bytes());
        let server = fake::says(bytes.clone()).await;
        let closed = close_session(server.address, SHORT, OWNER).await;
        assert!(closed.is_err() || greets, "{bytes:?}");
    }
}
