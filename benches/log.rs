//! How fast a node's output gets from a pipe into its rotated log: `cargo bench --bench log`.
//!
//! A writer process floods a pipe; this program reads it in blocks and appends them as a shim does. Printed: bytes per second,
//! and processor time per gigabyte, which is what a node's logging costs its host.

// A program that measures and prints; a panic is its way to say that the machine is not fit for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::cast_precision_loss)]

use cdc_supervisor::logs::writer::LogWriter;
use nix::sys::resource::{UsageWho, getrusage};
use std::{
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What a pipe holds (pipe(7)).
const BLOCK: usize = 64 << 10;
const TOTAL: usize = 512 << 20;

fn main() {
    for (what, line) in [("lines of 12 bytes", "short line.\n"), ("lines of 200 bytes", &("x".repeat(199) + "\n"))] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut log = LogWriter::open(dir.path(), 32 << 20, 3).expect("log");
        // yes(1) writes its argument again and again, in large blocks
        let mut flood = Command::new("yes")
            .arg(line.trim_end())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("yes(1)");
        let mut pipe = flood.stdout.take().expect("a pipe was asked for");
        let mut block = vec![0; BLOCK];
        let (started, used) = (Instant::now(), processor_time());
        let mut done = 0;
        while done < TOTAL {
            let n = pipe.read(&mut block).expect("read");
            log.append(&block[..n]).expect("append");
            done += n;
        }
        let (took, used) = (started.elapsed(), processor_time() - used);
        drop(pipe);
        flood.kill().expect("kill");
        flood.wait().expect("wait");
        let gigabytes = done as f64 / 1e9;
        println!(
            "{what}: {:.0} MB/s, {:.2} s of processor time per GB",
            done as f64 / 1e6 / took.as_secs_f64(),
            used.as_secs_f64() / gigabytes
        );
    }
}

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage");
    let part = |t: nix::sys::time::TimeVal| {
        Duration::from_secs(t.tv_sec().unsigned_abs()) + Duration::from_micros(t.tv_usec().unsigned_abs())
    };
    part(usage.user_time()) + part(usage.system_time())
}
