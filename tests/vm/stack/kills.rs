//! `kill -9` of the daemon again and again with all of the real stack up, what daemon and shims hold, and a start against plain units.

use super::{NODES, kill_rounds, ran_on, stack, starts};
use crate::{
    figures::Figure,
    guest::{Guest, tell},
};

/// Of each round: nodes adopted, when the daemon began, when the last node was its own, milliseconds since the kill.
fn rounds(guest: &Guest) -> Vec<[u64; 3]> {
    let numbers = |line: &str| -> Option<[u64; 3]> {
        let numbers: Vec<u64> = line.split(' ').skip(1).filter_map(|n| n.parse().ok()).collect();
        numbers.try_into().ok()
    };
    guest.saw("rounds").lines().filter_map(numbers).collect()
}

/// Lines of the ticker's log; those that are missing or twice; others.
fn ticks(guest: &Guest) -> Option<[u64; 3]> {
    let numbers: Vec<u64> = guest.saw("ticks").split(' ').filter_map(|n| n.parse().ok()).collect();
    numbers.try_into().ok()
}

#[test]
fn a_daemon_killed_again_and_again_restarts_no_node_and_takes_all_over() {
    let guest = or_skip!(stack(), "a_daemon_killed_again_and_again_restarts_no_node_and_takes_all_over");
    let (before, after) = (guest.json("start"), guest.json("killed"));
    ran_on(&before, &after, &NODES);
    ran_on(&before, &after, &["ticker"]);
    let rounds = rounds(guest);
    assert_eq!(rounds.len(), kill_rounds() as usize, "{}", guest.saw("rounds"));
    assert!(rounds.iter().all(|[nodes, _, _]| *nodes >= 6), "a node was not taken over: {}", guest.saw("rounds"));
    let mut took: Vec<u64> = rounds.iter().map(|[_, began, last]| last.saturating_sub(*began)).collect();
    took.sort_unstable();
    let (middle, worst) = (took[took.len() / 2], took[took.len() - 1]);
    let [lines, gaps, _] = ticks(guest).unwrap_or_default();
    // A figure, not an assertion: a guest on a busy machine may be slow.
    Figure {
        what: "daemon killed with all five real nodes up (guest): until the next one has taken all over",
        ours: format!("median {middle} ms, worst {worst} ms"),
        reach: "<= 1 s, 0 node restarts, 0 log bytes lost",
        reached: Some(worst <= 1_000 && gaps == 0),
        rounds: kill_rounds(),
        note: format!("from the start of the next daemon; 0 nodes restarted, {gaps} of {lines} log lines lost"),
        ..Figure::default()
    }
    .show();
}

#[test]
fn no_byte_of_a_log_is_lost_while_the_daemon_is_killed() {
    let guest = or_skip!(stack(), "no_byte_of_a_log_is_lost_while_the_daemon_is_killed");
    assert!(matches!(ticks(guest), Some([n, 0, 0]) if n > 0), "lines, gaps, others: {}", guest.saw("ticks"));
    assert_eq!(guest.saw("gaps"), "0");
}

#[test]
fn at_rest_daemon_and_shims_hold_no_more_than_20_mb_and_what_makes_data_is_charged_to_its_node() {
    let guest = or_skip!(
        stack(),
        "at_rest_daemon_and_shims_hold_no_more_than_20_mb_and_what_makes_data_is_charged_to_its_node"
    );
    let numbers = |name: &str| -> Vec<u64> { guest.saw(name).lines().map(|n| n.parse().unwrap()).collect() };
    let ([anon, kernel, file, peak], [reclaimed]) =
        (numbers("own")[..].try_into().unwrap(), numbers("own.reclaimed")[..].try_into().unwrap());
    let held = anon + kernel;
    let warm = guest.json("restart")["supervisor"]["memory"]["peak_bytes"].as_u64().unwrap();
    let mb = |bytes: u64| f64::from(u32::try_from(bytes / 1_000).unwrap()) / 1e3;
    Figure {
        what: "daemon and shims beside five real nodes (guest), anon + kernel",
        ours: format!("{:.1} MB", mb(held)),
        reach: "<= 20 MB",
        reached: Some(held <= 20_000_000),
        rounds: 1,
        note: format!(
            "{:.1} + {:.1}, at rest in their own group; cached files {:.1} MB, {:.1} MB in all after the kernel was told to take \
             back what it can; peak {:.1} MB after the first start, {:.1} MB after a warm one",
            mb(anon), mb(kernel), mb(file), mb(reclaimed), mb(peak), mb(warm)
        ),
        ..Figure::default()
    }
    .show();
    assert!(held <= 20_000_000, "{held} bytes");
    // `mysqld --initialize` and the JVMs that make class-data archives hold some 300 MB each, and run in the nodes' groups.
    assert!(peak < 150_000_000, "{peak} bytes: something else than daemon and shims ran in their group");
    assert!(reclaimed <= held + 10_000_000, "{reclaimed} bytes are left of {held} held and {file} of cached files");
}

#[test]
fn a_warm_start_of_the_unit_is_measured_against_plain_units() {
    let guest = or_skip!(stack(), "a_warm_start_of_the_unit_is_measured_against_plain_units");
    if starts() == 0 {
        return tell("starts against plain units were not measured: CDC_START_ROUNDS, or dist/bench.sh --only guest");
    }
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
    Figure {
        what: "systemctl start to all ready, warm (guest), median",
        ours: format!("{ours:.1} s"),
        against: format!("plain units {theirs:.1} s"),
        ratio: Some(ours / theirs),
        reach: "printed",
        rounds: starts(),
        note: "the same command lines as plain units, in turns; brokers there are ready when they say so, here when they answer".into(),
        ..Figure::default()
    }
    .show();
}
