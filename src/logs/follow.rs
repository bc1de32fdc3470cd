//! Reads one node's log on and on across rotations: every line once, in order.

use super::reader::{self, Place, Start};
use crate::sys::error::SysError;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use std::{
    io,
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// How much is read at once, bytes.
const BLOCK: usize = 64 << 10;

/// Longest line kept together, bytes. Of a longer one the pieces come as lines: a log without line ends must not
/// fill the memory.
pub const LINE_MAX: usize = 1 << 20;

/// Takes lines, without their line ends.
pub type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Following failed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] SysError),
    /// The sink could not take a line (the reader of our output is gone).
    #[error("cannot write a log line")]
    Sink(#[source] io::Error),
}

/// Reads a log from a start on. It holds the file it reads open, so that file is read to its end whatever becomes of its
/// name, and nothing else can get its identity meanwhile.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    start: Start,
    place: Option<Place>,
    line: Vec<u8>,
    gaps: u64,
}

impl Follower {
    /// A reader of the log in `dir`, which need not exist yet.
    pub fn new(dir: &Path, start: Start) -> Self {
        Self { dir: dir.to_owned(), start, place: None, line: Vec::new(), gaps: 0 }
    }

    /// Hands every whole line that is there and was not read yet to `sink`; returns whether there were any.
    /// After an error it can be called again and goes on behind the last line that was handed over.
    pub fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool, FollowError> {
        let mut any = false;
        if self.place.is_none() {
            self.place = reader::find(&self.dir, self.start)?;
            // A log that begins later is read from its beginning: all of it is new.
            self.start = Start { last: None, since: None };
        }
        while self.place.is_some() {
            any |= self.read_file(sink)?;
            let Some(next) = self.next_file()? else { break };
            // A file that has a successor is not written any more: what came between the read above and the look for
            // the successor is there now.
            any |= self.read_file(sink)?;
            any |= self.end_line(sink)?;
            self.place = Some(next);
        }
        Ok(any)
    }

    /// The beginning of a line whose end is not there yet. It counts as read.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        (!self.line.is_empty()).then(|| std::mem::take(&mut self.line))
    }

    /// How often files may have been removed (the log's budget) before they were read. Counts up; the reader says so.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    fn read_file(&mut self, sink: &mut Sink<'_>) -> Result<bool, FollowError> {
        let Some(place) = &mut self.place else { return Ok(false) };
        let failed = |dir: &Path, e| SysError::path("read the log in", dir, e);
        // Somebody emptied the file in place: what it holds now is new.
        let length = place.file.metadata().map_err(|e| failed(&self.dir, e))?.len();
        if length < place.offset {
            place.offset = 0;
        }
        let mut block = vec![0; BLOCK];
        let mut any = false;
        loop {
            let got = match place.file.read_at(&mut block, place.offset) {
                Ok(0) => return Ok(any),
                Ok(got) => got,
                Err(e) => return Err(failed(&self.dir, e).into()),
            };
            let base = place.offset;
            let mut taken = 0;
            for end in memchr::memchr_iter(b'\n', &block[..got]) {
                self.line.extend_from_slice(&block[taken..end]);
                taken = end + 1;
                // Counts as read before it is handed over: a sink that fails is not given the line again.
                place.offset = base + taken as u64;
                emit(&mut self.line, sink)?;
                any = true;
            }
            self.line.extend_from_slice(&block[taken..got]);
            place.offset = base + got as u64;
            if self.line.len() > LINE_MAX {
                emit(&mut self.line, sink)?;
                any = true;
            }
        }
    }

    /// The end of a file ends a line: rotation happens at line ends, only a writer that was killed leaves half a one.
    fn end_line(&mut self, sink: &mut Sink<'_>) -> Result<bool, FollowError> {
        if self.line.is_empty() {
            return Ok(false);
        }
        emit(&mut self.line, sink)?;
        Ok(true)
    }

    /// The file behind the one that is read; none when that is the newest.
    fn next_file(&mut self) -> Result<Option<Place>, FollowError> {
        let Some(Place { id, .. }) = self.place else { return Ok(None) };
        loop {
            let files = reader::list(&self.dir)?;
            let next = match files.iter().position(|f| f.id == id) {
                Some(at) => files.get(at + 1),
                // Ours was removed; removal goes by age, so all that is left is newer.
                None => files.first(),
            };
            let Some(next) = next else { return Ok(None) };
            if let Some(file) = reader::open(next)? {
                if !files.iter().any(|f| f.id == id) {
                    self.gaps += 1;
                }
                return Ok(Some(Place { file, id: next.id, offset: 0 }));
            }
            // Renamed since the listing: look again.
        }
    }
}

fn emit(line: &mut Vec<u8>, sink: &mut Sink<'_>) -> Result<(), FollowError> {
    let handed = sink(line);
    line.clear();
    handed.map_err(FollowError::Sink)
}

/// Wakes a reader when something happens in the directories of logs. Only a hint: readers look for themselves.
#[derive(Debug)]
pub struct Wakeup {
    inotify: Inotify,
}

impl Wakeup {
    /// Needs one inotify instance (`fs.inotify.max_user_instances`).
    pub fn new() -> Result<Self, SysError> {
        Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .map(|inotify| Self { inotify })
            .map_err(|e| SysError::new("watch log directories", e))
    }

    /// Watches one directory; false when it is not there yet.
    pub fn add(&self, dir: &Path) -> Result<bool, SysError> {
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        match self.inotify.add_watch(dir, flags) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::ENOENT) => Ok(false),
            Err(e) => Err(SysError::path("watch", dir, e)),
        }
    }

    /// Waits until something has happened since the last [`Wakeup::clear`], at most `limit`. Blocks.
    pub fn wait(&self, limit: Duration) {
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        // Interrupted or refused: the caller looks for itself all the same.
        let _ = poll(&mut [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)], limit);
    }

    /// Forgets what has happened so far. Call it before looking, or a change between the two is slept through.
    pub fn clear(&self) {
        // EAGAIN: nothing more. Another failure means that the next poll wakes at once, which costs time and no line.
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        fs::{self, File},
        io::Write,
        sync::atomic::{AtomicBool, Ordering},
        thread,
        time::Instant,
    };

    const ALL: Start = Start { last: None, since: None };

    fn collect(follower: &mut Follower) -> Vec<String> {
        let mut lines = Vec::new();
        follower
            .read(&mut |line| {
                lines.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            })
            .unwrap();
        lines
    }

    /// A writer as the log writer is one: appends, renames `current` at a line end, makes a new one.
    struct Writer {
        dir: PathBuf,
        file: File,
        seq: u64,
    }

    impl Writer {
        fn new(dir: &Path) -> Self {
            Self { dir: dir.to_owned(), file: File::create(dir.join("current")).unwrap(), seq: 0 }
        }
        fn write(&mut self, bytes: &[u8]) {
            self.file.write_all(bytes).unwrap();
        }
        fn rotate(&mut self) {
            self.seq += 1;
            fs::rename(self.dir.join("current"), self.dir.join(format!("@1763867279042.{}.log", self.seq))).unwrap();
            self.file = File::create(self.dir.join("current")).unwrap();
        }
    }

    #[test]
    fn a_follower_crosses_several_rotations_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        let mut follower = Follower::new(dir.path(), ALL);
        writer.write(b"a\n");
        assert_eq!(collect(&mut follower), ["a"]);
        writer.write(b"b\n");
        writer.rotate();
        writer.rotate();
        writer.write(b"c\n");
        writer.rotate();
        writer.write(b"d");
        assert_eq!(collect(&mut follower), ["b", "c"]);
        writer.write(b"e\n");
        assert_eq!(collect(&mut follower), ["de"]);
        assert!(collect(&mut follower).is_empty());
    }

    #[test]
    fn half_a_line_at_the_end_is_kept_for_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        writer.write(b"a\nhalf");
        let mut follower = Follower::new(dir.path(), ALL);
        assert_eq!(collect(&mut follower), ["a"]);
        assert_eq!(follower.rest().as_deref(), Some(&b"half"[..]));
        assert_eq!(follower.rest(), None);
    }

    #[test]
    fn files_that_were_removed_unread_are_counted_as_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        writer.write(b"a\n");
        let mut follower = Follower::new(dir.path(), ALL);
        assert_eq!(collect(&mut follower), ["a"]);
        for line in ["b\n", "c\n"] {
            writer.write(line.as_bytes());
            writer.rotate();
        }
        for seq in 1..=2 {
            fs::remove_file(dir.path().join(format!("@1763867279042.{seq}.log"))).unwrap();
        }
        writer.write(b"d\n");
        // the file that was held open is still read to its end
        assert_eq!(collect(&mut follower), ["b", "d"]);
        assert_eq!(follower.gaps(), 1);
    }

    #[test]
    fn an_emptied_file_is_read_from_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        writer.write(b"one\ntwo\n");
        let mut follower = Follower::new(dir.path(), ALL);
        assert_eq!(collect(&mut follower), ["one", "two"]);
        fs::write(dir.path().join("current"), "x\n").unwrap();
        assert_eq!(collect(&mut follower), ["x"]);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces_and_does_not_fill_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path());
        writer.write(&vec![b'x'; 3 * LINE_MAX]);
        let mut follower = Follower::new(dir.path(), ALL);
        let pieces = collect(&mut follower);
        assert!(pieces.len() >= 2 && pieces.iter().all(|p| p.len() <= LINE_MAX + BLOCK));
    }

    #[test]
    fn a_sink_that_fails_is_told_of_and_the_next_line_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        Writer::new(dir.path()).write(b"a\nb\n");
        let mut follower = Follower::new(dir.path(), ALL);
        let e = follower.read(&mut |_| Err(io::ErrorKind::BrokenPipe.into())).unwrap_err();
        assert!(matches!(e, FollowError::Sink(_)));
        assert_eq!(collect(&mut follower), ["b"]);
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
        Writer::new(&log).write(b"a\nb\n");
        assert_eq!(collect(&mut follower), ["a", "b"]);
    }

    /// Reads until `last` came; waits for the wakeup with a bound, as the verb does.
    fn follow_until(dir: &Path, last: &str) -> Vec<String> {
        let mut follower = Follower::new(dir, ALL);
        let wakeup = Wakeup::new().unwrap();
        wakeup.add(dir).unwrap();
        let mut lines = Vec::new();
        let end = Instant::now() + Duration::from_secs(60);
        while lines.last().is_none_or(|l| l != last) {
            assert!(Instant::now() < end, "the last line never came; {} came", lines.len());
            wakeup.clear();
            follower
                .read(&mut |line| {
                    lines.push(String::from_utf8_lossy(line).into_owned());
                    Ok(())
                })
                .unwrap();
            if lines.last().is_none_or(|l| l != last) {
                wakeup.wait(Duration::from_millis(100));
            }
        }
        assert_eq!(follower.gaps(), 0);
        lines
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_line_comes_once_and_in_order_while_a_writer_rotates(
            lines in prop::collection::vec((0usize..300, any::<bool>(), any::<bool>()), 1..400)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut expected: Vec<String> =
                lines.iter().enumerate().map(|(i, (length, ..))| format!("{i} {}", "x".repeat(*length))).collect();
            expected.push("end".into());
            let mut writer = Writer::new(dir.path());
            let written = AtomicBool::new(false);
            let seen = thread::scope(|scope| {
                scope.spawn(|| {
                    for (text, (_, rotate, in_two)) in expected.iter().zip(&lines) {
                        let bytes = format!("{text}\n").into_bytes();
                        let cut = if *in_two { bytes.len() / 2 } else { 0 };
                        writer.write(&bytes[..cut]);
                        writer.write(&bytes[cut..]);
                        if *rotate {
                            writer.rotate();
                        }
                    }
                    writer.write(b"end\n");
                    written.store(true, Ordering::SeqCst);
                });
                follow_until(dir.path(), "end")
            });
            prop_assert!(written.into_inner());
            prop_assert_eq!(seen, expected);
        }
    }
}
