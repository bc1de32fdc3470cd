//! The command line of a shim that was started in reserve: names its node once it has one, so that `ps` tells whose it is.

use super::wire::LaunchOrder;
use crate::sys::process::IN_RESERVE;
use std::{fs, slice};

/// The memory that the kernel shows as this process's command line, behind the program's name.
#[derive(Debug)]
pub(super) struct Title(&'static mut [u8]);

impl Title {
    /// Takes it, in a shim that was started in reserve; none in one that has its node's name already. To be called once.
    pub(super) fn take() -> Option<Self> {
        if std::env::args_os().nth(1)? != IN_RESERVE {
            return None;
        }
        // proc_pid_stat(5): arg_start and arg_end are fields 48 and 49; the second field ends with the last parenthesis
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(45);
        let (start, end): (usize, usize) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let length = end.checked_sub(start).filter(|_| start > 0)?;
        // SAFETY: the kernel has put the arguments there, one behind the other, into memory of this process that can be
        // written and stays as long as it lives (execve(2)). This process has one thread, nothing of the arguments is
        // borrowed, and nobody asks for them after this: the caller takes it once.
        let all = unsafe { slice::from_raw_parts_mut(start as *mut u8, length) };
        let program = memchr::memchr(0, all)? + 1;
        Some(Self(&mut all[program..]))
    }

    /// Names the node and the start, as the command line of a shim that was started for them does. Without room it stays as it was.
    pub(super) fn name(self, order: &LaunchOrder) {
        let words = format!("{}\0{}\0", order.node, order.incarnation);
        if let Some((head, rest)) = self.0.split_at_mut_checked(words.len()) {
            head.copy_from_slice(words.as_bytes());
            rest.fill(0);
        }
    }
}
