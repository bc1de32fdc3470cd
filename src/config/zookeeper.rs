//! Reads `[zookeeper]`, and what both kinds of JVM node have in common.

use super::{
    Zookeeper, defaults, general, owned,
    read::{Bad, Section, no_control},
};
use crate::base::{ByteSize, NodeName, Port};
use std::{ops::RangeInclusive, time::Duration};

/// A heap smaller than this starts neither of them.
pub(super) const HEAP: RangeInclusive<ByteSize> = ByteSize::mib(32)..=ByteSize::gib(256);

/// Reads the table, absent or not. None: disabled, and its name is added to `disabled`.
pub(super) fn read(s: Section<'_, '_>, disabled: &mut Vec<NodeName>) -> Option<Zookeeper> {
    let (enabled, care) = general::care(&s, &defaults::zookeeper_care());
    let memory_max = s.size("memory_max", ByteSize::mib(100)..=ByteSize::gib(1024));
    let zookeeper = Zookeeper {
        client_port: s.port("client_port").unwrap_or(Port(defaults::CLIENT_PORT)),
        bind: s.address("bind").unwrap_or(defaults::BIND),
        heap: s.size("heap", HEAP).or_else(|| (!s.holds("memory_max")).then_some(defaults::ZOOKEEPER_HEAP)),
        memory_max: memory_max.unwrap_or(defaults::ZOOKEEPER_MEMORY),
        data_dir: s.path("data_dir"),
        tick: s.time("tick", Duration::from_millis(100)..=Duration::from_secs(60)).unwrap_or(defaults::TICK),
        properties: s.passed_through("properties", ["false", "true"], no_control, owned::zookeeper_property),
        jvm_flags: jvm_flags(&s),
        care,
    };
    s.finish();
    if !enabled {
        disabled.push(NodeName::zookeeper());
    }
    enabled.then_some(zookeeper)
}

/// `jvm_flags` of a table.
pub(super) fn jvm_flags(s: &Section<'_, '_>) -> Vec<String> {
    let flags = s.list("jvm_flags", "JVM flags such as \"-XX:+UseSerialGC\"", |value| {
        let flag = value.as_str().ok_or(Bad::Type)?;
        no_control(flag)?;
        owned::jvm_flag(flag)?;
        Ok(flag.to_owned())
    });
    flags.unwrap_or_default()
}
