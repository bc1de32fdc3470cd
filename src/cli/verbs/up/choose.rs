//! Which nodes an `up` has to order: what runs needs no order, and what has done its work is not run twice. Pure.

use crate::{
    base::{Cause, NodeName},
    control::wire::{Node, Status},
};

/// The nodes to order, of a daemon that looks like this. `only` as on the command line; empty: all. `fresh`: this `up` has
/// started the daemon, which wants up what it shall by itself: what became of that under it is an answer already.
pub(super) fn to_start(status: &Status, only: &[NodeName], fresh: bool) -> Vec<NodeName> {
    let chosen = |node: &&Node| only.is_empty() || only.contains(&node.name);
    let began = status.supervisor.started_at;
    let of_this_daemon = |at| fresh && began.is_some_and(|began| at >= Some(began));
    let wants_an_order = |node: &&Node| match (node.wanted.as_str(), node.state.as_str()) {
        ("up", "down") => !has_done_its_work(node) && !of_this_daemon(node.last_exit.as_ref().map(|exit| exit.at)),
        ("up", "failed") => !of_this_daemon(node.since),
        // What it needs may be down: an order for it reaches that, too.
        ("up", "waiting") => !only.is_empty(),
        ("up", _) => false,
        _ => true,
    };
    let mut nodes: Vec<NodeName> =
        status.nodes.iter().filter(chosen).filter(wants_an_order).map(|n| n.name.clone()).collect();
    // The daemon says that it does not know them.
    nodes.extend(only.iter().filter(|name| !status.nodes.iter().any(|n| n.name == **name)).cloned());
    nodes
}

/// It ended well, and its restart policy says that this was all.
pub(super) fn has_done_its_work(node: &Node) -> bool {
    node.wanted == "up"
        && node.state == "down"
        && node.last_exit.as_ref().is_some_and(|exit| exit.cause == Cause::Completed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Timestamp,
        cli::samples::{NOW, node, stack},
        control::wire::LastExit,
    };

    /// The daemon has run for 20 s.
    fn one(wanted: &str, state: &str, ended: Option<(Cause, i64)>) -> Status {
        let mut status = stack();
        let mut one = node("one", "command", 0, 0, 64, &[]);
        one.wanted = wanted.into();
        one.state = state.into();
        one.since = Some(Timestamp(NOW.0 - 1_000));
        one.last_exit = ended.map(|(cause, ago)| LastExit {
            code: Some(0),
            signal: None,
            cause,
            at: Timestamp(NOW.0 - ago * 1_000),
            oom_by: None,
        });
        status.nodes = vec![one];
        status
    }

    fn ordered(status: &Status, fresh: bool) -> bool {
        !to_start(status, &[], fresh).is_empty()
    }

    #[test]
    fn what_runs_or_is_on_its_way_needs_no_order() {
        assert!(to_start(&stack(), &[], false).is_empty());
        for state in ["waiting", "preparing", "starting", "ready", "degraded", "stopping"] {
            assert!(!ordered(&one("up", state, None), false), "{state}");
        }
    }

    #[test]
    fn what_has_done_its_work_is_not_run_again() {
        for ago in [1, 3_600] {
            for fresh in [true, false] {
                let status = one("up", "down", Some((Cause::Completed, ago)));
                assert!(!ordered(&status, fresh), "{ago} {fresh}");
                assert!(has_done_its_work(&status.nodes[0]));
            }
        }
    }

    #[test]
    fn what_broke_is_ordered_again_unless_this_up_has_just_seen_it_break() {
        assert!(ordered(&one("up", "down", Some((Cause::Crashed, 1))), false));
        assert!(!ordered(&one("up", "down", Some((Cause::Crashed, 1))), true));
        assert!(ordered(&one("up", "down", Some((Cause::Crashed, 3_600))), true), "that was under another daemon");
        assert!(ordered(&one("up", "failed", None), false));
        assert!(!ordered(&one("up", "failed", None), true));
        let mut carried = one("up", "failed", None);
        carried.nodes[0].since = Some(Timestamp(NOW.0 - 3_600_000));
        assert!(ordered(&carried, true), "it had failed under the last daemon");
    }

    #[test]
    fn what_was_stopped_by_order_is_wanted_again_and_only_what_was_chosen() {
        for state in ["down", "stopping", "ready"] {
            assert!(ordered(&one("down", state, Some((Cause::Stopped, 1))), false), "{state}");
        }
        let other = [NodeName::new("other").unwrap()];
        assert_eq!(to_start(&one("down", "down", None), &other, false), other, "the daemon says that there is no such");
        let name = [NodeName::new("one").unwrap()];
        assert_eq!(to_start(&one("up", "waiting", None), &name, false), name, "what it needs may be down");
    }
}
