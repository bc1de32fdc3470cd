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
    #[test]
    fn bytes_in_are_bytes_out_in_order_and_files_stay_bounded(blocks in blocks(), max in 1u64..80) {
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
    let future = rotated_name(9_000_000_000_000, 7);
    fs::write(dir.path().join(&future), "older\n").unwrap();
    let mut log = LogWriter::open(dir.path(), 4, 10).unwrap();
    log.append(b"a\nb\nc\nd\n").unwrap();
    assert_eq!(files(dir.path()).concat(), b"older\na\nb\nc\nd\n");
    assert_eq!(rotated_files(dir.path()).unwrap()[0], dir.path().join(future));
}

#[test]
fn only_our_names_are_rotated_files() {
    assert_eq!(parse_rotated_name(&rotated_name(1_763_867_279_042, 3)), Some((1_763_867_279_042, 3)));
    for other in ["current", "@1.0.log", "@+763867279042.000001.log", "1763867279042.000001.log", "@.log", "@a.b.log"] {
        assert_eq!(parse_rotated_name(other), None, "{other}");
    }
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

#[test]
fn a_log_that_cannot_be_rotated_grows_a_while_then_drops_and_marks_the_gap_once_it_can_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(dir.path(), 10, 100).unwrap();
    // a directory in the way of every name: rename onto it is refused, for root too
    log.last = (9_999_999_999_990, 0);
    let in_the_way = dir.path().join(rotated_name(9_999_999_999_990, 1));
    fs::create_dir_all(in_the_way.join("x")).unwrap();
    let mut errors = 0;
    for _ in 0..9 {
        errors += usize::from(log.append_or_drop(b"ten bytes\n").is_some());
    }
    assert_eq!(errors, 1, "one report per gap");
    assert_eq!(fs::read(dir.path().join(CURRENT)).unwrap().len(), 40);
    fs::remove_dir_all(in_the_way).unwrap();
    assert!(log.append_or_drop(b"again\n").is_none());
    let text = String::from_utf8(files(dir.path()).concat()).unwrap();
    assert!(text.contains("[cdc-supervisor] 50 bytes of output were lost here: "), "{text}");
    assert!(text.ends_with("\nagain\n"), "{text}");
}

#[test]
fn a_full_disk_loses_output_but_neither_fails_nor_hides_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(dir.path(), 1000, 1).unwrap();
    let real = std::mem::replace(&mut log.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
    assert_eq!(log.append_or_drop(b"lost\n").unwrap().kind(), ErrorKind::StorageFull);
    assert!(log.append_or_drop(b"lost too\n").is_none());
    log.file = real;
    assert!(log.append_or_drop(b"kept\n").is_none());
    let text = String::from_utf8(files(dir.path()).concat()).unwrap();
    assert!(text.starts_with("[cdc-supervisor] 14 bytes of output were lost here: No space left"), "{text}");
    assert!(text.ends_with("\nkept\n"));
}

#[test]
fn the_log_is_not_readable_by_everyone() {
    let dir = tempfile::tempdir().unwrap();
    let _log = LogWriter::open(dir.path(), 1000, 1).unwrap();
    assert_eq!(fs::metadata(dir.path().join(CURRENT)).unwrap().permissions().mode() & 0o007, 0);
}
