//! What a node was launched with: the parts of a recipe that only a new start can change, as kept beside its run.

use super::recipe::{LogPolicy, Recipe};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt::Write as _, path::PathBuf};

/// What one start of a node was made of. Written down before the launch, so that a later daemon can tell what runs from
/// what the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launched {
    /// Its configuration files as they were written.
    pub files: Vec<LaunchedFile>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub dir: PathBuf,
    /// The user it became; none: the daemon's own.
    pub user: Option<String>,
    /// `RLIMIT_NOFILE`.
    pub nofile: u64,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// Whether it was given a `NOTIFY_SOCKET`.
    pub notify: bool,
    /// How its shim keeps the log: key and value, as in `[….log]`. Not part of what it *is*: see [`Launched::digest`].
    #[serde(default)]
    pub log: Vec<(String, String)>,
}

/// One configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchedFile {
    /// Where.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// The text.
    pub contents: String,
}

impl LaunchedFile {
    /// The lines that mean something to the program that reads it: in every form we write, one that begins with `#` is a
    /// comment (a value that the user sets to our default only changes one).
    pub fn meaning(&self) -> impl Iterator<Item = &str> {
        self.contents.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty())
    }

    /// Whether a program that reads either would do the same.
    pub fn means_the_same_as(&self, other: &Self) -> bool {
        self.path == other.path && self.mode == other.mode && self.meaning().eq(other.meaning())
    }
}

impl Recipe {
    /// What a start by this recipe is made of.
    pub fn launched(&self) -> Launched {
        let file = |f: &super::recipe::RenderedFile| LaunchedFile {
            path: f.path.clone(),
            mode: f.mode,
            contents: f.contents.clone(),
        };
        let launch = &self.launch;
        Launched {
            files: self.files.iter().map(file).collect(),
            argv: launch.argv.clone(),
            env: launch.env.clone(),
            dir: launch.dir.clone(),
            user: launch.user.clone(),
            nofile: launch.nofile,
            oom_score_adj: launch.oom_score_adj,
            notify: launch.notify,
            log: log_settings(&self.log),
        }
    }
}

/// A log policy as keys and values.
fn log_settings(log: &LogPolicy) -> Vec<(String, String)> {
    vec![("log.max_bytes".into(), log.max_bytes.to_string()), ("log.keep".into(), log.keep.to_string())]
}

impl Launched {
    /// SHA-256, in hex. The log's settings are left out: they say how the shim keeps the output, not what the node is, and
    /// a node need not be restarted for them.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        // Each part with its length in front, so that no two different lists run together into the same bytes.
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for file in &self.files {
            part(b"file");
            part(file.path.as_os_str().as_encoded_bytes());
            part(&file.mode.to_le_bytes());
            for line in file.meaning() {
                part(line.as_bytes());
            }
        }
        for argument in &self.argv {
            part(b"argument");
            part(argument.as_bytes());
        }
        for (name, value) in &self.env {
            part(b"variable");
            part(name.as_bytes());
            part(value.as_bytes());
        }
        part(self.dir.as_os_str().as_encoded_bytes());
        part(self.user.as_deref().unwrap_or_default().as_bytes());
        part(&self.nofile.to_le_bytes());
        part(&self.oom_score_adj.to_le_bytes());
        part(&[u8::from(self.user.is_some()), u8::from(self.notify)]);
        let mut hex = String::new();
        for byte in hash.finalize() {
            // Writing into a String does not fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Launched {
        Launched {
            files: vec![LaunchedFile { path: "/r/a".into(), mode: 0o640, contents: "x=1\n".into() }],
            argv: vec!["/bin/a".into(), "b".into()],
            env: vec![("A".into(), "1".into())],
            dir: "/r".into(),
            user: None,
            nofile: 1024,
            oom_score_adj: 0,
            notify: false,
            log: vec![("log.keep".into(), "5".into())],
        }
    }

    #[test]
    fn every_part_but_the_log_and_comments_changes_the_digest() {
        let digest = sample().digest();
        let changes: [fn(&mut Launched); 9] = [
            |l| l.files[0].contents.push('2'),
            |l| l.files[0].mode = 0o600,
            |l| l.argv[1].push('c'),
            |l| l.argv = vec!["/bin/ab".into(), String::new()],
            |l| l.env[0].1 = "2".into(),
            |l| l.dir = "/".into(),
            |l| l.user = Some(String::new()),
            |l| l.nofile += 1,
            |l| l.notify = true,
        ];
        for (nth, change) in changes.iter().enumerate() {
            let mut other = sample();
            change(&mut other);
            assert_ne!(other.digest(), digest, "change {nth}");
        }
        let mut other = sample();
        other.log.clear();
        other.files[0].contents.insert_str(0, "# set in supervisor.toml\n");
        assert_eq!(other.digest(), digest, "neither does a comment");
        assert!(other.files[0].means_the_same_as(&sample().files[0]));
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let text = serde_json::to_string(&sample()).unwrap();
        assert_eq!(serde_json::from_str::<Launched>(&text).unwrap(), sample());
    }
}
