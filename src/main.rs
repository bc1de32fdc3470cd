//! `cdc-supervisor`: the command line, or with `run` the daemon.

use cdc_supervisor::{
    cli::{self, Outcome},
    daemon::{self, DaemonArgs},
};
use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    let code = match cli::main() {
        Outcome::Ended(code) => code,
        Outcome::Daemon { config, root, only, own_session, require_caps, no_fetch, handed_over, check } => {
            let args = DaemonArgs { config, root, only, own_session, require_caps, no_fetch, handed_over };
            if check {
                return ExitCode::from(say(daemon::check(&args)));
            }
            if own_session {
                // Fails only for a process that leads a group already (setsid(2)): then nobody's Ctrl-C reaches it either.
                let _ = nix::unistd::setsid();
            }
            daemon::run(args)
        }
    };
    ExitCode::from(code)
}

/// `run --check` is asked by a daemon: one line out, or one line of error and its code.
fn say(checked: Result<String, (u8, String)>) -> u8 {
    match checked {
        Ok(line) if writeln!(io::stdout(), "{line}").is_ok() => 0,
        Ok(_) => 1,
        Err((code, why)) => {
            // Nobody reads it when this fails; the code says enough.
            let _ = writeln!(io::stderr(), "{why}");
            code
        }
    }
}
