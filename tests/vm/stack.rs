//! The real stack under the unit with its caps in force, and `kill -9` of the daemon with all of it up: one boot of a guest
//! (`stack.sh`), one test per fact.

use super::{
    guest::{Guest, Size, booted, tell},
    script, support,
};
use std::{fs, path::Path, sync::OnceLock, time::Duration};

const NODES: [&str; 5] = ["zookeeper", "broker-1", "broker-2", "broker-3", "mysql"];

/// Rounds of `kill -9` of the daemon: `CDC_KILL_ROUNDS`, 50 in the long form.
fn kill_rounds() -> u32 {
    super::rounds("CDC_KILL_ROUNDS", 5, 50)
}

/// Warm starts of each kind: `CDC_START_ROUNDS`.
fn starts() -> u32 {
    std::env::var("CDC_START_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// The guest with the real programs of the store that `CDC_TEST_STORE` names.
fn stack() -> Result<&'static Guest, &'static str> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    let store = std::env::var("CDC_TEST_STORE").map_err(|_| "CDC_TEST_STORE names no filled store")?;
    // The caps of the default stack must fit, as the ledger reckons.
    let rounds = Duration::from_secs(10) * kill_rounds() + Duration::from_secs(180) * starts();
    let size = Size("4300M", Size::SMALL.1 * 2 + rounds);
    booted(&GUEST, "stack", (1, size), &script("stack.sh"), |share| {
        let lock = fs::read_to_string(Path::new(&store).join("lock.toml"))?;
        let java = lock.lines().find_map(|l| l.strip_prefix("home = \"")?.strip_suffix('"'));
        let java = java.ok_or_else(|| std::io::Error::other(format!("{store} has no Java")))?;
        fs::write(share.join("java"), java)?;
        fs::write(share.join("store"), &store)?;
        fs::write(share.join("rounds"), kill_rounds().to_string())?;
        fs::write(share.join("starts"), starts().to_string())
    })
}

/// The guest, or nothing when the test has been skipped.
macro_rules! guest_or_skip {
    ($test:literal) => {
        match stack() {
            Ok(guest) => guest,
            Err(reason) => return support::skip($test, reason),
        }
    };
}

#[test]
fn the_real_stack_starts_under_the_unit_with_its_caps_in_force() {
    let guest = guest_or_skip!("the_real_stack_starts_under_the_unit_with_its_caps_in_force");
    assert_eq!(guest.saw("start.rc"), "0", "{}", guest.journal());
    let status = guest.json("start");
    assert_eq!(status["supervisor"]["caps"]["enforced"], true, "{status}");
    for name in NODES {
        let node = support::node_of(&status, name);
        assert_eq!((&node["state"], &node["restarts"]), (&"ready".into(), &0.into()), "{node}\n{}", guest.journal());
    }
    for (name, mib) in [("zookeeper", 384_u64), ("broker-1", 768), ("mysql", 1024)] {
        assert_eq!(guest.saw(&format!("{name}.memory.max")), (mib << 20).to_string(), "{name}");
    }
}

#[test]
fn daemon_and_shims_hold_no_more_than_20_mb_beside_five_real_nodes() {
    let guest = guest_or_skip!("daemon_and_shims_hold_no_more_than_20_mb_beside_five_real_nodes");
    let own = &guest.json("start")["supervisor"]["memory"];
    let part = |key: &str| own[key].as_u64().unwrap_or_else(|| panic!("{key} is not known: {own}"));
    let held = part("anon_bytes") + part("kernel_bytes");
    assert!(held <= 20_000_000, "{held} bytes: {own}\n{}", guest.saw("memory.text"));
}

#[test]
fn at_rest_daemon_and_shims_hold_no_more_than_20_mb_and_what_makes_data_is_charged_to_its_node() {
    let guest =
        guest_or_skip!("at_rest_daemon_and_shims_hold_no_more_than_20_mb_and_what_makes_data_is_charged_to_its_node");
    let numbers = |name: &str| -> Vec<u64> { guest.saw(name).lines().map(|n| n.parse().unwrap()).collect() };
    let ([anon, kernel, file, peak], [reclaimed]) =
        (numbers("own")[..].try_into().unwrap(), numbers("own.reclaimed")[..].try_into().unwrap());
    let held = anon + kernel;
    // Neither had a group of its own before this boot; `mysqld --initialize` holds some 300 MB, and ran in the node's.
    let warm = guest.json("warm")["supervisor"]["memory"]["peak_bytes"].as_u64().unwrap();
    let mb = |bytes: u64| f64::from(u32::try_from(bytes / 1_000).unwrap()) / 1e3;
    tell(&format!(
        "figure: daemon and shims at rest, anon + kernel: {:.1} MB ({:.1} + {:.1}); cached files {:.1} MB, {:.1} MB in all after the \
         kernel was told to take back what it can; peak {:.1} MB after the first start, {:.1} MB after a warm one",
        mb(held),
        mb(anon),
        mb(kernel),
        mb(file),
        mb(reclaimed),
        mb(peak),
        mb(warm)
    ));
    assert!(held <= 20_000_000, "{held} bytes");
    assert!(peak < 150_000_000, "{peak} bytes: something else than daemon and shims ran in their group");
    assert!(reclaimed <= held + 10_000_000, "{reclaimed} bytes are left of {held} held and {file} of cached files");
}

#[test]
fn a_warm_start_of_the_unit_is_measured_against_plain_units() {
    let guest = guest_or_skip!("a_warm_start_of_the_unit_is_measured_against_plain_units");
    let all = guest.saw("starts");
    let of = |kind: &str| -> Vec<f64> {
        let mut took: Vec<f64> =
            all.lines().filter_map(|l| l.strip_prefix(kind)?.trim().parse::<f64>().ok()).map(|ms| ms / 1e3).collect();
        took.sort_by(f64::total_cmp);
        took
    };
    let (unit, plain) = (of("unit "), of("plain "));
    assert_eq!((unit.len(), plain.len()), (starts() as usize, starts() as usize), "{all}\n{}", guest.journal());
    let (ours, theirs) = (unit[unit.len() / 2], plain[plain.len() / 2]);
    tell(&format!(
        "figure: systemctl start to all ready, warm, in the guest: {ours:.1} s; the same command lines as plain units, all at once: \
         {theirs:.1} s ({:.2}); {} of each in turns, medians",
        ours / theirs,
        starts()
    ));
}

/// Of each round: nodes adopted, when the daemon began, when the last node was its own, milliseconds since the kill.
fn rounds(guest: &Guest) -> Vec<[u64; 3]> {
    let numbers = |line: &str| -> Option<[u64; 3]> {
        let numbers: Vec<u64> = line.split(' ').skip(1).filter_map(|n| n.parse().ok()).collect();
        numbers.try_into().ok()
    };
    guest.saw("rounds").lines().filter_map(numbers).collect()
}

#[test]
fn a_daemon_killed_again_and_again_restarts_no_node_and_takes_all_over() {
    let guest = guest_or_skip!("a_daemon_killed_again_and_again_restarts_no_node_and_takes_all_over");
    assert_eq!(guest.saw("end"), "reached", "{}", guest.journal());
    let (before, after) = (guest.json("start"), guest.json("end"));
    for name in NODES.iter().chain(&["ticker"]) {
        for key in ["pid", "incarnation", "restarts", "ready_since"] {
            let of = |status| support::node_of(status, name)[key].clone();
            assert_eq!(of(&after), of(&before), "{name}: {key}");
        }
    }
    let rounds = rounds(guest);
    assert_eq!(rounds.len(), kill_rounds() as usize, "{}", guest.saw("rounds"));
    assert!(rounds.iter().all(|[nodes, _, _]| *nodes >= 6), "a node was not taken over: {}", guest.saw("rounds"));
    let mut took: Vec<u64> = rounds.iter().map(|[_, began, last]| last.saturating_sub(*began)).collect();
    took.sort_unstable();
    let worst = took.last().copied().unwrap_or_default();
    // A figure, not an assertion: a guest on a busy machine may be slow (wanted: 1 s).
    tell(&format!(
        "figure: from the start of the next daemon to the last adoption, worst of {} rounds: {worst} ms",
        took.len()
    ));
}

#[test]
fn no_byte_of_a_log_is_lost_while_the_daemon_is_killed() {
    let guest = guest_or_skip!("no_byte_of_a_log_is_lost_while_the_daemon_is_killed");
    let ticks = guest.saw("ticks");
    let numbers: Vec<u64> = ticks.split(' ').filter_map(|n| n.parse().ok()).collect();
    assert!(matches!(numbers[..], [n, 0, 0] if n > 0), "lines, gaps, others: {ticks}");
    assert_eq!(guest.saw("gaps"), "0");
}
