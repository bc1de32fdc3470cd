//! Whether a data directory is one that a restore or a reset has begun to exchange and not finished: it may be empty by now, or of
//! another moment than those it belongs to. Nothing is started on it.

use crate::{
    base::Layout,
    sys::{error::SysError, fs},
};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Of the record that `offline::stores::exchange` keeps while it renames what counts here.
#[derive(Debug, Deserialize)]
struct Record {
    swaps: Vec<Swap>,
}

#[derive(Debug, Deserialize)]
struct Swap {
    dir: PathBuf,
}

/// Looks into the record, if there is one. Blocks for one small file.
pub(super) fn is_half(layout: &Layout, dir: &Path) -> Result<bool, SysError> {
    let Some(text) = fs::read_lossy_optional(&layout.exchange())? else { return Ok(false) };
    // One that cannot be read may be about any of them.
    let record = serde_json::from_str::<Record>(&text);
    Ok(record.map_or(true, |record| record.swaps.iter().any(|swap| swap.dir == dir)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_record_names_is_half_exchanged_and_a_torn_record_names_all() {
        let place = tempfile::tempdir().unwrap();
        let layout = Layout::new(place.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        let (theirs, other) = (Path::new("/srv/mysql"), Path::new("/srv/zookeeper"));
        assert!(!is_half(&layout, theirs).unwrap());
        let record = r#"{"schema":1,"what":"restore s","swaps":[{"dir":"/srv/mysql","new":true}],"secrets":null}"#;
        std::fs::write(layout.exchange(), record).unwrap();
        assert!(is_half(&layout, theirs).unwrap() && !is_half(&layout, other).unwrap());
        std::fs::write(layout.exchange(), &record[..20]).unwrap();
        assert!(is_half(&layout, theirs).unwrap() && is_half(&layout, other).unwrap());
    }
}
