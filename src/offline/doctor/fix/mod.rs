//! What of the host `doctor` can change, by name: the change, its way, and which of them were asked for.
//!
//! A row of the table brings its change along ([`Check::fixed_by`](super::Check::fixed_by)), so that what is wanted has one
//! source. [`script`] and [`apply`] do the same things, one as a text and one at once.

mod apply;
mod drop_in;
mod script;

pub use apply::{Done, Host, Outcome, apply, may_change};
pub use script::script;

use super::Report;
use serde::Serialize;

/// Every change by its name, in the order of the table.
pub const NAMES: [&str; 11] = [
    "aio",
    "file-max",
    "huge-pages",
    "max-map-count",
    "open-files",
    "overcommit",
    "reserved-ports",
    "somaxconn",
    "swappiness",
    "syn-backlog",
    "time-sync",
];

/// One change of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// What is set, as its manual calls it.
    pub setting: String,
    /// What it is now.
    pub now: String,
    /// What it becomes.
    pub wanted: String,
    /// By what means.
    #[serde(skip)]
    pub way: Way,
}

/// How a change is made, at once and for every later boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A setting below `/proc/sys`, and `/etc/sysctl.d`.
    Sysctl,
    /// `/sys/kernel/mm/transparent_hugepage/enabled`, and `/etc/tmpfiles.d`: sysfs is no part of sysctl.d(5).
    HugePages,
    /// `/etc/security/limits.d`, which counts from the next login on (limits.conf(5)).
    OpenFiles,
    /// `timedatectl set-ntp`, which enables and starts an NTP client that is installed.
    TimeSync,
}

impl Fix {
    /// A setting of sysctl(8).
    pub(super) fn sysctl(name: &'static str, key: &str, now: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { name, setting: key.into(), now: now.into(), wanted: wanted.into(), way: Way::Sysctl }
    }

    /// When transparent huge pages are given.
    pub(super) fn huge_pages(now: &str) -> Self {
        let setting = "transparent_hugepage".into();
        Self { name: "huge-pages", setting, now: now.into(), wanted: "madvise".into(), way: Way::HugePages }
    }

    /// The hard limit of open files of whoever logs in.
    pub(super) fn open_files(now: u64, wanted: u64) -> Self {
        let (now, wanted) = (now.to_string(), wanted.to_string());
        Self { name: "open-files", setting: "nofile".into(), now, wanted, way: Way::OpenFiles }
    }

    /// That something sets the clock.
    pub(super) fn time_sync() -> Self {
        let (now, wanted) = ("no".into(), "yes".into());
        Self { name: "time-sync", setting: "NTP".into(), now, wanted, way: Way::TimeSync }
    }
}

/// A change with why it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The change.
    pub fix: Fix,
    /// The row's reason.
    pub why: String,
}

/// The changes that the table asks for, by name; of those only `names`, where there are any.
pub fn wanted(report: &Report, names: &[String]) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = report
        .checks
        .iter()
        .filter_map(|check| Some(Wanted { fix: check.fix.clone()?, why: check.why.clone() }))
        .filter(|wanted| names.is_empty() || names.iter().any(|name| name == wanted.fix.name))
        .collect();
    all.sort_by_key(|wanted| wanted.fix.name);
    all
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::{Check, Severity},
        *,
    };

    /// One of each way.
    pub(super) fn each() -> Vec<Wanted> {
        let all = [
            Fix::sysctl("swappiness", "vm.swappiness", "60", "1"),
            Fix::sysctl("reserved-ports", "net.ipv4.ip_local_reserved_ports", "", "33060,40000-40010"),
            Fix::huge_pages("always"),
            Fix::open_files(1_024, 100_000),
            Fix::time_sync(),
        ];
        all.into_iter().map(|fix| Wanted { why: format!("why {}", fix.name), fix }).collect()
    }

    #[test]
    fn only_what_was_asked_for_is_wanted_and_only_where_a_row_asks_for_it() {
        let row = |fix: Fix| Check::ok("x", "y", "z", "because").but(Severity::Warn, "r").fixed_by(fix);
        let rows = vec![
            row(Fix::sysctl("swappiness", "vm.swappiness", "60", "1")),
            Check::ok("fine", "", "", ""),
            row(Fix::huge_pages("always")),
        ];
        let report = Report::new("/r", rows);
        let names = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|n| (*n).to_owned()).collect();
            wanted(&report, &asked).into_iter().map(|w| w.fix.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["huge-pages", "swappiness"]);
        assert_eq!(names(&["swappiness", "time-sync"]), ["swappiness"]);
        assert!(NAMES.is_sorted() && each().iter().all(|w| NAMES.contains(&w.fix.name)));
        assert_eq!(wanted(&report, &[])[0].why, "because");
    }
}
