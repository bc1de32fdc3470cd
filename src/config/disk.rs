//! `[disk]`: how much room is kept free on file systems that hold data, and what happens below it.

use super::read::Section;
use crate::base::ByteSize;
use std::ops::RangeInclusive;

/// `[disk]`. What is none follows the size of the file system (`engine::disk`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Nodes are stopped before a file system is full.
    pub guard: bool,
    /// A file that holds room for a clean stop; 0: none.
    pub ballast: Option<ByteSize>,
    /// Below this it is told.
    pub low: Option<ByteSize>,
    /// Below this brokers are stopped.
    pub stop: Option<ByteSize>,
    /// From this on they are started again.
    pub resume: Option<ByteSize>,
}

impl Default for Disk {
    fn default() -> Self {
        Self { guard: true, ballast: None, low: None, stop: None, resume: None }
    }
}

/// Of one file system, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The ballast; 0: none.
    pub ballast: u64,
    /// Told below this.
    pub low: u64,
    /// Brokers are stopped below this.
    pub stop: u64,
    /// And started again from here on.
    pub resume: u64,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// From which size on a file system gets a ballast by itself: on a smaller one it would be a part worth missing.
const BALLAST_FROM: u64 = 10 * GIB;

impl Disk {
    /// Those of a file system of this size. Where the file says nothing: 2 GB, 512 MB and 1 GB, on a small one a tenth, a
    /// thirty-second and a sixteenth of it; the ballast 256 MB, or a hundredth.
    pub fn marks(&self, total: u64) -> Marks {
        let or = |set: Option<ByteSize>, most: u64, part: u64| set.map_or((total / part).min(most), |size| size.0);
        let by_itself = if total >= BALLAST_FROM { (total / 100).min(256 * MIB) } else { 0 };
        let resume = or(self.resume, GIB, 16);
        // A file that says only one of the two gets the other beside it.
        let stop = match self.stop {
            Some(stop) => stop.0,
            None => (total / 32).min(512 * MIB).min(resume / 2),
        };
        let resume = if resume > stop { resume } else { stop + stop / 2 };
        let low = or(self.low, 2 * GIB, 10).max(stop);
        Marks { ballast: self.ballast.map_or(by_itself, |size| size.0), low, stop, resume }
    }
}

/// Less than a megabyte is no room for anything; more than a terabyte is a mistake.
const ROOM: RangeInclusive<ByteSize> = ByteSize::mib(1)..=ByteSize::gib(1024);

/// Reads the table, absent or not.
pub(super) fn read(top: &Section<'_, '_>) -> Disk {
    let s = top.sub("disk");
    let disk = Disk {
        guard: s.flag("guard").unwrap_or(true),
        ballast: s.size("ballast", ByteSize(0)..=ByteSize::gib(64)),
        low: s.size("low", ROOM),
        stop: s.size("stop", ROOM),
        resume: s.size("resume", ROOM),
    };
    let reading = s.reading;
    s.finish();
    for (name, size) in [("resume", disk.resume), ("low", disk.low)] {
        let (Some(size), Some(stop)) = (size, disk.stop) else { continue };
        if size <= stop {
            let key = format!("disk.{name}");
            let message = format!("{size} is not above disk.stop, which is {stop}");
            let why = if name == "resume" {
                "nodes would be stopped and started in turns"
            } else {
                "it would be told too late"
            };
            reading.report(reading.fault(&key, message).other(reading.span("disk.stop"), "this").hint(why));
        }
    }
    disk
}
