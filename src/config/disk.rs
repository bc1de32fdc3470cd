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
