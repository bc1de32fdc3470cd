//! Trees without a shim that are being stopped: an order that wants a node down waits for them, and so does the daemon's end.

use super::node::Happening;
use crate::{base::NodeName, sys::command::Cancel};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::mpsc;

/// All of them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct OrphanStops(Arc<Mutex<BTreeMap<NodeName, Running>>>);

/// What is going on about one node.
#[derive(Debug, Default)]
struct Running {
    stops: u32,
    hurried: bool,
}

/// One, or the look whether there is something to stop. Over when it is dropped.
#[derive(Debug)]
pub(super) struct OrphanStop {
    all: OrphanStops,
    node: NodeName,
    sink: mpsc::UnboundedSender<(NodeName, Happening)>,
    /// Of the preparation it is a part of; none: of a node that nobody wants.
    cancel: Option<Cancel>,
}

impl OrphanStops {
    /// Begins one. On the dispatcher's thread: what is ordered after it finds it.
    pub(super) fn begin(
        &self,
        node: &NodeName,
        sink: &mpsc::UnboundedSender<(NodeName, Happening)>,
        cancel: Option<Cancel>,
    ) -> OrphanStop {
        self.lock().entry(node.clone()).or_default().stops += 1;
        OrphanStop { all: self.clone(), node: node.clone(), sink: sink.clone(), cancel }
    }

    /// Whether something of this node is being stopped.
    pub(super) fn is_stopping(&self, node: &NodeName) -> bool {
        self.lock().contains_key(node)
    }

    /// Of which nodes.
    pub(super) fn nodes(&self) -> Vec<NodeName> {
        self.lock().keys().cloned().collect()
    }

    /// SIGKILL instead of the rest of the grace.
    pub(super) fn hurry(&self, node: &NodeName) {
        if let Some(running) = self.lock().get_mut(node) {
            running.hurried = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Running>> {
        // Counters and flags: each change of them is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OrphanStop {
    /// Whether nobody wants to wait for the rest of the grace.
    pub(super) fn is_hurried(&self) -> bool {
        self.all.lock().get(&self.node).is_some_and(|running| running.hurried)
    }
}

impl Drop for OrphanStop {
    fn drop(&mut self) {
        {
            let mut all = self.all.lock();
            if let Some(running) = all.get_mut(&self.node) {
                running.stops = running.stops.saturating_sub(1);
                if running.stops == 0 {
                    all.remove(&self.node);
                }
            }
        }
        // After the count: an order that cancels it later sees that it is over, one that did before hears of it.
        if self.cancel.as_ref().is_none_or(Cancel::is_cancelled) {
            // The dispatcher ends last.
            let _ = self.sink.send((self.node.clone(), Happening::OrphanStopped));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_counted_until_it_is_over_and_tells_only_who_waits() {
        let (stops, node) = (OrphanStops::default(), NodeName::mysql());
        let (sink, mut told) = mpsc::unbounded_channel();
        let cancel = Cancel::default();
        let (one, two) = (stops.begin(&node, &sink, Some(cancel.clone())), stops.begin(&node, &sink, None));
        assert!(stops.is_stopping(&node) && !one.is_hurried());
        stops.hurry(&node);
        assert!(one.is_hurried() && two.is_hurried());
        drop(one);
        assert!(stops.is_stopping(&node) && told.try_recv().is_err());
        drop(two);
        assert!(!stops.is_stopping(&node) && told.try_recv().is_ok());
        let again = stops.begin(&node, &sink, Some(cancel.clone()));
        assert!(!again.is_hurried(), "an earlier hurry is over");
        cancel.cancel();
        drop(again);
        assert!(told.try_recv().is_ok() && stops.nodes().is_empty());
    }
}
