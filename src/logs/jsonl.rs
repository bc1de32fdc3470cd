//! A bounded file of JSON lines: append, rotate, mend after a crash; and a reader that follows across rotations.
//!
//! `NAME.jsonl` is written to; a full one becomes `NAME.<8 digits>.jsonl` beside it, numbers growing. Lines are only ever
//! appended: a line that a crash or a full disk cut short is closed with a line end by the next writer, and whoever reads
//! passes over what is no JSON. So nothing that was whole is ever touched again.

use crate::sys::{error::SysError, failpoint::fail_point};
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// While the file cannot be rotated (rename refused) it may grow to so many times its bound; then lines are refused.
const STUCK_FACTOR: u64 = 4;

/// Longest line a reader keeps together, bytes; of a longer one the rest is passed over.
const LINE_MAX: usize = 1 << 20;

/// Who may read it: its user, and the group that may ask the daemon.
const MODE: u32 = 0o640;

/// How much is read at once, bytes.
const BLOCK: usize = 64 << 10;

/// The one writer of a file of lines.
#[derive(Debug)]
pub struct LineWriter {
    path: PathBuf,
    file: File,
    inode: u64,
    size: u64,
    max_bytes: u64,
    keep: usize,
    /// The file ends in the middle of a line.
    torn: bool,
}

impl LineWriter {
    /// Opens or makes the file. `keep` rotated files stay beside it.
    pub fn open(path: &Path, max_bytes: u64, keep: usize) -> Result<Self, SysError> {
        let failed = |e: io::Error| SysError::path("open", path, e);
        // read: the last byte is looked at
        let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.mode() & 0o777 != MODE {
            // The umask, of the unit for one, takes the group's right away, and the group may read it. Somebody else's file stays as it is.
            let _ = file.set_permissions(Permissions::from_mode(MODE));
        }
        let mut last = [b'\n'];
        if meta.len() > 0 {
            file.read_exact_at(&mut last, meta.len() - 1).map_err(failed)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            inode: meta.ino(),
            size: meta.len(),
            max_bytes,
            keep,
            torn: last != [b'\n'],
        })
    }

    /// Appends one line (without its end) as a whole. After an error it is not in the file, or cut short and closed off by
    /// the next one: append it again.
    pub fn append(&mut self, line: &[u8]) -> Result<(), SysError> {
        self.see_that_it_is_there()?;
        let mut bytes = Vec::with_capacity(line.len() + 2);
        if self.torn {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        if self.size > 0 && self.size + bytes.len() as u64 > self.max_bytes {
            self.rotate()?;
            if bytes.first() == Some(&b'\n') && self.size == 0 {
                bytes.remove(0);
            }
        }
        let half = if cfg!(feature = "failpoints") { bytes.len() / 2 } else { 0 };
        self.put(&bytes[..half])?;
        fail_point!("events.half");
        self.put(&bytes[half..])?;
        fail_point!("events.written");
        self.torn = false;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SysError> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return Err(SysError::path("write", &self.path, io::ErrorKind::WriteZero)),
                Ok(n) => {
                    written += n;
                    self.size += n as u64;
                    self.torn = bytes[written - 1] != b'\n';
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(SysError::path("write", &self.path, e)),
            }
        }
        Ok(())
    }

    /// Makes what was appended survive loss of power.
    pub fn sync(&self) -> Result<(), SysError> {
        self.file.sync_data().map_err(|e| SysError::path("sync", &self.path, e))
    }

    /// Somebody may have removed or renamed the file: what is written then would be lost with it.
    fn see_that_it_is_there(&mut self) -> Result<(), SysError> {
        let there = fs::metadata(&self.path).is_ok_and(|m| m.ino() == self.inode);
        if !there {
            *self = Self::open(&self.path, self.max_bytes, self.keep)?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), SysError> {
        let files = rotated(&self.path)?;
        let next = files.last().map_or(1, |(number, _)| number + 1);
        match fs::rename(&self.path, rotated_path(&self.path, next)) {
            Ok(()) => {}
            // Better a file that grows than a line that is lost, within bounds.
            Err(_) if self.size < self.max_bytes.saturating_mul(STUCK_FACTOR) => return Ok(()),
            Err(e) => return Err(SysError::path("rename", &self.path, e)),
        }
        fail_point!("events.moved");
        for (_, old) in files.iter().rev().skip(self.keep.saturating_sub(1)) {
            // One that stays is tried again at the next rotation.
            let _ = fs::remove_file(old);
        }
        *self = Self::open(&self.path, self.max_bytes, self.keep)?;
        Ok(())
    }
}

/// The whole lines in the last `bytes` of the file; none when there is no file.
pub fn last_lines(path: &Path, bytes: u64) -> Result<Vec<Vec<u8>>, SysError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(SysError::path("open", path, e)),
    };
    let failed = |e: io::Error| SysError::path("read", path, e);
    let length = file.metadata().map_err(failed)?.len();
    let from = length.saturating_sub(bytes);
    let mut block = vec![0; usize::try_from(length - from).unwrap_or(0)];
    file.read_exact_at(&mut block, from).map_err(failed)?;
    let mut lines: Vec<Vec<u8>> = block.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    // Behind the last line end there is nothing, or half a line.
    lines.pop();
    if from > 0 && !lines.is_empty() {
        lines.remove(0);
    }
    Ok(lines)
}

fn rotated_path(path: &Path, number: u64) -> PathBuf {
    path.with_file_name(format!("{}.{number:08}.jsonl", stem(path)))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The rotated files with their numbers, oldest first; none when there is no such directory.
fn rotated(path: &Path) -> Result<Vec<(u64, PathBuf)>, SysError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(SysError::path("read directory", dir, e)),
    };
    let prefix = format!("{}.", stem(path));
    let number = |name: &str| -> Option<u64> {
        let digits = name.strip_prefix(&prefix)?.strip_suffix(".jsonl")?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let mut found: Vec<(u64, PathBuf)> =
        entries.flatten().filter_map(|e| Some((number(e.file_name().to_str()?)?, e.path()))).collect();
    found.sort_unstable();
    Ok(found)
}

/// How often a file is looked for again before it counts as removed.
const LOOKS: u32 = 3;

/// Reads all lines there are, oldest first, and goes on as more are written. Holds the file it reads open, so that it is
/// read to its end whatever becomes of its name.
#[derive(Debug)]
pub struct LineReader {
    path: PathBuf,
    open: Option<Open>,
    line: Vec<u8>,
    gaps: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    offset: u64,
}

impl LineReader {
    /// A reader of the file at `path` and its rotated siblings, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None, line: Vec::new(), gaps: 0 }
    }

    /// Hands every whole line that was not handed over yet to `sink`, without its end.
    pub fn read(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), SysError> {
        if self.open.is_none() {
            self.open = self.first_after(None)?;
        }
        while self.open.is_some() {
            self.read_file(sink)?;
            let Some(next) = self.first_after(self.open.as_ref().map(|o| o.inode))? else { break };
            // A file with a successor is not written any more: what came before the look for one is there now.
            self.read_file(sink)?;
            self.emit(sink);
            self.open = Some(next);
        }
        Ok(())
    }

    /// How often files were removed before they were read.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    fn read_file(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), SysError> {
        let mut block = vec![0; BLOCK];
        loop {
            let Some(open) = &mut self.open else { return Ok(()) };
            let got = open.file.read_at(&mut block, open.offset).map_err(|e| SysError::path("read", &self.path, e))?;
            if got == 0 {
                return Ok(());
            }
            open.offset += got as u64;
            let mut rest = &block[..got];
            while let Some(end) = memchr::memchr(b'\n', rest) {
                self.push(&rest[..end]);
                self.emit(sink);
                rest = &rest[end + 1..];
            }
            self.push(rest);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = LINE_MAX.saturating_sub(self.line.len()).min(bytes.len());
        self.line.extend_from_slice(&bytes[..room]);
    }

    fn emit(&mut self, sink: &mut dyn FnMut(&[u8])) {
        if !self.line.is_empty() {
            sink(&self.line);
            self.line.clear();
        }
    }

    /// The file behind the one with this inode, or the oldest; none when there is none yet.
    fn first_after(&mut self, inode: Option<u64>) -> Result<Option<Open>, SysError> {
        let mut missing = 0;
        loop {
            let mut files: Vec<PathBuf> = rotated(&self.path)?.into_iter().map(|(_, path)| path).collect();
            files.push(self.path.clone());
            let inodes: Vec<Option<u64>> = files.iter().map(|f| fs::metadata(f).ok().map(|m| m.ino())).collect();
            let at = inode.and_then(|inode| inodes.iter().position(|i| *i == Some(inode)));
            if inode.is_some() && at.is_none() && missing < LOOKS {
                // Renamed between the listing and the look at its name: the next listing has the new one. Taken for removed, all
                // files would be read again from the oldest.
                missing += 1;
                continue;
            }
            let next = match at {
                Some(at) => files.get(at + 1..).unwrap_or_default(),
                None => &files[..],
            };
            let mut vanished = false;
            for path in next {
                match File::open(path) {
                    Ok(file) => {
                        let found = file.metadata().map_err(|e| SysError::path("read", path, e))?.ino();
                        if inode == Some(found) {
                            // Renamed between the listing and the opening.
                            vanished = true;
                            break;
                        }
                        if inode.is_some() && at.is_none() {
                            self.gaps += 1;
                        }
                        return Ok(Some(Open { file, inode: found, offset: 0 }));
                    }
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {
                        // The current file is missing for a moment in a rotation, and before the first line.
                        vanished |= *path != self.path;
                    }
                    Err(e) => return Err(SysError::path("open", path, e)),
                }
            }
            if !vanished {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests;
