//! The unit this daemon runs in, as systemd has it: what a drop-in may have taken away, and what to do about it.

use crate::{
    base::ExitStatus,
    sys::command::{Cancel, Command},
};
use std::{fs, time::Duration};

/// How long systemd may take to answer; it is busy at boot.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// What is asked for.
const PROPERTIES: &str = "KillMode,DelegateSubgroup,OOMPolicy,Restart";

/// What is wrong with the unit, in words with a remedy; empty when nothing is, or when nobody can be asked.
pub(super) fn complaints() -> Vec<String> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(unit) = unit_of(&membership) else { return Vec::new() };
    let argv = ["/usr/bin/systemctl", "show", "--property", PROPERTIES, "--", unit].map(str::to_owned).to_vec();
    let command = Command { argv, env: Vec::new(), dir: "/".into(), stdin: None };
    match command.run(ANSWERS_WITHIN, &Cancel::default()) {
        Ok(finished) if finished.status == ExitStatus::Code(0) => judge(unit, &finished.stdout),
        // No bus, no systemctl: the next start asks again.
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// `cdc-supervisor.service` of `0::/system.slice/cdc-supervisor.service/supervisor`.
fn unit_of(membership: &str) -> Option<&str> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.split('/').rfind(|part| part.ends_with(".service"))
}

fn judge(unit: &str, properties: &str) -> Vec<String> {
    let value = |key: &str| properties.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    let mut complaints = Vec::new();
    let mut expect = |key: &str, wanted: &[&str], what: &str| {
        let is = value(key);
        if !wanted.contains(&is) {
            complaints.push(format!(
                "the unit says {key}={is}, not {}: {what} (`systemctl cat {unit}` shows where, `systemctl edit {unit}` mends it)",
                wanted[0]
            ));
        }
    };
    expect("KillMode", &["process"], "systemd kills every node when the daemon ends, also when it only crashed");
    expect(
        "DelegateSubgroup",
        &["supervisor"],
        "after a crash of the daemon systemd cannot start the next one beside live nodes (219/CGROUP)",
    );
    expect("OOMPolicy", &["continue"], "systemd ends everything when one node meets its memory cap");
    expect("Restart", &["on-failure", "always", "on-abnormal"], "a daemon that crashed does not come back");
    complaints
}

/// What to do when caps cannot be set, for each of the reasons that `sys::cgroup` gives.
pub(super) fn remedy(why: &str) -> &'static str {
    if why.contains("no cgroup v2") {
        "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line: this host uses cgroup v1"
    } else if why.contains("Read-only") {
        "take ProtectControlGroups= out of the unit's drop-ins; in a container, have /sys/fs/cgroup mounted writable"
    } else if why.contains("memory controller") {
        "the unit needs Delegate=cpu memory pids io, and the kernel no cgroup_disable=memory on its command line"
    } else if why.contains("delegated") {
        "the unit needs Delegate=cpu memory pids io and DelegateSubgroup=supervisor: take what overrules them out of its drop-ins"
    } else {
        "`systemctl cat cdc-supervisor.service` shows the unit with what overrules it; systemd/README.md tells what each line is for"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_told_from_the_membership() {
        assert_eq!(unit_of("0::/system.slice/cdc-supervisor.service/supervisor\n"), Some("cdc-supervisor.service"));
        assert_eq!(unit_of("1:cpu:/x\n0::/user.slice/user-0.slice/session-1.scope\n"), None);
        assert_eq!(unit_of(""), None);
    }

    #[test]
    fn the_unit_as_shipped_is_right_and_what_is_overruled_is_named_with_its_price() {
        let shipped = "KillMode=process\nDelegateSubgroup=supervisor\nOOMPolicy=continue\nRestart=on-failure\n";
        assert_eq!(judge("u.service", shipped), Vec::<String>::new());
        let edited = "KillMode=control-group\nDelegateSubgroup=\nOOMPolicy=stop\nRestart=no\n";
        let told = judge("u.service", edited);
        assert_eq!(told.len(), 4, "{told:?}");
        for (words, line) in
            ["KillMode=control-group", "DelegateSubgroup=,", "OOMPolicy=stop", "Restart=no"].iter().zip(&told)
        {
            assert!(line.contains(words) && line.contains("systemctl edit u.service"), "{line}");
        }
    }

    #[test]
    fn every_reason_for_no_caps_has_a_remedy_of_its_own() {
        let reasons = [
            "this process is in no cgroup v2 group",
            "no cgroup v2 file system is mounted",
            "the memory controller of cgroup v2 is not available in /sys/fs/cgroup/x (it has: cpu)",
            "/sys/fs/cgroup/x/cgroup.procs was not delegated to this user: Permission denied",
            "/sys/fs/cgroup/x was not delegated to this user: EROFS: Read-only file system",
        ];
        let general = remedy("something else");
        assert!(reasons.iter().all(|why| remedy(why) != general));
        assert!(remedy(reasons[4]).contains("ProtectControlGroups"));
    }
}
