//! One child that writes 100-byte lines as fast as it can, into: our log with rotation, `cat > file`, s6-log. The time is
//! from its first instruction until every byte can be read from the files.

use crate::{
    Bench,
    child::{Starts, monotonic},
    ours::{LIMIT, Ours},
    peers, proc,
    report::{Figure, Measured, median},
};
use nix::sys::signal::Signal;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Bytes of a line, its end included.
const LINE: usize = 100;

/// Lines per second, three ways in turns.
pub fn figure(bench: &Bench) -> Measured<Figure> {
    let lines: usize = if bench.short { 200_000 } else { 5_000_000 };
    let rounds = bench.rounds(5, 1);
    let starts = Starts(bench.file("flood"));
    let size = lines * LINE;
    let (mut ours, mut cat, mut s6) = (Vec::new(), Vec::new(), Vec::new());
    // the first round warms up
    for round in 0..=rounds {
        let (a, b) = (through_ours(bench, &starts, lines)?, through_cat(bench, &starts, lines)?);
        let c = peers::find("s6-log").map(|logger| through_s6(bench, &starts, lines, &logger)).transpose()?;
        if round > 0 {
            ours.push(a);
            cat.push(b);
            s6.extend(c);
        }
    }
    let rate = |times: &[Duration]| lines as f64 / median(times).as_secs_f64() / 1e6;
    let ratio = rate(&ours) / rate(&cat);
    let peer =
        if s6.is_empty() { "s6-log is not installed (package s6)".into() } else { format!("s6-log {:.1}", rate(&s6)) };
    Ok(Figure {
        what: "100-byte lines into the log, M lines/s".into(),
        ours: format!("{:.1}", rate(&ours)),
        against: format!("cat > file {:.1}; {peer}", rate(&cat)),
        ratio: Some(ratio),
        reach: ">= 0.7 x cat".into(),
        reached: Some(ratio >= 0.7),
        rounds,
        notes: vec![format!(
            "{lines} lines ({} MB) each round, our log rotated every 32 MB; after each round every line was there once, in order, and no file ended inside a line",
            size / 1_000_000
        )],
    })
}

fn through_ours(bench: &Bench, starts: &Starts, lines: usize) -> Measured<Duration> {
    starts.clear();
    let argv = [bench.child.display().to_string(), "flood".into(), starts.0.display().to_string(), lines.to_string()];
    let toml = format!(
        "[logs]\ncompress = false\n[command.flood]\nargv = {argv:?}\nmemory_max = \"8M\"\nrestart = \"never\"\n[command.flood.log]\nmax_bytes = \"32M\"\nkeep = 1000\n"
    );
    let mut ours = Ours::new(&bench.programs, &toml)?;
    ours.start()?;
    let dir = ours.home().join("r/nodes/flood/log");
    let took = until_on_disk(starts, &dir, lines * LINE)?;
    let mut files = cdc_supervisor::logs::writer::rotated_files(&dir).map_err(|e| e.to_string())?;
    files.push(dir.join(cdc_supervisor::logs::writer::CURRENT));
    check(&files, lines)?;
    Ok(took)
}

fn through_cat(bench: &Bench, starts: &Starts, lines: usize) -> Measured<Duration> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let file = dir.path().join("log");
    let into = File::create(&file).map_err(|e| e.to_string())?;
    let took = through(bench, starts, lines, dir.path(), Command::new("cat").stdout(into))?;
    check(&[file], lines)?;
    Ok(took)
}

fn through_s6(bench: &Bench, starts: &Starts, lines: usize, logger: &Path) -> Measured<Duration> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    // 16 MB is the most it takes; all kept, so that every line can be looked for
    through(bench, starts, lines, dir.path(), Command::new(logger).args(["-b", "n100000", "s16777215"]).arg(dir.path()))
}

fn through(bench: &Bench, starts: &Starts, lines: usize, dir: &Path, reader: &mut Command) -> Measured<Duration> {
    starts.clear();
    let mut child = Command::new(&bench.child)
        .arg("flood")
        .arg(&starts.0)
        .arg(lines.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let pipe = child.stdout.take().ok_or("no pipe")?;
    let mut reader = reader.stdin(pipe).spawn().map_err(|e| e.to_string())?;
    let took = until_on_disk(starts, dir, lines * LINE);
    if took.is_err() {
        proc::kill(i32::try_from(child.id()).unwrap_or(0), Signal::SIGKILL);
    }
    let _ = (child.wait(), reader.wait());
    took
}

/// From the child's first instruction until the files of `dir` hold so many bytes.
fn until_on_disk(starts: &Starts, dir: &Path, bytes: usize) -> Measured<Duration> {
    let began = starts.wait(1, LIMIT)?[0].at;
    let limit = Instant::now() + LIMIT;
    loop {
        let held = size_of(dir);
        if held >= bytes as u64 {
            return Ok(monotonic().saturating_sub(began));
        }
        if Instant::now() > limit {
            return Err(format!("{held} of {bytes} bytes are in {} after {LIMIT:?}", dir.display()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn size_of(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let logs = files.filter(|f| f.file_name().to_string_lossy() != "lock");
    logs.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum()
}

/// Every line once, in order, whole; and each file ends with a line.
fn check(files: &[PathBuf], lines: usize) -> Measured<()> {
    let mut at = 0usize;
    for file in files {
        let mut reader =
            BufReader::with_capacity(1 << 20, File::open(file).map_err(|e| format!("{}: {e}", file.display()))?);
        let mut line = [0; LINE];
        while !reader.fill_buf().map_err(|e| e.to_string())?.is_empty() {
            reader.read_exact(&mut line).map_err(|e| format!("{} ends inside line {at}: {e}", file.display()))?;
            let number = std::str::from_utf8(&line[..12]).ok().and_then(|n| n.parse::<usize>().ok());
            if number != Some(at) || line[LINE - 1] != b'\n' {
                return Err(format!("{}: line {at} is {:?}", file.display(), String::from_utf8_lossy(&line)));
            }
            at += 1;
        }
    }
    if at == lines { Ok(()) } else { Err(format!("{at} of {lines} lines are there")) }
}
