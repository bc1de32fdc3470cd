//! The changes as a POSIX shell script that does them and takes them back. Pure.

use super::{
    Fix, Wanted, Way,
    drop_in::{HUGE_PAGES, contents, path},
};
use std::fmt::Write as _;

/// Ends a file inside the script; no line of ours is this one.
const END: &str = "END_OF_FILE";

/// The script. `before` gives what stands in a file now; none: there is no such file.
pub fn script(root: &str, wanted: &[Wanted], before: impl Fn(&str) -> Option<String>) -> String {
    let mut out = format!(
        "#!/bin/sh\n# Prepares this host for the root {}; written by `cdc-supervisor doctor --script`.\n# As root: `sh FILE` does it, \
         `sh FILE undo` takes it back.\n",
        one_line(root)
    );
    if wanted.is_empty() {
        out.push_str("# Nothing is to be changed.\n");
        return out;
    }
    for Wanted { fix, why } in wanted {
        let _ = writeln!(
            out,
            "#   {}: {} {} -> {} ({})",
            fix.name,
            fix.setting,
            shown(&fix.now),
            fix.wanted,
            one_line(why)
        );
    }
    out.push_str("set -eu\n[ \"$(id -u)\" = 0 ] || { echo \"run this as root: sudo sh $0\" >&2; exit 1; }\n");
    out.push_str("case ${1-do} in\ndo)\n");
    let fixes: Vec<&Fix> = wanted.iter().map(|w| &w.fix).collect();
    let files = files(&fixes);
    for fix in &fixes {
        set(&mut out, fix, &fix.wanted);
    }
    for (way, path) in &files {
        let now = before(path).unwrap_or_default();
        write_file(&mut out, path, &contents(*way, &now, &fixes));
    }
    out.push_str("  ;;\nundo)\n");
    for (_, path) in &files {
        match before(path) {
            Some(text) => write_file(&mut out, path, &text),
            None => {
                let _ = writeln!(out, "  rm -f {path}");
            }
        }
    }
    for fix in &fixes {
        set(&mut out, fix, &fix.now);
    }
    out.push_str("  ;;\n*)\n  echo \"usage: sh $0 [undo]\" >&2\n  exit 2\n  ;;\nesac\n");
    out
}

/// The files of these changes, each once.
fn files(fixes: &[&Fix]) -> Vec<(Way, &'static str)> {
    let mut files: Vec<(Way, &'static str)> = Vec::new();
    for fix in fixes {
        if let Some(path) = path(fix.way).filter(|path| !files.iter().any(|(_, known)| known == path)) {
            files.push((fix.way, path));
        }
    }
    files
}

fn write_file(out: &mut String, path: &str, text: &str) {
    let dir = path.rsplit_once('/').map_or("/", |(dir, _)| dir);
    let text = text.trim_end_matches('\n');
    let _ = writeln!(out, "  mkdir -p {dir}\n  cat >{path} <<'{END}'\n{text}\n{END}");
}

/// Sets a value at once.
fn set(out: &mut String, fix: &Fix, value: &str) {
    let _ = match fix.way {
        Way::Sysctl => writeln!(out, "  printf '%s\\n' '{value}' >/proc/sys/{}", fix.setting.replace('.', "/")),
        Way::HugePages => writeln!(out, "  printf '%s\\n' '{value}' >{HUGE_PAGES}"),
        Way::OpenFiles => writeln!(out, "  echo 'the limit of open files counts from the next login on'"),
        Way::TimeSync => writeln!(out, "  timedatectl set-ntp {value}"),
    };
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "none" } else { value }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::{super::tests::each, *};
    use std::{io::Write as _, process};

    #[test]
    fn the_script_is_one_that_a_posix_shell_reads_and_says_what_it_does() {
        let text = script("/srv/a\nb", &each(), |path| path.contains("sysctl").then(|| "vm.swappiness = 9\n".into()));
        let mut shell = process::Command::new("sh").arg("-n").stdin(process::Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success(), "{text}");
        assert!(text.contains("#   swappiness: vm.swappiness 60 -> 1 (why swappiness)\n"), "{text}");
        let (does, undoes) = text.split_once("undo)").unwrap();
        for part in [
            "cat >/etc/sysctl.d/90-cdc-supervisor.conf <<",
            "printf '%s\\n' '1' >/proc/sys/vm/swappiness\n",
            "printf '%s\\n' 'madvise' >/sys/kernel/mm/transparent_hugepage/enabled\n",
            "timedatectl set-ntp yes\n",
            "* hard nofile 100000\n",
        ] {
            assert!(does.contains(part), "{part}\n{text}");
        }
        for part in [
            "vm.swappiness = 9\n",
            "rm -f /etc/tmpfiles.d/cdc-supervisor-host.conf\n",
            "printf '%s\\n' '60' >/proc/sys/vm/swappiness\n",
            "printf '%s\\n' '' >/proc/sys/net/ipv4/ip_local_reserved_ports\n",
            "timedatectl set-ntp no\n",
        ] {
            assert!(undoes.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn with_nothing_to_do_the_script_does_nothing() {
        let text = script("/r", &[], |_| None);
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    }
}
