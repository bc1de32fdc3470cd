//! JSON files of our own that a later process goes by: one that is torn is put aside and told of, never taken for an empty one.

use super::{error::SysError, fs};
use serde::de::DeserializeOwned;
use std::{io, path::Path};

/// What was read: the record; and of one that is torn where it lies now, in words that want an end ("…: what follows from it").
pub type Read<T> = (Option<T>, Option<String>);

/// Reads a record; none when there is none, and when it is torn or foreign: then it is moved to `NAME.json.bad`, over the last such.
/// One that cannot be read for other reasons stays where it is.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Read<T>, SysError> {
    let text = match fs::read_optional(path) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok((None, None)),
        // Not UTF-8 is torn as well.
        Err(e) if e.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(e) => return Err(e),
    };
    let e = match serde_json::from_str(&text) {
        Ok(record) => return Ok((Some(record), None)),
        Err(e) => e,
    };
    let aside = path.with_extension("json.bad");
    let kept = match std::fs::rename(path, &aside) {
        Ok(()) => format!(", kept as {}", aside.display()),
        // It is read again and told again.
        Err(_) => String::new(),
    };
    Ok((None, Some(format!("{} is not readable ({e}){kept}", path.display()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Map = BTreeMap<String, u32>;

    #[test]
    fn a_record_is_read_whole_or_put_aside_whatever_byte_it_ends_at() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("a.json"), dir.path().join("a.json.bad"));
        assert_eq!(read::<Map>(&path).unwrap(), (None, None));
        let whole = br#"{"one":1,"two":2}"#;
        std::fs::write(&path, whole).unwrap();
        assert_eq!(read::<Map>(&path).unwrap().0.unwrap().len(), 2);
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (record, torn) = read::<Map>(&path).unwrap();
            let torn = torn.unwrap_or_else(|| panic!("cut at {cut}"));
            assert!(record.is_none() && torn.ends_with(&format!(", kept as {}", aside.display())), "{torn}");
            assert_eq!(std::fs::read(&aside).unwrap(), &whole[..cut]);
            assert!(!path.exists());
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read::<Map>(&path).unwrap().1.is_some());
        std::fs::create_dir(&path).unwrap();
        assert!(read::<Map>(&path).is_err() && path.exists());
    }
}
