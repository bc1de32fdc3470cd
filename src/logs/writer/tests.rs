//! Bytes in are bytes out, lines stay whole, and a broken disk is survived.

use super::*;
use proptest::{collection::vec, prelude::*};
use std::os::unix::fs::PermissionsExt;

fn files(dir: &Path) -> Vec<Vec<u8>> {
    let mut paths = rotated_files(dir).unwrap();
    paths.push(dir.join(CURRENT));
    paths.iter().map(|p| fs::read(p).unwrap()).collect()
}

fn blocks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(prop_oneof![4 => Just(b'x'), 1 => Just(b'\n')], 0..120), 0..30)
}

proptest! {
    // each case makes many files
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bytes_in_are_bytes_out_in_order_and_files_stay_bounded(blocks in blocks(), max in 4u64..80) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), max, 10_000).unwrap();
        for block in &blocks {
            log.append(block).unwrap();
        }
        let files = files(dir.path());
        prop_assert_eq!(files.concat(), blocks.concat());
        prop_assert!(files.iter().all(|f| f.len() as u64 <= 2 * max));
    }

    #[test]
    fn a_line_that_fits_into_a_file_is_never_cut(lines in vec(0usize..40, 1..60), piece in 1usize..100, reopen in 0usize..20) {
        let max = 40u64;
        let text: Vec<u8> = lines.iter().flat_map(|n| [vec![b'x'; n.saturating_sub(1)], vec![b'\n']].concat()).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), max, 10_000).unwrap();
        for (i, part) in text.chunks(piece).enumerate() {
            if i == reopen {
                log = LogWriter::open(dir.path(), max, 10_000).unwrap();
            }
            log.append(part).unwrap();
        }
        let files = files(dir.path());
        prop_assert_eq!(files.concat(), text);
        prop_assert!(files.iter().all(|f| f.last().is_none_or(|b| *b == b'\n')));
        prop_assert!(files[..files.len() - 1].iter().all(|f| !f.is_empty()));
    }

    #[test]
    fn any_cut_makes_progress(size in 0u64..200, start: bool, max in 1u64..80, block in vec(prop_oneof![Just(b'x'), Just(b'\n')], 1..99)) {
        match cut(size, start || size == 0, max, &block) {
            Cut::Write(n) => prop_assert!(n > 0 && n <= block.len()),
            Cut::Rotate => prop_assert!(size > 0),
        }
    }
}

#[test]
fn only_the_newest_rotated_files_are_kept_and_their_names_sort_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(dir.path(), 10, 3).unwrap();
    for i in 0..9 {
        log.append(format!("line {i}...\n").as_bytes()).unwrap();
    }
    let files = files(dir.path());
    let text: Vec<_> = files.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect();
    assert_eq!(text, ["line 5...\n", "line 6...\n", "line 7...\n", "line 8...\n"]);
}

#[test]
fn names_grow_also_when_the_clock_is_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let future = Rotated { stamp: Stamp { millis: 9_000_000_000_000, number: 7 }, end: None, packed: false }.name();
    fs::write(dir.path().join(&future), "older\n").unwrap();
    let mut log = LogWriter::open(dir.path(), 4, 10).unwrap();
    log.append(b"a\nb\nc\nd\n").unwrap();
    assert_eq!(files(dir.path()).concat(), b"older\na\nb\nc\nd\n");
    assert_eq!(rotated_files(dir.path()).unwrap()[0], dir.path().join(future));
}

#[test]
fn a_name_says_how_many_bytes_of_the_log_there_are_up_to_its_end_across_openings() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut log = LogWriter::open(dir.path(), 4, 100).unwrap();
        log.append(b"a\nb\nc\n").unwrap();
    }
    let files = names::rotated(dir.path()).unwrap();
    let ends: Vec<_> = files.iter().map(|f| f.end.unwrap()).collect();
    assert_eq!(ends, [4, 8, 12, 16], "the rest is in current");
}

#[test]
fn compressed_files_count_for_keep_and_go_in_both_forms() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(dir.path(), 10, 3).unwrap();
    for i in 0..9 {
        log.append(format!("line {i}...\n").as_bytes()).unwrap();
        for file in names::rotated(dir.path()).unwrap() {
            let (plain, packed) =
                (dir.path().join(file.as_packed(false).name()), dir.path().join(file.as_packed(true).name()));
            fs::write(&packed, "x").unwrap();
            if i % 2 == 0 {
                let _ = fs::remove_file(plain);
            }
        }
    }
    let mut stamps: Vec<_> = names::rotated(dir.path()).unwrap().iter().map(|f| f.stamp).collect();
    stamps.dedup();
    assert_eq!(stamps.len(), 3);
}

#[test]
fn an_existing_current_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(CURRENT), "torn").unwrap();
    let mut log = LogWriter::open(dir.path(), 100, 1).unwrap();
    log.mark("a new start").unwrap();
    log.append(b"next\n").unwrap();
    assert_eq!(files(dir.path())[0], b"torn\n[cdc-supervisor] a new start\nnext\n");
}

#[test]
fn a_removed_file_and_a_removed_directory_are_made_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let mut log = LogWriter::open(&dir, 100, 1).unwrap();
    log.append(b"one\n").unwrap();
    fs::remove_file(dir.join(CURRENT)).unwrap();
    log.append(b"two\n").unwrap();
    assert_eq!(files(&dir).concat(), b"two\n");
    fs::remove_dir_all(&dir).unwrap();
    log.append(b"three\n").unwrap();
    assert_eq!(files(&dir).concat(), b"three\n");
}

/// Lets every rotation fail, for root too: a directory is in the way of the new file.
fn block_rotation(dir: &Path) -> PathBuf {
    let in_the_way = dir.join(NEXT);
    fs::create_dir_all(in_the_way.join("x")).unwrap();
    in_the_way
}

#[test]
fn a_log_that_cannot_be_rotated_grows_a_while_then_drops_and_marks_the_gap_once_it_can_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(dir.path(), 10, 100).unwrap();
    let in_the_way = block_rotation(dir.path());
    for _ in 0..9 {
        log.append_or_drop(b"ten bytes\n");
    }
    assert!(matches!(log.take_trouble()[..], [Trouble::Dropping(_)]), "one report per gap");
    assert_eq!(fs::read(dir.path().join(CURRENT)).unwrap().len(), 40);
    fs::remove_dir_all(in_the_way).unwrap();
    log.append_or_drop(b"again\n");
    let text = String::from_utf8(files(dir.path()).concat()).unwrap();
    assert!(text.contains("\n[cdc-supervisor] 50 bytes of output lost between 20"), "{text}");
    assert!(text.ends_with("\nagain\n"), "{text}");
    assert!(matches!(&log.take_trouble()[..], [Trouble::GapOver(words)] if words.starts_with("50 bytes")));
}

#[test]
fn what_follows_a_gap_begins_with_a_whole_line_and_half_a_mark_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(dir.path(), 1_000, 1).unwrap();
    log.append_or_drop(b"first\n");
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let real = std::mem::replace(&mut log.file, full());
    log.size = 0;
    log.append_or_drop(b"a line whose rest");
    log.append_or_drop(b" is not there yet");
    log.file = real;
    log.size = 6;
    log.append_or_drop(b" comes now\nnext\n");
    let text = fs::read_to_string(dir.path().join(CURRENT)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].starts_with("[cdc-supervisor] 45 bytes of output lost between "), "{text}");
    assert!(lines[1].ends_with("Z: no space left on device"), "{text}");
    assert_eq!((lines[0], lines[2], lines.len()), ("first", "next", 3), "{text}");
}

#[test]
fn a_line_that_ended_while_nothing_could_be_written_takes_no_whole_line_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(dir.path(), 1_000, 1).unwrap();
    let real = std::mem::replace(&mut log.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
    log.append_or_drop(b"a line whose rest");
    log.append_or_drop(b" comes alone\n");
    log.file = real;
    log.append_or_drop(b"whole\n");
    let text = fs::read_to_string(dir.path().join(CURRENT)).unwrap();
    assert!(text.contains("] 30 bytes of output lost between ") && text.ends_with("\nwhole\n"), "{text}");
}

#[test]
fn a_full_disk_loses_output_but_neither_fails_nor_hides_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(dir.path(), 1000, 1).unwrap();
    let real = std::mem::replace(&mut log.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
    log.append_or_drop(b"lost\n");
    log.append_or_drop(b"lost too\n");
    assert_eq!(log.take_trouble(), [Trouble::Dropping("no space left on device".into())]);
    log.file = real;
    log.append_or_drop(b"kept\n");
    let text = String::from_utf8(files(dir.path()).concat()).unwrap();
    assert!(text.starts_with("[cdc-supervisor] 14 bytes of output lost between "), "{text}");
    assert!(text.ends_with("\nkept\n"));
}

#[test]
fn what_lies_in_the_place_of_current_is_never_followed_and_never_lost() {
    type Put = fn(&Path);
    let cases: [Put; 3] = [
        |p| std::os::unix::fs::symlink(p.parent().unwrap().join("outside"), p).unwrap(),
        |p| fs::create_dir(p).unwrap(),
        |p| nix::unistd::mkfifo(p, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap(),
    ];
    for put in cases {
        let dir = tempfile::tempdir().unwrap();
        let (current, outside) = (dir.path().join(CURRENT), dir.path().join("outside"));
        fs::write(&outside, "not a log").unwrap();
        // before the start
        put(&current);
        let mut log = LogWriter::open(dir.path(), 10, 5).unwrap();
        log.append(b"one\n").unwrap();
        assert_eq!(fs::read(&current).unwrap(), b"one\n");
        // and under the running writer: the output goes on, at the latest at the next rotation under its own name
        fs::rename(&current, dir.path().join("moved-away")).unwrap();
        put(&current);
        log.append(b"two\n").unwrap();
        log.append(b"three\n").unwrap();
        assert_eq!(fs::read(&current).unwrap(), b"three\n");
        assert_eq!(fs::read(dir.path().join("moved-away")).unwrap(), b"one\ntwo\n");
        assert_eq!(fs::read(&outside).unwrap(), b"not a log");
        let aside = fs::read_dir(dir.path()).unwrap().flatten();
        let aside = aside.filter(|e| e.file_name().to_string_lossy().starts_with("current.not-ours")).count();
        assert!(aside >= 1, "put aside, not removed");
    }
}

#[test]
fn a_file_that_somebody_cut_is_continued_at_its_end_and_the_cut_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(dir.path(), 200, 5).unwrap();
    log.append(&b"0123456789abcde\n".repeat(10)).unwrap();
    fs::write(dir.path().join(CURRENT), "").unwrap();
    log.append(b"next\n").unwrap();
    let text = fs::read_to_string(dir.path().join(CURRENT)).unwrap();
    assert_eq!(text, "[cdc-supervisor] 160 bytes of this file were removed by somebody\nnext\n");
    log.append(&b"0123456789abcde\n".repeat(10)).unwrap();
    let rotated = names::rotated(dir.path()).unwrap();
    let length = fs::metadata(dir.path().join(rotated[0].name())).unwrap().len();
    assert_eq!(rotated[0].end, Some(160 + length), "bytes that are gone count");
}

#[test]
fn the_log_is_not_readable_by_everyone() {
    let dir = tempfile::tempdir().unwrap();
    let _log = LogWriter::open(dir.path(), 1000, 1).unwrap();
    assert_eq!(fs::metadata(dir.path().join(CURRENT)).unwrap().permissions().mode() & 0o007, 0);
}
