//! One attempt to see whether a node is ready, with a reason.
