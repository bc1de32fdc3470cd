//! Puts a bundle into the store, or only shows that this would work: everything is unpacked beside the store's trees, read and
//! compared before the first of them gets its name. The record is written last.

use super::{BundleError, Contents, HEAD, Head, TREES, Tree, create::is_host_link};
use crate::{
    artifact::{
        ArtifactError, FoundJava, Progress, Settings,
        archive::{self, ArchiveKind, Bounds, Keep, Top},
        java,
        lockfile::{ArchiveRecord, LockFile, TreeRecord},
        manifest::{Care, Known, Manifest},
        pins::Pins,
        settings::PINNED_JARS,
        store::{self, Store, Work},
    },
    sys::{command::Cancel, error::SysError, failpoint::fail_point, fs as sysfs},
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read,
    os::unix::fs::{MetadataExt, symlink},
    path::{Component, Path, PathBuf},
};

/// Looks whether a bundle is whole and could be installed; nothing of it stays.
pub fn verify(
    path: &Path,
    wanted: Option<&str>,
    settings: &Settings,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Contents, BundleError> {
    // Where there is no store yet, a look at a file does not make one. Into that of another user it puts nothing: its owner could
    // not open a lock that is made here, nor remove what a killed run leaves.
    let ours = fs::metadata(&settings.store).is_ok_and(|meta| meta.is_dir() && meta.uid() == settings.host.uid);
    let (_store, work) = if ours {
        let store = Store::take(&settings.store, progress, cancel)?;
        let work = store.work("bundle")?;
        (Some(store), work)
    } else {
        (None, Work::apart()?)
    };
    Ok(Opened::open(path, wanted, work, settings, cancel)?.contents)
}

/// Installs a bundle; `wanted` is the digest that the file must have. Without one nothing is installed, unless the settings accept
/// what is not pinned. Needs no network. Killed at any time, the next run
/// finds the store as it was, perhaps with trees that no record names. A tree that the store has already, whole, is left
/// alone: nodes may run from it, and class-data archives go by the times of its files.
pub fn install(
    path: &Path,
    wanted: Option<&str>,
    settings: &Settings,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Contents, BundleError> {
    if wanted.is_none() && !settings.accept_unpinned {
        return Err(BundleError::Unproven(path.display().to_string()));
    }
    let store = Store::take(&settings.store, progress, cancel)?;
    let mut opened = Opened::open(path, wanted, store.work("bundle")?, settings, cancel)?;
    if wanted.is_none()
        && opened.head.lock.kafka.as_ref().is_some_and(|k| k.choice() == PINNED_JARS && !k.class_path.is_empty())
    {
        // Its own words, that it came in the pinned archive, would go round the pins of this program.
        return Err(
            opened.refuse("its Kafka is not the one whose jars are pinned, and no digest proves the bundle".into())
        );
    }
    let before = LockFile::read(&settings.store)?;
    let mut record = before.clone();
    let mut came = BTreeSet::new();
    for (tree, place) in opened.head.trees.iter().zip(&opened.places) {
        if is_whole(&settings.store.join(&tree.directory), &tree.content) {
            continue;
        }
        let name = tree.directory.strip_suffix(&format!("-{}", short(&tree.content))).unwrap_or(&tree.directory);
        let stored = store.install(place, name)?;
        fail_point!("bundle.tree");
        if stored.directory != tree.directory {
            return Err(opened.refuse(format!("{} came out as {}", tree.directory, stored.directory)));
        }
        came.insert(stored.directory);
    }
    let lock = opened.head.lock.clone();
    let from = path.file_name().unwrap_or_default().to_string_lossy();
    let known = before.trees();
    // What was left alone came from where its record says.
    let through = |tree: &mut TreeRecord| match known.iter().find(|k| k.tree.directory == tree.directory) {
        Some(known) if !came.contains(&tree.directory) => *tree = known.tree.clone(),
        Some(_) | None => {
            tree.source = format!("{}, in {from}", tree.source.split(", in ").next().unwrap_or_default());
        }
    };
    if let Some(mut java) = lock.java {
        let program = settings.store.join(&java.home).join("bin/java");
        let checked = java::check(&program, cancel)?.and_then(java::accept).map_err(|why| {
            let by = path.display().to_string();
            ArtifactError::NoJava { found: vec![FoundJava { place: program.clone(), by, why }] }
        })?;
        let mut now = checked.record(settings.java_home.as_deref());
        if let Some(tree) = &mut java.tree {
            through(tree);
        }
        (now.tree, now.packages, now.archive) = (java.tree, java.packages, java.archive);
        record.java = Some(now);
    }
    if let Some(mut kafka) = lock.kafka {
        through(&mut kafka.tree);
        record.put_kafka(kafka);
    }
    if let Some(mut mysql) = lock.mysql {
        through(&mut mysql.tree);
        record.put_mysql(mysql);
    }
    if let Some(mut ui) = lock.kafka_ui {
        through(&mut ui.tree);
        record.kafka_ui = Some(ui);
    }
    // What is trusted from now on as if it were pinned is not taken from a file that nothing proves.
    for trusted in lock.trusted.into_iter().filter(|_| wanted.is_some()) {
        if !record.trusted.iter().any(|t| t.artifact == trusted.artifact) {
            record.trusted.push(trusted);
        }
    }
    fail_point!("bundle.trees");
    if record != before {
        record.write(&settings.store)?;
    }
    opened.contents.already = came.is_empty() && record == before;
    Ok(opened.contents)
}

fn is_whole(tree: &Path, content: &str) -> bool {
    Manifest::read(tree).is_ok_and(|known| known.content() == content && known.damage(tree, Care::Full).is_none())
}

/// A bundle that was unpacked beside the store's trees, and is what it says.
struct Opened {
    file: String,
    head: Head,
    /// The trees, in the head's order.
    places: Vec<PathBuf>,
    contents: Contents,
    /// Removes it all when dropped.
    _work: Work,
}

impl Opened {
    fn open(
        path: &Path,
        wanted: Option<&str>,
        work: Work,
        settings: &Settings,
        cancel: &Cancel,
    ) -> Result<Self, BundleError> {
        let file = path.display().to_string();
        let (head, text) = super::head(path)?;
        let content = |what: String| BundleError::Content { file: file.clone(), what };
        known(&head, settings).map_err(&content)?;
        let into = work.sub("in")?;
        sysfs::make_dir(&into, 0o700)?;
        let opened = File::open(path).map_err(|e| SysError::path("open", path, e))?;
        let mut input = Hashing { input: opened, sum: Sha256::new(), bytes: 0 };
        let all = |_: &Path| Keep::Yes;
        let unpacked =
            archive::unpack(&mut input, ArchiveKind::TarGz, Top::Keep, &into, &all, &Bounds::default(), cancel)
                .map_err(|source| BundleError::Archive { file: file.clone(), source })?;
        fail_point!("bundle.unpacked");
        let (sha256, bytes) = (hex(input.sum), input.bytes);
        if let Some(wanted) = wanted.filter(|wanted| !wanted.eq_ignore_ascii_case(&sha256)) {
            return Err(BundleError::Digest { file, wanted: wanted.to_owned(), found: sha256 });
        }
        let again = fs::read(into.join(HEAD)).map_err(|e| SysError::path("read", &into.join(HEAD), e))?;
        if again != text.as_bytes() {
            return Err(content("it changed while it was read".into()));
        }
        let there = names(&into)?;
        if there != BTreeSet::from([HEAD.to_owned(), TREES.to_owned()])
            && !(head.trees.is_empty() && there == BTreeSet::from([HEAD.to_owned()]))
        {
            return Err(content(format!("it has more than a head and trees: {}", join(&there))));
        }
        let announced: BTreeSet<String> = head.trees.iter().map(|t| t.directory.clone()).collect();
        let trees = if head.trees.is_empty() { BTreeSet::new() } else { names(&into.join(TREES))? };
        if trees != announced {
            return Err(content(format!("it announces {} and has {}", join(&announced), join(&trees))));
        }
        unpacked.allow_execution(&into)?;
        let mut places = Vec::new();
        for tree in &head.trees {
            let place = into.join(TREES).join(&tree.directory);
            host_links(&place, tree).map_err(&content)?;
            let found = Manifest::seal(&place, &Known::default())?.content();
            if found != tree.content {
                let (directory, wanted) = (&tree.directory, &tree.content);
                return Err(content(format!("{directory} has content {found}, it announces {wanted}")));
            }
            places.push(place);
        }
        let parts = head.lock.trees().iter().map(|k| (format!("{} {}", k.part, k.version), k.tree.bytes)).collect();
        let contents = Contents { sha256, bytes, parts, notes: Vec::new(), already: false };
        Ok(Self { file, head, places, contents, _work: work })
    }

    fn refuse(&self, what: String) -> BundleError {
        BundleError::Content { file: self.file.clone(), what }
    }
}

/// Refuses a head that does not fit together, or not with what this program knows of the files that it names.
fn known(head: &Head, settings: &Settings) -> Result<(), String> {
    for tree in &head.trees {
        let plain = Path::new(&tree.directory).components().collect::<Vec<_>>();
        let name = matches!(plain[..], [Component::Normal(_)]) && !tree.directory.starts_with('.');
        let hex = tree.content.len() == 64 && tree.content.bytes().all(|b| b.is_ascii_hexdigit());
        if !name || !hex || !tree.directory.ends_with(&format!("-{}", short(&tree.content))) {
            return Err(format!("{:?} is no name of a tree of content {:?}", tree.directory, tree.content));
        }
    }
    let records = head.lock.trees();
    for record in &records {
        if !head.trees.iter().any(|t| t.directory == record.tree.directory && t.content == record.tree.content) {
            return Err(format!("its record names {}, which it does not have", record.tree.directory));
        }
    }
    if records.len() != head.trees.len() {
        return Err("it has trees that no record names".into());
    }
    let inside = |path: &Path| path.components().all(|c| matches!(c, Component::Normal(_)));
    if let Some(java) = &head.lock.java {
        let tree = java.tree.as_ref().map(|t| t.directory.as_str()).unwrap_or_default();
        if !inside(&java.home) || !java.home.starts_with(tree) {
            return Err(format!("its runtime's home is {}", java.home.display()));
        }
    }
    if let Some(mysql) = &head.lock.mysql {
        let shape = &mysql.shape;
        let rest = [&shape.mysqld, &shape.messages, &shape.character_sets, &shape.plugins];
        if let Some(bad) = rest.into_iter().chain(&shape.loader).chain(&shape.libraries).find(|p| !inside(p)) {
            return Err(format!("its MySQL has a part at {}", bad.display()));
        }
    }
    if head.lock.kafka_ui.as_ref().is_some_and(|ui| ui.java.is_some() || ui.asked.is_some()) {
        return Err("its kafka-ui names files of another machine".into());
    }
    if let Some(kafka) = &head.lock.kafka {
        if let Some(bad) = kafka.class_path.iter().find(|p| !inside(p)) {
            return Err(format!("its class path names {}", bad.display()));
        }
        let pins = Pins::parse(settings.kafka_pins).map_err(|e| e.to_string())?;
        // An archive has a class path of its own; without one there is nothing but the pins.
        let by_pins = kafka.class_path.is_empty() || (kafka.choice() == PINNED_JARS && kafka.archive.is_none());
        if by_pins && kafka.tree.content != pins.content() {
            return Err("its Kafka is not the one whose jars are pinned in this program".into());
        }
    }
    let archives = [
        head.lock.java.as_ref().and_then(|j| j.archive.as_ref()),
        head.lock.kafka.as_ref().and_then(|k| k.archive.as_ref()),
        head.lock.mysql.as_ref().and_then(|m| m.archive.as_ref()),
        head.lock.kafka_ui.as_ref().and_then(|u| u.archive.as_ref()),
    ];
    archives.into_iter().flatten().try_for_each(|archive| pinned(archive, settings))
}

/// A tree that was made from a pinned archive says which one.
fn pinned(archive: &ArchiveRecord, settings: &Settings) -> Result<(), String> {
    let catalog = settings.catalog().map_err(|e| e.to_string())?;
    let pin = catalog.all().iter().find(|row| row.id == archive.artifact).and_then(|row| row.digests().sha256);
    match pin {
        Some(pin) if pin != archive.sha256 => {
            Err(format!("{} was made of a file with SHA-256 {}, pinned is {pin}", archive.artifact, archive.sha256))
        }
        Some(_) | None => Ok(()),
    }
}

/// Makes the links into the host's `/etc` that an archive may not have. Nothing is written through them.
fn host_links(place: &Path, tree: &Tree) -> Result<(), String> {
    for (name, target) in &tree.host_links {
        let link = Path::new(name);
        let plain = link.components().all(|c| matches!(c, Component::Normal(_)));
        let parent = place.join(link.parent().unwrap_or(Path::new("")));
        let real =
            fs::canonicalize(&parent).is_ok_and(|real| fs::canonicalize(place).is_ok_and(|top| real.starts_with(top)));
        if !plain || !real || !is_host_link(target) {
            return Err(format!("it has a link {name:?} to {target:?}, which leads out of its tree"));
        }
        symlink(target, place.join(link)).map_err(|e| format!("its link {name:?} cannot be made: {e}"))?;
    }
    Ok(())
}

fn short(content: &str) -> &str {
    store::short(content)
}

fn names(directory: &Path) -> Result<BTreeSet<String>, SysError> {
    let list = crate::artifact::manifest::entries(directory)?;
    Ok(list.iter().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

struct Hashing {
    input: File,
    sum: Sha256,
    bytes: u64,
}

impl Read for Hashing {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(into)?;
        self.sum.update(&into[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
}
