//! Quoting and layout of configuration files; byte-stable, chooses no values.
