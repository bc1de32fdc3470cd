//! Every line comes once and in order, or the reader says how much is missing.

use super::*;
use crate::base::Timestamp;
use crate::logs::{
    budget::Budget,
    housekeeping::{self, compress},
    names::{self, CURRENT},
    wakeup::Wakeup,
    writer::LogWriter,
};
use proptest::prelude::*;
use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

const ALL: Start = Start { last: None, since: None };

/// What is there to be read: lines as they are, the rest in words.
fn collect(follower: &mut Follower) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(piece) = follower.next().unwrap() {
        lines.push(match piece {
            Piece::Text { bytes, ended: true, .. } => String::from_utf8_lossy(bytes).into_owned(),
            Piece::Text { bytes, .. } => format!("{}…", String::from_utf8_lossy(bytes)),
            Piece::Missed(bytes) => format!("({bytes} missed)"),
            Piece::Broken(why) => format!("({why})"),
        });
    }
    lines
}

/// A writer whose files hold one line of five bytes each.
fn writer(dir: &Path) -> LogWriter {
    LogWriter::open(dir, 5, 1_000).unwrap()
}

fn put(writer: &mut LogWriter, lines: &[&str]) {
    for line in lines {
        writer.append(format!("{line:<4}\n").as_bytes()).unwrap();
    }
}

fn trimmed(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|l| l.trim_end()).collect()
}

fn pack_all(dir: &Path) {
    for name in names::rotated(dir).unwrap().into_iter().filter(|f| !f.packed) {
        compress(dir, name).unwrap().unwrap();
    }
}

#[test]
fn a_follower_crosses_several_rotations_at_once_also_when_they_were_compressed() {
    for packed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let mut follower = Follower::new(dir.path(), ALL);
        put(&mut writer, &["a"]);
        assert_eq!(trimmed(&collect(&mut follower)), ["a"]);
        put(&mut writer, &["b", "c", "d"]);
        writer.append(b"e").unwrap();
        if packed {
            // also the file that the follower holds open
            pack_all(dir.path());
        }
        assert_eq!(trimmed(&collect(&mut follower)), ["b", "c", "d"]);
        writer.append(b"f\n").unwrap();
        assert_eq!(collect(&mut follower), ["ef"]);
        assert!(collect(&mut follower).is_empty());
    }
}

#[test]
fn half_a_line_is_given_once_and_its_rest_is_known_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), 1_000, 5).unwrap();
    writer.append(b"a\nhalf").unwrap();
    let mut follower = Follower::new(dir.path(), ALL);
    assert_eq!(collect(&mut follower), ["a"]);
    assert_eq!(follower.partial().as_deref(), Some(&b"half"[..]));
    assert_eq!(follower.partial(), None);
    writer.append(b" more\nnext\n").unwrap();
    assert_eq!(follower.next().unwrap(), Some(Piece::Text { bytes: b" more", first: false, ended: true }));
    assert_eq!(follower.next().unwrap(), Some(Piece::Text { bytes: b"next", first: true, ended: true }));
}

#[test]
fn a_reader_that_comes_too_late_says_how_many_bytes_it_missed() {
    for (packed, keep_last) in [(false, true), (true, true), (false, false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        put(&mut writer, &["a"]);
        let mut follower = Follower::new(dir.path(), ALL);
        assert_eq!(trimmed(&collect(&mut follower)), ["a"]);
        put(&mut writer, &["b", "c", "d", "e", "f"]);
        if packed {
            pack_all(dir.path());
        }
        // a, b and c go; of the last case everything but what is written to
        let go = if keep_last { 3 } else { 5 };
        for file in &names::rotated(dir.path()).unwrap()[..go] {
            fs::remove_file(dir.path().join(file.name())).unwrap();
        }
        let expected: &[&str] = if keep_last { &["(10 missed)", "d", "e", "f"] } else { &["f"] };
        assert_eq!(trimmed(&collect(&mut follower)), expected, "{packed}");
        put(&mut writer, &["g"]);
        // where the file after the gap began is known once it is rotated: late, and not forgotten
        let expected: &[&str] = if keep_last { &["g"] } else { &["(20 missed)", "g"] };
        assert_eq!(trimmed(&collect(&mut follower)), expected, "{packed}");
    }
}

#[test]
fn a_log_that_keeps_no_rotated_file_is_followed_without_false_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), 5, 0).unwrap();
    let mut follower = Follower::new(dir.path(), ALL);
    for i in 0..50 {
        put(&mut writer, &[&i.to_string()]);
        assert_eq!(trimmed(&collect(&mut follower)), [i.to_string()]);
    }
}

#[test]
fn a_removed_and_a_moved_file_are_read_to_their_end_and_the_next_one_is_found() {
    for moved in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path(), 1_000, 5).unwrap();
        writer.append(b"a\n").unwrap();
        let mut follower = Follower::new(dir.path(), ALL);
        assert_eq!(collect(&mut follower), ["a"]);
        writer.append(b"b\n").unwrap();
        let current = dir.path().join(CURRENT);
        if moved {
            fs::rename(&current, dir.path().join("elsewhere")).unwrap();
        } else {
            fs::remove_file(&current).unwrap();
        }
        assert_eq!(collect(&mut follower), ["b"]);
        if moved {
            writer = LogWriter::open(dir.path(), 1_000, 5).unwrap();
        }
        writer.append(b"c\n").unwrap();
        assert_eq!(collect(&mut follower), ["c"]);
    }
}

#[test]
fn an_emptied_file_is_read_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CURRENT), "one\ntwo\nthr").unwrap();
    let mut follower = Follower::new(dir.path(), ALL);
    assert_eq!(collect(&mut follower), ["one", "two"]);
    fs::write(dir.path().join(CURRENT), "x\n").unwrap();
    assert_eq!(collect(&mut follower), ["thr", "x"]);
}

#[test]
fn a_damaged_file_is_told_of_and_does_not_end_the_reading() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    put(&mut writer, &["a", "b", "c"]);
    pack_all(dir.path());
    let names = names::rotated(dir.path()).unwrap();
    let damaged = dir.path().join(names[1].name());
    let bytes = fs::read(&damaged).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    let lines = collect(&mut Follower::new(dir.path(), ALL));
    assert_eq!(lines[0].trim_end(), "a");
    assert!(lines[1..].iter().any(|l| l.starts_with("(cannot read ") && l.contains(".log.gz")), "{lines:?}");
    assert_eq!(lines.last().unwrap().trim_end(), "c", "{lines:?}");
}

#[test]
fn a_damaged_file_keeps_nobody_from_the_lines_before_and_behind_it() {
    let line = |second: u32| format!("2026-11-26T10:00:{second:02}.000Z INFO x");
    let since =
        |second| Start { last: None, since: Timestamp::parse(&format!("2026-11-26T10:00:{second:02}.000Z")).ok() };
    for kept in [2, 20] {
        let dir = tempfile::tempdir().unwrap();
        // a line in each file
        let mut writer = LogWriter::open(dir.path(), 40, 1_000).unwrap();
        put(&mut writer, &[&line(1), &line(2), &line(3), &line(4)]);
        pack_all(dir.path());
        let names = names::rotated(dir.path()).unwrap();
        let damaged = dir.path().join(names[1].name());
        let bytes = fs::read(&damaged).unwrap();
        fs::write(&damaged, &bytes[..kept]).unwrap();
        let read = |start| collect(&mut Follower::new(dir.path(), start));
        let told = |lines: &[String]| lines.iter().any(|l| l.starts_with("(cannot read "));
        let all = read(since(1));
        assert!(all[0].starts_with(&line(1)) && told(&all) && all.last().unwrap().starts_with(&line(4)), "{all:?}");
        let later = read(since(3));
        assert!(
            told(&later) && trimmed(&later).contains(&line(3).as_str()),
            "it may hold lines of that time: {later:?}"
        );
        let last = read(Start { last: Some(2), since: None });
        assert!(trimmed(&last).ends_with(&[&line(3), &line(4)]) && !last[0].starts_with(&line(1)), "{last:?}");
        let more = read(Start { last: Some(3), since: None });
        assert!(more[0].starts_with(&line(1)) && told(&more), "{more:?}");
        let both = read(Start { last: Some(1), ..since(1) });
        assert!(trimmed(&both).ends_with(&[line(4).as_str()]) && both.len() <= 3, "{both:?}");
    }
}

#[test]
fn a_line_without_end_comes_in_parts_and_does_not_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    // 100 MB, rotated in the middle: twice max_bytes is the bound of a file
    let mut writer = LogWriter::open(dir.path(), 8 << 20, 1_000).unwrap();
    let block = [b'x'; 1 << 20];
    for _ in 0..100 {
        writer.append(&block).unwrap();
    }
    writer.append(b"\nshort\n").unwrap();
    assert!(names::rotated(dir.path()).unwrap().len() >= 5);
    let mut follower = Follower::new(dir.path(), ALL);
    let (mut bytes, mut firsts, mut ends) = (0, 0, 0);
    while let Some(piece) = follower.next().unwrap() {
        let Piece::Text { bytes: part, first, ended } = piece else { panic!("{piece:?}") };
        assert!(part.len() <= LINE_MAX + BLOCK, "{}", part.len());
        bytes += part.len();
        firsts += usize::from(first);
        ends += usize::from(ended);
    }
    assert_eq!((bytes, firsts, ends), ((100 << 20) + 5, 2, 2));
    assert!(follower.line.capacity() <= 2 * (LINE_MAX + BLOCK));
    // the last two lines are found all the same
    let mut follower = Follower::new(dir.path(), Start { last: Some(1), since: None });
    assert_eq!(collect(&mut follower), ["short"]);
}

#[test]
fn a_log_that_appears_later_is_read_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut follower = Follower::new(&log, Start { last: Some(1), since: None });
    let wakeup = Wakeup::new().unwrap();
    assert!(!wakeup.add(&log).unwrap());
    assert!(collect(&mut follower).is_empty());
    fs::create_dir(&log).unwrap();
    assert!(wakeup.add(&log).unwrap());
    LogWriter::open(&log, 1_000, 5).unwrap().append(b"a\nb\n").unwrap();
    assert_eq!(collect(&mut follower), ["a", "b"]);
}

/// Reads until `last` came; waits for the wakeup with a bound, as the verb does. Tells how many lines came so far.
fn follow_until(dir: &Path, last: &str, count: &AtomicU64) -> Vec<String> {
    let mut follower = Follower::new(dir, ALL);
    let wakeup = Wakeup::new().unwrap();
    wakeup.add(dir).unwrap();
    let mut lines: Vec<String> = Vec::new();
    let end = Instant::now() + Duration::from_secs(120);
    while lines.last().is_none_or(|l| l != last) {
        assert!(Instant::now() < end, "the last line never came; {} came", lines.len());
        wakeup.clear();
        let new = collect(&mut follower);
        count.fetch_add(new.len() as u64, Ordering::SeqCst);
        lines.extend(new);
        if lines.last().is_none_or(|l| l != last) {
            wakeup.wait(Duration::from_millis(100));
        }
    }
    lines
}

#[test]
fn ten_thousand_rotations_lose_and_double_no_line_while_files_are_compressed_and_removed_underneath() {
    const ROTATIONS: usize = 10_000;
    const PER_FILE: usize = 5;
    const KEEP: u32 = 30;
    // so many lines may be unread: far fewer than are kept
    const AHEAD: u64 = 50;
    let dir = tempfile::tempdir().unwrap();
    let (read, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let line = |n: usize| format!("line {n:010}");
    let last = line(ROTATIONS * PER_FILE);
    let mut written = 0;
    let lines = thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = LogWriter::open(dir.path(), 16 * PER_FILE as u64, KEEP).unwrap();
            for n in 0..=ROTATIONS * PER_FILE {
                let end = Instant::now() + Duration::from_secs(60);
                while n as u64 > read.load(Ordering::SeqCst) + AHEAD && Instant::now() < end {
                    thread::yield_now();
                }
                let text = line(n) + "\n";
                let (a, b) = text.split_at(n % text.len());
                writer.append(a.as_bytes()).unwrap();
                writer.append(b.as_bytes()).unwrap();
                written += text.len();
            }
            over.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            let place = housekeeping::Place { dir: dir.path().to_owned(), keep: None };
            let budget = Budget { total: 20 * 80, max_age: None, compress: true };
            while !over.load(Ordering::SeqCst) {
                let done = housekeeping::round(std::slice::from_ref(&place), &budget, Timestamp(0));
                assert!(done.failed.is_empty(), "{:?}", done.failed);
            }
        });
        follow_until(dir.path(), &last, &read)
    });
    assert_eq!(written, 16 * (ROTATIONS * PER_FILE + 1));
    let end = names::rotated(dir.path()).unwrap().last().unwrap().end.unwrap();
    assert!(end / (16 * PER_FILE as u64) >= ROTATIONS as u64 - 1, "{end} bytes in rotated files");
    assert_eq!(lines.len(), ROTATIONS * PER_FILE + 1, "{:?}", lines.iter().find(|l| l.starts_with('(')));
    assert!(lines.iter().enumerate().all(|(n, text)| *text == line(n)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn every_line_comes_once_and_in_order_while_a_writer_rotates(
        lines in prop::collection::vec((0usize..300, any::<bool>()), 1..300), max in 100u64..2_000, packing: bool
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut expected: Vec<String> =
            lines.iter().enumerate().map(|(i, (length, _))| format!("{i} {}", "x".repeat(*length))).collect();
        expected.push("end".into());
        let over = AtomicBool::new(false);
        let seen = thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = LogWriter::open(dir.path(), max, 10_000).unwrap();
                for (text, (_, in_two)) in expected.iter().zip(lines.iter().chain([&(0, false)])) {
                    let bytes = format!("{text}\n").into_bytes();
                    let cut = if *in_two { bytes.len() / 2 } else { 0 };
                    writer.append(&bytes[..cut]).unwrap();
                    writer.append(&bytes[cut..]).unwrap();
                }
                over.store(true, Ordering::SeqCst);
            });
            scope.spawn(|| while packing && !over.load(Ordering::SeqCst) {
                let place = housekeeping::Place { dir: dir.path().to_owned(), keep: None };
                housekeeping::round(&[place], &Budget { total: u64::MAX, max_age: None, compress: true }, Timestamp(0));
            });
            follow_until(dir.path(), "end", &AtomicU64::new(0))
        });
        prop_assert_eq!(seen, expected);
    }
}
