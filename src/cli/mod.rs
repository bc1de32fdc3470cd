//! The command line: one file per verb, printer, exit codes, hints.
