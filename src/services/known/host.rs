//! Known words of the kernel, in whatever wrapping.

use super::{FREE_PORT, FREE_SPACE, OWN_FILES, fatal};
use crate::base::Cause;
use crate::services::catalogue::{Known, Product};

/// Lines that explain an end, the more specific before the less.
pub(super) const FATAL: &[Known] = &[
    fatal(Product::Any, Cause::DiskFull, &["No space left on device"], "the file system is full", FREE_SPACE),
    // ENFILE before EMFILE, whose words it contains (errno(3))
    fatal(
        Product::Any,
        Cause::Crashed,
        &["Too many open files in system"],
        "all programs of the host together have as many files open as it allows (fs.file-max)",
        "raise fs.file-max: `cdc-supervisor doctor` says to what, `doctor --fix file-max` does it",
    ),
    fatal(
        Product::Any,
        Cause::Crashed,
        &["Too many open files"],
        "it has as many files open as it may",
        "raise nofile in its table of supervisor.toml, then reload",
    ),
    fatal(Product::Any, Cause::DiskFull, &["Disk quota exceeded"], "the user's disk quota is used up", FREE_SPACE),
    fatal(
        Product::Any,
        Cause::PortTaken,
        &["java.net.BindException: Address already in use"],
        "a port is taken",
        FREE_PORT,
    ),
    fatal(
        Product::Any,
        Cause::BadOption,
        &["java.net.BindException: Cannot assign requested address"],
        "the host does not have the address to listen on",
        "set bind to an address of this host",
    ),
    fatal(
        Product::Jvm,
        Cause::WrongOwner,
        &["java.nio.file.AccessDeniedException"],
        "a file may not be used",
        OWN_FILES,
    ),
    fatal(Product::Jvm, Cause::WrongOwner, &["(Permission denied)"], "a file may not be used", OWN_FILES),
    fatal(
        Product::Any,
        Cause::WrongOwner,
        &["Read-only file system"],
        "the file system is mounted read-only",
        "see the kernel's log for the disk's errors, then mount it for writing",
    ),
];
