//! The operating system: the only room (with `shim`) that makes system calls other than through std. Policy-free.

pub mod children;
pub mod clock;
pub mod command;
pub mod error;
pub mod fs;
