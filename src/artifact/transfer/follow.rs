//! Reads a file while it is being downloaded: waits where the bytes end, and ends where the download does.

use crate::sys::command::Cancel;
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How often a waiting reader looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Level {
    written: u64,
    /// How often the file was emptied.
    times: u32,
    /// Whether it is whole, once nothing more comes.
    ended: Option<bool>,
}

/// How far a download is, between who writes and who reads.
#[derive(Debug, Default)]
pub struct Fill {
    level: Mutex<Level>,
    changed: Condvar,
}

impl Fill {
    fn lock(&self) -> MutexGuard<'_, Level> {
        // Every change is a whole one.
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn grown(&self, written: u64) {
        self.lock().written = written;
        self.changed.notify_all();
    }

    pub(super) fn begun_anew(&self) {
        let mut level = self.lock();
        // Nobody has read bytes that were not there.
        if level.written > 0 {
            level.times += 1;
        }
        level.written = 0;
        drop(level);
        self.changed.notify_all();
    }

    pub(super) fn end(&self, whole: bool) {
        self.lock().ended = Some(whole);
        self.changed.notify_all();
    }

    /// Whether the file was emptied after `reader` began: what it read belongs to nothing.
    pub fn left_behind(&self, reader: u32) -> bool {
        self.lock().times != reader
    }
}

/// Reads a growing file.
#[derive(Debug)]
pub struct Follower {
    file: File,
    at: u64,
    times: u32,
    fill: Arc<Fill>,
    cancel: Cancel,
}

impl Follower {
    /// Opens the file of a download. It is there once the download has begun.
    pub fn open(path: &Path, fill: &Arc<Fill>, cancel: &Cancel) -> io::Result<Self> {
        let times = fill.lock().times;
        Ok(Self { file: File::open(path)?, at: 0, times, fill: Arc::clone(fill), cancel: cancel.clone() })
    }

    /// For [`Fill::left_behind`].
    pub fn began(&self) -> u32 {
        self.times
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut level = self.fill.lock();
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            if level.times != self.times {
                return Err(io::Error::other("the download began anew"));
            }
            if level.written > self.at {
                break;
            }
            match level.ended {
                Some(true) => return Ok(0),
                Some(false) => return Err(io::Error::other("the download failed")),
                None => {
                    level = self.fill.changed.wait_timeout(level, LOOK).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        let there = usize::try_from(level.written - self.at).unwrap_or(usize::MAX).min(buffer.len());
        drop(level);
        let n = self.file.read_at(&mut buffer[..there], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, thread};

    #[test]
    fn a_reader_gets_every_byte_although_it_is_faster_than_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = fs::File::create(&path).unwrap();
        let fill = Arc::new(Fill::default());
        let mut reader = Follower::open(&path, &fill, &Cancel::default()).unwrap();
        let read = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        for n in 0..100_u64 {
            file.write_all(&[u8::try_from(n).unwrap(); 10]).unwrap();
            fill.grown((n + 1) * 10);
            thread::yield_now();
        }
        fill.end(true);
        let all = read.join().unwrap().unwrap();
        assert_eq!((all.len(), all[0], all[999]), (1_000, 0, 99));
    }

    #[test]
    fn a_reader_hears_of_a_new_beginning_of_a_failure_and_of_the_wish_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "abc").unwrap();
        let open = |fill: &Arc<Fill>, cancel: &Cancel| Follower::open(&path, fill, cancel).unwrap();
        let fill = Arc::new(Fill::default());
        let mut anew = open(&fill, &Cancel::default());
        fill.grown(3);
        let mut block = [0; 2];
        assert_eq!(anew.read(&mut block).unwrap(), 2);
        fill.begun_anew();
        assert!(anew.read(&mut block).unwrap_err().to_string().contains("anew"));
        assert!(fill.left_behind(anew.began()));
        let mut late = open(&fill, &Cancel::default());
        fill.end(false);
        assert!(late.read(&mut block).unwrap_err().to_string().contains("failed"));
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(open(&Arc::new(Fill::default()), &cancel).read(&mut block).is_err());
    }
}
