//! The wire reads back what it wrote, and survives everything else.

use super::*;
use proptest::{collection::vec, prelude::*};

fn node() -> impl Strategy<Value = NodeName> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?".prop_map(|s| NodeName::new(s).unwrap())
}

fn notified() -> impl Strategy<Value = Notified> {
    (any::<bool>(), any::<bool>(), ".{0,40}").prop_map(|(ready, stopping, status)| Notified { ready, stopping, status })
}

fn record() -> impl Strategy<Value = ExitRecord> {
    let status = prop_oneof![
        any::<i32>().prop_map(ExitStatus::Code),
        any::<i32>().prop_map(ExitStatus::Signal),
        Just(ExitStatus::Unknown)
    ];
    let times = (any::<i64>(), any::<i64>(), any::<u64>(), any::<u64>());
    (any::<u64>(), any::<i32>(), status, times, any::<[Option<u64>; 2]>(), vec(any::<i32>(), 0..4)).prop_map(
        |(incarnation, pid, status, t, [cgroup_peak_bytes, oom_kills], signals_sent)| ExitRecord {
            incarnation: Incarnation(incarnation),
            pid,
            status,
            started_at: Timestamp(t.0),
            ended_at: Timestamp(t.1),
            cpu_ms: t.2,
            peak_rss_bytes: t.3,
            cgroup_peak_bytes,
            oom_kills,
            oom_by: oom_kills.map(|n| OomBy::ALL[usize::try_from(n % 3).unwrap()]),
            cgroup_cap_bytes: oom_kills,
            signals_sent,
        },
    )
}

fn order() -> impl Strategy<Value = LaunchOrder> {
    let credentials = proptest::option::of((any::<u32>(), any::<u32>(), vec(any::<u32>(), 0..4)))
        .prop_map(|c| c.map(|(uid, gid, groups)| Credentials { uid, gid, groups }));
    let words = (vec(".{0,20}", 0..5), vec(("[A-Z]{1,9}", ".{0,20}"), 0..5));
    let paths = ("/[a-z/]{0,20}", "/[a-z/]{0,20}", proptest::option::of("/[a-z/]{0,20}"));
    let numbers = (any::<u64>(), any::<i32>(), any::<u64>(), any::<u32>(), any::<u64>());
    (node(), any::<u64>(), words, paths, credentials, numbers, any::<bool>()).prop_map(
        |(node, incarnation, (argv, env), (root, dir, cgroup), credentials, n, notify)| LaunchOrder {
            root: root.into(),
            node,
            incarnation: Incarnation(incarnation),
            argv,
            env,
            dir: dir.into(),
            credentials,
            nofile: n.0,
            oom_score_adj: n.1,
            cgroup: cgroup.map(Into::into),
            notify,
            log_max_bytes: n.2,
            log_keep: n.3,
            leftovers_ms: n.4,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Subscribe),
        Just(Request::State),
        (1..=64).prop_map(Request::Signal),
        (1..=64, any::<u64>()).prop_map(|(signal, grace_ms)| Request::Stop { signal, grace_ms }),
        Just(Request::KillTree),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    let process = (any::<i32>(), any::<u64>(), "[0-9a-f-]{0,36}").prop_map(|(pid, start_ticks, boot_id)| ProcessId {
        pid,
        start_ticks,
        boot_id,
    });
    let state = (node(), any::<u64>(), any::<i32>(), process, any::<i64>(), any::<bool>(), notified()).prop_map(
        |(node, incarnation, shim_pid, process, started_at, stopping, notified)| {
            Report::State(ShimState {
                node,
                incarnation: Incarnation(incarnation),
                shim_pid,
                process,
                started_at: Timestamp(started_at),
                stopping,
                notified,
            })
        },
    );
    prop_oneof![
        state,
        ("[a-z]{0,8}", any::<i32>(), ".{0,40}").prop_map(|(step, errno, text)| Report::LaunchFailed {
            step,
            errno,
            text
        }),
        notified().prop_map(Report::Notified),
        record().prop_map(Report::MainEnded),
        record().prop_map(Report::Gone),
        ".{0,40}".prop_map(Report::Trouble),
    ]
}

fn frames(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, WireError> {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    for part in bytes.chunks(piece) {
        decoder.push(part);
        while let Some(frame) = decoder.next()? {
            found.push(frame);
        }
    }
    Ok(found)
}

proptest! {
    #[test]
    fn an_order_reads_back_and_ignores_what_a_later_version_adds(order in order()) {
        let mut frame = frames(&order.encode().unwrap(), 7).unwrap().remove(0);
        frame.body.extend_from_slice(b"more");
        prop_assert_eq!(LaunchOrder::decode(&frame).unwrap(), order);
    }

    #[test]
    fn requests_and_reports_read_back_in_any_pieces(a in request(), b in report(), piece in 1usize..50) {
        let mut bytes = a.encode();
        bytes.extend(b.encode());
        let found = frames(&bytes, piece).unwrap();
        prop_assert_eq!(found.len(), 2);
        prop_assert_eq!(Request::decode(&found[0]).unwrap(), a);
        prop_assert_eq!(Report::decode(&found[1]).unwrap(), b);
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..300), piece in 1usize..50, kind: u8) {
        let _ = frames(&bytes, piece);
        let frame = Frame { kind, body: bytes };
        let _ = (LaunchOrder::decode(&frame), Request::decode(&frame), Report::decode(&frame));
        let frame = Frame { kind: kind & 0x27, ..frame };
        let _ = (LaunchOrder::decode(&frame), Request::decode(&frame), Report::decode(&frame));
    }

    #[test]
    fn a_frame_cut_short_is_an_error(report in report(), order in order()) {
        for bytes in [report.encode(), order.encode().unwrap()] {
            let frame = frames(&bytes, 4096).unwrap().remove(0);
            // Whose limit a kill was about and which cap was in force came behind version 1: a frame without them is an older shim's.
            let later = match &report {
                Report::MainEnded(e) | Report::Gone(e) if frame.kind != kind::LAUNCH => {
                    2 + e.cgroup_cap_bytes.map_or(0, |_| 8)
                }
                _ => 0,
            };
            for n in 0..frame.body.len() - later {
                let cut = Frame { kind: frame.kind, body: frame.body[..n].to_vec() };
                prop_assert!(Report::decode(&cut).is_err() && LaunchOrder::decode(&cut).is_err());
            }
        }
    }
}

#[test]
fn other_versions_and_impossible_lengths_are_refused_for_good() {
    let mut other = Request::State.encode();
    other[4] = VERSION + 1;
    for (bytes, expected) in [
        (other, WireError::Version(VERSION + 1)),
        (u32::MAX.to_le_bytes().to_vec(), WireError::TooLong(u32::MAX as usize)),
        (vec![1, 0, 0, 0, VERSION], WireError::Truncated),
    ] {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert_eq!(decoder.next().unwrap_err(), expected);
        decoder.push(&Request::State.encode());
        assert!(decoder.next().is_err(), "the stream stays broken");
    }
}

#[test]
fn an_order_that_is_too_long_is_refused_by_its_sender() {
    let mut order = LaunchOrder {
        root: "/r".into(),
        node: NodeName::mysql(),
        incarnation: Incarnation(1),
        argv: vec!["x".repeat(FRAME_MAX)],
        env: vec![],
        dir: "/".into(),
        credentials: None,
        nofile: 1,
        oom_score_adj: 0,
        cgroup: None,
        notify: false,
        log_max_bytes: 1,
        log_keep: 1,
        leftovers_ms: 1,
    };
    assert!(matches!(order.encode(), Err(WireError::TooLong(_))));
    order.argv[0].truncate(FRAME_MAX / 2);
    assert!(order.encode().is_ok());
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let frame = frames(&Report::Trouble("ü".repeat(TEXT_MAX)).encode(), 4096).unwrap().remove(0);
    let Report::Trouble(text) = Report::decode(&frame).unwrap() else { panic!() };
    assert_eq!(text.len(), TEXT_MAX);
}

#[test]
fn signal_numbers_outside_the_kernels_are_refused() {
    for n in [0, -1, 65] {
        let frame = frames(&Request::Signal(n).encode(), 64).unwrap().remove(0);
        assert!(matches!(Request::decode(&frame), Err(WireError::Field(_))));
    }
}

/// Every kind of frame, with the name it has in `tests/golden/v1/shim-wire`.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let node = NodeName::new("broker-1").unwrap();
    let notified = Notified { ready: true, stopping: false, status: "serving".into() };
    let order = LaunchOrder {
        root: "/r".into(),
        node: node.clone(),
        incarnation: Incarnation(3),
        argv: vec!["/bin/sleep".into(), "1".into()],
        env: vec![("PATH".into(), "/bin".into())],
        dir: "/d".into(),
        credentials: Some(Credentials { uid: 998, gid: 997, groups: vec![997, 4] }),
        nofile: 65_536,
        oom_score_adj: -100,
        cgroup: Some("/sys/fs/cgroup/x".into()),
        notify: true,
        log_max_bytes: 10 << 20,
        log_keep: 5,
        leftovers_ms: 1000,
    };
    let plain = LaunchOrder { credentials: None, cgroup: None, env: vec![], ..order.clone() };
    let record = ExitRecord {
        incarnation: Incarnation(3),
        pid: 4711,
        status: ExitStatus::Signal(9),
        started_at: Timestamp(1_763_867_279_042),
        ended_at: Timestamp(1_763_867_280_000),
        cpu_ms: 12,
        peak_rss_bytes: 1 << 20,
        cgroup_peak_bytes: Some(2 << 20),
        oom_kills: None,
        oom_by: None,
        cgroup_cap_bytes: None,
        signals_sent: vec![15, 9],
    };
    let other = |status| ExitRecord { status, cgroup_peak_bytes: None, signals_sent: vec![], ..record.clone() };
    let state = ShimState {
        node,
        incarnation: Incarnation(3),
        shim_pid: 4710,
        process: ProcessId { pid: 4711, start_ticks: 99, boot_id: "b".into() },
        started_at: Timestamp(1_763_867_279_042),
        stopping: false,
        notified: notified.clone(),
    };
    let failed = Report::LaunchFailed { step: "exec".into(), errno: 2, text: "cannot run /x".into() };
    vec![
        ("launch-order", order.encode().unwrap()),
        ("launch-order-plain", plain.encode().unwrap()),
        ("subscribe", Request::Subscribe.encode()),
        ("state-request", Request::State.encode()),
        ("signal", Request::Signal(1).encode()),
        ("stop", Request::Stop { signal: 15, grace_ms: 60_000 }.encode()),
        ("kill-tree", Request::KillTree.encode()),
        ("state", Report::State(state).encode()),
        ("launch-failed", failed.encode()),
        ("notified", Report::Notified(notified).encode()),
        ("main-ended-signal", Report::MainEnded(record.clone()).encode()),
        ("gone-code", Report::Gone(other(ExitStatus::Code(143))).encode()),
        ("gone-unknown", Report::Gone(other(ExitStatus::Unknown)).encode()),
        ("trouble", Report::Trouble("disk full".into()).encode()),
    ]
}

/// What version 1 looks like on the wire does not change by accident: shims outlive daemons, and an older daemon starts newer
/// shims. Fields may be added behind the last one, so today's frames begin as the old ones do, their length left aside.
#[test]
fn frames_of_version_1_are_read_and_written_as_they_were() {
    let golden: Vec<(&str, Vec<u8>)> = include_str!("../../../tests/golden/v1/shim-wire")
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, hex)| {
            let digits: Vec<char> = hex.chars().collect();
            (name, digits.chunks(2).map(|c| u8::from_str_radix(&c.iter().collect::<String>(), 16).unwrap()).collect())
        })
        .collect();
    let now = samples();
    assert_eq!(golden.len(), now.len());
    for ((name, old), (now_name, new)) in golden.iter().zip(&now) {
        assert_eq!(name, now_name);
        assert!(new[4..].starts_with(&old[4..]), "{name} is written in another way: {new:02x?}");
        // the old one means what the new one means, as far as it says something
        let decode = |bytes: &[u8]| {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            let frame = decoder.next().unwrap().unwrap();
            let shown = match frame.kind {
                kind::LAUNCH => LaunchOrder::decode(&frame).map(|o| format!("{o:?}")),
                0x10..0x20 => Request::decode(&frame).map(|r| format!("{r:?}")),
                _ => Report::decode(&frame).map(|r| format!("{r:?}")),
            };
            shown.unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        assert_eq!(decode(old), decode(new), "{name}");
        // a later version adds fields
        let mut longer = old.clone();
        longer.extend(*b"later");
        let rest = u32::try_from(longer.len() - 4).unwrap();
        longer[..4].copy_from_slice(&rest.to_le_bytes());
        assert_eq!(decode(&longer), decode(old), "{name} with more fields");
    }
}

/// What a shim adds behind the last field of that, on the wire and in its record.
#[test]
fn an_end_with_the_limit_it_was_about_is_read_and_written_as_it_was() {
    let hex = include_str!("../../../tests/golden/v1b/main-ended").trim_end();
    let record = super::super::record::parse_exit_record(include_str!("../../../tests/golden/v1b/exit-record.oom"));
    let now: String = Report::MainEnded(record.unwrap()).encode().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(now, hex);
}

#[test]
fn a_frame_of_another_version_is_named_as_such() {
    let mut bytes = Request::State.encode();
    bytes[4] = 2;
    let mut decoder = Decoder::default();
    decoder.push(&bytes);
    let error = decoder.next().unwrap_err();
    assert_eq!(error, WireError::Version(2));
    assert_eq!(error.to_string(), "version 2 of the shim protocol is not known here (we speak 1)");
}
