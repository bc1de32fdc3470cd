//! Quoting and layout of configuration files; byte-stable, chooses no values.

pub mod option_file;
pub mod properties;
pub mod yaml;

pub use option_file::OptionFile;
pub use properties::{Properties, read as read_properties};
pub use yaml::Yaml;
