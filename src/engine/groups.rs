//! The groups of nodes that have ended: removed at their end, or in the turns after it while the kernel calls them busy. The
//! dispatcher waits for none, and it makes groups too, so none goes away that a start has just made.

use crate::{
    base::{Moment, NodeName},
    sys::{cgroup::CgroupRoot, clock, error::SysError},
};
use std::{collections::BTreeMap, time::Duration};

/// Processes that are being reaped keep a group busy for a moment.
const AGAIN: Duration = Duration::from_millis(5);
/// So often; then it is left to the next start of its node, which takes it as it is, or to the next daemon.
const TRIES: u32 = 40;

/// Groups that could not be removed yet, and how often that was tried.
#[derive(Debug, Default)]
pub(super) struct Groups {
    left: BTreeMap<NodeName, u32>,
    again: Option<Moment>,
}

impl Groups {
    /// Nothing of the node lives any more.
    pub(super) fn ended(&mut self, root: &CgroupRoot, node: &NodeName) {
        self.try_first(clock::now(), node, |node| root.remove_node_now(node));
    }

    /// Tries this one only: many nodes end in one turn, and the others have their tries when it is time.
    fn try_first(&mut self, now: Moment, node: &NodeName, remove: impl Fn(&NodeName) -> Result<bool, SysError>) {
        if let Ok(false) = remove(node) {
            let at = self.deadline().unwrap_or(now + AGAIN);
            self.again = Some(at);
            self.left.insert(node.clone(), 0);
        }
    }

    /// Its group is wanted again.
    pub(super) fn started(&mut self, node: &NodeName) {
        self.left.remove(node);
    }

    /// When there is something to try.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.again.filter(|_| !self.left.is_empty())
    }

    /// Tries those that are left, where it is time.
    pub(super) fn look(&mut self, root: Option<&CgroupRoot>) {
        let now = clock::now();
        if let Some(root) = root.filter(|_| self.deadline().is_some_and(|at| now >= at)) {
            self.turn(now, |node| root.remove_node_now(node));
        }
    }

    fn turn(&mut self, now: Moment, mut remove: impl FnMut(&NodeName) -> Result<bool, SysError>) {
        self.left.retain(|node, tries| {
            *tries += 1;
            // What cannot be removed for another reason is the next start's.
            *tries <= TRIES && matches!(remove(node), Ok(false))
        });
        self.again = Some(now + AGAIN);
    }

    /// Waits for those that are left, for a moment each: the daemon ends.
    pub(super) fn finish(self, root: &CgroupRoot) {
        for node in self.left.keys() {
            // What stays goes with the unit's own group.
            let _ = root.remove_node(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_group_is_tried_again_until_it_is_gone_or_wanted_again() {
        let (mysql, zookeeper) = (NodeName::mysql(), NodeName::zookeeper());
        let mut groups = Groups::default();
        assert_eq!(groups.deadline(), None);
        groups.try_first(Moment(0), &mysql, |_| Ok(false));
        groups.try_first(Moment(3), &zookeeper, |_| Ok(false));
        assert_eq!(groups.deadline(), Some(Moment(5)), "no end puts off the tries of others");
        assert!(groups.left.values().all(|tries| *tries == 0), "nor spends them: {groups:?}");
        groups.turn(Moment(0), |node| Ok(*node == mysql));
        assert_eq!(groups.deadline(), Some(Moment(5)));
        assert_eq!(groups.left.keys().collect::<Vec<_>>(), [&zookeeper]);
        groups.started(&zookeeper);
        assert_eq!(groups.deadline(), None, "a start has taken it");
        groups.try_first(Moment(9), &mysql, |_| Ok(false));
        assert_eq!(groups.deadline(), Some(Moment(14)));
        let mut tries = 0;
        while groups.deadline().is_some() {
            groups.turn(Moment(0), |_| {
                tries += 1;
                Ok(false)
            });
        }
        assert_eq!(tries, TRIES, "not for ever");
    }
}
