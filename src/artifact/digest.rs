//! Digests of downloaded files: what is pinned, what came, and the formats in which vendors publish them.

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;

/// A digest algorithm that vendors publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// MD5: tells a damaged file from a whole one, and proves nothing about who made it.
    Md5,
}

impl Algorithm {
    fn digits(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
            Algorithm::Md5 => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512 => "SHA-512",
            Algorithm::Md5 => "MD5",
        })
    }
}

/// Digests of one file, lower-case hex. Wanted ones: those that are known. Found ones: all that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Digests {
    /// SHA-256.
    pub sha256: Option<String>,
    /// SHA-512.
    pub sha512: Option<String>,
    /// MD5.
    pub md5: Option<String>,
}

/// Other bytes than wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// By which digest.
    pub algorithm: Algorithm,
    /// The wanted one.
    pub wanted: String,
    /// What the bytes have.
    pub found: String,
}

impl Digests {
    /// One digest.
    pub fn of(algorithm: Algorithm, hex: &str) -> Self {
        let mut digests = Self::default();
        *digests.place(algorithm) = Some(hex.to_owned());
        digests
    }

    fn place(&mut self, algorithm: Algorithm) -> &mut Option<String> {
        match algorithm {
            Algorithm::Sha256 => &mut self.sha256,
            Algorithm::Sha512 => &mut self.sha512,
            Algorithm::Md5 => &mut self.md5,
        }
    }

    fn each(&self) -> impl Iterator<Item = (Algorithm, &String)> {
        let all = [(Algorithm::Sha256, &self.sha256), (Algorithm::Sha512, &self.sha512), (Algorithm::Md5, &self.md5)];
        all.into_iter().filter_map(|(algorithm, hex)| Some((algorithm, hex.as_ref()?)))
    }

    /// Refuses what is no lower-case hex of the right length.
    pub fn check(&self) -> Result<(), String> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match self.each().find(|(a, text)| text.len() != a.digits() || !text.bytes().all(hex)) {
            Some((a, text)) => Err(format!("{text:?} is no {a}: {} lower-case hex digits", a.digits())),
            None => Ok(()),
        }
    }

    /// The first wanted digest that `found` does not have. A wanted one that was not computed counts as wrong.
    pub fn mismatch(&self, found: &Digests) -> Option<Mismatch> {
        self.each().find_map(|(algorithm, wanted)| {
            let found = found.clone().place(algorithm).clone().unwrap_or_default();
            (found != *wanted).then(|| Mismatch { algorithm, wanted: wanted.clone(), found })
        })
    }
}

/// Digests bytes as they come: SHA-256 always, because it is what is recorded; the others when they are wanted.
#[derive(Clone, Debug)]
pub struct Hasher {
    sha256: Sha256,
    sha512: Option<Sha512>,
    md5: Option<Md5>,
}

impl Hasher {
    /// For a file of which these are wanted.
    pub fn new(sha512: bool, md5: bool) -> Self {
        Self { sha256: Sha256::new(), sha512: sha512.then(Sha512::new), md5: md5.then(Md5::new) }
    }

    /// Whether SHA-512 is computed.
    pub fn wants_sha512(&self) -> bool {
        self.sha512.is_some()
    }

    /// Whether MD5 is computed.
    pub fn wants_md5(&self) -> bool {
        self.md5.is_some()
    }

    /// More bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sum) = &mut self.sha512 {
            sum.update(bytes);
        }
        if let Some(sum) = &mut self.md5 {
            sum.update(bytes);
        }
    }

    /// What it came to.
    pub fn finish(self) -> Digests {
        Digests {
            sha256: Some(hex(&self.sha256.finalize())),
            sha512: self.sha512.map(|s| hex(&s.finalize())),
            md5: self.md5.map(|s| hex(&s.finalize())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The digest of `file` in what a vendor publishes beside it. Three formats are read: that of `sha256sum` (also a bare
/// digest), that of BSD's `sha256` (`SHA256 (NAME) = HEX`), and that of `gpg --print-md` (`NAME: HEX HEX …`, upper case, in
/// groups over several lines), which Apache uses (apache/kafka release.py).
pub fn published(text: &str, file: &str, algorithm: Algorithm) -> Result<String, String> {
    let is_hex = |t: &str| t.len() == algorithm.digits() && t.bytes().all(|b| b.is_ascii_hexdigit());
    let names = |name: &str| name.rsplit('/').next().is_some_and(|n| n == file);
    for line in text.lines() {
        let line = line.trim();
        let mut words = line.splitn(2, char::is_whitespace);
        let (first, rest) = (words.next().unwrap_or_default(), words.next().map(str::trim));
        if is_hex(first) && rest.is_none_or(|name| names(name.trim_start_matches('*'))) {
            return Ok(first.to_ascii_lowercase());
        }
        if let Some((head, hex)) = line.rsplit_once(") = ")
            && is_hex(hex.trim())
            && head.split_once(" (").is_some_and(|(_, name)| names(name))
        {
            return Ok(hex.trim().to_ascii_lowercase());
        }
    }
    // Everything behind the colon, white space left out.
    if let Some((name, rest)) = text.split_once(':')
        && names(name.trim())
    {
        let joined: String = rest.split_whitespace().collect();
        if is_hex(&joined) {
            return Ok(joined.to_ascii_lowercase());
        }
    }
    let begin: String = text.trim().chars().take(60).collect();
    Err(format!("what is published as {algorithm} of {file} holds none: {begin:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-512, SHA-256 and MD5 of `abc` (FIPS 180-2, appendices B.1 and C.1; RFC 1321, A.5).
    const ABC: [&str; 3] = [
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "900150983cd24fb0d6963f7d28e17f72",
    ];

    #[test]
    fn bytes_in_pieces_have_the_digests_of_the_whole() {
        let mut hasher = Hasher::new(true, true);
        for piece in ["a", "", "bc"] {
            hasher.update(piece.as_bytes());
        }
        let found = hasher.finish();
        assert_eq!([found.sha256.as_deref(), found.sha512.as_deref(), found.md5.as_deref()], ABC.map(Some));
        assert_eq!(Digests::of(Algorithm::Sha512, ABC[1]).mismatch(&found), None);
        let other = Digests::of(Algorithm::Md5, &ABC[2].replace('9', "8")).mismatch(&found).unwrap();
        assert_eq!((other.algorithm, other.found.as_str()), (Algorithm::Md5, ABC[2]));
        let none = Digests::of(Algorithm::Sha512, ABC[1]).mismatch(&Hasher::new(false, false).finish()).unwrap();
        assert_eq!(none.found, "", "what was not computed is not right");
    }

    #[test]
    fn every_format_of_vendors_is_read() {
        let file = "kafka_2.13-3.5.2.tgz";
        let gpg = "kafka_2.13-3.5.2.tgz: DDAF35A1 93617ABA CC417349 AE204131 12E6FA4E 89A97EA2\n                      \
                   0A9EEEE6 4B55D39A 2192992A 274FC1A8 36BA3C23 A3FEEBBD 454D4423\n                      643CE80E 2A9AC94F A54CA49F\n";
        assert_eq!(published(gpg, file, Algorithm::Sha512).unwrap(), ABC[1]);
        for text in [
            format!("{}  {file}\n", ABC[0]),
            format!("{} *{file}\n", ABC[0].to_uppercase()),
            format!("{}\n", ABC[0]),
            format!("{}  other\n{}  ./dist/{file}\n", "0".repeat(64), ABC[0]),
            format!("SHA256 ({file}) = {}\n", ABC[0]),
            format!("{}  {file}", ABC[0]),
        ] {
            assert_eq!(published(&text, file, Algorithm::Sha256).unwrap(), ABC[0], "{text}");
        }
        assert_eq!(published(&format!("{}  {file}\r\n", ABC[2]), file, Algorithm::Md5).unwrap(), ABC[2]);
        for text in [
            String::new(),
            "<!DOCTYPE html><html>".into(),
            format!("{}  another.tgz\n", ABC[0]),
            format!("{file}: {}", &ABC[0][..60]),
            format!("{}  {file}\n", ABC[2]),
        ] {
            assert!(published(&text, file, Algorithm::Sha256).is_err(), "{text}");
        }
    }
}
