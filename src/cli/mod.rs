//! The command line: one file per verb, printer, exit codes, hints.

pub mod error;
pub mod exit;
pub mod printer;
pub mod table;
pub mod wait;

#[cfg(test)]
mod samples;
