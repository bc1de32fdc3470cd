//! Reads `[kafka_ui]`.

use super::{
    KafkaUi, UiRelease, defaults, general, owned,
    read::{Section, no_control},
    zookeeper::{HEAP, jvm_flags},
};
use crate::base::{ByteSize, NodeName, Port};

/// Reads the table, absent or not. None: disabled, and its name is added to `disabled`.
pub(super) fn read(s: Section<'_, '_>, disabled: &mut Vec<NodeName>) -> Option<KafkaUi> {
    let (enabled, care) = general::care(&s, &defaults::kafka_ui_care());
    let memory_max = s.size("memory_max", ByteSize::mib(128)..=ByteSize::gib(1024));
    let ui = KafkaUi {
        release: s.word("release", &UiRelease::ALL.map(|r| (r.as_str(), r))).unwrap_or(UiRelease::Provectus072),
        jar: s.path("jar"),
        java_home: s.path("java_home"),
        port: s.port("port").unwrap_or(Port(defaults::KAFKA_UI_PORT)),
        bind: s.address("bind").unwrap_or(defaults::BIND),
        heap: s.size("heap", HEAP).or_else(|| (!s.holds("memory_max")).then_some(defaults::KAFKA_UI_HEAP)),
        memory_max: memory_max.unwrap_or(defaults::KAFKA_UI_MEMORY),
        read_only: s.flag("read_only").unwrap_or(false),
        properties: s.passed_through("properties", ["false", "true"], no_control, owned::kafka_ui_property),
        jvm_flags: jvm_flags(&s),
        care,
    };
    s.finish_with(|key| match key {
        "path" => Some("write jar = \"/path/of/the.jar\"".into()),
        "version" => Some(format!("write release = {:?}", UiRelease::Provectus072.as_str())),
        _ => None,
    });
    if !enabled {
        disabled.push(NodeName::kafka_ui());
    }
    enabled.then_some(ui)
}
