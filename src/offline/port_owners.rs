//! `port-owners`: root writes down who has the configuration's ports, before a daemon starts that may not look itself.

use super::config_file::{self, ConfigFileError};
use crate::sys::{net, port_owners};
use std::{io, path::Path};

/// It could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum PortOwnersError {
    /// Which ports are meant is not known.
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    /// The file.
    #[error("cannot write {}", port_owners::FILE)]
    Write(#[source] io::Error),
}

/// Looks at the ports of the configuration and writes down who listens on them. Returns how many were found.
pub fn note(config: Option<&Path>, root: Option<&Path>) -> Result<usize, PortOwnersError> {
    let plan = config_file::load(config, root)?.plan;
    let ports: Vec<u16> = plan.ports().iter().map(|(_, port)| port.address.port()).collect();
    net::note_owners(Path::new(port_owners::FILE), &ports).map_err(PortOwnersError::Write)
}
