//! The program that is supervised: built once from `child.c`, and the times it wrote down.

use crate::report::Measured;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const SOURCE: &str = include_str!("child.c");

/// Builds it into `dir`: static where the C library can be linked so, which makes its start as short as it can be.
pub fn build(dir: &Path) -> Measured<PathBuf> {
    let (source, program) = (dir.join("child.c"), dir.join("child"));
    fs::write(&source, SOURCE).map_err(|e| format!("{}: {e}", source.display()))?;
    let mut said = String::new();
    for link in ["-static", "-O2"] {
        let built = Command::new("cc").args(["-O2", link, "-o"]).arg(&program).arg(&source).output();
        match built {
            Ok(output) if output.status.success() => return Ok(program),
            Ok(output) => said = String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(e) => said = e.to_string(),
        }
    }
    Err(format!("cc cannot build the child: {said}"))
}

/// One start of the child.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Its pid.
    pub pid: i32,
    /// Its first instruction, CLOCK_MONOTONIC.
    pub at: Duration,
}

/// The file that children write their starts into.
#[derive(Debug)]
pub struct Starts(pub PathBuf);

impl Starts {
    /// All so far; a line that is being written is left for the next look.
    pub fn all(&self) -> Vec<Start> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| {
            let (pid, nanos) = line.split_once(' ')?;
            Some(Start { pid: pid.parse().ok()?, at: Duration::from_nanos(nanos.parse().ok()?) })
        };
        whole.lines().filter_map(parse).collect()
    }

    /// Forgets them.
    pub fn clear(&self) {
        let _ = fs::remove_file(&self.0);
    }

    /// Waits until there are `many`.
    pub fn wait(&self, many: usize, limit: Duration) -> Measured<Vec<Start>> {
        let began = Instant::now();
        loop {
            // a look costs as little as the size of the file tells
            let size = fs::metadata(&self.0).map_or(0, |m| m.len());
            if size >= many as u64 * 4 {
                let all = self.all();
                if all.len() >= many {
                    return Ok(all);
                }
            }
            if began.elapsed() > limit {
                return Err(format!("{} of {many} children started within {limit:?}", self.all().len()));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// CLOCK_MONOTONIC now, as the child reads it.
pub fn monotonic() -> Duration {
    // SAFETY is not needed: nix wraps the call; it fails only for a clock that does not exist.
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}
