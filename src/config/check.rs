//! The rules between keys: ports, directories, socket lengths, order, heaps, sessions.

use super::{
    Command, ConfigError, Durability, Plan, defaults,
    general::RootFrom,
    read::{Reading, did_you_mean},
    suggest::closest,
};
use crate::base::{ByteSize, Incarnation, NodeKind, NodeName, paths::SOCKET_PATH_MAX, recipe::PortUse};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// After how many records a broker syncs a partition (KafkaConfig 3.5; without it never by count).
const FLUSH: &str = "log.flush.interval.messages";

/// Reports every broken rule. Values that could not be read are left out: their stand-ins prove nothing.
pub(super) fn all(plan: &Plan, reading: &Reading, root_from: RootFrom) {
    ports(plan, reading);
    directories(plan, reading);
    sockets(plan, reading, root_from);
    after(plan, reading);
    heaps(plan, reading);
    session(plan, reading);
    flush(plan, reading);
    logs(plan, reading);
    shares(plan, reading);
}

fn ports(plan: &Plan, reading: &Reading) {
    let uses: Vec<(NodeName, PortUse)> =
        plan.ports().into_iter().filter(|(_, port)| !reading.failed(&port.key)).collect();
    for (i, (node_b, b)) in uses.iter().enumerate() {
        for (node_a, a) in &uses[..i] {
            if a.port() != b.port() || !overlap(a.address.ip(), b.address.ip()) {
                continue;
            }
            // The error stands at the one lower in the file; a default has no place there and counts as first.
            let start = |p: &PortUse| reading.span(&p.key).map(|span| span.start);
            let ((early_node, early), (late_node, late)) =
                if start(a) > start(b) { ((node_b, b), (node_a, a)) } else { ((node_a, a), (node_b, b)) };
            let place = match plan.key_line(&early.key) {
                Some(line) => format!("{}, line {line}", early.key),
                None => format!("{}, by default", early.key),
            };
            let message =
                format!("{late_node} would bind {}, but {early_node} binds {} ({place})", late.address, early.address);
            let error = reading.fault(&late.key, message).label("taken twice");
            let error = error.other(reading.span(&early.key), "here too");
            reading.report(error.hint(format!("set {} or {} to another port", late.key, early.key)));
        }
    }
}

/// Whether two listeners with the same port would meet. `::` takes IPv4 too, Linux' default (ipv6(7), IPV6_V6ONLY).
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let takes_all = |x: IpAddr, y: IpAddr| x.is_unspecified() && (x.is_ipv6() || y.is_ipv4());
    a == b || takes_all(a, b) || takes_all(b, a)
}

/// The data directory of each product node and the key that sets it.
fn data_directories(plan: &Plan) -> Vec<(NodeName, PathBuf, String)> {
    let key = |(node, dir): (NodeName, PathBuf)| {
        let key = format!("{}.data_dir", Plan::node_key(&node));
        (node, dir, key)
    };
    plan.data_directories().into_iter().map(key).collect()
}

fn directories(plan: &Plan, reading: &Reading) {
    let layout = plan.layout();
    let start = |key: &str| reading.span(key).map(|span| span.start);
    let list: Vec<_> = data_directories(plan).into_iter().filter(|(_, _, key)| !reading.failed(key)).collect();
    for (i, (node, dir, key)) in list.iter().enumerate() {
        for (other, other_dir, other_key) in &list[..i] {
            if !dir.starts_with(other_dir) && !other_dir.starts_with(dir) {
                continue;
            }
            let (at, to) = if start(key) >= start(other_key) { (key, other_key) } else { (other_key, key) };
            let message = if dir == other_dir {
                format!("{other} and {node} would share the data directory {}", dir.display())
            } else {
                let (inner, outer) = if dir.starts_with(other_dir) { (node, other) } else { (other, node) };
                format!("the data directory of {inner} lies inside that of {outer}: {}", dir.display())
            };
            let error = reading.fault(at, message).other(reading.span(to), "the other one");
            reading.report(error.hint("give each node a directory of its own"));
        }
        let ours = [layout.state(), layout.run(), plan.artifacts.store(&layout), layout.nodes()];
        let inside = |place: &PathBuf| dir.starts_with(place) && !dir.starts_with(layout.data(node));
        let taken = ours.iter().find(|place| inside(place)).map(PathBuf::as_path);
        let taken = taken.or_else(|| layout.root().starts_with(dir).then(|| layout.root()));
        if let Some(taken) = taken {
            let message = format!("{} meets {}, which the supervisor keeps for itself", dir.display(), taken.display());
            let hint =
                format!("leave it out (then it is {}), or name a directory elsewhere", layout.data(node).display());
            reading.report(reading.fault(key, message).hint(hint));
        }
    }
}

fn sockets(plan: &Plan, reading: &Reading, root_from: RootFrom) {
    if reading.failed("root") {
        return;
    }
    let layout = plan.layout();
    let last = Incarnation(9_999_999_999);
    let mut paths = vec![layout.control_socket()];
    for node in plan.nodes() {
        paths.push(layout.shim_socket(&node, last));
        paths.push(layout.notify_socket(&node));
    }
    if plan.mysql.is_some() {
        paths.push(layout.mysql_socket());
    }
    let length = |p: &Path| p.as_os_str().len();
    let Some(longest) = paths.into_iter().max_by_key(|p| length(p)).filter(|p| length(p) > SOCKET_PATH_MAX) else {
        return;
    };
    let over = length(&longest) - SOCKET_PATH_MAX;
    let allowed = length(&plan.root).saturating_sub(over);
    let message = format!(
        "the root is too long{}: the socket {} has {} bytes, the kernel takes {SOCKET_PATH_MAX}",
        root_from.words(),
        longest.display(),
        length(&longest)
    );
    let span = reading.span("root").filter(|_| root_from == RootFrom::File);
    let error = ConfigError::new("root", message).at(span).label(format!("allowed: at most {allowed} bytes"));
    reading.report(error.hint(format!("use a root of at most {allowed} bytes, or shorter node names")));
}

fn after(plan: &Plan, reading: &Reading) {
    let nodes: BTreeSet<NodeName> = plan.each_node().map(|(name, _)| name).collect();
    for command in &plan.commands {
        for name in &command.after {
            if nodes.contains(name) {
                continue;
            }
            let message = if plan.disabled.contains(name) {
                format!("{name} is disabled, so {} would wait for ever", command.name)
            } else {
                let meant = closest(name.as_str(), nodes.iter().map(NodeName::as_str));
                format!("there is no node {:?}{}", name.as_str(), did_you_mean(meant))
            };
            let known: Vec<&str> = nodes.iter().map(NodeName::as_str).filter(|n| *n != command.name.as_str()).collect();
            let hint =
                if known.is_empty() { "there is no other node".into() } else { format!("nodes: {}", known.join(", ")) };
            reading.report(reading.fault(&after_key(reading, command, name), message).hint(hint));
        }
    }
    cycles(plan, reading);
}

/// The list item that names `name`, for the caret.
fn after_key(reading: &Reading, command: &Command, name: &NodeName) -> String {
    let list = format!("command.{}.after", command.name);
    let item = reading.places.item(&list, name.as_str());
    item.unwrap_or(list)
}

/// Each cycle once: walk from the first command that cannot be ordered to what it waits for, until one comes again.
fn cycles(plan: &Plan, reading: &Reading) {
    let mut waits: BTreeMap<&NodeName, BTreeSet<&NodeName>> =
        plan.commands.iter().map(|c| (&c.name, c.after.iter().collect())).collect();
    let names: BTreeSet<&NodeName> = waits.keys().copied().collect();
    for after in waits.values_mut() {
        after.retain(|n| names.contains(n));
    }
    loop {
        // Whatever waits for nothing that is left is in no cycle.
        while let Some(free) = waits.iter().find(|(_, after)| after.is_empty()).map(|(n, _)| *n) {
            waits.remove(free);
            for after in waits.values_mut() {
                after.remove(free);
            }
        }
        let Some(first) = waits.keys().next().copied() else { return };
        let mut walk = vec![first];
        let cycle = loop {
            let next = walk.last().and_then(|n| waits.get(n)).and_then(|after| after.first()).copied();
            // Every command left waits for another one left, so there is a next.
            let Some(next) = next else { return };
            if let Some(at) = walk.iter().position(|n| *n == next) {
                break walk.split_off(at);
            }
            walk.push(next);
        };
        let (Some(start), Some(end)) = (cycle.first().copied(), cycle.last().copied()) else { return };
        let mut words: Vec<&str> = cycle.iter().map(|n| n.as_str()).collect();
        words.push(start.as_str());
        if let Some(command) = plan.commands.iter().find(|c| c.name == *start) {
            let next = cycle.get(1).copied().unwrap_or(start);
            let message = format!("nodes wait for each other: {}", words.join(" -> "));
            let error = reading.fault(&after_key(reading, command, next), message);
            reading.report(error.hint("take one of these names out of its after list"));
        }
        // Broken here, so that a second cycle is found too.
        if let Some(after) = waits.get_mut(end) {
            after.remove(start);
        }
    }
}

/// Beside its heap a JVM needs a sixteenth of it for the collector's own tables (an estimate for 512M, with
/// malloc's share: 30-60M), and a fixed part.
const HEAP_DIVISOR: u64 = 16;
/// The fixed part of a broker, as the launch limits it at the least: metaspace 64M, code cache 32M, direct buffers 32M, 10M of
/// 80 threads' stacks, 24M of the JVM's own (`services::jvm`, which has a test that this is never less).
pub const BROKER_NATIVE: ByteSize = ByteSize::mib(162);
/// The fixed part of ZooKeeper, likewise: 24M, 16M, 8M, 5M of 40 stacks, 24M, rounded up.
pub const ZOOKEEPER_NATIVE: ByteSize = ByteSize::mib(80);
/// The fixed part of Kafka UI, likewise: 128M, 32M, 16M, 5M of 40 stacks, 24M. Its classes are several times a broker's; with
/// a heap of 128M it took 184M in all under Docker (mission).
pub const KAFKA_UI_NATIVE: ByteSize = ByteSize::mib(205);

/// What a JVM with this heap needs at least: heap + heap/16 + its fixed part.
fn needed(heap: ByteSize, native: ByteSize) -> ByteSize {
    ByteSize(heap.0.saturating_add(heap.0 / HEAP_DIVISOR).saturating_add(native.0))
}

/// The largest heap, in whole MiB, that this room accepts under `cap`: `native` is [`BROKER_NATIVE`] or
/// [`ZOOKEEPER_NATIVE`]. An upper bound for a derived heap, not a recommendation.
pub fn largest_heap(cap: ByteSize, native: ByteSize) -> ByteSize {
    let most = ByteSize(cap.0.saturating_sub(native.0) / (HEAP_DIVISOR + 1) * HEAP_DIVISOR);
    ByteSize::mib(most.whole_mib())
}

/// The smallest heap worth a start of a broker, and of ZooKeeper.
pub const BROKER_HEAP_MIN: ByteSize = ByteSize::mib(192);
/// See [`BROKER_HEAP_MIN`].
pub const ZOOKEEPER_HEAP_MIN: ByteSize = ByteSize::mib(64);
/// See [`BROKER_HEAP_MIN`].
pub const KAFKA_UI_HEAP_MIN: ByteSize = ByteSize::mib(64);

/// The step of a heap that is derived: HotSpot aligns generations anyway, and round numbers can be read.
const HEAP_STEP: u64 = 16 << 20;

/// The heap of a node that has a cap and no heap in the file: half of the cap where its fixed part, `native`, leaves that much,
/// and never less than `least`.
///
/// Half is the old rule of thumb for Kafka in containers, and 384M in 768M is what was run; 512M in 1G was killed twice
/// (apecloud/kubeblocks-addons#2855).
pub fn derived_heap(cap: ByteSize, native: ByteSize, least: ByteSize) -> ByteSize {
    let most = (cap.0 / 2).min(largest_heap(cap, native).0);
    ByteSize((most / HEAP_STEP * HEAP_STEP).max(least.0))
}

/// The smallest cap under which a derived heap fits.
fn least_cap(native: ByteSize, least: ByteSize) -> u64 {
    needed(least, native).0.div_ceil(1 << 20)
}

fn heaps(plan: &Plan, reading: &Reading) {
    // A cap without a heap: the launch derives one, and it must have a place.
    let derived = |cap: ByteSize, native: ByteSize, least: ByteSize, cap_keys: &[&str]| {
        if cap_keys.iter().any(|key| reading.failed(key)) || needed(derived_heap(cap, native, least), native) <= cap {
            return;
        }
        let key = reading.written(cap_keys);
        let need = least_cap(native, least);
        let message = format!(
            "{cap} is too little for the smallest heap: the JVM needs {least} + {least}/{HEAP_DIVISOR} + {native} = {need}M"
        );
        reading.report(reading.fault(key, message).hint(format!("set {key} to at least {need}M")));
    };
    let jvm = |heap: Option<ByteSize>,
               cap: ByteSize,
               (native, least): (ByteSize, ByteSize),
               heap_keys: &[&str],
               cap_keys: &[&str]| {
        if heap_keys.iter().any(|key| reading.failed(key)) {
            return;
        }
        let Some(heap) = heap else { return derived(cap, native, least, cap_keys) };
        if cap_keys.iter().any(|key| reading.failed(key)) || needed(heap, native) <= cap {
            return;
        }
        let (heap_key, cap_key) = (reading.written(heap_keys), reading.written(cap_keys));
        let at = reading.written(&[heap_key, cap_key]);
        let most = largest_heap(cap, native);
        let need = needed(heap, native).0.div_ceil(1 << 20);
        let message = format!(
            "a heap of {heap} does not fit under a memory_max of {cap}: the JVM needs {heap} + {heap}/{HEAP_DIVISOR} + {native} = {need}M"
        );
        let lower = if most.whole_mib() >= 32 {
            format!(", or {heap_key} to at most {}M", most.whole_mib())
        } else {
            String::new()
        };
        let other = if at == heap_key { cap_key } else { heap_key };
        let error = reading.fault(at, message).other(reading.span(other), "with this");
        reading.report(error.hint(format!("set {cap_key} to at least {need}M{lower}")));
    };
    if let Some(z) = &plan.zookeeper {
        let keys = (["zookeeper.heap"], ["zookeeper.memory_max"]);
        jvm(z.heap, z.memory_max, (ZOOKEEPER_NATIVE, ZOOKEEPER_HEAP_MIN), &keys.0, &keys.1);
    }
    for (id, b) in plan.kafka.iter().flat_map(|k| &k.brokers) {
        let (heap, cap) = (format!("kafka.brokers.{id}.heap"), format!("kafka.brokers.{id}.memory_max"));
        let (heaps, caps) = ([heap.as_str(), "kafka.heap"], [cap.as_str(), "kafka.memory_max"]);
        jvm(b.heap, b.memory_max, (BROKER_NATIVE, BROKER_HEAP_MIN), &heaps, &caps);
    }
    if let Some(ui) = &plan.kafka_ui {
        let keys = (["kafka_ui.heap"], ["kafka_ui.memory_max"]);
        jvm(ui.heap, ui.memory_max, (KAFKA_UI_NATIVE, KAFKA_UI_HEAP_MIN), &keys.0, &keys.1);
    }
    if let Some(m) = &plan.mysql {
        let key = "mysql.options.innodb_buffer_pool_size";
        // Only what the file sets: the default pool follows the cap. A size we cannot read is mysqld's to judge.
        let pool = m.options.get("innodb_buffer_pool_size").and_then(|text| ByteSize::parse(text).ok());
        let Some(pool) = pool.filter(|_| !reading.failed("mysql.memory_max")) else { return };
        let need = ByteSize(pool.0.saturating_add(defaults::MYSQL_NATIVE.0));
        if need > m.memory_max {
            let key = if reading.span(key).is_some() { key } else { "mysql.options" };
            let message = format!(
                "a buffer pool of {pool} does not fit under a memory_max of {}: mysqld needs {pool} + {} = {need}",
                m.memory_max,
                defaults::MYSQL_NATIVE
            );
            let error = reading.fault(key, message).other(reading.span("mysql.memory_max"), "with this");
            reading.report(error.hint("lower the pool or raise mysql.memory_max"));
        }
    }
}

/// ZooKeeper grants sessions between 2 and 20 ticks, unless its properties say otherwise, and silently changes a wish
/// beyond that (QuorumPeerConfig.java).
fn session(plan: &Plan, reading: &Reading) {
    let (Some(z), Some(k)) = (&plan.zookeeper, &plan.kafka) else { return };
    if reading.failed("zookeeper.tick") || reading.failed("kafka.session_timeout") {
        return;
    }
    let bound = |property: &str, ticks: u32| {
        let set = z.properties.get(property).and_then(|text| text.parse::<u64>().ok());
        set.map_or(z.tick * ticks, Duration::from_millis)
    };
    let (low, high) = (bound("minSessionTimeout", 2), bound("maxSessionTimeout", 20));
    if (low..=high).contains(&k.session_timeout) {
        return;
    }
    let at = reading.written(&["kafka.session_timeout", "zookeeper.tick"]);
    let ms = |d: Duration| d.as_millis();
    let message = format!(
        "a session of {} ms is outside what ZooKeeper grants with a tick of {} ms: {} to {} ms",
        ms(k.session_timeout),
        ms(z.tick),
        ms(low),
        ms(high)
    );
    reading.report(
        reading.fault(at, message).hint("sessions last 2 to 20 ticks: change kafka.session_timeout or zookeeper.tick"),
    );
}

/// A property that takes back what `durability` promises. Upstream's own name wins everywhere else; here nobody would notice
/// before the power is gone.
fn flush(plan: &Plan, reading: &Reading) {
    let Some(k) = plan.kafka.as_ref().filter(|k| k.durability == Durability::PowerCut) else { return };
    for (id, broker) in &k.brokers {
        let Some(value) = broker.properties.get(FLUSH).filter(|value| value.trim() != "1") else { continue };
        let own = format!("kafka.brokers.{id}.properties.{FLUSH}");
        let shared = format!("kafka.properties.{FLUSH}");
        let at = reading.written(&[own.as_str(), shared.as_str(), "kafka.durability"]);
        let message =
            format!("kafka.durability is \"power-cut\", but broker {id} would sync every {value} records only");
        reading.report(
            reading.fault(at, message).hint(format!("take {FLUSH} out, or set kafka.durability = \"page-cache\"")),
        );
        return;
    }
}

/// What is spared or slowed down lies under the cap: above it neither would ever come about.
fn shares(plan: &Plan, reading: &Reading) {
    for (node, view) in plan.each_node() {
        let table = Plan::node_key(&node);
        let keys = |name: &str| {
            let own = format!("{table}.{name}");
            let for_all = if matches!(view.kind, NodeKind::Broker(_)) { format!("kafka.{name}") } else { own.clone() };
            [own, for_all]
        };
        let cap_keys = keys("memory_max");
        for (name, size) in [("memory_high", view.care.share.memory_high), ("memory_low", view.care.share.memory_low)] {
            let Some(size) = size.filter(|size| *size > view.memory_max) else { continue };
            let own_keys = keys(name);
            if own_keys.iter().chain(&cap_keys).any(|key| reading.failed(key)) {
                continue;
            }
            let key = reading.written(&[&own_keys[0], &own_keys[1]]);
            let message = format!("a {name} of {size} is above the cap of {}, so it would never hold", view.memory_max);
            let error = reading.fault(key, message).other(reading.span(&cap_keys[0]), "with this");
            reading.report(error.hint(format!("set {key} below {}", view.memory_max)));
        }
    }
}

/// The files that are written to cannot be removed: the total must have room for all of them.
fn logs(plan: &Plan, reading: &Reading) {
    if reading.failed("logs.total") {
        return;
    }
    let files: Vec<u64> = plan.each_node().map(|(_, node)| node.care.log.max_bytes.0).collect();
    let need = ByteSize(files.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)));
    if need > plan.logs.total {
        let message = format!(
            "{} is less than the {} that the files of {} nodes may reach before they are rotated",
            plan.logs.total,
            need,
            files.len()
        );
        reading.report(
            reading.fault("logs.total", message).hint("raise logs.total, or lower max_bytes of the nodes' logs"),
        );
    }
}
