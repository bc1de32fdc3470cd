//! `hold-port`: the other program of the drill port-thief. Takes a port the moment it is free, and keeps it until its standard
//! input ends, which is when its drill lets go of it or dies.

use crate::cli::{context::Context, error::CliError, exit::Exit};
use std::{
    io::{self, Read},
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

/// How long the port may take to be free.
const WITHIN: Duration = Duration::from_secs(30);
/// Pause between two attempts: shorter than the kernel takes to tell anybody that a process is dead.
const AGAIN: Duration = Duration::from_micros(50);

pub(super) fn run(context: &Context, address: SocketAddr) -> Result<Exit, CliError> {
    context.printer.data("waiting")?;
    let began = Instant::now();
    let listener = loop {
        match TcpListener::bind(address) {
            Ok(listener) => break listener,
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && began.elapsed() < WITHIN => thread::sleep(AGAIN),
            Err(e) => {
                return Err(CliError::new(Exit::Unexpected, format!("cannot take {address}")).causes([e.to_string()]));
            }
        }
    };
    context.printer.data("taken")?;
    // Whatever is written there is no order; an error is an end as well.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    drop(listener);
    Ok(Exit::Done)
}
