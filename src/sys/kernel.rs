//! The kernel's settings and clocks as this process sees them; nothing is changed.

use nix::sys::resource::{Resource, getrlimit};
use std::{fs, path::Path, time::Duration};

/// A number below `/proc/sys`, by its sysctl(8) name (`vm.swappiness`); none when it cannot be read.
pub fn setting(name: &str) -> Option<u64> {
    text(name)?.parse().ok()
}

/// The text of a setting below `/proc/sys`, trimmed.
pub fn text(name: &str) -> Option<String> {
    read(format!("/proc/sys/{}", name.replace('.', "/")))
}

/// A file of one line, trimmed; none when it cannot be read.
pub fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The chosen one of `always [madvise] never`.
pub fn chosen(list: &str) -> Option<&str> {
    list.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

/// A limit of this process: soft, hard; `u64::MAX` is none (getrlimit(2)).
fn limit(resource: Resource) -> Option<(u64, u64)> {
    getrlimit(resource).ok()
}

/// Limits of a process that its children get; `u64::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The hard limit of open files.
    pub open_files: Option<u64>,
    /// The limit of processes and threads of its user.
    pub processes: Option<u64>,
}

/// Those of this process.
pub fn limits() -> Limits {
    Limits {
        open_files: limit(Resource::RLIMIT_NOFILE).map(|(_, hard)| hard),
        processes: limit(Resource::RLIMIT_NPROC).map(|(soft, _)| soft),
    }
}

/// Those of another process, which everybody may read (proc(5), `/proc/PID/limits`); none: it is gone, or hidden.
pub fn limits_of(pid: i32) -> Option<Limits> {
    fs::read_to_string(format!("/proc/{pid}/limits")).ok().map(|text| limits_in(&text))
}

/// `Max open files            1024                 524288               files`: soft, then hard.
fn limits_in(text: &str) -> Limits {
    let value = |name: &str, column: usize| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        match rest.split_whitespace().nth(column)? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    };
    Limits { open_files: value("Max open files", 1), processes: value("Max processes", 0) }
}

/// What the kernel thinks of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    /// Something disciplines it (an NTP client, a hypervisor's clock through chrony).
    pub synchronised: bool,
    /// The error that remains to be corrected.
    pub offset: Duration,
    /// The largest error that the discipline admits.
    pub max_error: Duration,
}

/// Asks the kernel (adjtimex(2) with `modes` 0, which reads and needs no right); none when a sandbox forbids it.
pub fn clock_state() -> Option<ClockState> {
    // SAFETY: an all-zero timex is a valid value (plain integers), and `modes` 0 asks for nothing to be changed.
    let mut t: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live, writable timex.
    let state = unsafe { libc::adjtimex(&raw mut t) };
    if state < 0 {
        return None;
    }
    // the unit of `offset` depends on a status bit; the errors are always in microseconds
    let unit = if t.status & libc::STA_NANO != 0 { 1 } else { 1_000 };
    Some(ClockState {
        synchronised: t.status & libc::STA_UNSYNC == 0 && state != libc::TIME_ERROR,
        offset: Duration::from_nanos(t.offset.unsigned_abs().saturating_mul(unit)),
        max_error: Duration::from_micros(u64::try_from(t.maxerror).unwrap_or(0)),
    })
}

/// The range of ports that the kernel gives to outgoing connections, ends included.
pub fn ephemeral_ports() -> Option<(u16, u16)> {
    let text = text("net.ipv4.ip_local_port_range")?;
    let mut ends = text.split_whitespace().map(str::parse);
    Some((ends.next()?.ok()?, ends.next()?.ok()?))
}

/// Ports that the kernel keeps out of that range.
pub fn reserved_ports() -> Vec<(u16, u16)> {
    ranges(&text("net.ipv4.ip_local_reserved_ports").unwrap_or_default())
}

/// `8080,9148-9150`.
fn ranges(list: &str) -> Vec<(u16, u16)> {
    let one = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    list.split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_their_sysctl_names() {
        assert!(setting("kernel.pid_max").unwrap() >= 300);
        assert_eq!(setting("kernel.nothing_of_this_name"), None);
        assert!(text("kernel.osrelease").unwrap().contains('.'));
        assert!(limits().open_files.unwrap() > 0);
    }

    #[test]
    fn the_limits_of_a_process_are_the_same_from_inside_and_outside() {
        assert_eq!(limits_of(std::process::id().cast_signed()), Some(limits()));
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             128                  unlimited            processes \n\
                    Max open files            1024                 unlimited            files     \n";
        assert_eq!(limits_in(text), Limits { open_files: Some(u64::MAX), processes: Some(128) });
        assert_eq!(limits_of(i32::MAX), None);
    }

    #[test]
    fn the_clock_is_read_without_any_right() {
        // A sandbox may forbid the call; then it is unknown, not wrong.
        if let Some(state) = clock_state() {
            assert!(state.offset < Duration::from_secs(3_600), "{state:?}");
        }
    }

    #[test]
    fn chosen_words_and_ranges_are_parsed() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always"), None);
        assert_eq!(ranges("8080,9148-9150"), [(8080, 8080), (9148, 9150)]);
        assert_eq!(ranges(""), []);
        assert_eq!(ranges("x-y, 7"), [(7, 7)]);
    }
}
