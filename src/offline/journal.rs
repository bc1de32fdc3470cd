//! The daemon's own log out of systemd's journal, for the verb `logs`: journalctl(1) writes it into a file that is followed like
//! any other log.

use crate::{
    base::{Layout, Timestamp},
    sys::command::find_program,
};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What is asked of the journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// At most so many of the last lines.
    pub last: Option<usize>,
    /// Only what is as new as this.
    pub since: Option<Timestamp>,
    /// It is gone on with as more is written.
    pub follow: bool,
}

/// What journalctl has written and may still write. Both end with this value.
#[derive(Debug)]
pub struct FromJournal {
    dir: PathBuf,
    child: Option<Child>,
}

/// How long a journal is searched: one of gigabytes on a slow disk takes seconds.
const WITHIN: Duration = Duration::from_secs(60);

/// How long the first lines are waited for when it goes on afterwards.
const FIRST: Duration = Duration::from_millis(500);

impl FromJournal {
    /// Has journalctl write what is wanted of the daemon that serves this root. The error says what to do.
    pub fn read(layout: &Layout, wanted: Wanted) -> Result<Self, String> {
        let program =
            find_program("journalctl").ok_or("journalctl is not here: this machine has no systemd journal")?;
        let dir = std::env::temp_dir().join(format!("cdc-supervisor-journal.{}", std::process::id()));
        let failed = |what: &str, e: std::io::Error| format!("{what} {}: {e}", dir.display());
        // One of an earlier process of this number.
        let _ = std::fs::remove_dir_all(&dir);
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .create(&dir)
            .map_err(|e| failed("cannot make", e))?;
        let mut journal = Self { dir: dir.clone(), child: None };
        let file = File::create(journal.path()).map_err(|e| failed("cannot write into", e))?;
        let mut child = command(&program, layout, wanted)
            .stdout(file)
            .spawn()
            .map_err(|e| format!("cannot run {}: {e}", program.display()))?;
        let began = Instant::now();
        let limit = if wanted.follow { FIRST } else { WITHIN };
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(journal),
                Ok(Some(_)) => {
                    let mut words = String::new();
                    if let Some(mut errors) = child.stderr.take() {
                        // What it did not say is not there to be told.
                        let _ = errors.read_to_string(&mut words);
                    }
                    return Err(format!("journalctl: {}", words.trim().lines().last().unwrap_or("it failed")));
                }
                Ok(None) if began.elapsed() < limit => thread::sleep(Duration::from_millis(10)),
                Ok(None) if wanted.follow => {
                    journal.child = Some(child);
                    return Ok(journal);
                }
                Ok(None) => {
                    journal.child = Some(child);
                    return Err(format!("journalctl does not end within {} s", WITHIN.as_secs()));
                }
                Err(e) => return Err(format!("journalctl: {e}")),
            }
        }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.dir.join("log")
    }
}

impl Drop for FromJournal {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// `-t` finds what any daemon of ours wrote, the field the ones that served this root.
fn command(program: &Path, layout: &Layout, wanted: Wanted) -> Command {
    let mut command = Command::new(program);
    command.args(["--quiet", "--no-pager", "--utc", "--no-hostname", "--output=short-iso-precise"]);
    command.arg("--identifier=cdc-supervisor");
    if let Some(since) = wanted.since {
        // journalctl(1): "@" and seconds since 1970, with a fraction
        command.arg(format!("--since=@{}.{:03}", since.0.div_euclid(1_000), since.0.rem_euclid(1_000)));
    }
    match wanted.last {
        Some(last) => command.arg(format!("--lines={last}")),
        None => command.arg("--lines=all"),
    };
    if wanted.follow {
        command.arg("--follow");
    }
    command.arg(format!("CDC_ROOT={}", layout.root().display()));
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_asked_for_this_root_and_for_what_is_wanted() {
        let layout = Layout::new("/r");
        let wanted = Wanted { last: Some(20), since: Some(Timestamp(1_763_867_279_042)), follow: true };
        let command = command(Path::new("/bin/journalctl"), &layout, wanted);
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        for wanted in
            ["--since=@1763867279.042", "--lines=20", "--follow", "CDC_ROOT=/r", "--identifier=cdc-supervisor"]
        {
            assert!(arguments.iter().any(|a| a == wanted), "{wanted}: {arguments:?}");
        }
    }
}
