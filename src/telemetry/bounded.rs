//! `state/supervisor.log` within its bound: when it is full it is renamed, and standard error goes on into a new one.
//!
//! Whoever writes the line that fills it does that: a thread of its own would have to wake up for it. Where standard error
//! goes elsewhere (systemd's journal, a terminal) nothing is done.

use crate::sys::{error::SysError, stdio};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// When it is full, bytes: weeks of a calm daemon.
pub const FULL: u64 = 4 << 20;

/// How many full ones are kept beside it, as `supervisor.log.1` (the newest) and so on.
const KEPT: u32 = 2;

/// The file that standard error goes to, once that is known; and how long it is.
static OWN: OnceLock<PathBuf> = OnceLock::new();
static SIZE: AtomicU64 = AtomicU64::new(0);
/// Held while it is changed.
static CHANGE: Mutex<()> = Mutex::new(());

/// From now on `log` is kept within its bound, if that is where standard error goes. Called once.
pub fn keep(log: &Path) {
    let Some(length) = stdio::standard_error_is(log) else { return };
    SIZE.store(length, Ordering::Relaxed);
    if OWN.set(log.to_owned()).is_ok() {
        after(0);
    }
}

/// Standard error, counted.
#[derive(Debug, Default)]
pub struct Counted;

impl Write for Counted {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = io::stderr().write(buffer)?;
        after(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// So much was written: a full file is replaced.
fn after(written: usize) {
    let size = SIZE.fetch_add(written as u64, Ordering::Relaxed) + written as u64;
    let Some(log) = OWN.get().filter(|_| size >= FULL) else { return };
    let _one = CHANGE.lock().unwrap_or_else(PoisonError::into_inner);
    if SIZE.load(Ordering::Relaxed) < FULL {
        return;
    }
    // Where that is refused it is tried again when as much again was written; a line about it would only be more of it.
    let _ = replace(log);
    SIZE.store(0, Ordering::Relaxed);
}

fn replace(log: &Path) -> Result<(), SysError> {
    // The new file first: without one, lines go on into the old one under its own name.
    let next = stdio::NewLog::make(log)?;
    for n in (1..KEPT).rev() {
        // One that is not there yet leaves the next as it is.
        let _ = fs::rename(full(log, n), full(log, n + 1));
    }
    fs::rename(log, full(log, 1)).map_err(|e| SysError::path("rename", log, e))?;
    next.take_over(log)
}

fn full(log: &Path, n: u32) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}
