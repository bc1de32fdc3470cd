//! The shim's life.

/// Runs.
pub fn main() -> i32 {
    0
}
