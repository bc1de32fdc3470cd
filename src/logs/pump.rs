//! Takes over a node's output when its shim died: pipe to log, until the pipe ends.

use super::writer::LogWriter;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::read,
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

/// Bytes per read: what a pipe holds (pipe(7)).
pub const BLOCK: usize = 64 << 10;

/// Reads the pipe until its last writer is gone and appends everything to the log; blocks. A failing disk does not stop
/// it: the output is dropped, counted, and the gap marked. The error is the pipe's.
pub fn drain(pipe: &OwnedFd, log: &mut LogWriter) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, thread};

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
