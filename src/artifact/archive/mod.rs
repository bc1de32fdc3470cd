//! Unpacks an archive while it arrives, trusting nothing in it: `.tar.gz`, `.tar.xz`, Debian packages.
//!
//! A stream of bytes becomes a directory, in bounded memory, before anybody knows whether its digest is right. So nothing made
//! here can be executed yet, no name leaves the directory, no link is followed, nothing is replaced; what an archive of a
//! program has no business to have is refused by name. Whoever has compared the digest calls [`Unpacked::allow_execution`].
//! Owners, times and extended attributes are not taken over.

mod ahead;
mod deb;
mod entries;
mod fault;
mod names;
mod stream;
#[cfg(test)]
mod tests;

pub use fault::{ArchiveFault, Bound};

use super::manifest::Known;
use crate::sys::{
    command::Cancel,
    error::SysError,
    fs as sysfs,
    tree::{There, Tree},
};
use ahead::Decoded;
use entries::{Entries, Entry, Kind};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    thread,
};

/// Formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    /// tar (ustar, GNU, PAX) in gzip, of one or several members.
    TarGz,
    /// tar in xz, of one or several streams.
    TarXz,
    /// A Debian package (deb(5)) whose data are gzip, xz or bare. Absolute links are read as from the package's root, and made
    /// relative. zstd, which Ubuntu's own packages use, is not read: apt's packages go through `dpkg-deb`.
    Deb,
}

impl ArchiveKind {
    /// The kind a file's name announces.
    pub fn of_name(name: &str) -> Option<Self> {
        let ends = |ending: &str| name.ends_with(ending);
        if ends(".tar.gz") || ends(".tgz") {
            Some(Self::TarGz)
        } else if ends(".tar.xz") || ends(".txz") {
            Some(Self::TarXz)
        } else if ends(".deb") {
            Some(Self::Deb)
        } else {
            None
        }
    }
}

impl fmt::Display for ArchiveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArchiveKind::TarGz => "tar archive in gzip",
            ArchiveKind::TarXz => "tar archive in xz",
            ArchiveKind::Deb => "Debian package",
        })
    }
}

/// What becomes of the archive's top directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Top {
    /// Names stay as they are.
    Keep,
    /// The one directory that holds everything is taken off; a second one is refused.
    Strip,
}

/// Whether an entry is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is.
    Yes,
    /// It is read over. The rules hold for it all the same.
    No,
}

/// How much an archive may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Unpacked bytes of the whole stream, kept or not.
    pub bytes: u64,
    /// Entries, kept or not.
    pub entries: u64,
    /// Unpacked bytes for each packed one, counted from the 64th mebibyte on.
    pub ratio: u64,
    /// Memory of the xz decompressor, bytes.
    pub memory: u64,
}

impl Default for Bounds {
    /// MySQL's full archive is the largest that is wanted: 0.9 GB packed, 1.74 GB unpacked, some 30 000 files. Text packs 10:1,
    /// binaries 3:1; gzip's utmost is 1032:1. `xz -9` needs 65 MiB to unpack (xz(1)), the usual `-6` 9 MiB.
    fn default() -> Self {
        Self { bytes: 8 << 30, entries: 200_000, ratio: 100, memory: 66 << 20 }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files and links made.
    pub files: u64,
    /// Bytes of the files made.
    pub bytes: u64,
    /// The top directory that was taken off.
    pub top: Option<String>,
    /// Files that the archive calls executable, relative to the tree.
    pub executables: Vec<PathBuf>,
    /// Digests of the files made, taken while they were written.
    pub known: Known,
}

impl Unpacked {
    /// Makes programs of the files that the archive calls executable. Only for who has verified the archive.
    pub fn allow_execution(&self, tree: &Path) -> Result<(), SysError> {
        let mut tree = Tree::open(tree)?;
        self.executables.iter().try_for_each(|name| tree.set_mode(name, 0o755))
    }
}

/// Whether a symbolic link at `name` with this target is one that an archive may have.
pub fn link_stays_inside(name: &Path, target: &str) -> bool {
    names::link_target(name, target, false).is_ok()
}

/// Bytes of the names in [`Unpacked::executables`] at most.
const NAMES: usize = 4 << 20;

/// Bytes that are read at once.
const BLOCK: usize = 256 << 10;

/// Unpacks `input` into the directory `into`, which is there and which nobody else writes to. Of what `selection` does not
/// keep nothing is made but the directories above what it keeps; it is asked with the name relative to `into`.
///
/// `input` is read to its end, so a digest may be taken on the way. After a fault `into` holds a part of the archive, which the
/// caller throws away.
pub fn unpack(
    input: impl Read + Send,
    kind: ArchiveKind,
    top: Top,
    into: &Path,
    selection: &dyn Fn(&Path) -> Keep,
    bounds: &Bounds,
    cancel: &Cancel,
) -> Result<Unpacked, ArchiveFault> {
    let mut work = Work {
        tree: Tree::open(into)?,
        top,
        absolute: kind == ArchiveKind::Deb,
        selection,
        done: Unpacked::default(),
        names: 0,
    };
    thread::scope(|scope| {
        let (feed, mut decoded) = ahead::pair(bounds, cancel);
        let feeding = thread::Builder::new()
            .name("unpack".into())
            .spawn_scoped(scope, move || feed.run(input, kind, bounds, cancel))
            .map_err(|e| SysError::new("start a thread that unpacks", e))?;
        let outcome = work.all(&mut decoded, bounds);
        // Who feeds ends with the one that reads.
        drop(decoded);
        // A panic of the decompressor is ours to pass on, not to hide.
        feeding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome
    })?;
    Ok(work.done)
}

/// One archive on its way into a tree.
struct Work<'s> {
    tree: Tree,
    top: Top,
    /// Absolute link targets are the tree's own.
    absolute: bool,
    selection: &'s dyn Fn(&Path) -> Keep,
    done: Unpacked,
    names: usize,
}

impl Work<'_> {
    fn all(&mut self, stream: &mut Decoded<'_>, bounds: &Bounds) -> Result<(), ArchiveFault> {
        let mut block = vec![0u8; BLOCK];
        let mut entries = Entries::new(stream, bounds.entries);
        while let Some(entry) = entries.next()? {
            let name = names::checked(&entry.name)?;
            match self.placed(&name, &entry)? {
                Some(name) if (self.selection)(name) == Keep::Yes => {
                    self.make(name, &entry, &mut entries, &mut block)?;
                }
                // Read over, but what it is has been looked at.
                Some(name) => {
                    self.target(name, &entry)?;
                    entries.data(entry.size, &mut block, |_| Ok(()))?;
                }
                None => entries.data(entry.size, &mut block, |_| Ok(()))?,
            }
        }
        entries.end(&mut block)
    }

    /// The name without the top directory, if that is to be taken off; none for the top itself.
    fn placed<'n>(&mut self, name: &'n Path, entry: &Entry) -> Result<Option<&'n Path>, ArchiveFault> {
        if name.as_os_str().is_empty() {
            // `./`
            return if entry.kind == Kind::Directory {
                Ok(None)
            } else {
                Err(names::refuse(&entry.name, "names the top"))
            };
        }
        if self.top == Top::Keep {
            return Ok(Some(name));
        }
        // Its names were checked to be text.
        let first = name.iter().next().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let top = self.done.top.get_or_insert_with(|| first.clone());
        let rest = name.strip_prefix(&first).unwrap_or(Path::new(""));
        if *top != first || (rest.as_os_str().is_empty() && entry.kind != Kind::Directory) {
            return Err(ArchiveFault::Tops { name: entry.name.clone(), top: top.clone() });
        }
        Ok(if rest.as_os_str().is_empty() { None } else { Some(rest) })
    }

    /// What a link will name, checked.
    fn target(&self, name: &Path, entry: &Entry) -> Result<PathBuf, ArchiveFault> {
        match &entry.kind {
            Kind::Symlink(target) => names::link_target(name, target, self.absolute),
            Kind::HardLink(target) => {
                let whole = names::checked(target)?;
                match &self.done.top {
                    None => Ok(whole),
                    Some(top) => whole.strip_prefix(top).map(Path::to_owned).map_err(|_| ArchiveFault::Link {
                        name: entry.name.clone(),
                        target: target.clone(),
                        why: "is outside of the archive's directory",
                    }),
                }
            }
            Kind::File { .. } | Kind::Directory => Ok(PathBuf::new()),
        }
    }

    fn make(
        &mut self,
        name: &Path,
        entry: &Entry,
        entries: &mut Entries<'_, '_>,
        block: &mut [u8],
    ) -> Result<(), ArchiveFault> {
        let target = self.target(name, entry)?;
        match &entry.kind {
            Kind::Directory => return self.tree.directory(name).map_err(|e| found(&entry.name, e)),
            Kind::Symlink(_) => self.tree.symlink(name, &target).map_err(|e| found(&entry.name, e))?,
            Kind::HardLink(to) => {
                // A second name of a link would mean another place than the link did.
                if self.tree.there(&target).map_err(|e| found(&entry.name, e))? != There::File {
                    let why = "is no file unpacked before it";
                    return Err(ArchiveFault::Link { name: entry.name.clone(), target: to.clone(), why });
                }
                self.tree.hard_link(name, &target).map_err(|e| found(&entry.name, e))?;
            }
            Kind::File { executable } => {
                let mut file = self.tree.file(name, 0o600).map_err(|e| found(&entry.name, e))?;
                let failed = |e: io::Error| ArchiveFault::System(SysError::path("write", name, e));
                let mut sum = Sha256::new();
                entries.data(entry.size, block, |bytes| {
                    sum.update(bytes);
                    file.write_all(bytes).map_err(failed)
                })?;
                sysfs::begin_writing(&file);
                let meta = file.metadata().map_err(|e| SysError::path("look at", name, e))?;
                self.done.known.add(name, &meta, &sum.finalize());
                self.done.bytes += entry.size;
                if *executable {
                    self.names += name.as_os_str().len();
                    if self.names > NAMES {
                        return Err(ArchiveFault::Over { bound: Bound::Names, limit: NAMES as u64 });
                    }
                    self.done.executables.push(name.to_owned());
                }
            }
        }
        self.done.files += 1;
        Ok(())
    }
}

/// What the kernel said of a name, in the archive's terms.
fn found(name: &str, e: SysError) -> ArchiveFault {
    match e.errno() {
        Some(libc::EEXIST) => ArchiveFault::Duplicate { name: name.to_owned() },
        Some(libc::ENOTDIR | libc::ELOOP) => ArchiveFault::Through { name: name.to_owned() },
        _ => ArchiveFault::System(e),
    }
}
