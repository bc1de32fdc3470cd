//! Whom this process acts as. Root lays its rights down where another user could lead it astray: whatever that user renames or
//! links meanwhile, a path then leads no further than their own rights do.

use super::{confine::User, error::SysError};
use nix::unistd::{Gid, Uid, getgid, getuid, setegid, seteuid, setgroups};
use std::io;

/// Acts as this user from here on, with every thread; none: as root again. Changes nothing in a process that root did not start.
///
/// The real and the saved uid stay 0, so there is a way back, and nobody else may trace this process or send it signals
/// (credentials(7), ptrace(2)).
pub fn act_as(user: Option<&User>) -> Result<(), SysError> {
    if !getuid().is_root() || (user.is_none() && nix::unistd::geteuid().is_root()) {
        return Ok(());
    }
    let change = || -> nix::Result<()> {
        seteuid(Uid::from_raw(0))?;
        match user {
            Some((uid, gid, groups)) => {
                let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
                setgroups(&groups)?;
                setegid(Gid::from_raw(*gid))?;
                seteuid(Uid::from_raw(*uid))
            }
            None => {
                setgroups(&[])?;
                setegid(getgid())
            }
        }
    };
    let whom = user.map_or(0, |(uid, _, _)| *uid);
    change().map_err(|e| SysError::new(format!("act as uid {whom}"), io::Error::from(e)))
}
