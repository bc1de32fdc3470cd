//! The operating system: the only room (with `shim`) that makes system calls other than through std. Policy-free.

pub mod cgroup;
pub mod children;
pub mod clock;
pub mod command;
pub mod confine;
pub mod copy;
pub mod credentials;
pub mod elf;
pub mod error;
pub mod failpoint;
pub mod fs;
pub mod give;
pub mod host;
pub mod kernel;
pub mod memory;
pub mod mounts;
pub mod net;
pub mod numbered;
pub mod port_owners;
pub mod process;
pub mod profiles;
pub mod room;
pub mod socket;
pub mod stdio;
pub mod stop_signals;
pub mod tree;
