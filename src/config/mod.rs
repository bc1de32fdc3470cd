//! Text of `supervisor.toml` to a checked plan.
