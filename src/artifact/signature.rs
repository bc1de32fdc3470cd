//! OpenPGP signatures, verified by the machine's own `gpgv` against keys that are pinned by fingerprint.
//!
//! Where a key was downloaded from proves nothing and need not: only a signature by a key with a known fingerprint counts. An
//! expired key is accepted: vendors extend the same key years later (MySQL's of 2023 and 2025), and digests are pinned besides.

use super::{
    ArtifactError, Host,
    apt::{Helper, utf8},
    store::Work,
};
use crate::sys::{
    command::Cancel,
    fs::{self as sysfs, Durability},
};
use std::{path::Path, time::Duration};

/// Longest time for a signature over a gigabyte; it takes seconds.
const LIMIT: Duration = Duration::from_secs(300);

/// A file, its detached signature, and a key that may have made it.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Its name for people.
    pub file: &'a str,
    /// The file.
    pub signed: &'a Path,
    /// The signature, armoured or not.
    pub signature: &'a [u8],
    /// Keys, armoured or not.
    pub key: &'a [u8],
}

impl Signed<'_> {
    /// Refuses when no key of `fingerprints` has signed exactly these bytes.
    pub fn verify(
        self,
        host: &Host,
        fingerprints: &[String],
        work: &Work,
        cancel: &Cancel,
    ) -> Result<(), ArtifactError> {
        let program = host.gpgv.as_deref().ok_or(ArtifactError::NoTool { program: "gpgv", to: "verify signatures" })?;
        let place = work.sub(&format!("signature-{}", self.file))?;
        let (ring, signature) = (place.join("key.gpg"), place.join("signature.gpg"));
        for (path, bytes) in [(&ring, self.key), (&signature, self.signature)] {
            // Older versions of gpgv read keyrings only without armour.
            let bare = bare(bytes).ok_or_else(|| self.bad("it is no OpenPGP data".into()))?;
            sysfs::write_atomic(path, &bare, 0o600, Durability::ProcessCrash)?;
        }
        let gpgv = Helper { name: "gpgv", program, env: host.helper_environment(&place), dir: &place };
        let args = ["--status-fd", "1", "--keyring", utf8(&ring)?, utf8(&signature)?, utf8(self.signed)?];
        let done = gpgv.try_run(&args, "verify a signature", LIMIT, cancel)?;
        judge(&done.stdout, fingerprints).map_err(|why| self.bad(why))
    }

    fn bad(&self, why: String) -> ArtifactError {
        ArtifactError::Signature { file: self.file.to_owned(), why }
    }
}

/// Judges gpgv's status lines (gnupg doc/DETAILS): `VALIDSIG` names the key that signed and, last, the primary key it belongs
/// to. gpgv's exit code is not asked: it refuses expired keys.
fn judge(status: &str, fingerprints: &[String]) -> Result<(), String> {
    let lines = || status.lines().filter_map(|l| l.strip_prefix("[GNUPG:] "));
    let first = |l: &str| l.split(' ').next().unwrap_or_default().to_owned();
    if let Some(bad) = lines().find(|l| ["BADSIG", "ERRSIG", "REVKEYSIG", "NODATA"].contains(&first(l).as_str())) {
        return Err(format!("gpgv says {bad}"));
    }
    let valid: Vec<&str> = lines().filter_map(|l| l.strip_prefix("VALIDSIG ")).collect();
    let primary = |l: &&str| l.split(' ').next_back().unwrap_or_default().to_owned();
    match valid.first() {
        None => Err("gpgv found no signature that holds".into()),
        Some(_) if valid.iter().any(|l| fingerprints.contains(&primary(l))) => Ok(()),
        Some(line) => Err(format!("it was made by the key {}, which is not a known one", primary(line))),
    }
}

/// The bytes without their armour (RFC 9580, 6.2): the base64 between the blank line and the checksum.
fn bare(bytes: &[u8]) -> Option<Vec<u8>> {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|t| t.contains("-----BEGIN PGP ")) else {
        // The first byte of any packet has its highest bit set (RFC 9580, 4.2).
        return bytes.first().is_some_and(|b| b & 0x80 != 0).then(|| bytes.to_vec());
    };
    let mut all = Vec::new();
    let mut inside = false;
    let mut data = false;
    for line in text.lines().map(str::trim_end) {
        if line.starts_with("-----BEGIN PGP ") {
            (inside, data) = (true, false);
        } else if line.starts_with("-----END PGP ") {
            inside = false;
        } else if inside && line.is_empty() {
            data = true;
        } else if inside && data && !line.starts_with('=') {
            base64(line, &mut all)?;
        }
    }
    (!all.is_empty()).then_some(all)
}

/// One line of base64, whole groups of four.
fn base64(line: &str, into: &mut Vec<u8>) -> Option<()> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let bytes = line.trim_end_matches('=').as_bytes();
    for group in bytes.chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            bits = bits << 6 | u32::from(value(*byte)?);
        }
        bits <<= 6 * (4 - group.len());
        into.extend_from_slice(bits.to_be_bytes().get(1..group.len())?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "BCA43417C3B485DD128EC6D4B7B3B788A8D3785C";

    #[test]
    fn only_a_signature_of_a_known_primary_key_holds() {
        let known = [KNOWN.to_owned()];
        let valid = |primary: &str| {
            format!(
                "[GNUPG:] NEWSIG\n[GNUPG:] EXPKEYSIG B7B3 x\n[GNUPG:] VALIDSIG 00AA 2026-01-01 1 0 4 0 1 10 00 {primary}\n"
            )
        };
        assert_eq!(judge(&valid(KNOWN), &known), Ok(()), "expired, and the known key");
        assert!(judge(&valid("859BE8D7"), &known).unwrap_err().contains("the key 859BE8D7, which is not a known one"));
        assert!(judge("[GNUPG:] BADSIG B7B3 x\n", &known).unwrap_err().contains("BADSIG"));
        assert!(judge(&format!("{}[GNUPG:] BADSIG B7B3 x\n", valid(KNOWN)), &known).is_err());
        assert!(judge("", &known).is_err());
        assert!(judge(&format!("VALIDSIG {KNOWN}\n"), &known).is_err(), "no status line of gpgv's");
    }

    #[test]
    fn armour_is_taken_off_and_bare_bytes_stay() {
        let armoured =
            "noise\n-----BEGIN PGP SIGNATURE-----\nVersion: 1\n\nmQENBF8=\nAAEC\n=abcd\n-----END PGP SIGNATURE-----\n";
        assert_eq!(bare(armoured.as_bytes()).unwrap(), [0x99, 0x01, 0x0d, 0x04, 0x5f, 0, 1, 2]);
        assert_eq!(bare(&[0x99, 1]).unwrap(), [0x99, 1]);
        for bad in [&b"<html>"[..], b"", b"-----BEGIN PGP SIGNATURE-----\n\n*\n-----END PGP SIGNATURE-----\n"] {
            assert_eq!(bare(bad), None);
        }
    }
}
