//! Small files of one directory with a number each, `000007.NAME.json`: the next number, and a bound on how many are kept.

use super::{
    error::SysError,
    fs::{self, Durability},
};
use std::path::Path;

/// The number for the next one, from 1. Numbers of files that went beyond the bound are not used again.
pub fn next(dir: &Path) -> Result<u64, SysError> {
    Ok(all(dir)?.into_iter().map(|(number, _)| number).max().unwrap_or(0) + 1)
}

/// Writes one so that it survives loss of power, and removes the oldest beyond `most`. The directory is made when it is missing.
pub fn keep(dir: &Path, number: u64, name: &str, bytes: &[u8], most: usize) -> Result<(), SysError> {
    fs::make_dir(dir, 0o750)?;
    fs::write_atomic(&dir.join(format!("{number:06}.{name}.json")), bytes, 0o640, Durability::PowerLoss)?;
    let mut all = all(dir)?;
    all.sort_unstable();
    let too_many = all.len().saturating_sub(most);
    for (_, name) in all.into_iter().take(too_many) {
        fs::remove_optional(&dir.join(name))?;
    }
    Ok(())
}

/// Numbers and names of the files; others are passed over.
fn all(dir: &Path) -> Result<Vec<(u64, String)>, SysError> {
    let names = fs::names_in(dir)?;
    Ok(names.into_iter().filter_map(|name| Some((number_of(&name)?, name))).collect())
}

/// `7` of `000007.broker-kill.json`.
fn number_of(name: &str) -> Option<u64> {
    let (number, rest) = name.split_once('.')?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    (digits && rest.strip_suffix(".json")?.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        .then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_numbers_are_never_used_again() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("d");
        assert_eq!(next(&dir).unwrap(), 1);
        for number in 1..=25 {
            keep(&dir, number, "broker-kill", b"{}", 20).unwrap();
        }
        std::fs::write(dir.join("000999.x y.json"), "").unwrap();
        std::fs::write(dir.join(".000998.broker-kill.json.1.tmp"), "").unwrap();
        let mut kept: Vec<u64> = all(&dir).unwrap().into_iter().map(|(number, _)| number).collect();
        kept.sort_unstable();
        assert_eq!((kept.len(), kept[0]), (20, 6));
        assert_eq!(next(&dir).unwrap(), 26);
        assert_eq!(std::fs::read_to_string(dir.join("000006.broker-kill.json")).unwrap(), "{}");
    }
}
