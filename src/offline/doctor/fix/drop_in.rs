//! The files below `/etc` that keep a change over a boot: where they lie and what stands in them. Pure.
//!
//! What a file held before stays in it, with the value from before the first change, so that a second run changes nothing.

use super::{Fix, Way};
use std::{collections::BTreeMap, fmt::Write as _};

/// Where changes of settings are kept. Files are read in the order of their names and the last one counts (sysctl.d(5)): behind
/// what distributions ship as 10 to 50, before an administrator's 99.
pub const SYSCTL: &str = "/etc/sysctl.d/90-cdc-supervisor.conf";
/// Where the setting of sysfs is kept. Not the name of the package's own file, which it would hide (tmpfiles.d(5)).
pub const TMPFILES: &str = "/etc/tmpfiles.d/cdc-supervisor-host.conf";
/// Where limits of logins are kept (limits.conf(5)).
pub const LIMITS: &str = "/etc/security/limits.d/90-cdc-supervisor.conf";

/// Where huge pages are set.
pub const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

const HEAD: &str = "# Written by `cdc-supervisor doctor --fix`. Remove a line, or this file, to take it back.\n";

/// The file of a way; none: its tool keeps it.
pub fn path(way: Way) -> Option<&'static str> {
    match way {
        Way::Sysctl => Some(SYSCTL),
        Way::HugePages => Some(TMPFILES),
        Way::OpenFiles => Some(LIMITS),
        Way::TimeSync => None,
    }
}

/// What stands in the file of `way` with these changes, when `before` stands in it now.
pub fn contents(way: Way, before: &str, fixes: &[&Fix]) -> String {
    let mut entries = entries(before);
    for fix in fixes.iter().filter(|fix| fix.way == way) {
        for (key, line) in lines(fix) {
            // what it was before the first change
            let was = entries.get(&key).and_then(|(was, _)| was.clone()).or_else(|| Some(fix.now.clone()));
            entries.insert(key, (was, line));
        }
    }
    let mut out = HEAD.to_owned();
    for (was, line) in entries.values() {
        if let Some(was) = was {
            let _ = writeln!(out, "# was: {was}");
        }
        let _ = writeln!(out, "{line}");
    }
    out
}

/// The lines of a change, each under what tells it from others.
fn lines(fix: &Fix) -> Vec<(String, String)> {
    let line = match fix.way {
        Way::Sysctl => format!("{} = {}", fix.setting, fix.wanted),
        // `w`: write to what exists; at boot and whenever systemd-tmpfiles runs
        Way::HugePages => format!("w {HUGE_PAGES} - - - - {}", fix.wanted),
        // `*` leaves out root
        Way::OpenFiles => {
            let of = |who: &str| format!("{who} hard nofile {}", fix.wanted);
            return [of("*"), of("root")].map(|line| (key(&line), line)).to_vec();
        }
        Way::TimeSync => return Vec::new(),
    };
    vec![(key(&line), line)]
}

/// What a line sets: all but its last word.
fn key(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match line.split_once('=') {
        Some((key, _)) => key.trim().to_owned(),
        None => words[..words.len().saturating_sub(1)].join(" "),
    }
}

/// What each line of a file sets, with the value that was before and the line.
fn entries(text: &str) -> BTreeMap<String, (Option<String>, String)> {
    let mut entries = BTreeMap::new();
    let mut was = None;
    for line in text.lines().map(str::trim) {
        if let Some(value) = line.strip_prefix("# was:") {
            was = Some(value.trim().to_owned());
        } else if !line.is_empty() && !line.starts_with(['#', ';']) {
            entries.insert(key(line), (was.take(), line.to_owned()));
        }
    }
    entries
}

/// The first of these files (name, text) that is read after ours and sets `setting` to something else.
pub fn overruled_by(files: &[(String, String)], setting: &str, wanted: &str) -> Option<String> {
    let ours = SYSCTL.rsplit('/').next().unwrap_or_default();
    let sets = |text: &str| {
        let lines = text.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';']));
        let pairs = lines.filter_map(|line| line.split_once('='));
        // `/` and `.` both part a name, and `-` before it means that a failure is ignored
        let named = |key: &str| key.trim().trim_start_matches('-').replace('/', ".") == setting;
        pairs.filter(|(key, _)| named(key)).any(|(_, value)| value.trim() != wanted)
    };
    let mut later: Vec<&(String, String)> =
        files.iter().filter(|(name, text)| name.as_str() > ours && sets(text)).collect();
    later.sort();
    later.last().map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::each, *};

    #[test]
    fn a_file_holds_each_setting_once_with_what_it_was_at_first() {
        let swappiness = |now: &str, wanted: &str| Fix::sysctl("swappiness", "vm.swappiness", now, wanted);
        let maps = Fix::sysctl("max-map-count", "vm.max_map_count", "65530", "262144");
        let first = contents(Way::Sysctl, "", &[&swappiness("60", "1")]);
        assert_eq!(first, format!("{HEAD}# was: 60\nvm.swappiness = 1\n"));
        let second = contents(Way::Sysctl, &first, &[&maps]);
        assert_eq!(second, format!("{HEAD}# was: 65530\nvm.max_map_count = 262144\n# was: 60\nvm.swappiness = 1\n"));
        let third = contents(Way::Sysctl, &second, &[&swappiness("30", "1")]);
        assert_eq!(third, second, "the value from before the first change is kept");
        assert_eq!(contents(Way::Sysctl, &second, &[]), second);
    }

    #[test]
    fn each_way_has_the_lines_of_its_manual() {
        let all = each();
        let fixes: Vec<&Fix> = all.iter().map(|w| &w.fix).collect();
        let text = |way| contents(way, "", &fixes).replace(HEAD, "");
        assert_eq!(
            text(Way::Sysctl),
            "# was: \nnet.ipv4.ip_local_reserved_ports = 33060,40000-40010\n# was: 60\nvm.swappiness = 1\n"
        );
        assert_eq!(
            text(Way::HugePages),
            "# was: always\nw /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise\n"
        );
        assert_eq!(text(Way::OpenFiles), "# was: 1024\n* hard nofile 100000\n# was: 1024\nroot hard nofile 100000\n");
        let again = contents(Way::OpenFiles, &contents(Way::OpenFiles, "", &fixes), &fixes);
        assert_eq!(again, contents(Way::OpenFiles, "", &fixes));
    }

    #[test]
    fn a_later_file_with_another_value_is_named() {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let by = |files: &[(String, String)]| overruled_by(files, "vm.swappiness", "1");
        assert_eq!(by(&[file("10-a.conf", "vm.swappiness=60")]), None, "it is read before ours");
        assert_eq!(by(&[file("99-b.conf", "# vm.swappiness=60\nvm.swappiness = 1")]), None);
        assert_eq!(by(&[file("99-b.conf", "-vm/swappiness = 60")]).as_deref(), Some("99-b.conf"));
        assert_eq!(by(&[file("99-b.conf", "vm.swappiness_x = 60")]), None);
    }
}
