//! Where the data of a configuration lie, for whoever removes the rest of an installation.
//!
//! By the file, by what was applied last below its root and below the one that was served last, and where links in them lead. Files below a
//! root are its user's: what they say is told, and nothing is done to it.

use super::{plan, served};
use crate::config::Plan;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What lies somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything of a configuration that names no other place for it.
    Root,
    /// Data of a node.
    Data,
    /// The programs.
    Store,
    /// Files that programs are made of.
    Files,
    /// What a link in a root, or in the place of one of these, leads to.
    Link,
}

impl What {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Root => "root",
            What::Data => "data",
            What::Store => "store",
            What::Files => "files",
            What::Link => "link",
        }
    }
}

/// All of them, each once, links last; of each configuration the root first, and what lies below it not at all. What no line can hold is left
/// out. `noted`: where the unit notes which root it serves.
pub fn all(wanted: &Plan, noted: &Path) -> Vec<(What, PathBuf)> {
    let mut found = named(wanted);
    for layout in [Some(wanted.layout()), served::noted(noted)].into_iter().flatten() {
        found.push((What::Root, layout.root().to_owned()));
        let applied = plan::applied(&layout).ok().flatten();
        applied.into_iter().chain(plan::unfinished(&layout)).for_each(|plan| found.extend(named(&plan)));
    }
    let roots = found.iter().filter(|(what, _)| *what == What::Root).map(|(_, root)| root);
    let links: Vec<(What, PathBuf)> =
        roots.flat_map(|root| links(root)).chain(found.iter().filter_map(|(_, path)| leads_to(path))).collect();
    let mut told: Vec<(What, PathBuf)> = Vec::new();
    for (what, path) in found.into_iter().chain(links) {
        let is_line = !path.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control);
        if is_line && !told.iter().any(|(_, known)| *known == path) {
            told.push((what, path));
        }
    }
    told
}

fn named(plan: &Plan) -> Vec<(What, PathBuf)> {
    let layout = plan.layout();
    let (store, files) = (plan.artifacts.store(&layout), plan.artifacts.files(&layout));
    let data = plan.data_directories().into_iter().map(|(_, dir)| (What::Data, dir));
    let files = Some((What::Files, files)).filter(|(_, files)| !files.starts_with(&store));
    let elsewhere = data.chain([(What::Store, store)]).chain(files).filter(|(_, dir)| !dir.starts_with(layout.root()));
    [(What::Root, layout.root().to_owned())].into_iter().chain(elsewhere).collect()
}

/// Where links of a root lead that leave it: snapshots, the store; nodes; their data.
fn links(root: &Path) -> Vec<(What, PathBuf)> {
    let Ok(real) = root.canonicalize() else { return Vec::new() };
    let inside = |dir: &Path| entries(dir).into_iter().filter(|path| path.is_dir()).collect::<Vec<_>>();
    let nodes = inside(&root.join("nodes"));
    let parts: Vec<PathBuf> = nodes.iter().flat_map(|node| inside(node)).collect();
    let all = inside(root).into_iter().chain(nodes).chain(parts);
    all.filter_map(|path| leads_to(&path)).filter(|(_, target)| !target.starts_with(&real)).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(list) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Where a link leads; none for anything else.
fn leads_to(path: &Path) -> Option<(What, PathBuf)> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    path.canonicalize().ok().filter(|_| is_link).map(|target| (What::Link, target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::os::unix::fs::symlink;

    fn load(text: &str) -> Plan {
        let source = config::Source { text, name: "supervisor.toml", root_override: None, default_root: "/own".into() };
        config::load(&source).unwrap()
    }

    #[test]
    fn the_configurations_own_the_applied_ones_and_those_of_the_root_that_was_served_are_told_with_where_links_lead() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        for made in ["cdc/state", "cdc/nodes/mysql", "old/state", "noted", "disk/copies", "disk/sql", "disk/zk"] {
            fs::create_dir_all(at(made)).unwrap();
        }
        symlink(at("disk/copies"), at("cdc/snapshots")).unwrap();
        symlink(at("disk/sql"), at("sql")).unwrap();
        symlink(at("disk/zk"), at("cdc/nodes/mysql/data")).unwrap();
        symlink(at("cdc/state"), at("cdc/inside")).unwrap();
        let text = format!(
            "root = \"{}\"\n  mysql.data_dir = '{}'\nartifacts = {{ store = \"{}\" }}\n",
            at("cdc").display(),
            at("sql").display(),
            at("programs").display()
        );
        let plan = load(&text);
        let told = |plan: &Plan| {
            let words = all(plan, &at("noted"));
            words.into_iter().map(|(what, path)| format!("{} {}", what.as_str(), path.display())).collect::<Vec<_>>()
        };
        let of = |words: &[(&str, &str)]| {
            words.iter().map(|(what, name)| format!("{what} {}", at(name).display())).collect::<Vec<_>>()
        };
        let (own, links) = (
            [("root", "cdc"), ("data", "sql"), ("store", "programs")],
            [("link", "disk/copies"), ("link", "disk/zk"), ("link", "disk/sql")],
        );
        assert_eq!(told(&plan), [of(&own), of(&links)].concat());
        // The file was changed since, and the unit served another root before that.
        let enclosed = |text: String| plan::enclosed(&text);
        let applied = format!("[zookeeper]\ndata_dir = \"{}\"\n", at("zk").display());
        fs::write(plan.layout().plan(), enclosed(applied)).unwrap();
        served::note(&at("noted"), &at("old")).unwrap();
        let others = of(&[("data", "zk"), ("root", "old")]);
        assert_eq!(told(&plan), [of(&own), others, of(&links)].concat());
    }

    #[test]
    fn a_root_that_is_a_link_is_told_with_where_it_leads_and_what_no_line_can_hold_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(at("real/nodes")).unwrap();
        fs::create_dir(at("x\ny")).unwrap();
        symlink(at("real"), at("cdc")).unwrap();
        symlink(at("x\ny"), at("real/snapshots")).unwrap();
        let plan = load(&format!("root = \"{}\"\n[command.x]\nargv = [\"/x\"]\n", at("cdc").display()));
        let found = all(&plan, Path::new("/nonexistent"));
        assert_eq!(found, [(What::Root, at("cdc")), (What::Link, at("real"))]);
    }
}
