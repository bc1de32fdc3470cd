//! The installed unit as systemd has it, drop-ins included: what it says, what it keeps the plan from, and what to do about it.

use crate::{
    config::{Plan, SYSTEM_FILE, SYSTEM_ROOT},
    sys::{
        command::{Cancel, Command},
        manager,
    },
};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// The daemon's unit.
pub const UNIT: &str = "cdc-supervisor.service";

/// All units that write below the root.
pub const UNITS: [&str; 3] = [UNIT, "cdc-supervisor-fetch.service", "cdc-supervisor-nodes.service"];

/// How long systemd may take to answer; it is busy at boot.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How much time is asked for at once, and how often. Little: the daemon's watchdog moves with it until the daemon feeds it next
/// (service_extend_timeout in systemd), and one that hangs is to be replaced all the same.
pub const PORTION: Duration = Duration::from_secs(120);
/// See [`PORTION`].
pub const ASKED_EVERY: Duration = Duration::from_secs(60);

/// What one step of a reload takes at most: the longest wait for one thing (`--max-wait`), a stop and a start.
pub const STEP_TAKES: Duration = Duration::from_secs(20 * 60);

/// What systemd says of a unit.
pub type Said = BTreeMap<String, String>;

/// Whether it is the installed unit that starts this plan: the plan is of the system's file, or the root is the system's.
pub fn is_for(plan: &Plan) -> bool {
    Path::new(plan.file_name()) == Path::new(SYSTEM_FILE) || plan.root == Path::new(SYSTEM_ROOT)
}

/// Whether systemd manages this machine (sd_booted(3)).
pub fn booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// What systemd says of these properties of a unit (`A,B`); none where nobody can be asked: no bus, no systemctl.
pub fn properties(unit: &str, keys: &str) -> Option<Said> {
    if !booted() {
        return None;
    }
    let argv = ["systemctl", "show", "--property", keys, "--", unit].map(str::to_owned).to_vec();
    let env = vec![("PATH".to_owned(), std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into()))];
    let command = Command { argv, env, dir: "/".into(), stdin: None };
    let finished = command.run(ANSWERS_WITHIN, &Cancel::default()).ok().filter(|finished| finished.ok())?;
    Some(pairs(&finished.stdout))
}

/// Has a unit started, and waits until it is; an error is what systemctl said.
pub fn start(unit: &str) -> Result<(), String> {
    let argv = ["systemctl", "start", "--", unit].map(str::to_owned).to_vec();
    let env = vec![("PATH".to_owned(), std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into()))];
    let command = Command { argv, env, dir: "/".into(), stdin: None };
    // The unit has a time-out of its own.
    match command.run(Duration::MAX, &Cancel::default()) {
        Ok(finished) if finished.ok() => Ok(()),
        Ok(finished) => Err(finished.last_lines(3)),
        Err(e) => Err(format!("{e}: {}", e.source)),
    }
}

/// Asks the unit that runs this for so much time from now on, where one does. It has a time-out of its own (`TimeoutStartSec=` for a
/// reload, `TimeoutStopSec=` for a stop), and does not know what is being done.
pub fn ask_for(time: Duration) {
    if let Ok(Some(manager)) = manager::of_environment() {
        // What it does not hear it does not miss: the unit's own time-out holds then.
        let _ = manager::tell(&manager, &[manager::more_time(time)]);
    }
}

fn pairs(text: &str) -> Said {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The unit this process runs in, when it is one of ours.
pub fn own() -> Option<&'static str> {
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let name = unit_of(&membership)?;
    UNITS.into_iter().find(|unit| *unit == name)
}

/// `cdc-supervisor.service` of `0::/system.slice/cdc-supervisor.service/supervisor`.
pub fn unit_of(membership: &str) -> Option<&str> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.split('/').rfind(|part| part.ends_with(".service"))
}

/// What [`cut_off`] asks for.
pub const FILTER: &str = "IPAddressDeny,IPAddressAllow";

/// Listeners that other machines are meant to reach and the unit's filter keeps from them, in words with what to do.
pub fn cut_off(plan: &Plan, unit: &str, said: &Said) -> Option<String> {
    let value = |key: &str| said.get(key).map(String::as_str).unwrap_or_default();
    // `any` is shown as the two networks that hold every address (systemd.resource-control(5)).
    let denied = value("IPAddressDeny").split_whitespace().any(|net| net.ends_with("/0"));
    // Whoever has let another network in knows which.
    let others = value("IPAddressAllow").split_whitespace().any(|net| !matches!(net, "127.0.0.0/8" | "::1/128"));
    if !denied || others {
        return None;
    }
    let open = plan.ports().into_iter().filter(|(_, port)| !port.address.ip().is_loopback());
    let list: Vec<String> = open.map(|(node, port)| format!("{node} ({})", port.address)).collect();
    let verb = match list.len() {
        0 => return None,
        1 => "listens",
        _ => "listen",
    };
    Some(format!(
        "{} {verb} for other machines, and the unit lets none in (IPAddressDeny=any): they get no answer; `systemctl set-property {unit} IPAddressAllow=NETWORK` lets one in",
        list.join(", ")
    ))
}

/// The same, asked of the installed unit; none where it is not the one that starts this plan.
pub fn cut_off_now(plan: &Plan) -> Option<String> {
    if !is_for(plan) {
        return None;
    }
    let said = properties(UNIT, &format!("LoadState,{FILTER}"))?;
    said.get("LoadState").filter(|state| *state == "loaded")?;
    cut_off(plan, UNIT, &said)
}

/// What to do when caps cannot be set, for each of the reasons that `sys::cgroup` gives.
pub fn remedy(why: &str) -> &'static str {
    if why.contains("no cgroup v2") || why.contains("cgroup v1") {
        "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line: this host uses cgroup v1"
    } else if why.contains("Read-only") {
        "take ProtectControlGroups= out of the unit's drop-ins; in a container, have /sys/fs/cgroup mounted writable"
    } else if why.contains("does not pass it on") {
        "take DisableControllers= out of the slice or unit of that name (`systemctl show -p DisableControllers NAME`), and start again"
    } else if why.contains("memory controller") {
        "boot with cgroup_enable=memory and without cgroup_disable=memory on the kernel's command line; the unit needs Delegate=cpu memory pids io"
    } else if why.contains("delegated") {
        "the unit needs Delegate=cpu memory pids io and DelegateSubgroup=supervisor: take what overrules them out of its drop-ins"
    } else {
        "`systemctl cat cdc-supervisor.service` shows the unit with what overrules it; systemd/README.md tells what each line is for"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn plan(text: &str) -> Plan {
        let source = config::Source { text, name: "supervisor.toml", root_override: None, default_root: "/r".into() };
        config::load(&source).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_unit_is_told_from_the_membership() {
        assert_eq!(unit_of("0::/system.slice/cdc-supervisor.service/supervisor\n"), Some(UNIT));
        assert_eq!(unit_of("1:cpu:/x\n0::/user.slice/user-0.slice/session-1.scope\n"), None);
        assert_eq!(unit_of(""), None);
    }

    #[test]
    fn a_listener_for_other_machines_is_told_while_the_unit_lets_none_in() {
        let shipped = pairs("IPAddressDeny=::/0 0.0.0.0/0\nIPAddressAllow=::1/128 127.0.0.0/8\n");
        let lan = plan("[kafka]\nbind = \"0.0.0.0\"\n[zookeeper]\n[mysql]\nbind = \"192.168.1.5\"\n");
        let told = cut_off(&lan, UNIT, &shipped).unwrap();
        for words in
            ["broker-1 (0.0.0.0:9092), ", "mysql (192.168.1.5:3306) listen ", "set-property cdc-supervisor.service"]
        {
            assert!(told.contains(words), "{words}: {told}");
        }
        assert!(!told.contains("zookeeper") && !told.contains("29092"), "{told}");
        let one = cut_off(&plan("[mysql]\nbind = \"::\"\n"), UNIT, &shipped).unwrap();
        assert!(one.starts_with("mysql ([::]:3306) listens for"), "{one}");
        assert_eq!(cut_off(&plan("[mysql]\n[command.x]\nargv = [\"/x\"]\n"), UNIT, &shipped), None);
        for let_in in [
            "IPAddressDeny=::/0 0.0.0.0/0\nIPAddressAllow=::1/128 127.0.0.0/8 192.168.0.0/16\n",
            "IPAddressDeny=\n",
            "",
        ] {
            assert_eq!(cut_off(&lan, UNIT, &pairs(let_in)), None, "{let_in}");
        }
    }

    #[test]
    fn every_reason_for_no_caps_has_a_remedy_of_its_own() {
        let reasons = [
            ("this process is in no cgroup v2 group", "unified_cgroup_hierarchy"),
            ("no cgroup v2 file system is mounted", "unified_cgroup_hierarchy"),
            ("the memory controller is that of cgroup v1 here (/sys/fs/cgroup/memory)", "unified_cgroup_hierarchy"),
            ("the memory controller of cgroup v2 is not available in /sys/fs/cgroup/x (it has: cpu)", "cgroup_enable"),
            (
                "the memory controller of cgroup v2 is not available in /s/x (it has: cpu): /s has it and does not pass it on",
                "DisableControllers=",
            ),
            ("/sys/fs/cgroup/x/cgroup.procs was not delegated to this user: Permission denied", "Delegate=cpu"),
            ("/sys/fs/cgroup/x was not delegated to this user: EROFS: Read-only file system", "ProtectControlGroups"),
        ];
        for (why, words) in reasons {
            assert!(remedy(why).contains(words), "{why}: {}", remedy(why));
        }
        assert!(remedy("something else").contains("systemctl cat"));
    }
}
