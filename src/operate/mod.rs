//! Things one does to a cluster.
