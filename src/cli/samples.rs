//! Statuses for the tests of this room.

use crate::{
    base::{NodeName, Timestamp},
    control::wire::{Caps, Memory, Node, PortDoc, Status, Supervisor},
};

/// Now, in the tests: 2025-11-23T03:07:59.042Z.
pub(super) const NOW: Timestamp = Timestamp(1_763_867_279_042);

/// A node that has been ready for `up_s` seconds; not ready for 0.
pub(super) fn node(name: &str, kind: &str, up_s: i64, memory_mib: u64, cap_mib: u64, ports: &[(&str, u16)]) -> Node {
    let since = (up_s > 0).then_some(Timestamp(NOW.0 - up_s * 1_000 - 500));
    Node {
        name: NodeName::new(name).unwrap(),
        kind: kind.into(),
        optional: false,
        wanted: "up".into(),
        state: if up_s > 0 { "ready" } else { "starting" }.into(),
        pid: Some(4711),
        incarnation: Some(1),
        since,
        ready_since: since,
        up_ms: None,
        restarts: 0,
        last_exit: None,
        failure: None,
        memory: Memory { cap_bytes: Some(cap_mib << 20), current_bytes: Some(memory_mib << 20), ..Memory::default() },
        ports: ports.iter().map(|(name, port)| PortDoc { name: (*name).into(), port: *port }).collect(),
        log: format!("/r/nodes/{name}/log/current"),
        detail: String::new(),
        incident: None,
        stalls: None,
    }
}

/// The whole stack, ready, as the design draws it.
pub(super) fn stack() -> Status {
    Status {
        schema: 1,
        supervisor: Supervisor {
            pid: Some(100),
            version: "0.1.0".into(),
            started_at: Some(Timestamp(NOW.0 - 20_000)),
            up_ms: None,
            root: "/var/lib/cdc-supervisor".into(),
            caps: Caps { enforced: true, why: None },
            memory: None,
        },
        cluster: None,
        disks: None,
        cut_short: None,
        nodes: vec![
            node("zookeeper", "zookeeper", 4, 54, 384, &[("client", 2181)]),
            node("broker-1", "broker", 2, 131, 768, &[("INTERNAL", 29092), ("EXTERNAL", 9092)]),
            node("broker-2", "broker", 2, 129, 768, &[("INTERNAL", 29093), ("EXTERNAL", 9093)]),
            node("broker-3", "broker", 2, 128, 768, &[("INTERNAL", 29094), ("EXTERNAL", 9094)]),
            node("mysql", "mysql", 12, 297, 1024, &[("mysql", 3306)]),
        ],
    }
}
