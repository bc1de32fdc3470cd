//! kill -9 around the life of a node's cgroup, under a real systemd with cgroup v2: in a guest (`in-guest.sh`), because few
//! machines that run tests delegate one. A first start, a respawn, a reload, a stop; and each time the next daemon is systemd's.

use crate::{
    guest::{self, Guest},
    support::{self, node_of},
};
use std::{collections::BTreeMap, path::Path};

/// What is done and where who does it is killed. Short: where groups are made, limited and left over.
const SHORT: [(&str, &str); 8] = [
    ("start", "cgroup.made"),
    ("start", "cgroup.limited"),
    ("respawn", "cgroup.made"),
    ("respawn", "cgroup.limited"),
    ("reload", "cgroup.made"),
    ("reload", "cgroup.limited"),
    ("stop", "engine.end-heard"),
    ("stop", "shim.recorded"),
];

/// The one that leaves groups with nobody in them to the next daemon.
const LEFT_OVER: &str = "stop-engine.end-heard";

/// Added by the long form: between the group and the node in it, and each end of a node's life.
const LONG: [(&str, &str); 10] = [
    ("start", "link.shim-started"),
    ("start", "shim.locked"),
    ("start", "shim.before-fork"),
    ("start", "shim.child"),
    ("start", "shim.launched"),
    ("respawn", "shim.child"),
    ("respawn", "engine.end-heard"),
    ("stop", "shim.main-ended"),
    ("stop", "link.end-seen"),
    ("stop", "shim.gone-told"),
];

fn cases() -> Vec<(&'static str, &'static str)> {
    let long = std::env::var_os("CDC_TEST_LONG").is_some();
    let only = std::env::var("CDC_FAULTS").unwrap_or_default();
    let all = SHORT.into_iter().chain(LONG.into_iter().filter(|_| long));
    all.filter(|(_, point)| point.contains(&only)).collect()
}

/// The lines `KEY VALUE` of a file that a case has left.
fn facts(guest: &Guest, file: &str) -> BTreeMap<String, String> {
    let text = guest.saw(file);
    let pairs = text.lines().map(|line| line.split_once(' ').unwrap_or((line, "")));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

/// What does not hold after one case.
fn faults(guest: &Guest, case: &str) -> Vec<String> {
    let (state, stopped) = (facts(guest, &format!("{case}.state")), facts(guest, &format!("{case}.stopped")));
    let mut wrong = Vec::new();
    let mut must = |what: &str, is: Option<&String>, wanted: &str| {
        if is.map(String::as_str) != Some(wanted) {
            wrong.push(format!("{case}: {what}: {} instead of {wanted:?}", is.map_or("nothing", String::as_str)));
        }
    };
    let b_runs = state.get("b.state").map(String::as_str) == Some("ready");
    let bytes =
        |cap: &str| cap.strip_suffix('M').and_then(|n| n.parse::<u64>().ok()).map_or(0, |n| n << 20).to_string();
    let cap_of_b = bytes(state.get("b.wanted").map_or("", String::as_str));
    for (name, cap) in [("a", bytes("48M")), ("b", cap_of_b)] {
        if name == "b" && !b_runs {
            continue;
        }
        let group = format!("/system.slice/cdc-supervisor.service/nodes/{name}");
        must(&format!("the group of {name}"), state.get(&format!("{name}.cgroup")), &group);
        must(&format!("the cap of {name}"), state.get(&format!("{name}.cap")), &cap);
        must(&format!("the swap of {name}"), state.get(&format!("{name}.swap")), "0");
    }
    must("groups", state.get("groups"), if b_runs { "./a ./b" } else { "./a" });
    if case == LEFT_OVER {
        // One of a node that ended with nobody to clear up, one of a node that no configuration has any more.
        must("groups before the next daemon", state.get("groups.left"), "./a ./b ./strange");
    }
    must("copies", state.get("copies"), if b_runs { "2" } else { "1" });
    must("a second copy", state.get("twice"), "");
    must("torn files", state.get("left"), "");
    must("events that can be read", state.get("events"), state.get("lines").map_or("", String::as_str));
    must("processes after the stop", stopped.get("processes"), "");
    must("the unit's group after the stop", stopped.get("group"), "gone");
    wrong
}

/// The guest of this program: its cases are these, and a panic (`panics.rs`).
pub fn guest() -> Result<&'static Guest, &'static str> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/in-guest.sh");
    let list: String = cases().iter().map(|(does, point)| format!("{does} {point}\n")).collect();
    guest::guest(&script, &[("cases", list)])
}

#[test]
fn whoever_is_killed_around_a_cgroup_leaves_one_node_in_one_group_with_its_cap() {
    let cases = cases();
    if cases.is_empty() {
        return;
    }
    let guest = match guest() {
        Ok(guest) => guest,
        Err(why) => {
            return support::skip("whoever_is_killed_around_a_cgroup_leaves_one_node_in_one_group_with_its_cap", why);
        }
    };
    assert_eq!(guest.saw("end"), "reached", "{}", guest.journal());
    let of_cases = guest.saw("never");
    let of_cases = of_cases.lines().filter(|line| !line.starts_with("panic: "));
    let mut wrong: Vec<String> = of_cases.map(|line| format!("never came: {line}")).collect();
    for (does, point) in &cases {
        let case = format!("{does}-{point}");
        wrong.extend(faults(guest, &case));
        let status = guest.json(&case);
        if status["supervisor"]["caps"]["enforced"] != true {
            wrong.push(format!("{case}: caps are not enforced: {}", status["supervisor"]));
        }
        // An end that was seen is an end once: a respawn is one restart, whoever died in it.
        if *does == "respawn" && node_of(&status, "b")["restarts"] != 1 {
            wrong.push(format!("{case}: {}", node_of(&status, "b")));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), guest.journal());
}
