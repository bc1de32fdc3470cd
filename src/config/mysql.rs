//! Reads `[mysql]`.

use super::{
    Mysql, MysqlRelease, defaults, general, owned,
    read::{Section, no_control},
};
use crate::base::{ByteSize, NodeName, Port};

/// Databases of the server itself.
const SYSTEM: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

/// Reads the table, absent or not. None: disabled, and its name is added to `disabled`.
pub(super) fn read(s: Section<'_, '_>, disabled: &mut Vec<NodeName>) -> Option<Mysql> {
    let (enabled, care) = general::care(&s, &defaults::mysql_care());
    let memory_max = s.size("memory_max", ByteSize::mib(256)..=ByteSize::gib(1024));
    let mysql = Mysql {
        port: s.port("port").unwrap_or(Port(defaults::MYSQL_PORT)),
        bind: s.address("bind").unwrap_or(defaults::BIND),
        memory_max: memory_max.unwrap_or(defaults::MYSQL_MEMORY),
        version: s.word("version", &MysqlRelease::ALL.map(|r| (r.as_str(), r))),
        database: s
            .text("database", "1 to 64 letters, digits and underscores", database)
            .unwrap_or_else(|| defaults::DATABASE.to_owned()),
        data_dir: s.path("data_dir"),
        provision: s.flag("provision").unwrap_or(true),
        // OFF and ON suit boolean and enumerated options alike: gtid_mode takes no "true".
        options: s.passed_through_if("options", ["OFF", "ON"], no_control, owned::mysql_option, owned::mysql_value),
        care,
    };
    s.finish();
    if !enabled {
        disabled.push(NodeName::mysql());
    }
    enabled.then_some(mysql)
}

/// 64 is MySQL's bound for identifiers; no other characters, so that the name needs no quoting anywhere it goes.
fn database(name: &str) -> Result<(), String> {
    if SYSTEM.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("{name:?} is a database of the server itself"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(good) || name.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{name:?} is not a name for a database"));
    }
    Ok(())
}
