//! Sources `file` and `vendor`: an archive of the list becomes a tree, unpacked while it arrives and verified before anything
//! in it may be run.
//!
//! The tree is made in a directory that only this user can enter, without a single executable file; these become executable
//! when the digest is right, and the tree gets its name in the store after that (`store::install`).

use super::{
    ArtifactError, Part, Progress, Settings, Step,
    archive::{self, ArchiveFault, ArchiveKind, Bounds, Keep, Top, Unpacked},
    catalog::{Artifact, Packing},
    digest::{self, Algorithm, Digests, Hasher},
    error::{self, BadDigest},
    lockfile::{ArchiveRecord, Trusted},
    manifest::Known,
    settings::Origin,
    signature,
    store::{Store, Stored, Work},
    transfer::{self, Fill, Follower, Network, TransferFault, Want},
};
use crate::sys::{clock, command::Cancel, error::SysError, fs as sysfs};
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

/// The most bytes of a file of which the size is not known: MySQL's full archives have 0.9 GB.
const MOST: u64 = 4 << 30;

/// The most bytes of a published digest, a signature or a key.
const MOST_TEXT: u64 = 256 << 10;

/// What vendors' files are fetched with, shared by the parts of a run.
pub struct Fetcher<'a> {
    /// The store.
    pub store: &'a Store,
    /// How.
    pub settings: &'a Settings,
    /// The network.
    pub network: &'a Network,
    /// Files that were trusted at first sight before.
    pub trusted: &'a [Trusted],
    /// Hears what happens.
    pub progress: &'a dyn Progress,
    /// Asks to stop.
    pub cancel: &'a Cancel,
}

impl std::fmt::Debug for Fetcher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("store", self.store).field("network", self.network).finish_non_exhaustive()
    }
}

/// What to take out of an archive.
pub type Selection<'a> = &'a (dyn Fn(&Path) -> Keep + Sync);

/// A verified tree, not in the store yet.
#[derive(Debug)]
pub struct Got {
    /// Where it is.
    pub tree: PathBuf,
    /// What it was unpacked from.
    pub archive: ArchiveRecord,
    /// Where that came from, for people.
    pub source: String,
    /// It was trusted at first sight just now.
    pub newly_trusted: Option<Trusted>,
    /// The download, to be removed when the tree is in the store.
    part: Option<PathBuf>,
    /// Digests of its files, taken while they were written.
    known: Known,
}

impl Got {
    /// Puts the tree into the store as `NAME-CONTENT`.
    pub fn install(&self, store: &Store, name: &str) -> Result<Stored, ArtifactError> {
        store.install_known(&self.tree, name, &self.known)
    }

    /// The tree is in the store: the download is not needed any more.
    pub fn stored(&self) {
        if let Some(part) = &self.part {
            // What stays is only disk space, and the next download of this file drops it.
            let _ = fs::remove_file(part);
            let _ = fs::remove_file(state_of(part));
        }
    }
}

fn state_of(part: &Path) -> PathBuf {
    let mut name = part.file_name().unwrap_or_default().to_owned();
    name.push(".state");
    part.with_file_name(name)
}

/// Where one artifact may come from.
enum Place {
    File(PathBuf),
    Url(String),
}

impl Fetcher<'_> {
    /// Gets the first of `rows` that one of `origin`'s places has. Each failure is added to `failures`; none is returned when
    /// all fail.
    pub fn get(
        &self,
        part: Part,
        rows: &[&Artifact],
        origin: Origin,
        work: &Work,
        selection: Selection<'_>,
        failures: &mut Vec<(String, ArtifactError)>,
    ) -> Result<Option<Got>, ArtifactError> {
        for row in rows {
            for place in self.places(row, origin) {
                let from = match &place {
                    Place::File(path) => path.display().to_string(),
                    Place::Url(url) => url.clone(),
                };
                let job = Job { fetcher: self, part, row, work, selection };
                let e = match job.get(&place, &from, origin) {
                    Ok(got) => return Ok(Some(got)),
                    Err(ArtifactError::Cancelled) => return Err(ArtifactError::Cancelled),
                    // A full disk is full for the next source too.
                    Err(e) if e.disk_full() => return Err(e),
                    Err(e) => e,
                };
                failures.push((from, e));
            }
        }
        Ok(None)
    }

    /// Says that the last source failed and another is asked.
    pub fn next_source(&self, part: Part, failures: &[(String, ArtifactError)]) {
        // That a file was not put there is what is usual, and no news; nor is that a dead host was not asked again.
        let news = failures.iter().rev().find(|(_, e)| {
            !matches!(e, ArtifactError::NoFile(_) | ArtifactError::Transfer(TransferFault::Skipped { .. }))
        });
        if let Some((from, e)) = news {
            let first = error::chain(e);
            let first = first.lines().next().unwrap_or_default().to_owned();
            let text = if first.contains(from.as_str()) { first } else { format!("{from}: {first}") };
            self.progress.step(&Step::Note { what: part, text });
        }
    }

    fn places(&self, row: &Artifact, origin: Origin) -> Vec<Place> {
        match origin {
            Origin::File => vec![Place::File(self.settings.files.join(&row.file))],
            Origin::Vendor => {
                let mirror =
                    self.settings.mirror.iter().map(|base| format!("{}/{}", base.trim_end_matches('/'), row.file));
                mirror.chain(row.urls.iter().cloned()).map(Place::Url).collect()
            }
            Origin::Packages => Vec::new(),
        }
    }
}

/// One artifact from one place.
struct Job<'a> {
    fetcher: &'a Fetcher<'a>,
    part: Part,
    row: &'a Artifact,
    work: &'a Work,
    selection: Selection<'a>,
}

/// What an archive's bytes came to.
struct Came {
    digests: Digests,
    bytes: u64,
    tree: PathBuf,
    unpacked: Result<Unpacked, ArchiveFault>,
    /// Some of it is older than this run.
    resumed: bool,
    part: Option<PathBuf>,
}

impl Job<'_> {
    fn get(&self, place: &Place, from: &str, origin: Origin) -> Result<Got, ArtifactError> {
        if let Place::File(path) = place
            && !path.is_file()
        {
            return Err(ArtifactError::NoFile(path.clone()));
        }
        let wanted = self.wanted(place)?;
        let begin = || {
            let detail = format!("{} {} from {from}", self.part, self.row.version);
            self.fetcher.progress.step(&Step::Begin { what: self.part, detail });
        };
        let came = match place {
            Place::File(path) => {
                begin();
                self.read(path)?
            }
            Place::Url(url) => {
                if let Some(lost) = self.fetcher.network.is_lost(url) {
                    return Err(lost.into());
                }
                begin();
                if wanted == Digests::default() {
                    // The rest of another file would be taken for the rest of this one, and its digest for the right one.
                    let part = self.fetcher.store.part(&self.row.file);
                    sysfs::remove_optional(&state_of(&part))?;
                    sysfs::remove_optional(&part)?;
                }
                let came = self.download(url)?;
                match wanted.mismatch(&came.digests) {
                    // An older part may have been hurt by a loss of power.
                    Some(_) if came.resumed => {
                        let text = "what an earlier run left does not fit; fetched from the start".to_owned();
                        self.fetcher.progress.step(&Step::Note { what: self.part, text });
                        self.drop_part(&came)?;
                        self.download(url)?
                    }
                    Some(_) | None => came,
                }
            }
        };
        if let Some(bad) = wanted.mismatch(&came.digests) {
            self.drop_part(&came)?;
            sysfs::remove_dir_all_optional(&came.tree)?;
            return Err(ArtifactError::Digest(Box::new(BadDigest {
                file: self.row.file.clone(),
                from: from.to_owned(),
                artifact: self.row.id.clone(),
                algorithm: bad.algorithm,
                wanted: bad.wanted,
                found: bad.found,
            })));
        }
        if self.fetcher.settings.signatures {
            self.signature(place, came.part.as_deref())?;
        }
        let unpacked = came.unpacked.map_err(|e| self.refused(e))?;
        unpacked.allow_execution(&came.tree)?;
        let sha256 = came.digests.sha256.unwrap_or_default();
        Ok(Got {
            newly_trusted: self.newly_trusted(&sha256, came.bytes, from),
            archive: ArchiveRecord { artifact: self.row.id.clone(), sha256, bytes: came.bytes, origin },
            tree: came.tree,
            source: from.to_owned(),
            part: came.part,
            known: unpacked.known,
        })
    }

    fn refused(&self, fault: ArchiveFault) -> ArtifactError {
        match fault {
            ArchiveFault::Cancelled => ArtifactError::Cancelled,
            ArchiveFault::System(e) => ArtifactError::System(e),
            source => ArtifactError::Unpack { file: self.row.file.clone(), source },
        }
    }

    fn drop_part(&self, came: &Came) -> Result<(), SysError> {
        if let Some(part) = &came.part {
            sysfs::remove_optional(&state_of(part))?;
            sysfs::remove_optional(part)?;
        }
        Ok(())
    }

    /// The digests that the file must have: pinned, or trusted at first sight before; else the vendor's own, when the caller
    /// accepts a file that nothing proves.
    fn wanted(&self, place: &Place) -> Result<Digests, ArtifactError> {
        if self.row.is_pinned() {
            return Ok(self.row.digests());
        }
        if let Some(known) = self.fetcher.trusted.iter().find(|t| t.artifact == self.row.id) {
            return Ok(Digests::of(Algorithm::Sha256, &known.sha256));
        }
        if !self.fetcher.settings.accept_unpinned {
            let doubt = self.row.doubt.clone().unwrap_or_default();
            return Err(ArtifactError::Unpinned { artifact: self.row.id.clone(), doubt });
        }
        let (Some(sidecar), Place::Url(url)) = (&self.row.sidecar, place) else { return Ok(self.row.digests()) };
        let url = format!("{url}{}", sidecar.suffix);
        let text = self.text(&url, "published")?;
        let text = String::from_utf8_lossy(&text);
        let hex = digest::published(&text, &self.row.file, sidecar.algorithm);
        Ok(Digests::of(sidecar.algorithm, &hex.map_err(|why| ArtifactError::Published { url, why })?))
    }

    fn newly_trusted(&self, sha256: &str, bytes: u64, from: &str) -> Option<Trusted> {
        let known = self.row.is_pinned() || self.fetcher.trusted.iter().any(|t| t.artifact == self.row.id);
        if known {
            return None;
        }
        let doubt = self.row.doubt.as_deref().unwrap_or_default();
        let text = format!(
            "{} was NOT verified ({doubt}); its SHA-256 {sha256} is recorded in lock.toml, and nothing else is taken from now on",
            self.row.file
        );
        self.fetcher.progress.step(&Step::Note { what: self.part, text });
        Some(Trusted {
            artifact: self.row.id.clone(),
            sha256: sha256.to_owned(),
            bytes,
            source: from.to_owned(),
            at: clock::wall(),
        })
    }

    /// A small file beside the archive.
    fn text(&self, url: &str, name: &str) -> Result<Vec<u8>, ArtifactError> {
        let path = self.work.path().join(format!("{name}.{}", self.row.id));
        let want = Want { url, part: &path, size: None, most: MOST_TEXT, magic: &[], sha512: false, md5: false };
        transfer::download(self.fetcher.network, &want, &Arc::default(), &|_, _| {}, self.fetcher.cancel)?;
        Ok(fs::read(&path).map_err(|e| SysError::path("read", &path, e))?)
    }

    fn signature(&self, place: &Place, part: Option<&Path>) -> Result<(), ArtifactError> {
        let Some(wanted) = &self.row.signature else { return Ok(()) };
        let (signed, signature) = match (place, part) {
            (Place::File(path), _) => {
                let mut beside = path.as_os_str().to_owned();
                beside.push(&wanted.suffix);
                let beside = PathBuf::from(beside);
                (path.as_path(), fs::read(&beside).map_err(|e| SysError::path("read", &beside, e))?)
            }
            (Place::Url(url), Some(part)) => (part, self.text(&format!("{url}{}", wanted.suffix), "signature")?),
            (Place::Url(_), None) => return Ok(()),
        };
        let key = match place {
            Place::File(path) => path.with_file_name(wanted.key.rsplit('/').next().unwrap_or("key")),
            Place::Url(_) => PathBuf::new(),
        };
        let key = if key.is_file() {
            fs::read(&key).map_err(|e| SysError::path("read", &key, e))?
        } else {
            self.text(&wanted.key, "key")?
        };
        let said = signature::Signed { file: &self.row.file, signed, signature: &signature, key: &key };
        said.verify(&self.fetcher.settings.host, &wanted.fingerprints, self.work, self.fetcher.cancel)
    }

    /// A fresh directory for the tree.
    fn staging(&self) -> Result<PathBuf, ArtifactError> {
        let tree = self.work.path().join(format!("{}.tree", self.row.id));
        sysfs::remove_dir_all_optional(&tree)?;
        sysfs::make_dir(&tree, 0o700)?;
        Ok(tree)
    }

    fn hasher(&self) -> Hasher {
        let wanted = self.row.digests();
        let sidecar = self.row.sidecar.as_ref().filter(|_| !self.row.is_pinned()).map(|s| s.algorithm);
        Hasher::new(
            wanted.sha512.is_some() || sidecar == Some(Algorithm::Sha512),
            wanted.md5.is_some() || sidecar == Some(Algorithm::Md5),
        )
    }

    /// Unpacks what comes out of `input`, or keeps it as the one file that it is.
    fn unpack(&self, input: impl Read + Send, tree: &Path) -> Result<Unpacked, ArchiveFault> {
        let kind = match self.row.archive {
            Packing::TarGz => ArchiveKind::TarGz,
            Packing::TarXz => ArchiveKind::TarXz,
            Packing::Jar => return self.keep(input, tree),
        };
        archive::unpack(input, kind, Top::Strip, tree, self.selection, &Bounds::default(), self.fetcher.cancel)
    }

    fn keep(&self, mut input: impl Read, tree: &Path) -> Result<Unpacked, ArchiveFault> {
        let path = tree.join(&self.row.file);
        let mut file = File::create(&path).map_err(|e| SysError::path("make", &path, e))?;
        let mut block = vec![0; 256 << 10];
        let mut bytes = 0;
        loop {
            let n = input.read(&mut block).map_err(ArchiveFault::Read)?;
            if n == 0 {
                return Ok(Unpacked { files: 1, bytes, ..Unpacked::default() });
            }
            std::io::Write::write_all(&mut file, &block[..n]).map_err(|e| SysError::path("write", &path, e))?;
            bytes += n as u64;
        }
    }

    /// A file of this machine: digested while it is unpacked, never copied.
    fn read(&self, path: &Path) -> Result<Came, ArtifactError> {
        let file = File::open(path).map_err(|e| SysError::path("open", path, e))?;
        let total = file.metadata().map_err(|e| SysError::path("look at", path, e))?.len();
        let tree = self.staging()?;
        let mut digested = Digesting { input: file, hasher: self.hasher(), bytes: 0, told: 0, job: self, total };
        let unpacked = self.unpack(&mut digested, &tree);
        if self.fetcher.cancel.is_cancelled() {
            return Err(ArtifactError::Cancelled);
        }
        // What the unpacker did not read counts too: behind a fault, for instance.
        std::io::copy(&mut digested, &mut std::io::sink()).map_err(|e| SysError::path("read", path, e))?;
        let (bytes, digests) = (digested.bytes, digested.hasher.finish());
        Ok(Came { digests, bytes, tree, unpacked, resumed: false, part: None })
    }

    /// A download, unpacked behind the arriving bytes.
    fn download(&self, url: &str) -> Result<Came, ArtifactError> {
        self.fetcher.store.downloads()?;
        let part = self.fetcher.store.part(&self.row.file);
        // It must be there for who reads it.
        File::options().append(true).create(true).open(&part).map_err(|e| SysError::path("make", &part, e))?;
        let hasher = self.hasher();
        let want = Want {
            url,
            part: &part,
            size: self.row.size,
            most: self.row.size.unwrap_or(MOST),
            magic: self.row.archive.magic(),
            sha512: hasher.wants_sha512(),
            md5: hasher.wants_md5(),
        };
        let tree = self.staging()?;
        let fill = Arc::<Fill>::default();
        let heard = |done: u64, total: Option<u64>| {
            let total = total.unwrap_or(done);
            self.fetcher.progress.step(&Step::Bytes { what: self.part, done, total });
        };
        let (received, unpacked, began) = thread::scope(|scope| {
            let follower = Follower::open(&part, &fill, self.fetcher.cancel);
            let began = follower.as_ref().map_or(0, Follower::began);
            let unpacking = scope.spawn(|| match follower {
                Ok(follower) => self.unpack(follower, &tree),
                Err(e) => Err(SysError::path("open", &part, e).into()),
            });
            let received = transfer::download(self.fetcher.network, &want, &fill, &heard, self.fetcher.cancel);
            // A panic of the unpacker is ours to pass on, not to hide.
            (received, unpacking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), began)
        });
        let received = received.inspect_err(|fault| {
            if fault.is_unreachable() {
                self.fetcher.network.lost(url);
            }
        })?;
        let mut unpacked = unpacked;
        let mut came = tree;
        if fill.left_behind(began) {
            // The server began anew meanwhile; what was unpacked belongs to nothing.
            came = self.staging()?;
            let file = File::open(&part).map_err(|e| SysError::path("open", &part, e))?;
            unpacked = self.unpack(file, &came);
        }
        Ok(Came {
            digests: received.digests,
            bytes: received.bytes,
            tree: came,
            unpacked,
            resumed: received.resumed,
            part: Some(part),
        })
    }
}

/// Digests what is read through it, and tells how far it is.
struct Digesting<'a> {
    input: File,
    hasher: Hasher,
    bytes: u64,
    told: u64,
    job: &'a Job<'a>,
    total: u64,
}

impl Read for Digesting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.bytes += n as u64;
        if self.bytes >= self.told + (1 << 20) {
            self.told = self.bytes;
            self.job.fetcher.progress.step(&Step::Bytes { what: self.job.part, done: self.bytes, total: self.total });
        }
        Ok(n)
    }
}
