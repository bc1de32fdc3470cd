//! `cdc-supervisor`: the command line, or with `run` the daemon.

use cdc_supervisor::{
    cli::{self, Outcome},
    daemon::{self, DaemonArgs},
};
use std::process::ExitCode;

fn main() -> ExitCode {
    let code = match cli::main() {
        Outcome::Ended(code) => code,
        Outcome::Daemon { config, root, only, own_session } => {
            if own_session {
                // Fails only for a process that leads a group already (setsid(2)): then nobody's Ctrl-C reaches it either.
                let _ = nix::unistd::setsid();
            }
            daemon::run(DaemonArgs { config, root, only, own_session })
        }
    };
    ExitCode::from(code)
}
