//! What daemon and shim say to each other: a launch order, requests, reports; length-prefixed frames, versioned.
