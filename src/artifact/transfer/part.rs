//! The `.part` file of a download and the state beside it, which says what its bytes are the beginning of.
//!
//! The order of steps makes every point of a crash harmless: a state is removed before the bytes it speaks of are, and written
//! before the first byte of its own. Bytes without a state are worth nothing. What a loss of power leaves is told by the digest.

use super::{Fill, Received, TransferFault, Want, answer::Asked};
use crate::{
    artifact::digest::Hasher,
    sys::{
        error::SysError,
        fs::{self as sysfs, Durability},
    },
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::Arc,
};

/// What the bytes of a part are the beginning of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    schema: u32,
    url: String,
    /// The strong ETag; none: the part cannot be gone on with.
    validator: Option<String>,
    total: Option<u64>,
}

/// A download so far.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
    state_path: PathBuf,
    len: u64,
    state: Option<State>,
    hasher: Hasher,
    fresh: Hasher,
    fill: Arc<Fill>,
}

impl Part {
    /// Opens it, and reads what an earlier run left when that can be gone on with.
    pub fn open(want: &Want<'_>, fill: &Arc<Fill>) -> Result<Self, TransferFault> {
        let path = want.part.to_owned();
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".state");
        let state_path = path.with_file_name(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| SysError::path("open", &path, e))?;
        let fresh = Hasher::new(want.sha512, want.md5);
        // A state that cannot be read is as good as none.
        let state = sysfs::read_optional(&state_path)?
            .and_then(|text| serde_json::from_str::<State>(&text).ok())
            .filter(|s| s.schema == 1 && s.url == want.url && s.validator.is_some());
        let hasher = fresh.clone();
        let mut part = Self { file, path, state_path, len: 0, state, hasher, fresh, fill: Arc::clone(fill) };
        let there = part.file.metadata().map_err(|e| part.error("look at", e))?.len();
        let total = part.state.as_ref().and_then(|s| s.total);
        if there == 0 || part.state.is_none() || total.is_some_and(|t| there > t) {
            part.forget()?;
        } else {
            part.take_up()?;
        }
        Ok(part)
    }

    fn error(&self, doing: &str, e: std::io::Error) -> SysError {
        SysError::path(doing, &self.path, e)
    }

    /// Reads the bytes that are there into the digests.
    fn take_up(&mut self) -> Result<(), SysError> {
        let mut block = vec![0; 256 << 10];
        self.file.rewind().map_err(|e| self.error("read", e))?;
        loop {
            let n = self.file.read(&mut block).map_err(|e| self.error("read", e))?;
            if n == 0 {
                break;
            }
            self.hasher.update(&block[..n]);
            self.len += n as u64;
        }
        self.fill.grown(self.len);
        Ok(())
    }

    /// Bytes that are there.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// How long the file will be, as the server said.
    pub fn total(&self) -> Option<u64> {
        self.state.as_ref().and_then(|s| s.total)
    }

    /// Whether all of it is there, as far as the server said how much that is.
    pub fn is_whole(&self) -> bool {
        self.len > 0 && self.total() == Some(self.len)
    }

    /// Whether a later request can ask for the rest.
    pub fn can_go_on(&self) -> bool {
        self.state.as_ref().is_some_and(|s| s.validator.is_some())
    }

    /// What to ask for.
    pub fn asked(&self) -> Asked {
        match &self.state {
            Some(state) if self.len > 0 && state.validator.is_some() => {
                Asked { offset: self.len, validator: state.validator.clone(), total: state.total }
            }
            Some(_) | None => Asked::default(),
        }
    }

    /// Drops everything that is there.
    pub fn forget(&mut self) -> Result<(), SysError> {
        sysfs::remove_optional(&self.state_path)?;
        self.state = None;
        self.file.set_len(0).map_err(|e| self.error("empty", e))?;
        self.file.seek(SeekFrom::Start(0)).map_err(|e| self.error("empty", e))?;
        self.len = 0;
        self.hasher = self.fresh.clone();
        self.fill.begun_anew();
        Ok(())
    }

    /// The whole file comes from its first byte.
    pub fn begin(&mut self, url: &str, total: Option<u64>, validator: Option<String>) -> Result<(), SysError> {
        if self.len > 0 {
            self.forget()?;
        }
        let state = State { schema: 1, url: url.to_owned(), validator, total };
        // Serialising plain strings and numbers cannot fail.
        let text = serde_json::to_string(&state).unwrap_or_default();
        sysfs::write_atomic(&self.state_path, text.as_bytes(), 0o600, Durability::ProcessCrash)?;
        self.state = Some(state);
        Ok(())
    }

    /// The server says now how long the whole file is.
    pub fn learn(&mut self, total: Option<u64>) {
        if let Some(state) = &mut self.state {
            state.total = state.total.or(total);
        }
    }

    /// More bytes.
    pub fn append(&mut self, want: &Want<'_>, bytes: &[u8]) -> Result<(), TransferFault> {
        let len = self.len.saturating_add(bytes.len() as u64);
        let most = self.total().unwrap_or(want.most).min(want.most);
        if len > most {
            self.forget()?;
            return Err(TransferFault::TooLong { url: want.url.into(), most });
        }
        self.file.write_all(bytes).map_err(|e| self.error("write", e))?;
        self.hasher.update(bytes);
        self.len = len;
        self.fill.grown(len);
        Ok(())
    }

    /// It is whole.
    pub fn finish(self, want: &Want<'_>, resumed: bool) -> Result<Received, TransferFault> {
        if let Some(size) = want.size.filter(|s| *s != self.len) {
            let why = format!("it has {} bytes, {size} are known to be right", self.len);
            return Err(TransferFault::NotTheFile { url: want.url.into(), why });
        }
        Ok(Received { path: self.path, bytes: self.len, digests: self.hasher.finish(), resumed })
    }
}
