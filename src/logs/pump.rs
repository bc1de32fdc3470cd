//! Takes over a node's output when its shim died: pipe to log, until the pipe ends.

use super::writer::LogWriter;
use crate::{base::units::grouped, sys::failpoint::fail_point};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::read,
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

/// Bytes per read: what a pipe holds (pipe(7)).
pub const BLOCK: usize = 64 << 10;

/// Reads the pipe until its last writer is gone and appends everything to the log; blocks. A failing disk does not stop
/// it: the output is dropped, counted, and the gap marked. The error is the pipe's.
pub fn drain(pipe: &OwnedFd, log: &mut LogWriter) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        fail_point!("pump.block");
        match read(pipe, &mut block) {
            Ok(0) => {
                log.end_gap();
                return Ok(());
            }
            Ok(n) => {
                log.append_or_drop(&block[..n]);
                // nobody is told from here: the marks in the log say it
                drop(log.take_trouble());
            }
            Err(Errno::EINTR) => {}
            // the shim made the read end non-blocking, and that flag is shared with our duplicate
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// How often the log is tried again that could not be opened.
const AGAIN: Duration = Duration::from_secs(1);

/// What the log says where a shim was killed. It read in blocks, and nobody knows how much of the last one it had written.
fn shim_killed() -> String {
    format!(
        "its shim was killed: what that had read and not written yet is missing here, at most {} bytes",
        grouped(BLOCK as u64)
    )
}

/// As [`drain`], with a log that `open` opens, which says first that a shim was `killed`: not where it had left the record of the end, which
/// it writes when it has read everything. While the log cannot be opened the pipe is read all the same, or the node would wait for ever
/// for room in it: what comes is dropped and counted, `tell` hears of it, and the log, once open, says how much is missing.
pub fn drain_when_open(
    pipe: &OwnedFd,
    killed: bool,
    mut open: impl FnMut() -> io::Result<LogWriter>,
    tell: &dyn Fn(String),
) -> io::Result<()> {
    let (mut lost, mut told, mut over) = (0u64, false, false);
    loop {
        let failed = match open() {
            Ok(mut log) => {
                if killed {
                    // What cannot be marked now: the next block says that the log cannot be written.
                    let _ = log.mark(&shim_killed());
                }
                if lost > 0 {
                    let text = format!("{} bytes of output lost: the log could not be opened", grouped(lost));
                    // Where it cannot be written the next block says so.
                    let _ = log.mark(&text);
                    tell(text);
                }
                return drain(pipe, &mut log);
            }
            Err(e) if over && lost > 0 => {
                tell(format!("{} bytes of its last output are lost: the log could not be opened: {e}", grouped(lost)));
                return Ok(());
            }
            Err(_) if over => return Ok(()),
            Err(e) => e,
        };
        if !std::mem::replace(&mut told, true) {
            tell(format!("its log cannot be opened, and its output is dropped until it can: {failed}"));
        }
        over = discard(pipe, AGAIN, &mut lost)?;
    }
}

/// Reads for so long and counts; whether the last writer is gone.
fn discard(pipe: &OwnedFd, time: Duration, lost: &mut u64) -> io::Result<bool> {
    let until = Instant::now() + time;
    let mut block = vec![0; BLOCK];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        // At most AGAIN: it fits. A millisecond more, or the last part of one would spin.
        let wait = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, wait) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        match read(pipe, &mut block) {
            Ok(0) => return Ok(true),
            Ok(n) => *lost += n as u64,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, thread};

    #[test]
    fn a_log_that_cannot_be_opened_holds_no_node_up_and_says_later_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let heard = std::cell::RefCell::new(Vec::new());
        let mut tries = 0;
        let open = || {
            tries += 1;
            match tries {
                1 => Err(io::ErrorKind::PermissionDenied.into()),
                _ => LogWriter::open(dir.path(), 1 << 20, 3),
            }
        };
        // More than a pipe holds: the writer comes to its end only when somebody reads.
        let thread = thread::spawn(move || {
            writer.write_all(&b"0123456789\n".repeat(20_000)).unwrap();
            thread::sleep(AGAIN + AGAIN / 2);
            writer.write_all(b"last\n").unwrap();
        });
        drain_when_open(&reader.into(), true, open, &|text| heard.borrow_mut().push(text)).unwrap();
        thread.join().unwrap();
        let text = fs::read_to_string(dir.path().join("current")).unwrap();
        let mark = "220,000 bytes of output lost: the log could not be opened";
        assert_eq!(text, format!("[cdc-supervisor] {}\n[cdc-supervisor] {mark}\nlast\n", shim_killed()));
        let heard = heard.into_inner();
        assert!(heard[0].starts_with("its log cannot be opened") && heard[1] == mark && heard.len() == 2, "{heard:?}");
    }

    #[test]
    fn where_a_shim_was_killed_the_log_says_so_between_what_it_wrote_and_what_came_behind() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("current"), "tick 1\ntick").unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"ck 9\ntick 10\n").unwrap();
        drop(writer);
        drain_when_open(&reader.into(), true, || LogWriter::open(dir.path(), 1 << 20, 3), &|text| panic!("{text}"))
            .unwrap();
        let text = fs::read_to_string(dir.path().join("current")).unwrap();
        assert_eq!(text, format!("tick 1\ntick\n[cdc-supervisor] {}\nck 9\ntick 10\n", shim_killed()));
        assert!(shim_killed().ends_with("at most 65,536 bytes"));
    }

    #[test]
    fn the_last_words_of_a_node_whose_log_could_not_be_opened_are_told_as_lost() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"0123456789\n").unwrap();
        drop(writer);
        let heard = std::cell::RefCell::new(Vec::new());
        let open = || Err(io::ErrorKind::PermissionDenied.into());
        drain_when_open(&reader.into(), true, open, &|text| heard.borrow_mut().push(text)).unwrap();
        let heard = heard.into_inner();
        assert!(heard.len() == 2 && heard[1].starts_with("11 bytes of its last output are lost"), "{heard:?}");
    }

    #[test]
    fn everything_written_before_and_after_the_take_over_reaches_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), 1 << 20, 3).unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let reader = OwnedFd::from(reader);
        nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        let line = b"0123456789\n".repeat(1000);
        let expected = line.repeat(20);
        let thread = thread::spawn(move || (0..20).for_each(|_| writer.write_all(&line).unwrap()));
        drain(&reader, &mut log).unwrap();
        thread.join().unwrap();
        assert_eq!(fs::read(dir.path().join("current")).unwrap(), expected);
    }
}
