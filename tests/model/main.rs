//! The lifecycle machine against a simulated world: random histories with invariants, and the rules one by one.

mod histories;
mod rules;
mod world;
