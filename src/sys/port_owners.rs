//! Who listens on which port, written down by root for a daemon that may not look: without capabilities and under
//! `ProtectProc=invisible` another user's process cannot be found (proc(5), hidepid).

use super::net::PortOwner;
use crate::base::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Where the unit has it written (`ExecStartPre=`); the directory is root's, made by tmpfiles.d.
pub const FILE: &str = "/run/cdc-supervisor/port-owners.json";

/// One listener. It is told from a later one on the same port by the socket's inode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub(super) inode: u64,
    pid: i32,
    command: Option<String>,
    user: Option<String>,
    since: Option<Timestamp>,
    address: SocketAddr,
}

impl Noted {
    /// None when it is not known which process it is.
    pub(super) fn of(inode: u64, owner: PortOwner) -> Option<Self> {
        let PortOwner { pid, command, user, since, address } = owner;
        Some(Self { inode, pid: pid?, command, user, since, address })
    }
}

/// Replaces `file` by these. The directory must be one that only its writer may change.
pub(super) fn write(file: &Path, noted: &[Noted]) -> io::Result<()> {
    let new = file.with_extension("new");
    match fs::remove_file(&new) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&new)?;
    // the unit's umask takes the group's right away, and the group is who reads it
    out.set_permissions(Permissions::from_mode(0o640))?;
    out.write_all(serde_json::to_string(noted)?.as_bytes())?;
    fs::rename(&new, file)
}

/// Who was noted for the socket; none when nobody was, or there is no such file.
pub(super) fn find(file: &Path, inode: u64) -> Option<PortOwner> {
    let noted: Vec<Noted> = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let Noted { pid, command, user, since, address, .. } = noted.into_iter().find(|n| n.inode == inode)?;
    Some(PortOwner { pid: Some(pid), command, user, since, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_by_its_socket_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("port-owners.json");
        assert_eq!(find(&file, 7), None);
        let owner = PortOwner {
            pid: Some(4711),
            command: Some("python3 -m http.server 9092".into()),
            user: Some("kim".into()),
            since: Some(Timestamp(1)),
            address: "0.0.0.0:9092".parse().unwrap(),
        };
        let unseen = PortOwner { pid: None, ..owner.clone() };
        assert_eq!(Noted::of(8, unseen), None);
        for _ in 0..2 {
            write(&file, &[Noted::of(7, owner.clone()).unwrap()]).unwrap();
        }
        assert_eq!(find(&file, 7), Some(owner));
        assert_eq!(find(&file, 8), None);
        fs::write(&file, "{").unwrap();
        assert_eq!(find(&file, 7), None);
    }
}
