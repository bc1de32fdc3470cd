//! Copies a data directory with owners, modes, times and holes, and looks whether a copy is still what it was.

use super::manifest::{Entry, FileEntry, StoreCopy};
use crate::sys::{copy, error::SysError, host};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::Path,
};

/// Bytes that the files below `dir` take on disk; nothing for a directory that is not there. Also asked while nodes run, so what
/// goes while it is looked at (a checkpoint's temporary file, a segment that was deleted) takes no room.
pub(super) fn taken(dir: &Path) -> Result<u64, SysError> {
    let mut sum = 0;
    walk(dir, Gone::Passes, &mut |_, _, meta| {
        sum += meta.blocks() * 512;
        Ok(())
    })?;
    Ok(sum)
}

/// Copies everything below `from` to `to`, which must not be there yet. `told` hears the bytes of each file. Sockets and pipes
/// are of a process that is gone and stay behind.
pub(super) fn tree(from: &Path, to: &Path, told: &mut dyn FnMut(u64)) -> Result<Vec<Entry>, SysError> {
    let mut entries = Vec::new();
    let owner = host::is_root();
    walk(from, Gone::IsAnError, &mut |path, name, meta| {
        let target = if name.is_empty() { to.to_owned() } else { to.join(name) };
        let mut entry =
            Entry { path: name.to_owned(), mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), file: None };
        if meta.is_dir() {
            fs::create_dir(&target).map_err(|e| SysError::path("make directory", &target, e))?;
        } else {
            entry.file = Some(one_file(path, &target, told)?);
        }
        let dressed = || {
            if owner {
                chown(&target, Some(entry.uid), Some(entry.gid))?;
            }
            // after the owner: chown(2) takes set-id bits away
            fs::set_permissions(&target, fs::Permissions::from_mode(entry.mode))
        };
        dressed().map_err(|e| SysError::path("set owner and mode of", &target, e))?;
        entries.push(entry);
        Ok(())
    })?;
    Ok(entries)
}

fn one_file(path: &Path, target: &Path, told: &mut dyn FnMut(u64)) -> Result<FileEntry, SysError> {
    let open = |path: &Path| OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path);
    let source = open(path).map_err(|e| SysError::path("read", path, e))?;
    let meta = source.metadata().map_err(|e| SysError::path("look at", path, e))?;
    let copied = || -> io::Result<FileEntry> {
        let copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
        let mut digest = Sha256::new();
        copy::copy_file(&source, &copy, meta.len(), &mut |bytes| digest.update(bytes))?;
        // Kafka takes a segment without timestamps by its file's time.
        copy.set_modified(meta.modified()?)?;
        Ok(FileEntry { bytes: meta.len(), sha256: hex(&digest.finalize()) })
    };
    let entry = copied().map_err(|e| SysError::new(format!("copy {} to {}", path.display(), target.display()), e))?;
    told(entry.bytes);
    Ok(entry)
}

/// Whether what was copied is what is listed. Only root gives files to others: for whoever else copies, owners do not count.
pub(super) fn is_as_listed(copied: &[Entry], listed: &[Entry]) -> bool {
    let owners = host::is_root();
    let alike = |(one, other): (&Entry, &Entry)| {
        let same = (&one.path, one.mode, &one.file) == (&other.path, other.mode, &other.file);
        same && (!owners || (one.uid, one.gid) == (other.uid, other.gid))
    };
    copied.len() == listed.len() && copied.iter().zip(listed).all(alike)
}

/// What is not as the list says: files that are missing, changed, of another mode (for root: or owner), or there beside it. Reads everything.
pub(super) fn differences(dir: &Path, store: &StoreCopy, told: &mut dyn FnMut(u64)) -> Result<Vec<String>, SysError> {
    let mut wrong = Vec::new();
    let mut listed: std::collections::BTreeMap<&str, &Entry> =
        store.entries.iter().map(|e| (e.path.as_str(), e)).collect();
    let place = |name: &str| if name.is_empty() { store.node.to_string() } else { format!("{}/{name}", store.node) };
    walk(dir, Gone::IsAnError, &mut |path, name, meta| {
        let Some(entry) = listed.remove(name) else {
            wrong.push(format!("{} is not in the manifest", place(name)));
            return Ok(());
        };
        let (mode, owner) = (meta.mode() & 0o7777, (meta.uid(), meta.gid()));
        if mode != entry.mode {
            wrong.push(format!("{} has mode {mode:o}, not {:o}", place(name), entry.mode));
        }
        if host::is_root() && owner != (entry.uid, entry.gid) {
            wrong.push(format!(
                "{} belongs to {}:{}, not to {}:{}",
                place(name),
                owner.0,
                owner.1,
                entry.uid,
                entry.gid
            ));
        }
        match &entry.file {
            None if meta.is_dir() => {}
            Some(file) if meta.is_file() => {
                if meta.len() != file.bytes {
                    wrong.push(format!("{} has {} bytes, not {}", place(name), meta.len(), file.bytes));
                } else if digest_of(path, meta)? != file.sha256 {
                    wrong.push(format!("{} has other bytes than it had", place(name)));
                }
                told(file.bytes);
            }
            None | Some(_) => wrong.push(format!("{} is of another kind than it was", place(name))),
        }
        Ok(())
    })?;
    wrong.extend(listed.into_keys().map(|name| format!("{} is missing", place(name))));
    Ok(wrong)
}

fn digest_of(path: &Path, meta: &Metadata) -> Result<String, SysError> {
    let failed = |e| SysError::path("read", path, e);
    let file = File::open(path).map_err(failed)?;
    let mut digest = Sha256::new();
    copy::read_file(&file, meta.len(), &mut |_, bytes, _| {
        digest.update(bytes);
        Ok(())
    })
    .map_err(failed)?;
    Ok(hex(&digest.finalize()))
}

/// What a manifest says of a file that has these bytes.
pub(super) fn of_bytes(bytes: &[u8]) -> FileEntry {
    FileEntry { bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // writing into a string cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What a walk hands over: where it is, its name below the top, what it is.
type Each<'a> = dyn FnMut(&Path, &str, &Metadata) -> Result<(), SysError> + 'a;

/// What it means that something was in its directory and is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// Programs run and remove files of theirs.
    Passes,
    /// Nothing runs: nobody may.
    IsAnError,
}

/// Directories before what is in them, in order of names; the top first, under the empty name. A top that is not there is empty.
fn walk(top: &Path, gone: Gone, each: &mut Each<'_>) -> Result<(), SysError> {
    match fs::symlink_metadata(top) {
        Ok(meta) if meta.is_dir() => {
            each(top, "", &meta)?;
            below(top, "", gone, each)
        }
        Ok(_) => Err(SysError::path("copy", top, io::Error::other("it is not a directory"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(SysError::path("look at", top, e)),
    }
}

fn below(dir: &Path, prefix: &str, gone: Gone, each: &mut Each<'_>) -> Result<(), SysError> {
    let failed = |e| SysError::path("look into", dir, e);
    let passes = |e: &io::Error| gone == Gone::Passes && e.kind() == io::ErrorKind::NotFound;
    let mut names = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(e) if passes(&e) => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    for name in names {
        let path = dir.join(&name);
        let Some(name) = name.to_str() else {
            return Err(SysError::path("copy", &path, io::Error::other("its name is not UTF-8")));
        };
        let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let meta = match fs::symlink_metadata(&path) {
            Err(e) if passes(&e) => continue,
            meta => meta.map_err(|e| SysError::path("look at", &path, e))?,
        };
        let kind = meta.file_type();
        if kind.is_symlink() {
            let why =
                "it is a symbolic link: what it leads to would not be in the copy; set data_dir to where the data is";
            return Err(SysError::path("copy", &path, io::Error::other(why)));
        }
        if kind.is_socket() || kind.is_fifo() {
            continue;
        }
        if !kind.is_dir() && !kind.is_file() {
            return Err(SysError::path("copy", &path, io::Error::other("it is a device")));
        }
        each(&path, &name, &meta)?;
        if kind.is_dir() {
            below(&path, &name, gone, each)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeName;
    use crate::offline::stores::manifest::Set;
    use std::os::unix::net::UnixListener;

    fn store(entries: Vec<Entry>) -> StoreCopy {
        StoreCopy { node: NodeName::mysql(), set: Set::Mysql, written_by: None, entries }
    }

    #[test]
    fn a_copy_is_whole_and_what_was_changed_in_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("db/empty")).unwrap();
        fs::write(from.join("db/t.ibd"), vec![7; 300_000]).unwrap();
        fs::write(from.join("ibdata1"), "x").unwrap();
        fs::set_permissions(from.join("ibdata1"), fs::Permissions::from_mode(0o640)).unwrap();
        let _socket = UnixListener::bind(from.join("mysql.sock")).unwrap();
        let mut bytes = 0;
        let entries = tree(&from, &to, &mut |n| bytes += n).unwrap();
        let names: Vec<&str> = entries.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(names, ["", "db", "db/empty", "db/t.ibd", "ibdata1"]);
        assert_eq!(bytes, 300_001);
        assert_eq!(fs::metadata(to.join("ibdata1")).unwrap().mode() & 0o777, 0o640);
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(modified(&to.join("db/t.ibd")), modified(&from.join("db/t.ibd")));
        let copy = store(entries);
        assert_eq!(differences(&to, &copy, &mut |_| ()).unwrap(), Vec::<String>::new());
        fs::set_permissions(to.join("ibdata1"), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(differences(&to, &copy, &mut |_| ()).unwrap(), ["mysql/ibdata1 has mode 644, not 640"]);
        fs::set_permissions(to.join("ibdata1"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(to.join("ibdata1"), "y").unwrap();
        fs::write(to.join("db/t.ibd"), "short").unwrap();
        fs::remove_dir(to.join("db/empty")).unwrap();
        fs::write(to.join("more"), "").unwrap();
        let wrong = differences(&to, &copy, &mut |_| ()).unwrap().join("; ");
        let expected = "mysql/db/t.ibd has 5 bytes, not 300000; mysql/ibdata1 has other bytes than it had; mysql/more is not in the \
                        manifest; mysql/db/empty is missing";
        assert_eq!(wrong, expected);
        assert_eq!(differences(&dir.path().join("gone"), &copy, &mut |_| ()).unwrap().len(), 5);
    }

    #[test]
    fn what_a_program_removes_while_room_is_counted_takes_none_and_is_missed_in_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        let fill = || {
            fs::create_dir_all(from.join("b-delete")).unwrap();
            for name in ["a", "b-delete/0.log", "c.tmp"] {
                fs::write(from.join(name), "x").unwrap();
            }
        };
        let seen = |gone: Gone| {
            fill();
            let mut seen = Vec::new();
            let done = walk(&from, gone, &mut |_, name, _| {
                seen.push(name.to_owned());
                match name {
                    "a" => fs::remove_file(from.join("c.tmp")).unwrap(),
                    "b-delete" => fs::remove_dir_all(from.join("b-delete")).unwrap(),
                    _ => {}
                }
                Ok(())
            });
            (done.is_ok(), seen)
        };
        assert_eq!(seen(Gone::Passes), (true, ["", "a", "b-delete"].map(str::to_owned).to_vec()));
        assert!(!seen(Gone::IsAnError).0);
    }

    #[test]
    fn a_link_out_of_the_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir(&from).unwrap();
        std::os::unix::fs::symlink("/elsewhere", from.join("db")).unwrap();
        let e = tree(&from, &dir.path().join("to"), &mut |_| ()).unwrap_err();
        assert!(e.source.to_string().contains("symbolic link"), "{e}: {}", e.source);
    }
}
