//! Which room imports which: the map of DESIGN.md as a table, and the `crate::` paths of a file.

use super::source::Source;

/// What each room may import besides `base` and itself. `control` and `shim` stand for all their parts.
const MAP: [(&str, &[&str]); 26] = [
    ("base", &[]),
    ("config", &[]),
    ("lifecycle", &[]),
    ("render", &[]),
    ("sys", &[]),
    ("services", &["config", "render"]),
    ("logs", &["sys"]),
    ("artifact", &["sys"]),
    ("clients", &["sys"]),
    ("shim", &["sys", "logs", "shim::wire"]),
    // only types and their bytes: what the daemon and the shim both know
    ("shim::wire", &[]),
    ("shim-main", &["shim"]),
    ("probe", &["clients", "sys"]),
    (
        "engine",
        &["config", "services", "render", "lifecycle", "sys", "logs", "artifact", "clients", "probe", "shim::wire"],
    ),
    // `sys`: clocks, and the records that a later daemon reads
    ("operate", &["engine", "services", "config", "clients", "sys"]),
    // its parts together, and their tests
    ("control", &["control::wire", "control::client", "control::server"]),
    ("control::wire", &[]),
    ("control::client", &["control::wire"]),
    ("control::server", &["control::wire", "engine", "operate"]),
    ("offline", &["config", "services", "render", "artifact", "sys", "logs", "control::wire", "shim::wire"]),
    ("cli", &["control::client", "control::wire", "offline", "config"]),
    (
        "daemon",
        &[
            "config",
            "services",
            "render",
            "lifecycle",
            "sys",
            "logs",
            "artifact",
            "clients",
            "probe",
            "shim",
            "shim::wire",
            "engine",
            "operate",
            "control",
            "control::wire",
            "control::server",
            "offline",
            "telemetry",
        ],
    ),
    ("console", &["control::wire", "control::server"]),
    ("telemetry", &["sys"]),
    ("main", &["cli", "daemon", "telemetry"]),
    ("lib", &[]),
];

/// Whether the map has this room.
pub fn is_room(room: &str) -> bool {
    MAP.iter().any(|(name, _)| *name == room)
}

/// Whether `from` may import `to`.
pub fn allowed(from: &str, to: &str) -> bool {
    let row = MAP.iter().find(|(name, _)| *name == from).map_or(&[][..], |(_, list)| *list);
    from == to || to == "base" || row.contains(&to)
}

/// A path that starts at the crate's root.
pub struct Import {
    /// Line, from 1.
    pub line: usize,
    /// The room it leads to.
    pub room: String,
}

/// Every import of a file. Items of a group are told apart: `crate::{base::X, control::{client, wire}}` is three.
pub fn of(file: &Source) -> Vec<Import> {
    let mut imports = Vec::new();
    for root in ["crate::", "cdc_supervisor::"] {
        for (at, _) in file.code.match_indices(root) {
            let before = file.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let line = file.code[..at].matches('\n').count() + 1;
            let mut paths = Vec::new();
            tree(&file.code[at + root.len()..], "", &mut paths);
            imports.extend(paths.iter().filter_map(|p| Some(Import { line, room: target(p)? })));
        }
    }
    imports
}

/// Lines on which `super` climbs to the crate's root or above its room.
pub fn climbing(file: &Source) -> Vec<usize> {
    let inner = file.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inner.split('/').count();
    let climbs = |line: &str| {
        let mut rest = line;
        let mut most = 0;
        while let Some(at) = rest.find("super::") {
            let mut count = 0;
            rest = &rest[at..];
            while let Some(after) = rest.strip_prefix("super::") {
                count += 1;
                rest = after;
            }
            most = most.max(count);
        }
        most
    };
    let found = file.code.lines().enumerate().filter(|(_, line)| climbs(line) >= depth.max(1));
    // one `super` in a file directly under src names the crate itself: `crate::` says so plainly
    found.map(|(number, _)| number + 1).collect()
}

/// The room that a path from the crate's root leads to; none for macros and for what `lib.rs` itself holds.
fn target(path: &str) -> Option<String> {
    let mut parts = path.split("::");
    let first = parts.next()?;
    let second = parts.next().unwrap_or_default();
    match (first, second) {
        ("", _) => None,
        ("control", "client" | "server" | "wire") => Some(format!("control::{second}")),
        ("shim", "wire") => Some("shim::wire".into()),
        _ if first.chars().all(|c| c.is_ascii_lowercase() || c == '_') => Some(first.into()),
        _ => None,
    }
}

/// Collects the paths of one use tree (or one inline path), two levels deep.
fn tree(text: &str, prefix: &str, paths: &mut Vec<String>) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let mut depth = 1;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if (c == ',' && depth == 1) || depth == 0 {
                if !group[start..at].trim().is_empty() {
                    tree(&group[start..at], prefix, paths);
                }
                start = at + 1;
            }
            if depth == 0 {
                return;
            }
        }
        return;
    }
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}::{name}") };
    match text[name.len()..].trim_start().strip_prefix("::") {
        // two levels tell every room apart
        Some(rest) if path.matches("::").count() < 1 => tree(rest, &path, paths),
        _ => paths.push(path),
    }
}

#[test]
fn a_group_is_as_many_imports_as_it_names() {
    let mut paths = Vec::new();
    tree("{base::{A, b::C}, control::{client, wire::D}, sys}", "", &mut paths);
    assert_eq!(paths, ["base::A", "base::b", "control::client", "control::wire", "sys"]);
    assert_eq!(target("control::wire").unwrap(), "control::wire");
    assert!(allowed("cli", "control::wire") && !allowed("cli", "engine") && !allowed("lifecycle", "sys"));
}
