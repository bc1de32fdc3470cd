//! `cdc-shim`: the parent of one node. Started by the daemon only; everything is in `shim::run`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    match cdc_supervisor::shim::run::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            // nobody to tell when standard error is gone too
            let _ = writeln!(io::stderr(), "cdc-shim: {text}");
            ExitCode::from(2)
        }
    }
}
