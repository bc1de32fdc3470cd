//! What a node's user may write to under a root daemon, and what is taken back from it. Needs uid 0.

use super::*;
use crate::{
    base::{NodeName, programs::Programs},
    config, services,
};
use std::{
    fs as files,
    os::unix::fs::{PermissionsExt, symlink},
};

/// uid and gid of `nobody` as the machine has them.
fn nobody() -> (u32, u32) {
    let (uid, gid, _) = process::lookup_user("nobody").unwrap().unwrap();
    (uid, gid)
}

fn recipe(root: &Path, user: &str) -> (Layout, Recipe) {
    let text = format!("[command.a]\nargv = [\"/bin/true\"]\n{user}");
    let source = config::Source { text: &text, name: "t", root_override: None, default_root: root.to_owned() };
    let plan = config::load(&source).unwrap();
    let (layout, programs) = (plan.layout(), Programs::default());
    let inputs =
        services::Inputs { plan: &plan, programs: &programs, layout: &layout, cores: 1, running_as_root: true };
    let mut recipe = services::recipes(&inputs).unwrap().remove(0);
    let conf = layout.conf(&recipe.node).join("f");
    recipe.files.push(RenderedFile { path: conf, mode: 0o600, contents: "ours".into() });
    files::create_dir_all(layout.nodes()).unwrap();
    (layout, recipe)
}

/// uid, gid, mode.
fn is(path: &Path) -> (u32, u32, u32) {
    let meta = files::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777)
}

#[test]
fn a_node_of_another_user_gets_its_data_and_temporary_files_and_reads_the_rest() {
    if !host::is_root_or_skipped("a_node_of_another_user_gets_its_data_and_temporary_files_and_reads_the_rest") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (uid, gid) = nobody();
    let (layout, mut recipe) = recipe(&dir.path().join("root"), "user = \"nobody\"");
    let node = recipe.node.clone();
    let elsewhere = dir.path().join("srv/a/data");
    recipe.directories.push((elsewhere.clone(), 0o750));
    make(&layout, &recipe).unwrap();
    for (path, mode) in [(layout.data(&node), 0o750), (layout.node_tmp(&node), 0o700), (elsewhere.clone(), 0o750)] {
        assert_eq!(is(&path), (uid, gid, mode), "{}", path.display());
    }
    for path in [layout.node(&node), layout.conf(&node), layout.log_dir(&node), layout.node_run(&node)] {
        assert_eq!(is(&path), (0, gid, 0o750), "{}", path.display());
    }
    assert_eq!(is(&layout.conf(&node).join("f")), (0, gid, 0o640));
    assert_eq!(is(&layout.node_lock(&node)), (0, 0, 0o600));
    // made on the way, and passable for the node
    assert_eq!(is(elsewhere.parent().unwrap()), (0, gid, 0o750));
    // A parent that is there is the administrator's, however it is.
    let srv = dir.path().join("srv");
    files::set_permissions(&srv, files::Permissions::from_mode(0o711)).unwrap();
    make(&layout, &recipe).unwrap();
    assert_eq!(is(&srv), (0, gid, 0o711));
}

#[test]
fn what_an_earlier_version_gave_the_node_is_taken_back_with_what_was_planted() {
    if !host::is_root_or_skipped("what_an_earlier_version_gave_the_node_is_taken_back_with_what_was_planted") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (uid, gid) = nobody();
    let (layout, recipe) = recipe(dir.path(), "user = \"nobody\"");
    let node = recipe.node.clone();
    let ours = [layout.node(&node), layout.conf(&node), layout.log_dir(&node), layout.node_run(&node)];
    for path in &ours {
        files::create_dir_all(path).unwrap();
        lchown(path, Some(uid), Some(gid)).unwrap();
    }
    let victim = dir.path().join("victim");
    files::write(&victim, "theirs").unwrap();
    let current = layout.log(&node);
    symlink(&victim, &current).unwrap();
    lchown(&current, Some(uid), Some(gid)).unwrap();
    files::hard_link(&victim, layout.log_dir(&node).join(".current.next")).unwrap();
    files::hard_link(&victim, layout.conf(&node).join("f")).unwrap();
    files::hard_link(&victim, layout.node_lock(&node)).unwrap();
    files::write(layout.log_dir(&node).join("current.1"), "old output").unwrap();
    make(&layout, &recipe).unwrap();
    for path in &ours {
        assert_eq!(is(path), (0, gid, 0o750), "{}", path.display());
    }
    assert_eq!(fs::names_in(&layout.log_dir(&node)).unwrap(), ["current.1"]);
    assert_eq!(is(&victim), (0, 0, 0o644));
    assert_eq!(files::read_to_string(&victim).unwrap(), "theirs");
    assert_eq!(files::read_to_string(layout.conf(&node).join("f")).unwrap(), "ours");
    // A whole directory that leads elsewhere is no start.
    files::remove_dir(layout.node_tmp(&node)).unwrap();
    symlink("/etc", layout.node_tmp(&node)).unwrap();
    lchown(layout.node_tmp(&node), Some(uid), Some(gid)).unwrap();
    let e = make(&layout, &recipe).unwrap_err();
    assert_eq!(e.source.to_string(), format!("it is a link that uid {uid} has put there"));
    assert_eq!(is(Path::new("/etc")).0, 0);
}

#[test]
fn without_the_user_everything_but_the_data_is_roots_again() {
    if !host::is_root_or_skipped("without_the_user_everything_but_the_data_is_roots_again") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (layout, with) = recipe(dir.path(), "user = \"nobody\"");
    make(&layout, &with).unwrap();
    let (_, without) = recipe(dir.path(), "");
    make(&layout, &without).unwrap();
    let node = with.node;
    for path in [layout.node(&node), layout.log_dir(&node), layout.node_tmp(&node)] {
        assert_eq!((is(&path).0, is(&path).1), (0, 0), "{}", path.display());
    }
    assert_eq!(is(&layout.data(&node)).0, nobody().0);
}

#[test]
fn mysqld_of_another_user_may_make_its_sockets_beside_what_is_ours() {
    let text = "[mysql]\nuser = \"nobody\"\ndata_dir = \"/srv/mysql/data\"\n";
    let source = config::Source { text, name: "t", root_override: None, default_root: "/r".into() };
    let plan = config::load(&source).unwrap();
    let layout = plan.layout();
    let mysql = crate::base::programs::MysqlTree {
        launcher: Vec::new(),
        mysqld: "/m/mysqld".into(),
        basedir: "/m".into(),
        messages_dir: "/m/share".into(),
        character_sets_dir: "/m/charsets".into(),
        plugin_dir: "/m/plugin".into(),
        version: "8.0.46".into(),
        series: (8, 0),
        content: "c".into(),
    };
    let programs = Programs { mysql: Some(mysql), ..Programs::default() };
    let run = |running_as_root| {
        let inputs = services::Inputs { plan: &plan, programs: &programs, layout: &layout, cores: 1, running_as_root };
        let recipe = services::recipes(&inputs).unwrap().remove(0);
        // an existing parent of the data is nobody's business
        assert!(recipe.directories.iter().all(|(path, _)| path.starts_with("/r/nodes/mysql")), "{recipe:?}");
        recipe.directories.into_iter().find(|(path, _)| *path == layout.node_run(&NodeName::mysql())).unwrap().1
    };
    assert_eq!((run(true), run(false)), (0o1770, 0o750));
}

#[test]
fn a_node_that_gets_a_user_gets_its_data_with_it_when_all_of_it_was_roots() {
    if !host::is_root_or_skipped("a_node_that_gets_a_user_gets_its_data_with_it_when_all_of_it_was_roots") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (uid, gid) = nobody();
    let root = dir.path().join("root");
    let (layout, without) = recipe(&root, "");
    make(&layout, &without).unwrap();
    let node = without.node.clone();
    assert!(hand_over(&layout, &without).unwrap().is_none(), "root gives root nothing");
    let (_, with) = recipe(&root, "user = \"nobody\"");
    assert!(hand_over(&layout, &with).unwrap().is_none(), "there is nothing in it");
    files::create_dir(layout.data(&node).join("topic-0")).unwrap();
    files::write(layout.data(&node).join("topic-0/0.log"), "x").unwrap();
    let said = hand_over(&layout, &with).unwrap().unwrap();
    assert!(said.starts_with("gave nobody what was root's: ") && said.contains("(3 files and directories)"), "{said}");
    for name in ["", "topic-0", "topic-0/0.log"] {
        let owner = is(&layout.data(&node).join(name));
        assert_eq!((owner.0, owner.1), (uid, gid), "{name:?}");
    }
    assert!(hand_over(&layout, &with).unwrap().is_none(), "once");
    // Another user's data are nothing that we know to be the node's.
    let (_, other) = recipe(&root, "user = \"daemon\"");
    let HandOver::Refused(failure) = hand_over(&layout, &other).unwrap_err() else { panic!() };
    let data = layout.data(&node);
    assert_eq!(failure.cause, Cause::WrongOwner);
    assert!(
        failure.what.contains("a runs as daemon, and ") && failure.what.contains("belongs to nobody"),
        "{failure:?}"
    );
    let command = format!("`chown -R daemon: {}` and `cdc-supervisor start a`", data.display());
    assert!(failure.remedy.ends_with(&command), "{failure:?}");
    assert_eq!(is(&data.join("topic-0/0.log")).0, uid);
    assert_eq!(
        own_files(&layout, &other).unwrap(),
        format!("`chown -R daemon: {}`, then `cdc-supervisor start a`", data.display())
    );
    assert_eq!(own_files(&layout, &without), None, "root is stopped by no owner");
}

#[test]
fn a_directory_outside_of_the_root_is_given_only_when_root_has_marked_it_as_a_nodes() {
    if !host::is_root_or_skipped("a_directory_outside_of_the_root_is_given_only_when_root_has_marked_it_as_a_nodes") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (uid, _) = nobody();
    let (layout, mut with) = recipe(&dir.path().join("root"), "user = \"nobody\"");
    let srv = dir.path().join("srv");
    files::create_dir_all(srv.join("www")).unwrap();
    with.prepare.push(PrepareStep::DataVersion(crate::base::recipe::DataVersion {
        product: crate::base::recipe::DataProduct::Mysql,
        version: "8.0.46".into(),
        protocol: None,
        data_dir: srv.clone(),
    }));
    let HandOver::Refused(failure) = hand_over(&layout, &with).unwrap_err() else { panic!() };
    assert!(failure.what.contains("no cdc-supervisor.json of root's says that"), "{failure:?}");
    assert!(failure.remedy.contains(&format!("`chown -R nobody: {}`", srv.display())), "{failure:?}");
    assert_eq!(is(&srv.join("www")).0, 0, "nothing of it was given");
    // a mark of the user's own proves nothing
    files::write(srv.join(MARKER), "{}").unwrap();
    lchown(srv.join(MARKER), Some(uid), None).unwrap();
    assert!(matches!(hand_over(&layout, &with), Err(HandOver::Refused(_))));
    lchown(srv.join(MARKER), Some(0), None).unwrap();
    assert!(hand_over(&layout, &with).unwrap().unwrap().contains("(3 files and directories)"));
    assert_eq!((is(&srv).0, is(&srv.join("www")).0), (uid, uid));
    assert!(
        own_files(&layout, &with).unwrap().contains(&srv.display().to_string()),
        "mysqld's data are the node's, too"
    );
}

#[test]
fn what_root_has_written_while_the_node_had_no_user_is_given_when_it_has_one_again() {
    if !host::is_root_or_skipped("what_root_has_written_while_the_node_had_no_user_is_given_when_it_has_one_again") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (uid, _) = nobody();
    let root = dir.path().join("root");
    let (layout, with) = recipe(&root, "user = \"nobody\"");
    make(&layout, &with).unwrap();
    let data = layout.data(&with.node);
    files::write(data.join("roots"), "x").unwrap();
    assert_eq!((is(&data).0, is(&data.join("roots")).0), (uid, 0));
    assert!(hand_over(&layout, &with).unwrap().is_some());
    assert_eq!(is(&data.join("roots")).0, uid);
    // the mark is written by root at every new version, and is no run's
    files::write(data.join(MARKER), "{}").unwrap();
    assert!(hand_over(&layout, &with).unwrap().is_none());
}
