//! Known lines of Spring Boot applications: the UI.

use super::{FIX_OPTION, FREE_PORT, consequence, fatal, harmless};
use crate::base::Cause;
use crate::services::catalogue::{Known, Product};

/// Lines that explain an end, the more specific before the less.
pub(super) const FATAL: &[Known] = &[
    fatal(
        Product::Spring,
        Cause::PortTaken,
        &["Web server failed to start. Port", "was already in use"],
        "its port is taken",
        FREE_PORT,
    ),
    fatal(
        Product::Spring,
        Cause::BadOption,
        &["Failed to bind properties under"],
        "a setting has a value of the wrong kind",
        FIX_OPTION,
    ),
    fatal(
        Product::Spring,
        Cause::BadOption,
        // "resource" or "location"
        &["Config data ", "does not exist"],
        "its configuration file is not there",
        "restart the node: the file is written before each start",
    ),
    consequence(
        Product::Spring,
        Cause::BadOption,
        &["APPLICATION FAILED TO START"],
        "Spring refuses to start it, and says why in the lines below",
        "read on with `cdc-supervisor logs kafka-ui`, correct the setting, then reload",
    ),
    fatal(
        Product::Spring,
        Cause::CouldNotStart,
        &["Unable to access jarfile"],
        "its jar is not there",
        "fetch the artifacts again, then start the node",
    ),
    fatal(
        Product::Spring,
        Cause::CouldNotStart,
        &["Invalid or corrupt jarfile"],
        "its jar is no jar",
        "fetch the artifacts again, then start the node",
    ),
];

/// Lines that look bad and are not.
pub(super) const HARMLESS: &[Known] = &[
    harmless(
        Product::Spring,
        &["NetworkClient", "disconnected"],
        "a broker went away; the page shows it and connects again by itself",
    ),
    harmless(
        Product::Spring,
        &["NetworkClient", "could not be established"],
        "a broker does not listen yet or any more; the page connects again by itself",
    ),
    harmless(
        Product::Spring,
        &["Authentication is disabled. Access will be unrestricted."],
        "the page has no login; it is bound to the address in kafka_ui.bind",
    ),
    harmless(
        Product::Spring,
        &["Error registering AppInfo mbean"],
        "two clients in one process share a name for their counters",
    ),
];
