//! Logs of the nodes: rotation at line ends, and the reader that follows across it.
