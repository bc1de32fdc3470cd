//! Talking to the daemon: versioned wire types, the socket server, the client.

pub mod wire;
