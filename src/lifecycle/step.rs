//! The transition table: one function, every state x event pair written out.
