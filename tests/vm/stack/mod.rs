//! The real ZooKeeper, brokers and mysqld under the unit, as somebody has them who installs: `dist/install.sh` with a release tree and a
//! bundle, `systemctl`, and everything that happens to an installation. One boot of a guest (`stack.sh` and its parts), one test
//! per fact: here how it is installed and started, in `kills` a daemon that dies, in `cut` one that dies in an operation, in `fence` a
//! broker that does, in `change` all else.

mod change;
mod cut;
mod fence;
mod kills;

use super::{
    guest::{Guest, Size, booted},
    packed, script, support,
};
use serde_json::Value;
use std::{fs, io::Result, path::Path, sync::OnceLock, time::Duration};

const NODES: [&str; 5] = ["zookeeper", "broker-1", "broker-2", "broker-3", "mysql"];

/// Rounds of `kill -9` of the daemon: `CDC_KILL_ROUNDS`; 5, in the long form 50.
fn kill_rounds() -> u32 {
    super::rounds("CDC_KILL_ROUNDS", 5, 50)
}

/// Warm starts of each kind against plain units: `CDC_START_ROUNDS`. They take two minutes each and prove nothing: none in the
/// short form.
fn starts() -> u32 {
    super::rounds("CDC_START_ROUNDS", 0, 3)
}

/// The guest with the real programs of the store that `CDC_TEST_STORE` names.
fn stack() -> std::result::Result<&'static Guest, &'static str> {
    static GUEST: OnceLock<std::result::Result<Guest, String>> = OnceLock::new();
    let store = std::env::var("CDC_TEST_STORE").map_err(|_| "CDC_TEST_STORE names no filled store")?;
    let rounds = Duration::from_secs(10) * kill_rounds() + Duration::from_secs(240) * starts();
    let size = Size::stack(Duration::from_secs(1_500) + rounds);
    booted(&GUEST, "stack", (1, size), &script("stack/stack.sh"), |share| provide(share, &store))
}

/// What the guest installs and what it is told.
fn provide(share: &Path, store: &str) -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["kills.sh", "plain.sh", "fence.sh", "cut.sh", "change.sh", "end.sh"] {
        fs::copy(here.join("tests/vm/stack").join(part), share.join(part))?;
    }
    packed::products(share, &here.join("dist"), store)?;
    packed::later(share, &here.join("dist"))?;
    let words = [("rounds", kill_rounds()), ("starts", starts())];
    words.iter().try_for_each(|(name, number)| fs::write(share.join(name), number.to_string()))
}

/// A command that was run in the guest ended with `code` and said all of `words`.
fn ended(guest: &Guest, name: &str, code: i32, words: &[&str]) {
    let text = guest.saw(&format!("{name}.text"));
    assert_eq!(guest.saw(&format!("{name}.rc")), code.to_string(), "{name}: {text}\n{}", guest.journal());
    for word in words {
        assert!(text.contains(word), "{name}: {word:?} is not in:\n{text}");
    }
}

/// These nodes are the same runs in both looks.
fn ran_on(before: &Value, after: &Value, names: &[&str]) {
    for name in names {
        for key in ["pid", "incarnation", "restarts"] {
            let of = |status| support::node_of(status, name)[key].clone();
            assert_eq!(of(after), of(before), "{name}: {key}");
        }
        assert_eq!(support::node_of(after, name)["state"], "ready", "{after}");
    }
}

/// What each node's group must hold, bytes.
fn caps_hold(guest: &Guest, look: &str, caps: [(&str, u64); 5]) {
    for (name, mib) in caps {
        let saw = |file: &str| guest.saw(&format!("{look}.{name}.{file}"));
        assert_eq!(saw("memory.max"), (mib << 20).to_string(), "{look}: {name}");
        assert_eq!((saw("memory.swap.max"), saw("memory.oom.group")), ("0".into(), "1".into()), "{look}: {name}");
        assert!(saw("pids.max").parse::<u32>().is_ok_and(|most| most > 0), "{look}: {name}");
        assert_eq!(saw("cgroup"), format!("/system.slice/cdc-supervisor.service/nodes/{name}"), "{look}");
    }
}

mod start {
    use super::*;

    #[test]
    fn everything_that_was_waited_for_came_with_the_real_stack() {
        let guest = or_skip!(stack(), "everything_that_was_waited_for_came_with_the_real_stack");
        assert_eq!((guest.saw("end"), guest.saw("never")), ("reached".into(), String::new()), "{}", guest.journal());
    }

    #[test]
    fn a_tree_and_a_bundle_install_the_real_programs_without_a_network() {
        let guest = or_skip!(stack(), "a_tree_and_a_bundle_install_the_real_programs_without_a_network");
        assert_eq!(guest.saw("network"), "0", "only loopback");
        ended(guest, "install", 0, &["kafka 3.5.2", "mysql ", "sha256 ", "installed  cdc-supervisor"]);
        assert_eq!(
            guest.saw("install.trees"),
            "2\n0",
            "Kafka and MySQL, and nothing of root's: {}",
            guest.saw("install.text")
        );
        assert_eq!(guest.saw("installed.offline"), "1");
    }

    #[test]
    fn the_real_stack_starts_under_the_unit_with_its_caps_in_force() {
        let guest = or_skip!(stack(), "the_real_stack_starts_under_the_unit_with_its_caps_in_force");
        assert_eq!(guest.saw("start.rc"), "0", "{}", guest.journal());
        let status = guest.json("start");
        assert_eq!(status["supervisor"]["caps"]["enforced"], true, "{status}");
        for name in NODES {
            let node = support::node_of(&status, name);
            assert_eq!(
                (&node["state"], &node["restarts"]),
                (&"ready".into(), &0.into()),
                "{node}\n{}",
                guest.journal()
            );
        }
        let brokers = ["broker-1", "broker-2", "broker-3"].map(|name| (name, 768));
        caps_hold(guest, "start", [("zookeeper", 384), brokers[0], brokers[1], brokers[2], ("mysql", 1024)]);
        assert_eq!(status["cluster"]["kafka"]["topics"]["as_configured"], 1, "{status}");
    }

    #[test]
    fn daemon_and_shims_hold_no_more_than_20_mb_beside_five_real_nodes() {
        let guest = or_skip!(stack(), "daemon_and_shims_hold_no_more_than_20_mb_beside_five_real_nodes");
        let own = &guest.json("start")["supervisor"]["memory"];
        let part = |key: &str| own[key].as_u64().unwrap_or_else(|| panic!("{key} is not known: {own}"));
        let held = part("anon_bytes") + part("kernel_bytes");
        assert!(held <= 20_000_000, "{held} bytes: {own}\n{}", guest.saw("memory.text"));
    }
}
