//! The limits that each node's group has to hold: the one way to set them, to change them and to put them right.

use crate::{
    base::{NodeName, recipe::Recipe},
    sys::{
        cgroup::{Caps, CgroupRoot, Deviation},
        error::SysError,
    },
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// What the groups of all nodes have to hold. A look that compares them with the kernel's and an order that changes them
/// hold the same node's lock: else a look could put an old limit back over a new one.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    root: CgroupRoot,
    nodes: Arc<Mutex<BTreeMap<NodeName, Arc<Mutex<Caps>>>>>,
}

impl Limits {
    pub(super) fn new(root: CgroupRoot) -> Self {
        Self { root, nodes: Arc::default() }
    }

    /// What the node has to hold; by its recipe where nothing was set by this daemon (an adopted node).
    fn of(&self, recipe: &Recipe) -> Arc<Mutex<Caps>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let caps = || Arc::new(Mutex::new(Caps::of(&recipe.launch)));
        Arc::clone(nodes.entry(recipe.node.clone()).or_insert_with(caps))
    }

    /// Makes the group for a start. What the host cannot give and the node can do without comes back as words.
    pub(super) fn start(&self, recipe: &Recipe) -> Result<(PathBuf, Vec<String>), SysError> {
        let held = self.of(recipe);
        let mut caps = held.lock().unwrap_or_else(PoisonError::into_inner);
        *caps = Caps::of(&recipe.launch);
        self.root.make_node(&recipe.node, &caps)
    }

    /// Gives a running node the limits of another recipe. Blocks: the kernel reclaims memory while a lower `memory.max` is being
    /// written (cgroup-v2.rst).
    pub(super) fn change(&self, recipe: &Recipe) -> Result<Vec<String>, SysError> {
        let held = self.of(recipe);
        let mut caps = held.lock().unwrap_or_else(PoisonError::into_inner);
        *caps = Caps::of(&recipe.launch);
        self.root.set_caps(&recipe.node, &caps)
    }

    /// Compares what the kernel holds with what it has to, and puts right what differs. Blocks.
    pub(super) fn mend(&self, recipe: &Recipe, main: i32) -> Vec<Deviation> {
        let held = self.of(recipe);
        let caps = held.lock().unwrap_or_else(PoisonError::into_inner);
        self.root.mend(&recipe.node, &caps, main)
    }

    /// Where the node's memory is read.
    pub(super) fn group(&self, node: &NodeName) -> PathBuf {
        self.root.node(node)
    }
}
