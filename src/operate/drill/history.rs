//! The reports of drills on disk: one file each, numbered, bounded.

use crate::{
    base::{
        Layout,
        drill::{KEPT, Report},
    },
    sys::{error::SysError, numbered},
};

/// The number for the next one.
pub(super) fn next_id(layout: &Layout) -> Result<u64, SysError> {
    numbered::next(&layout.drills())
}

/// Writes one so that it survives loss of power, and removes the oldest beyond the bound.
pub(super) fn keep(layout: &Layout, report: &Report) -> Result<(), SysError> {
    numbered::keep(&layout.drills(), report.id, &report.drill, &report.file(), KEPT)
}
