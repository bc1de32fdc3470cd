//! Random fleets, random histories. Each step is checked by the world; at the end the world turns kind and all must rest.

use crate::world::{Happening, World, spec};
use cdc_supervisor::base::{
    NodeName,
    recipe::{RestartWhen, WhileStarting},
};
use cdc_supervisor::lifecycle::{NodeSpec, State, Wanted};
use proptest::prelude::*;
use std::time::Duration;

/// 1 to 6 nodes; `after` points from later to earlier ones, whose names sort either way.
fn fleets() -> impl Strategy<Value = Vec<NodeSpec>> {
    let node = (any::<[bool; 6]>(), 0..6_u8, 0..4_u32, 0..4_u64, 0..3_u64, any::<(bool, bool)>());
    (prop::collection::vec(node, 1..=6), any::<bool>()).prop_map(|(nodes, reversed)| {
        let flags: Vec<(bool, bool)> = nodes.iter().map(|node| node.5).collect();
        let name = |i: usize| format!("n{}", if reversed { 9 - i } else { i });
        (0..)
            .zip(nodes)
            .map(|(i, (edges, when, probe_failures, grace, start_deadline, (protected, copies)))| {
                let after: Vec<String> = (0..i).filter(|j| edges[*j]).map(name).collect();
                let after: Vec<&str> = after.iter().map(String::as_str).collect();
                let mut spec = spec(&name(i), &after);
                spec.restart.when = match when {
                    0 => RestartWhen::Never,
                    1 => RestartWhen::OnFailure,
                    _ => RestartWhen::Always,
                };
                if protected {
                    spec.stop.while_starting = WhileStarting::Wait { price: "its next start would take long".into() };
                }
                if copies {
                    let peers = (0..).zip(&flags).filter(|(j, (_, copies))| *copies && *j != i);
                    spec.peers = peers.map(|(j, _)| NodeName::new(name(j)).unwrap()).collect();
                }
                spec.probe_failures = probe_failures;
                spec.stop.grace = Duration::from_secs(grace);
                spec.start_deadline = Duration::from_secs(start_deadline * 10);
                spec
            })
            .collect()
    })
}

fn happenings(longest: usize) -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (0..6_usize, any::<u8>()).prop_map(|(n, k)| Happening::Order(n, k)),
        1 => Just(Happening::StopAll),
        2 => any::<u16>().prop_map(Happening::Pass),
        2 => Just(Happening::UntilDeadline),
        16 => (0..6_usize, any::<u8>()).prop_map(|(n, f)| Happening::World(n, f)),
        2 => (0..6_usize, any::<usize>()).prop_map(|(n, w)| Happening::Stale(n, w)),
        1 => Just(Happening::NewDaemon),
        1 => Just(Happening::GoodDay),
    ];
    prop::collection::vec(one, 0..longest)
}

/// 128 histories per test; `PROPTEST_CASES` asks for more.
fn settings() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(128);
    // A failing history is short after shrinking and printed; nothing is written beside the sources.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_history_keeps_the_rules_and_comes_to_rest(specs in fleets(), history in happenings(150)) {
        let mut world = World::new(specs);
        world.happen(Happening::GoodDay);
        for what in history {
            world.happen(what);
        }
        world.be_kind();
        world.check_rest();
    }

    #[test]
    fn after_any_history_everything_can_be_stopped(specs in fleets(), history in happenings(80)) {
        let mut world = World::new(specs);
        for what in history {
            world.happen(what);
        }
        world.happen(Happening::StopAll);
        world.be_kind();
        world.check_rest();
        for node in world.fleet.nodes() {
            prop_assert_eq!(node.wanted(), Wanted::Down);
        }
    }

    #[test]
    fn after_any_history_everything_can_be_started(specs in fleets(), history in happenings(80)) {
        let mut world = World::new(specs);
        for what in history {
            world.happen(what);
        }
        world.happen(Happening::StopAll);
        world.be_kind();
        world.happen(Happening::GoodDay);
        for node in world.fleet.nodes() {
            prop_assert!(matches!(node.state(), State::Ready { .. }), "{:?}", node);
        }
    }

    #[test]
    fn a_node_comes_behind_all_it_needs_and_is_stopped_before_them(specs in fleets()) {
        let world = World::new(specs);
        let names: Vec<_> = world.fleet.nodes().map(|n| n.name().clone()).collect();
        let order = world.fleet.dependents_first(&names);
        prop_assert_eq!(order.len(), names.len());
        for name in &names {
            let needs = world.fleet.needs(name);
            prop_assert!(!needs.contains(name));
            for needed in &needs {
                let at = |n| order.iter().position(|o| o == n);
                prop_assert!(at(name) < at(needed));
                for deeper in world.fleet.needs(needed) {
                    prop_assert!(needs.contains(&deeper));
                }
            }
        }
    }
}
