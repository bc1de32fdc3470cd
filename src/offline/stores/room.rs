//! Whether copies fit where they are to go: counted by file system, all that is to be copied together.

use super::{StoreError, copy};
use crate::{
    base::ByteSize,
    sys::{copy::share_blocks, error::SysError, failpoint::fail_point, host},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// What copies into one file system take, and what is free there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need<'a> {
    /// The first directory there that something is copied into.
    place: &'a Path,
    wanted: u64,
    free: u64,
    /// What must stay free there besides, so that nodes start again afterwards.
    stays: u64,
}

/// Whether all these copies fit: each from a directory to one below a place. Where blocks can be shared they take next to nothing.
pub(super) fn enough<'a>(copies: impl Iterator<Item = (&'a Path, &'a Path)>) -> Result<(), StoreError> {
    beside(copies, |_, _| Ok(0))
}

/// The same with what copies that stay leave of each file system, by its device and a directory there.
pub(super) fn beside<'a>(
    copies: impl Iterator<Item = (&'a Path, &'a Path)>,
    stays: impl Fn(u64, &Path) -> Result<u64, SysError>,
) -> Result<(), StoreError> {
    let mut needs: BTreeMap<u64, Need<'a>> = BTreeMap::new();
    for (from, place) in copies {
        // One that is not there yet is made in the one above.
        let there = place.ancestors().find(|dir| dir.is_dir()).unwrap_or(place);
        let device = std::fs::metadata(there).map_err(|e| SysError::path("look at", there, e))?.dev();
        let wanted = if shares(from, there) { 0 } else { copy::taken(from)? };
        if let Some(need) = needs.get_mut(&device) {
            need.wanted += wanted;
        } else {
            needs
                .insert(device, Need { place, wanted, free: host::free_space(there)?.0, stays: stays(device, there)? });
        }
    }
    let lacking: Vec<String> = needs.values().filter_map(lacks).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let hint = "make room; a directory of snapshots can be a link to one on another disk";
    Err(StoreError::refused(lacking.join("; "), hint))
}

/// Why it does not fit; none: it does.
fn lacks(need: &Need<'_>) -> Option<String> {
    // File systems slow down and fragment near their end, and mysqld and the brokers must go on afterwards.
    let wanted = need.wanted + (need.wanted / 20).max(need.stays);
    (need.wanted > 0 && wanted > need.free).then(|| {
        let place = need.place.display();
        let (free, stays) = (ByteSize(need.free), ByteSize(need.stays));
        let besides = if need.stays > 0 { format!(" ({stays} of it stay free: [disk])") } else { String::new() };
        format!("the copy needs {} below {place}{besides}, and {free} are free", ByteSize(wanted))
    })
}

/// Whether a file of `dir` can share its blocks with one in `place`: tried with two files that have no name (`O_TMPFILE`, open(2)),
/// so that nothing is left in data or in a snapshot by whoever is killed meanwhile. Where that cannot be made nothing is shared.
fn shares(dir: &Path, place: &Path) -> bool {
    let nameless =
        |dir: &Path| File::options().read(true).write(true).mode(0o600).custom_flags(nix::libc::O_TMPFILE).open(dir);
    let tried = || -> std::io::Result<bool> {
        let (mut source, target) = (nameless(dir)?, nameless(place)?);
        source.write_all(&[1; 4096])?;
        fail_point!("stores.sharing");
        Ok(share_blocks(&source, &target))
    };
    tried().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_leave_a_twentieth_is_refused_with_both_figures() {
        let need = |wanted, free| Need { place: Path::new("/srv/kafka"), wanted, free, stays: 0 };
        assert_eq!(lacks(&need(20 << 30, 21 << 30)), None);
        assert_eq!(lacks(&need(20 << 30, 20 << 30)).unwrap(), "the copy needs 21G below /srv/kafka, and 20G are free");
    }

    #[test]
    fn a_copy_that_would_hold_the_brokers_down_afterwards_is_refused() {
        let need = |wanted, free, stays| Need { place: Path::new("/srv/kafka"), wanted, free, stays };
        let (gib, mib) = (1 << 30, 1 << 20);
        assert_eq!(
            lacks(&need(4 * gib, 4 * gib + 256 * mib, gib)).unwrap(),
            "the copy needs 5G below /srv/kafka (1G of it stay free: [disk]), and 4352M are free"
        );
        assert_eq!(lacks(&need(4 * gib, 5 * gib, gib)), None);
        assert_eq!(lacks(&need(0, gib / 2, gib)), None, "blocks are shared: nothing is taken");
    }

    #[test]
    fn copies_that_fit_one_by_one_and_not_together_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (from, place) = (dir.path().join("from"), dir.path().join("not/there/yet"));
        std::fs::create_dir(&from).unwrap();
        std::fs::write(from.join("data"), vec![7; 64 << 20]).unwrap();
        let times = |n: usize| enough(std::iter::repeat_n((from.as_path(), place.as_path()), n));
        times(1).unwrap();
        if shares(&from, dir.path()) {
            return;
        }
        let free = host::free_space(dir.path()).unwrap().0;
        let e = times(usize::try_from(free / (32 << 20)).unwrap().min(1 << 20)).unwrap_err();
        assert!(matches!(&e, StoreError::Refused(what, _) if what.contains("not/there/yet")), "{e}");
    }
}
