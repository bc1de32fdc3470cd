//! Files of lines: cut at every byte, rotated under a reader, removed by somebody, and bounded.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn path(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("events.jsonl")
}

fn lines(reader: &mut LineReader) -> Vec<String> {
    let mut lines = Vec::new();
    reader.read(&mut |line| lines.push(String::from_utf8_lossy(line).into_owned())).unwrap();
    lines
}

fn all(dir: &tempfile::TempDir) -> Vec<String> {
    lines(&mut LineReader::new(&path(dir)))
}

#[test]
fn a_file_cut_at_any_byte_keeps_every_line_before_the_cut_and_takes_the_next() {
    let whole = b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n";
    for cut in 0..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(path(&dir), &whole[..cut]).unwrap();
        let before: Vec<String> =
            String::from_utf8_lossy(&whole[..cut]).split_terminator('\n').map(str::to_owned).collect();
        let mut writer = LineWriter::open(&path(&dir), 1 << 20, 2).unwrap();
        writer.append(b"{\"new\":4}").unwrap();
        let mut wanted = before;
        wanted.push("{\"new\":4}".to_owned());
        assert_eq!(all(&dir), wanted, "cut at {cut}");
    }
}

/// As the unit's umask makes it, and as earlier versions have left it.
#[test]
fn the_group_may_read_a_file_that_the_umask_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(path(&dir), "{}\n").unwrap();
    fs::set_permissions(path(&dir), fs::Permissions::from_mode(0o600)).unwrap();
    let mode = || fs::metadata(path(&dir)).unwrap().permissions().mode() & 0o777;
    drop(LineWriter::open(&path(&dir), 1 << 20, 2).unwrap());
    assert_eq!(mode(), 0o640);
}

#[test]
fn a_reader_follows_across_rotations_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LineWriter::open(&path(&dir), 100, 1000).unwrap();
    let mut reader = LineReader::new(&path(&dir));
    let mut seen = Vec::new();
    for n in 0..500 {
        writer.append(format!("{{\"n\":{n}}}").as_bytes()).unwrap();
        if n % 37 == 0 {
            seen.extend(lines(&mut reader));
        }
    }
    seen.extend(lines(&mut reader));
    let wanted: Vec<String> = (0..500).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(seen, wanted);
    assert_eq!(reader.gaps(), 0);
    assert!(rotated(&path(&dir)).unwrap().len() > 20);
}

#[test]
fn the_number_of_files_is_bounded_and_a_reader_left_behind_knows_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LineWriter::open(&path(&dir), 100, 3).unwrap();
    let mut reader = LineReader::new(&path(&dir));
    writer.append(b"first").unwrap();
    assert_eq!(lines(&mut reader), ["first"]);
    for n in 0..500 {
        writer.append(format!("line {n}").as_bytes()).unwrap();
    }
    assert_eq!(rotated(&path(&dir)).unwrap().len(), 3);
    assert_eq!(lines(&mut reader).last().unwrap(), "line 499");
    assert!(reader.gaps() > 0);
}

#[test]
fn a_file_that_somebody_removed_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LineWriter::open(&path(&dir), 1 << 20, 2).unwrap();
    writer.append(b"one").unwrap();
    fs::remove_file(path(&dir)).unwrap();
    writer.append(b"two").unwrap();
    assert_eq!(all(&dir), ["two"]);
}

#[test]
fn a_line_that_did_not_fit_is_closed_off_and_can_be_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LineWriter::open(&path(&dir), 1 << 20, 2).unwrap();
    writer.append(b"{\"a\":1}").unwrap();
    // As a full disk leaves it: part of the line is there.
    OpenOptions::new().append(true).open(path(&dir)).unwrap().write_all(b"{\"b\"").unwrap();
    writer.torn = true;
    writer.append(b"{\"b\":2}").unwrap();
    assert_eq!(all(&dir), ["{\"a\":1}", "{\"b\"", "{\"b\":2}"]);
}

#[test]
fn half_a_line_is_not_handed_over_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = LineReader::new(&path(&dir));
    assert!(lines(&mut reader).is_empty(), "nothing is there yet");
    fs::write(path(&dir), "a\nb").unwrap();
    assert_eq!(lines(&mut reader), ["a"]);
    OpenOptions::new().append(true).open(path(&dir)).unwrap().write_all(b"c\n").unwrap();
    assert_eq!(lines(&mut reader), ["bc"]);
}

#[test]
fn the_last_lines_are_whole_ones() {
    let dir = tempfile::tempdir().unwrap();
    let last = |bytes| -> Vec<String> {
        let lines = last_lines(&path(&dir), bytes).unwrap();
        lines.into_iter().map(|l| String::from_utf8(l).unwrap()).collect()
    };
    assert!(last(10).is_empty());
    fs::write(path(&dir), "one\ntwo\nthree\nha").unwrap();
    assert_eq!(last(1_000), ["one", "two", "three"]);
    assert_eq!(last(13), ["two", "three"]);
    assert_eq!(last(12), ["three"], "whether that was its beginning cannot be seen");
    assert_eq!(last(2), Vec::<String>::new());
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(path(&dir), vec![b'x'; 3 * LINE_MAX]).unwrap();
    let mut reader = LineReader::new(&path(&dir));
    assert!(lines(&mut reader).is_empty());
    assert_eq!(reader.line.len(), LINE_MAX);
}
