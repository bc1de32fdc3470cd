//! One download against every bad habit of a server.
//!
//! A little past 500 lines: a list of habits, one test each.

use crate::hostile_http::{Answer, Asked, Authority, Server};
use cdc_supervisor::{
    artifact::transfer::{self, Fill, Follower, Network, Received, Timing, TransferFault, Want},
    sys::command::Cancel,
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::Read,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes with a gzip's beginning that repeat nowhere near.
fn bytes(size: usize, seed: u64) -> Arc<Vec<u8>> {
    let mut state = seed;
    let mut all = vec![0x1f, 0x8b];
    all.extend((2..size).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    }));
    Arc::new(all)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Short pauses, so that a test is over soon; the rules are the same.
fn quick() -> Timing {
    Timing {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(600),
        least: 1_000,
        first_pause: Duration::from_millis(5),
        last_pause: Duration::from_millis(20),
        tries: 3,
        longest_wait: Duration::from_secs(5),
    }
}

struct Place {
    dir: tempfile::TempDir,
    network: Network,
    size: Option<u64>,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), network: Network::new(quick(), None, None), size: None }
    }

    fn part(&self) -> PathBuf {
        self.dir.path().join("f.part")
    }

    fn get(&self, url: &str) -> Result<Received, TransferFault> {
        self.get_with(url, &Arc::default(), &Cancel::default())
    }

    fn get_with(&self, url: &str, fill: &Arc<Fill>, cancel: &Cancel) -> Result<Received, TransferFault> {
        let part = self.part();
        let want =
            Want { url, part: &part, size: self.size, most: 64 << 20, magic: &[0x1f, 0x8b], sha512: true, md5: false };
        transfer::download(&self.network, &want, fill, &|_, _| {}, cancel)
    }

    /// Leaves the first `size` bytes of a file as a run that was killed leaves them.
    fn left_behind(&self, url: &str, etag: Option<&str>, total: usize, begin: &[u8]) {
        fs::write(self.part(), begin).unwrap();
        let etag = etag.map_or("null".into(), |tag| serde_json::to_string(tag).unwrap());
        let state = format!("{{\"schema\":1,\"url\":\"{url}\",\"validator\":{etag},\"total\":{total}}}");
        fs::write(self.dir.path().join("f.part.state"), state).unwrap();
    }

    fn holds(&self, received: &Received, body: &[u8]) {
        assert_eq!(received.digests.sha256.as_deref(), Some(digest(body).as_str()));
        assert_eq!(fs::read(&received.path).unwrap(), body);
    }
}

fn ranges(server: &Server) -> Vec<Option<u64>> {
    server.seen().iter().map(|a| a.from).collect()
}

#[test]
fn a_file_is_fetched_hashed_and_followed_while_it_comes() {
    let body = bytes(3_000_000, 1);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| Answer::file(&served, "\"a\"", asked));
    let place = Place::new();
    let (fill, cancel) = (Arc::<Fill>::default(), Cancel::default());
    fs::write(place.part(), "").unwrap();
    let mut follower = Follower::open(&place.part(), &fill, &cancel).unwrap();
    let (received, followed) = thread::scope(|s| {
        let read = s.spawn(move || {
            let mut all = Vec::new();
            follower.read_to_end(&mut all).map(|_| all)
        });
        (place.get_with(&server.url("f"), &fill, &cancel).unwrap(), read.join().unwrap().unwrap())
    });
    place.holds(&received, &body);
    assert!(followed == *body && !received.resumed);
    assert_eq!(received.digests.sha512.as_ref().map(String::len), Some(128));
    let asked = &server.seen()[0];
    let lower: Vec<String> = asked.headers.iter().map(|h| h.to_ascii_lowercase()).collect();
    assert!(lower.contains(&"accept-encoding: identity".into()), "{lower:?}");
    assert!(lower.iter().any(|h| h.starts_with("user-agent: cdc-supervisor/")), "{lower:?}");
}

#[test]
fn a_connection_that_is_cut_again_and_again_is_gone_on_with() {
    let body = bytes(4_000_000, 2);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| Answer::file(&served, "\"a\"", asked).cut(700_000));
    let place = Place::new();
    place.holds(&place.get(&server.url("f")).unwrap(), &body);
    let seen = server.seen();
    assert!(seen.len() >= 6, "{}", seen.len());
    assert!(seen[1..].iter().all(|a| a.from.is_some() && a.if_range.as_deref() == Some("\"a\"")), "{seen:?}");
}

#[test]
fn a_connection_that_ends_before_or_in_the_head_is_tried_again() {
    let body = bytes(100_000, 23);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| {
        let answer = Answer::file(&served, "\"a\"", asked);
        Answer { head_cut: [Some(0), Some(9), None].get(asked.number).copied().flatten(), ..answer }
    });
    let place = Place::new();
    let mut timing = quick();
    timing.tries = 4;
    let place = Place { network: Network::new(timing, None, None), ..place };
    place.holds(&place.get(&server.url("f")).unwrap(), &body);
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_server_that_cuts_without_getting_on_is_left_after_some_tries() {
    let body = bytes(1_000_000, 3);
    let server = Server::start(move |asked| Answer::file(&body, "\"a\"", asked).cut(10));
    let place = Place::new();
    let e = place.get(&server.url("f")).unwrap_err();
    assert!(matches!(e, TransferFault::Tries { tries: 3, .. }), "{e:?}");
    assert!(e.hint().unwrap().contains("goes on where it stopped"));
    assert_eq!(server.seen().len(), 3);
    assert!(place.part().exists(), "what has arrived is kept");
}

#[test]
fn a_file_without_a_strong_etag_begins_anew_after_a_cut() {
    for etag in [Some("W/\"a\""), None] {
        let body = bytes(1_000_000, 4);
        let served = Arc::clone(&body);
        let server = Server::start(move |asked| {
            let answer = Answer::whole(&served);
            let answer = etag.map_or(answer.clone(), |tag| answer.header("ETag", tag));
            if asked.number == 0 { answer.cut(400_000) } else { answer }
        });
        let place = Place::new();
        place.holds(&place.get(&server.url("f")).unwrap(), &body);
        assert_eq!(ranges(&server), [None, None], "{etag:?}");
    }
}

#[test]
fn what_a_killed_run_left_is_gone_on_with_and_counts_into_the_digest() {
    let body = bytes(1_000_000, 5);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| Answer::file(&served, "\"a\"", asked));
    let place = Place::new();
    place.left_behind(&server.url("f"), Some("\"a\""), body.len(), &body[..333_333]);
    let received = place.get(&server.url("f")).unwrap();
    place.holds(&received, &body);
    assert!(received.resumed);
    assert_eq!(ranges(&server), [Some(333_333)]);
}

#[test]
fn a_part_that_was_whole_already_asks_for_nothing() {
    let body = bytes(10_000, 6);
    let server = Server::start(|_| Answer::status(500));
    let place = Place::new();
    place.left_behind(&server.url("f"), Some("\"a\""), body.len(), &body);
    place.holds(&place.get(&server.url("f")).unwrap(), &body);
    assert!(server.seen().is_empty());
}

#[test]
fn a_part_of_another_address_a_part_that_is_too_long_and_one_without_a_state_are_dropped() {
    let body = bytes(10_000, 7);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| Answer::file(&served, "\"a\"", asked));
    let place = Place::new();
    let url = server.url("f");
    let leave: [&dyn Fn(); 4] = [
        &|| place.left_behind("http://elsewhere/f", Some("\"a\""), body.len(), &body[..5_000]),
        &|| place.left_behind(&url, Some("\"a\""), 100, &body[..5_000]),
        &|| place.left_behind(&url, None, body.len(), &body[..5_000]),
        &|| fs::write(place.dir.path().join("f.part.state"), "{not json").unwrap(),
    ];
    for leave in leave {
        leave();
        place.holds(&place.get(&url).unwrap(), &body);
    }
    assert_eq!(ranges(&server), [None; 4]);
}

#[test]
fn a_file_that_changed_between_two_runs_comes_whole() {
    let (old, new) = (bytes(500_000, 8), bytes(600_000, 9));
    for honours_if_range in [true, false] {
        let served = Arc::clone(&new);
        let server = Server::start(move |asked| {
            let asked = if honours_if_range { asked.clone() } else { Asked { if_range: None, ..asked.clone() } };
            Answer::file(&served, "\"new\"", &asked)
        });
        let place = Place::new();
        place.left_behind(&server.url("f"), Some("\"old\""), old.len(), &old[..200_000]);
        let received = place.get(&server.url("f")).unwrap();
        place.holds(&received, &new);
    }
}

#[test]
fn a_range_that_is_answered_with_the_whole_file_is_taken_from_the_start() {
    let body = bytes(500_000, 10);
    let served = Arc::clone(&body);
    let server = Server::start(move |_| Answer::whole(&served).header("ETag", "\"a\""));
    let place = Place::new();
    place.left_behind(&server.url("f"), Some("\"a\""), body.len(), &body[..200_000]);
    place.holds(&place.get(&server.url("f")).unwrap(), &body);
    assert_eq!(ranges(&server), [Some(200_000)]);
}

#[test]
fn a_range_that_begins_elsewhere_is_not_stuck_on() {
    let body = bytes(500_000, 11);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| match asked.from {
        Some(from) => Answer::whole(&served).header("ETag", "\"a\"").rest(from - 1),
        None => Answer::file(&served, "\"a\"", asked),
    });
    let place = Place::new();
    place.left_behind(&server.url("f"), Some("\"a\""), body.len(), &body[..200_000]);
    place.holds(&place.get(&server.url("f")).unwrap(), &body);
    assert_eq!(ranges(&server), [Some(200_000), None]);
}

#[test]
fn nothing_behind_our_bytes_is_the_end_only_when_the_length_is_ours() {
    let body = bytes(300_000, 12);
    // The length was not known to the run that was killed; all had come.
    for (left, requests) in [(300_000, vec![Some(300_000)]), (200_000, vec![Some(200_000), None])] {
        let served = Arc::clone(&body);
        let server = Server::start(move |asked| match asked.from {
            Some(_) => Answer::status(416).header("Content-Range", "bytes */300000"),
            None => Answer::file(&served, "\"a\"", asked),
        });
        let place = Place::new();
        let url = server.url("f");
        place.left_behind(&url, Some("\"a\""), 0, &body[..left]);
        let state = format!("{{\"schema\":1,\"url\":\"{url}\",\"validator\":\"\\\"a\\\"\",\"total\":null}}");
        fs::write(place.dir.path().join("f.part.state"), state).unwrap();
        place.holds(&place.get(&url).unwrap(), &body);
        assert_eq!(ranges(&server), requests);
    }
}

#[test]
fn a_server_whose_file_changes_at_every_request_is_given_up() {
    let body = bytes(3_000_000, 13);
    let server = Server::start(move |asked| {
        let tag = format!("\"{}\"", asked.number);
        let asked = Asked { if_range: None, ..asked.clone() };
        Answer::file(&body, &tag, &asked).cut(1_000_000)
    });
    let place = Place::new();
    let e = place.get(&server.url("f")).unwrap_err();
    assert!(matches!(e, TransferFault::Fickle { .. }), "{e:?}");
}

#[test]
fn a_wrong_length_is_refused_before_and_after_the_bytes() {
    let body = bytes(10_000, 14);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| {
        let answer = Answer::file(&served, "\"a\"", asked);
        if asked.path == "/unsaid" { Answer { length: None, ..answer } } else { answer }
    });
    let mut place = Place::new();
    place.size = Some(10_001);
    for path in ["f", "unsaid"] {
        let e = place.get(&server.url(path)).unwrap_err();
        assert!(matches!(e, TransferFault::NotTheFile { .. }), "{e:?}");
        assert!(e.to_string().ends_with("it has 10000 bytes, 10001 are known to be right"), "{e}");
    }
    let endless = Arc::new(vec![0x1f; 100]);
    let server = Server::start(move |_| Answer { length: Some(65 << 20), ..Answer::whole(&endless) });
    place.size = None;
    assert!(matches!(place.get(&server.url("f")), Err(TransferFault::TooLong { .. })));
}

#[test]
fn a_web_page_and_foreign_bytes_are_not_the_file_and_nothing_of_them_is_kept() {
    let page = Arc::new(b"<html>Please log in</html>".to_vec());
    let server = Server::start(move |asked| {
        let answer = Answer::whole(&page);
        if asked.path == "/said" { answer.header("Content-Type", "text/html; charset=utf-8") } else { answer }
    });
    for path in ["said", "unsaid"] {
        let place = Place::new();
        let e = place.get(&server.url(path)).unwrap_err();
        assert!(matches!(e, TransferFault::NotTheFile { .. }), "{e:?}");
        assert!(e.hint().unwrap().contains("proxy"), "{:?}", e.hint());
        assert_eq!(fs::metadata(place.part()).unwrap().len(), 0);
    }
}

#[test]
fn a_refusal_is_not_repeated_and_trouble_is() {
    for (status, requests) in [(401, 1), (403, 1), (404, 1), (410, 1), (500, 3), (502, 3), (503, 3), (429, 3)] {
        let server = Server::start(move |_| Answer::status(status));
        let e = Place::new().get(&server.url("f")).unwrap_err();
        assert!(format!("{e:?}").contains(&format!("status: {status}")), "{e:?}");
        assert_eq!(server.seen().len(), requests, "{status}");
    }
}

#[test]
fn a_server_in_trouble_is_waited_for_as_long_as_it_asks() {
    let body = bytes(10_000, 15);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| match asked.number {
        0 => Answer::status(429).header("Retry-After", "1"),
        1 => Answer::status(503),
        _ => Answer::file(&served, "\"a\"", asked),
    });
    let begun = Instant::now();
    let place = Place::new();
    place.holds(&place.get(&server.url("f")).unwrap(), &body);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.seen().len(), 3);
    let server = Server::start(|_| Answer::status(503).header("Retry-After", "3600"));
    let e = place.get(&server.url("g")).unwrap_err();
    assert!(matches!(e, TransferFault::AskedToWait { status: 503, .. }), "{e:?}");
}

#[test]
fn silence_and_a_drip_end_a_try_and_the_bytes_that_came_are_kept() {
    let body = bytes(1_000_000, 16);
    for drip in [false, true] {
        let served = Arc::clone(&body);
        let server = Server::start(move |asked| {
            let answer = Answer::file(&served, "\"a\"", asked);
            match (asked.number, drip) {
                (0, false) => Answer { hang: Some(Duration::from_secs(20)), ..answer.cut(500_000) },
                (0, true) => Answer { drip: Some((10, Duration::from_millis(50))), ..answer },
                _ => answer,
            }
        });
        let place = Place::new();
        let begun = Instant::now();
        place.holds(&place.get(&server.url("f")).unwrap(), &body);
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert!(ranges(&server)[1].is_some());
    }
    // For ever.
    let server = Server::start(move |asked| Answer {
        drip: Some((10, Duration::from_millis(50))),
        ..Answer::file(&body, "\"a\"", asked)
    });
    let e = Place::new().get(&server.url("f")).unwrap_err();
    assert!(format!("{e:?}").contains("Drips"), "{e:?}");
}

#[test]
fn redirects_are_followed_to_an_end_and_a_loop_is_left() {
    let body = bytes(10_000, 17);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/a" => Answer::status(302).header("Location", "/b"),
        "/b" => Answer::status(307).header("Location", "/f"),
        "/loop" => Answer::status(302).header("Location", "/loop"),
        _ => Answer::file(&served, "\"a\"", asked),
    });
    let place = Place::new();
    place.holds(&place.get(&server.url("a")).unwrap(), &body);
    let e = place.get(&server.url("loop")).unwrap_err();
    assert!(matches!(e, TransferFault::Redirect { .. }), "{e:?}");
    assert!(e.to_string().contains("more than 8 times"), "{e}");
}

#[test]
fn https_needs_a_known_authority_and_never_leads_to_http() {
    let body = bytes(500_000, 18);
    let served = Arc::clone(&body);
    let plain = Server::start(move |asked| Answer::file(&served, "\"a\"", asked));
    let to = plain.url("f");
    let authority = Authority::new();
    let served = Arc::clone(&body);
    let server = Server::tls(authority.config, move |asked| match asked.path.as_str() {
        "/down" => Answer::status(302).header("Location", &to),
        _ => Answer::file(&served, "\"a\"", asked).cut(300_000),
    });
    let mut place = Place::new();
    // Where the machine itself trusts nobody, that is said instead.
    let e = place.get(&server.url("f")).unwrap_err();
    assert!(matches!(e, TransferFault::Certificate { .. } | TransferFault::Authorities { .. }), "{e:?}");
    assert!(e.hint().unwrap().contains("artifacts.ca_file"));
    assert!(server.seen().is_empty(), "nothing was asked of a stranger");

    let ca = place.dir.path().join("ca.pem");
    fs::write(&ca, &authority.pem).unwrap();
    place.network = Network::new(quick(), None, Some(&ca));
    place.holds(&place.get(&server.url("f")).unwrap(), &body);
    let e = place.get(&server.url("down")).unwrap_err();
    assert!(e.to_string().contains("from https to http://"), "{e}");
    assert!(plain.seen().is_empty());
}

#[test]
fn a_name_nobody_knows_costs_one_look_and_a_dead_port_two_tries() {
    let place = Place::new();
    let begun = Instant::now();
    let e = place.get("http://no-such-host.invalid/f").unwrap_err();
    assert!(matches!(&e, TransferFault::Name { host, .. } if host == "no-such-host.invalid"), "{e:?}");
    assert!(e.is_unreachable() && e.hint().unwrap().contains("https_proxy"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let e = place.get(&format!("http://127.0.0.1:{free}/f")).unwrap_err();
    assert!(matches!(e, TransferFault::Tries { tries: 2, .. }) && e.is_unreachable(), "{e:?}");
    // A resolver may take its time; ours must not add to it.
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_wish_to_stop_is_heard_in_silence_and_in_a_pause() {
    let body = bytes(100_000, 19);
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/silent" => Answer { hang: Some(Duration::from_secs(20)), ..Answer::file(&body, "\"a\"", asked).cut(50_000) },
        _ => Answer::status(503).header("Retry-After", "5"),
    });
    for path in ["silent", "pause"] {
        let mut place = Place::new();
        place.network = Network::new(Timing { stall: Duration::from_secs(20), ..quick() }, None, None);
        let cancel = Cancel::default();
        let begun = Instant::now();
        thread::scope(|s| {
            let run = s.spawn(|| place.get_with(&server.url(path), &Arc::default(), &cancel));
            while !server.seen().iter().any(|a| a.path == format!("/{path}")) {
                thread::sleep(Duration::from_millis(5));
            }
            cancel.cancel();
            assert!(matches!(run.join().unwrap(), Err(TransferFault::Cancelled)));
        });
        assert!(begun.elapsed() < Duration::from_secs(4), "{path}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_limit_of_bytes_per_second_holds() {
    let body = bytes(600_000, 20);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| Answer::file(&served, "\"a\"", asked));
    let mut place = Place::new();
    place.network = Network::new(quick(), Some(400_000), None);
    let begun = Instant::now();
    place.holds(&place.get(&server.url("f")).unwrap(), &body);
    assert!(begun.elapsed() >= Duration::from_millis(1_400), "{:?}", begun.elapsed());
}

#[test]
fn a_file_larger_than_the_disk_is_refused_before_its_first_byte() {
    let few = bytes(1_000, 21);
    let server =
        Server::start(move |_| Answer { length: Some(1 << 50), ..Answer::whole(&few).header("ETag", "\"a\"") });
    let place = Place::new();
    let part = place.part();
    let url = server.url("f");
    let want = Want { url: &url, part: &part, size: None, most: 1 << 60, magic: &[], sha512: false, md5: false };
    let e = transfer::download(&place.network, &want, &Arc::default(), &|_, _| {}, &Cancel::default()).unwrap_err();
    assert!(matches!(e, TransferFault::NoRoom { .. }), "{e:?}");
    assert_eq!(fs::metadata(&part).unwrap().len(), 0);
    assert!(e.hint().unwrap().contains("artifacts.store"));
}

#[test]
fn progress_is_told_up_to_the_last_byte() {
    let body = bytes(2_000_000, 22);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| Answer::file(&served, "\"a\"", asked));
    let place = Place::new();
    let (part, url, last) = (place.part(), server.url("f"), AtomicUsize::new(0));
    let want = Want { url: &url, part: &part, size: None, most: 1 << 30, magic: &[], sha512: false, md5: false };
    let heard = |done: u64, total: Option<u64>| {
        assert_eq!(total, Some(2_000_000));
        assert!(last.swap(usize::try_from(done).unwrap(), Ordering::AcqRel) < usize::try_from(done).unwrap());
    };
    transfer::download(&place.network, &want, &Arc::default(), &heard, &Cancel::default()).unwrap();
    assert_eq!(last.into_inner(), 2_000_000);
}
