//! Starts are found to the line, in plain and in compressed files.

use super::*;
use crate::logs::{
    follow::{Follower, Piece},
    housekeeping::compress,
    names::CURRENT,
};
use std::fs::{self, File};

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
}

fn read(dir: &Path, last: Option<usize>, since: Option<&str>) -> Vec<String> {
    let since = since.map(|t| Timestamp::parse(t).unwrap());
    let mut follower = Follower::new(dir, Start { last, since });
    let mut lines = Vec::new();
    while let Some(piece) = follower.next().unwrap() {
        let Piece::Text { bytes, .. } = piece else { panic!("{piece:?}") };
        lines.push(String::from_utf8_lossy(bytes).into_owned());
    }
    lines.extend(follower.partial().map(|rest| String::from_utf8_lossy(&rest).into_owned()));
    lines
}

fn three_files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "@1763867279042.000009.log", "a\nb\n");
    write(dir.path(), "@1763867279042.000010.log", "c\nd\n");
    write(dir.path(), CURRENT, "e\nf");
    write(dir.path(), "notes.txt", "not of the log\n");
    dir
}

#[test]
fn the_last_lines_come_from_as_many_files_as_needed() {
    let dir = three_files();
    for (n, expected) in [(0, ""), (1, "f"), (2, "ef"), (3, "def"), (4, "cdef"), (6, "abcdef"), (99, "abcdef")] {
        assert_eq!(read(dir.path(), Some(n), None).concat(), expected, "{n}");
    }
    assert_eq!(read(dir.path(), None, None).concat(), "abcdef");
}

#[test]
fn lines_longer_than_a_block_are_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(200_000);
    write(dir.path(), CURRENT, &format!("first\n{long}\nlast\n"));
    assert_eq!(read(dir.path(), Some(2), None), [long, "last".to_owned()]);
}

#[test]
fn an_empty_line_is_a_line() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), CURRENT, "a\n\n\n");
    assert_eq!(read(dir.path(), Some(2), None), ["", ""]);
    write(dir.path(), CURRENT, "\n");
    assert_eq!(read(dir.path(), Some(5), None), [""]);
}

#[test]
fn a_log_that_is_not_there_yet_has_no_lines() {
    let dir = tempfile::tempdir().unwrap();
    assert!(read(&dir.path().join("none"), Some(5), None).is_empty());
    assert!(read(dir.path(), Some(5), None).is_empty());
    write(dir.path(), CURRENT, "");
    assert!(read(dir.path(), Some(5), None).is_empty());
}

#[test]
fn since_starts_at_the_first_line_of_that_time_and_keeps_what_belongs_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let line = |s: u32| format!("2025-11-23T03:07:{s:02}.000Z line {s}\n\tat of {s}\n");
    write(dir.path(), "@1763867279042.000001.log", &(line(1) + &line(2)));
    write(dir.path(), CURRENT, &(line(3) + &line(4)));
    let since = |t| read(dir.path(), None, Some(t)).len();
    assert_eq!(since("2025-11-23T03:07:00Z"), 8);
    assert_eq!(since("2025-11-23T03:07:02Z"), 6);
    assert_eq!(since("2025-11-23T03:07:03.500Z"), 2);
    assert_eq!(since("2025-11-23T04:00:00Z"), 0);
    assert_eq!(read(dir.path(), Some(1), Some("2025-11-23T03:07:02Z")), ["\tat of 4"]);
    assert_eq!(read(dir.path(), Some(99), Some("2025-11-23T03:07:04Z")).len(), 2);
}

#[test]
fn since_goes_by_the_files_times_where_lines_have_none() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "@1763867279042.000001.log", "old\n");
    let old = File::options().append(true).open(dir.path().join("@1763867279042.000001.log")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_763_867_279)).unwrap();
    write(dir.path(), CURRENT, "new\n");
    assert_eq!(read(dir.path(), None, Some("2025-11-23T04:00:00Z")), ["new"]);
    assert_eq!(read(dir.path(), None, Some("2999-01-01T00:00:00Z")).len(), 0);
}

/// Compresses every rotated file.
fn pack(dir: &Path) {
    for name in file::list(dir).unwrap() {
        compress(dir, name).unwrap().unwrap();
    }
}

#[test]
fn compressed_files_are_read_as_plain_ones() {
    let dir = three_files();
    let all = |n| read(dir.path(), Some(n), None);
    let plain: Vec<_> = (0..9).map(all).collect();
    pack(dir.path());
    assert_eq!((0..9).map(all).collect::<Vec<_>>(), plain);
    fs::remove_file(dir.path().join(CURRENT)).unwrap();
    assert_eq!(all(3).concat(), "bcd");
    assert_eq!(all(0).concat(), "");
}

#[test]
fn a_line_that_was_cut_by_rotation_is_one_line() {
    for packed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "@1763867279042.000001.log", "a\nbeg");
        write(dir.path(), "@1763867279042.000002.log", "inn");
        write(dir.path(), "@1763867279042.000003.log", "ing\n");
        write(dir.path(), CURRENT, "end\n");
        if packed {
            pack(dir.path());
        }
        for (n, expected) in [(1, &["end"][..]), (2, &["beginning", "end"]), (3, &["a", "beginning", "end"])] {
            assert_eq!(read(dir.path(), Some(n), None), expected, "{n} {packed}");
        }
    }
}

#[test]
fn since_is_found_in_compressed_files() {
    let dir = tempfile::tempdir().unwrap();
    let line = |s: u32| format!("2025-11-23T03:07:{s:02}.000Z line {s}\n\tat of {s}\n");
    write(dir.path(), "@1763867279042.000001.log", &(line(1) + &line(2)));
    write(dir.path(), CURRENT, &(line(3) + &line(4)));
    pack(dir.path());
    assert_eq!(read(dir.path(), None, Some("2025-11-23T03:07:02Z")).len(), 6);
    assert_eq!(read(dir.path(), None, Some("2025-11-23T03:07:03.500Z")).len(), 2);
}

#[test]
fn links_are_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "secret", "not of the log\n");
    for name in [CURRENT, "@1763867279042.000001.log", "@1763867279042.000002.log.gz"] {
        std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join(name)).unwrap();
    }
    assert!(read(dir.path(), None, None).is_empty());
}
