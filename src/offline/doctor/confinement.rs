//! Confinement: whether a profile of the host's AppArmor takes hold of a program of ours, and whether SELinux enforces.

use super::check::{Check, Severity};
use crate::sys::{kernel, profiles};
use std::path::{Path, PathBuf};

/// What is seen of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Loaded profiles; none: the host has no AppArmor.
    apparmor: Option<Result<Vec<profiles::Profile>, String>>,
    selinux_enforces: bool,
}

pub(super) fn look() -> Facts {
    Facts {
        apparmor: profiles::apparmor(),
        selinux_enforces: kernel::read("/sys/fs/selinux/enforce").as_deref() == Some("1"),
    }
}

/// `programs` with the node that runs each.
pub(super) fn judge(facts: &Facts, programs: &[(String, PathBuf)]) -> Vec<Check> {
    let row = |found: String| {
        Check::ok(
            "confinement",
            "no profile of the host on our programs",
            found,
            "a profile made for the distribution's own mysqld denies a data directory elsewhere",
        )
    };
    if facts.selinux_enforces {
        return vec![row("SELinux enforces".into()).but(
            Severity::Info,
            "nothing, until a node is denied something: `ausearch -m avc -ts recent` shows what",
        )];
    }
    let loaded = match &facts.apparmor {
        None => return vec![row("none on this host".into())],
        Some(Err(why)) => return vec![row(format!("AppArmor is on; its profiles cannot be read: {why}")).unknown()],
        Some(Ok(loaded)) => loaded,
    };
    // complain only logs; Ubuntu 24.04 has many that are unconfined by name
    let enforced = loaded.iter().filter(|p| matches!(p.mode.as_str(), "enforce" | "kill"));
    let mut rows: Vec<Check> = enforced
        .flat_map(|profile| {
            programs.iter().filter(|(_, path)| attaches(&profile.attach, path)).map(|(whose, path)| {
                let name = &profile.name;
                let path = path.display();
                row(format!("AppArmor's profile {name} takes hold of {path} ({whose})")).but(
                    Severity::Warn,
                    format!(
                        "let it write below the root in /etc/apparmor.d/local/ and reload it, or `aa-disable {name}`; \
                         `journalctl -k -g apparmor=.DENIED` shows what it denied"
                    ),
                )
            })
        })
        .collect();
    if rows.is_empty() {
        rows.push(row(format!("AppArmor, {} profiles, none of them on our programs", loaded.len())));
    }
    rows
}

/// Whether a profile's attachment takes this path (apparmor.d(5), "Globbing"): `*` and `?` stop at `/`, `**` does not, `{a,b}`
/// are alternatives, `[ab]` one of these.
fn attaches(pattern: &str, path: &Path) -> bool {
    let Some(path) = path.to_str() else { return false };
    alternatives(pattern, 64).iter().any(|p| matches(p.as_bytes(), path.as_bytes()))
}

/// The pattern without its braces, each way once; `most` bounds them.
fn alternatives(pattern: &str, most: usize) -> Vec<String> {
    let Some((close, open)) = innermost(pattern) else { return vec![pattern.to_owned()] };
    let (before, inside, after) = (&pattern[..open], &pattern[open + 1..close], &pattern[close + 1..]);
    let ways = inside.split(',').flat_map(|one| alternatives(&format!("{before}{one}{after}"), most));
    ways.take(most).collect()
}

/// Places of the first `}` and of the `{` that it closes.
fn innermost(pattern: &str) -> Option<(usize, usize)> {
    let close = pattern.find('}')?;
    Some((close, pattern[..close].rfind('{')?))
}

fn matches(pattern: &[u8], path: &[u8]) -> bool {
    match (pattern, path) {
        ([], path) => path.is_empty(),
        ([b'*', b'*', rest @ ..], _) => (0..=path.len()).any(|n| matches(rest, &path[n..])),
        ([b'*', rest @ ..], _) => {
            let name = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
            (0..=name).any(|n| matches(rest, &path[n..]))
        }
        ([b'?', rest @ ..], [first, tail @ ..]) => *first != b'/' && matches(rest, tail),
        ([b'[', rest @ ..], [first, tail @ ..]) => {
            let Some(end) = rest.iter().position(|b| *b == b']') else { return false };
            in_class(&rest[..end], *first) && matches(&rest[end + 1..], tail)
        }
        ([b'\\', literal, rest @ ..], [first, tail @ ..]) | ([literal, rest @ ..], [first, tail @ ..]) => {
            literal == first && matches(rest, tail)
        }
        (_, []) => false,
    }
}

/// `abc`, `a-z`, `^abc`.
fn in_class(class: &[u8], byte: u8) -> bool {
    let (class, wanted) = class.strip_prefix(b"^").map_or((class, true), |rest| (rest, false));
    let within = match class {
        [from, b'-', to] => (*from..=*to).contains(&byte),
        list => list.contains(&byte),
    };
    within == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_are_matched_as_apparmor_does() {
        for (pattern, path, expected) in [
            ("/usr/sbin/mysqld", "/usr/sbin/mysqld", true),
            ("/usr/sbin/mysqld", "/var/lib/x/usr/sbin/mysqld", false),
            ("/{usr/,}sbin/mysqld", "/sbin/mysqld", true),
            ("/{usr/,}sbin/mysqld{,-debug}", "/usr/sbin/mysqld-debug", true),
            ("/**/mysqld", "/var/lib/x/bin/mysqld", true),
            ("/*/mysqld", "/var/lib/mysqld", false),
            ("/opt/mysql-8.?/bin/mysqld", "/opt/mysql-8.0/bin/mysqld", true),
            ("/opt/mysql-[5-8]/m", "/opt/mysql-8/m", true),
            ("/opt/mysql-[^5]/m", "/opt/mysql-5/m", false),
            ("/a{b,{c,d}e}f", "/adef", true),
            ("/a{b", "/ab", false),
        ] {
            assert_eq!(attaches(pattern, Path::new(path)), expected, "{pattern} {path}");
        }
    }

    fn profile(attach: &str, mode: &str) -> profiles::Profile {
        profiles::Profile { name: "mysqld".into(), attach: attach.into(), mode: mode.into() }
    }

    #[test]
    fn only_an_enforced_profile_on_a_program_of_ours_is_a_warning() {
        let programs = [("mysql".to_owned(), PathBuf::from("/r/artifacts/mysql/usr/sbin/mysqld"))];
        let row = |list: Vec<profiles::Profile>| {
            let facts = Facts { apparmor: Some(Ok(list)), selinux_enforces: false };
            judge(&facts, &programs).remove(0)
        };
        assert_eq!(row(vec![profile("/usr/sbin/mysqld", "enforce")]).severity, Severity::Ok);
        assert_eq!(row(vec![profile("/**/mysqld", "complain")]).severity, Severity::Ok);
        let bad = row(vec![profile("/**/mysqld", "enforce")]);
        assert!(bad.severity == Severity::Warn && bad.found.contains("(mysql)"), "{bad:?}");
    }

    #[test]
    fn a_host_without_either_and_one_that_cannot_be_read_are_told() {
        let row = |facts: &Facts| judge(facts, &[]).remove(0);
        assert_eq!(row(&Facts::default()).severity, Severity::Ok);
        let hidden = Facts { apparmor: Some(Err("no right".into())), selinux_enforces: false };
        assert_eq!(row(&hidden).severity, Severity::Unknown);
        assert_eq!(row(&Facts { apparmor: None, selinux_enforces: true }).severity, Severity::Info);
    }
}
