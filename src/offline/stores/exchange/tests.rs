//! Snapshot, restore and reset on directories of our own, cut short at every step.

use super::*;
use crate::offline::stores::{create, list, remove, verify};

#[test]
fn a_record_of_an_exchange_of_version_1_is_read_and_written_with_all_that_it_said() {
    let golden = include_str!("../../../../tests/golden/v1/exchange.json");
    let record: Exchange = serde_json::from_str(golden).unwrap();
    assert_eq!((record.what.as_str(), record.swaps.len()), ("restore before-upgrade", 2));
    assert!(record.swaps[0].new && !record.swaps[1].new && record.secrets.is_some());
    assert_eq!(serde_json::to_string_pretty(&record).unwrap(), golden.trim_end());
}

fn stack() -> (tempfile::TempDir, Layout, Vec<Store>) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    for place in [layout.state(), layout.secrets()] {
        std::fs::create_dir_all(place).unwrap();
    }
    let store = |node: NodeName, set| Store { dir: layout.data(&node), node, set };
    let stores = vec![
        store(NodeName::zookeeper(), Set::Kafka),
        store(NodeName::broker(1), Set::Kafka),
        store(NodeName::mysql(), Set::Mysql),
    ];
    write_all(&layout, &stores, "old");
    (dir, layout, stores)
}

fn write_all(layout: &Layout, stores: &[Store], text: &str) {
    for store in stores {
        std::fs::create_dir_all(store.dir.join("sub")).unwrap();
        std::fs::write(store.dir.join("sub/file"), format!("{text} {}", store.node)).unwrap();
    }
    let meta = format!("version=0\nbroker.id=1\ncluster.id={text}\n");
    std::fs::write(stores[1].dir.join("meta.properties"), meta).unwrap();
    std::fs::write(layout.secret("root"), text).unwrap();
    std::fs::write(layout.identity(), "{}").unwrap();
}

fn seen(stores: &[Store]) -> Vec<String> {
    stores.iter().map(|s| std::fs::read_to_string(s.dir.join("sub/file")).unwrap_or_else(|_| "-".into())).collect()
}

fn of(name: &str, only: Option<Set>) -> Wanted<'_> {
    Wanted { name, only, versions: &[] }
}

fn quiet() -> impl FnMut(String) {
    |_| ()
}

#[test]
fn what_a_drill_owed_when_the_snapshot_was_made_is_owed_again_after_a_restore() {
    let (_dir, layout, stores) = stack();
    create(&layout, &stores, "without", &mut quiet()).unwrap();
    std::fs::write(layout.drill_left(), r#"{"kind":"drill","undo":{"topics":true}}"#).unwrap();
    create(&layout, &stores, "s", &mut quiet()).unwrap();
    std::fs::remove_file(layout.drill_left()).unwrap();
    restore(&layout, &stores, of("without", None), &mut quiet()).unwrap();
    assert!(!layout.drill_left().exists());
    restore(&layout, &stores, of("s", None), &mut quiet()).unwrap();
    let owed: serde_json::Value = serde_json::from_slice(&std::fs::read(layout.drill_left()).unwrap()).unwrap();
    assert_eq!(owed["undo"]["topics"], true);
}

#[test]
fn what_was_copied_comes_back_and_nothing_is_left_beside_it() {
    let (_dir, layout, stores) = stack();
    let manifest = create(&layout, &stores, "first", &mut quiet()).unwrap();
    assert_eq!((manifest.cluster.as_deref(), &manifest.secrets[..]), (Some("old"), &["root".to_owned()][..]));
    write_all(&layout, &stores, "new");
    let e = create(&layout, &stores, "first", &mut quiet()).unwrap_err();
    assert!(e.to_string().contains("already"), "{e}");
    restore(&layout, &stores, of("first", Some(Set::Kafka)), &mut quiet()).unwrap();
    assert_eq!(seen(&stores), ["old zookeeper", "old broker-1", "new mysql"], "a set, whole");
    assert_eq!(std::fs::read_to_string(layout.secret("root")).unwrap(), "new", "MySQL's passwords are MySQL's");
    restore(&layout, &stores, of("first", None), &mut quiet()).unwrap();
    assert_eq!(seen(&stores), ["old zookeeper", "old broker-1", "old mysql"]);
    assert_eq!(std::fs::read_to_string(layout.secret("root")).unwrap(), "old");
    assert!(!layout.identity().exists() && !layout.exchange().exists());
    for store in &stores {
        let names = fs::names_in(store.dir.parent().unwrap()).unwrap();
        assert!(names.iter().all(|n| !n.contains("coming") && !n.contains("going")), "{names:?}");
    }
    assert_eq!(verify(&layout, "first", &mut quiet()).unwrap().1, Vec::<String>::new());
    assert_eq!(list(&layout).unwrap().len(), 1);
    remove(&layout, "first").unwrap();
    assert!(list(&layout).unwrap().is_empty() && fs::names_in(&layout.snapshots()).unwrap().is_empty());
}

#[test]
fn a_snapshot_that_was_changed_replaces_nothing() {
    let (_dir, layout, stores) = stack();
    create(&layout, &stores, "s", &mut quiet()).unwrap();
    write_all(&layout, &stores, "new");
    could_restore(&layout, &stores, of("s", None), &mut quiet()).unwrap();
    std::fs::write(layout.snapshots().join("s/broker-1/sub/file"), "forged").unwrap();
    let e = could_restore(&layout, &stores, of("s", None), &mut quiet()).unwrap_err();
    assert!(matches!(&e, StoreError::Refused(what, _) if what.contains("broker-1/sub/file")), "{e}");
    could_restore(&layout, &stores, of("s", Some(Set::Mysql)), &mut quiet()).unwrap();
    let e = restore(&layout, &stores, of("s", None), &mut quiet()).unwrap_err();
    assert!(matches!(&e, StoreError::Refused(what, _) if what.contains("broker-1/sub/file")), "{e}");
    assert_eq!(seen(&stores), ["new zookeeper", "new broker-1", "new mysql"]);
    assert_eq!(verify(&layout, "s", &mut quiet()).unwrap().1.len(), 1);
    std::fs::remove_file(layout.snapshots().join("s/manifest.json")).unwrap();
    assert!(restore(&layout, &stores, of("s", None), &mut quiet()).is_err());
    assert!(list(&layout).unwrap()[0].as_ref().unwrap_err().contains("no manifest"));
}

#[test]
fn passwords_that_are_not_what_they_were_are_told_and_replace_none() {
    let (_dir, layout, stores) = stack();
    create(&layout, &stores, "s", &mut quiet()).unwrap();
    write_all(&layout, &stores, "new");
    let copied = layout.snapshots().join("s/secrets/root");
    let told = || verify(&layout, "s", &mut quiet()).unwrap().1.join("; ");
    let refused = |words: &str| {
        assert_eq!(told(), words);
        let e = restore(&layout, &stores, of("s", None), &mut quiet()).unwrap_err();
        assert!(matches!(&e, StoreError::Refused(what, _) if what.ends_with(words)), "{e}");
        assert_eq!(seen(&stores), ["new zookeeper", "new broker-1", "new mysql"], "{words}");
        assert_eq!(std::fs::read_to_string(layout.secret("root")).unwrap(), "new", "{words}");
        assert!(!layout.exchange().exists() && !incoming(&stores[0].dir).exists(), "{words}");
    };
    std::fs::write(&copied, "ol").unwrap();
    refused("secrets/root has 2 bytes, not 3");
    std::fs::write(&copied, "odl").unwrap();
    refused("secrets/root has other bytes than it had");
    std::fs::remove_file(&copied).unwrap();
    refused("secrets/root is missing");
    std::fs::write(&copied, "old").unwrap();
    std::fs::write(copied.with_file_name("more"), "old").unwrap();
    refused("secrets/more is not in the manifest");
    // Kafka's data come back without them.
    restore(&layout, &stores, of("s", Some(Set::Kafka)), &mut quiet()).unwrap();
    assert_eq!(seen(&stores), ["old zookeeper", "old broker-1", "new mysql"]);
}

#[test]
fn a_manifest_of_an_earlier_version_has_no_digests_of_passwords_and_is_read() {
    let (_dir, layout, stores) = stack();
    create(&layout, &stores, "s", &mut quiet()).unwrap();
    write_all(&layout, &stores, "new");
    let path = layout.snapshots().join("s/manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(manifest.as_object_mut().unwrap().remove("secret_digests").is_some());
    std::fs::write(&path, manifest.to_string()).unwrap();
    let secrets = layout.snapshots().join("s/secrets");
    std::fs::write(secrets.join("root"), "").unwrap();
    assert_eq!(verify(&layout, "s", &mut quiet()).unwrap().1, ["secrets/root is empty"]);
    assert!(restore(&layout, &stores, of("s", None), &mut quiet()).is_err());
    std::fs::write(secrets.join("root"), "older").unwrap();
    assert_eq!(verify(&layout, "s", &mut quiet()).unwrap().1, Vec::<String>::new());
    restore(&layout, &stores, of("s", None), &mut quiet()).unwrap();
    assert_eq!(std::fs::read_to_string(layout.secret("root")).unwrap(), "older");
    // A name that leads elsewhere is none.
    manifest["secrets"] = serde_json::json!(["root", "../../mysql/sub/file"]);
    std::fs::write(&path, manifest.to_string()).unwrap();
    let e = restore(&layout, &stores, of("s", None), &mut quiet()).unwrap_err();
    assert!(e.to_string().contains("is no name of a password"), "{e}");
}

/// A stack whose second broker has data of another cluster.
fn mixed() -> (tempfile::TempDir, Layout, Vec<Store>) {
    let (dir, layout, mut stores) = stack();
    let node = NodeName::broker(2);
    stores.insert(2, Store { dir: layout.data(&node), node, set: Set::Kafka });
    std::fs::create_dir_all(&stores[2].dir).unwrap();
    meta(&stores[2].dir, 2, "other");
    (dir, layout, stores)
}

fn meta(dir: &Path, broker: u32, cluster: &str) {
    let text = format!("version=0\nbroker.id={broker}\ncluster.id={cluster}\n");
    std::fs::write(dir.join("meta.properties"), text).unwrap();
}

#[test]
fn data_of_two_clusters_are_not_copied_as_one_and_each_directory_is_named_with_its_own() {
    let (_dir, layout, stores) = mixed();
    let e = create(&layout, &stores, "s", &mut quiet()).map(drop).unwrap_err();
    let StoreError::Refused(what, Some(hint)) = &e else { panic!("{e:?}") };
    for part in [
        format!("broker-1's data ({}) of cluster old", stores[1].dir.display()),
        format!("broker-2's data ({}) of cluster other", stores[2].dir.display()),
    ] {
        assert!(what.contains(&part), "{what}");
    }
    assert!(hint.contains("never edit meta.properties"), "{hint}");
    assert!(fs::names_in(&layout.snapshots()).unwrap().is_empty());
    // What this root remembers counts where ZooKeeper's files do not tell, and MySQL's server always.
    meta(&stores[2].dir, 2, "old");
    std::fs::write(layout.identity(), r#"{"schema":1,"cluster":"another"}"#).unwrap();
    let e = create(&layout, &stores, "s", &mut quiet()).map(drop).unwrap_err();
    assert!(e.to_string().contains("what this root remembers") && e.to_string().contains("of cluster another"), "{e}");
    let of_mysql = r#"{"schema":1,"cluster":"old","mysql":{"server_uuid":"a","data_dir":"/m"}}"#;
    std::fs::write(layout.identity(), of_mysql).unwrap();
    std::fs::write(stores[3].dir.join("auto.cnf"), "[auto]\nserver-uuid=b\n").unwrap();
    let e = create(&layout, &stores, "s", &mut quiet()).map(drop).unwrap_err();
    assert!(e.to_string().contains("is that of server b, and this root remembers server a"), "{e}");
    std::fs::write(stores[3].dir.join("auto.cnf"), "[auto]\nserver-uuid=a\n").unwrap();
    let made = create(&layout, &stores, "s", &mut quiet()).unwrap();
    assert_eq!((made.cluster.as_deref(), made.mysql.as_deref()), (Some("old"), Some("a")));
}

#[test]
fn a_snapshot_of_two_clusters_is_not_restored_except_for_the_set_that_is_whole() {
    let (_dir, layout, stores) = mixed();
    meta(&stores[2].dir, 2, "old");
    create(&layout, &stores, "s", &mut quiet()).unwrap();
    // As an earlier version would have made it: the digests fit.
    let copy = layout.snapshots().join("s");
    meta(&copy.join("broker-2"), 2, "other");
    let mut manifest = read(&layout, "s").unwrap();
    let entry = manifest.stores[2].entries.iter_mut().find(|entry| entry.path == "meta.properties").unwrap();
    entry.file = Some(copy::of_bytes(&std::fs::read(copy.join("broker-2/meta.properties")).unwrap()));
    std::fs::write(copy.join("manifest.json"), serde_json::to_string(&manifest).unwrap()).unwrap();
    assert_eq!(verify(&layout, "s", &mut quiet()).unwrap().1, Vec::<String>::new());
    write_all(&layout, &stores, "new");
    let refusals = [
        could_restore(&layout, &stores, of("s", None), &mut quiet()).unwrap_err(),
        restore(&layout, &stores, of("s", Some(Set::Kafka)), &mut quiet()).unwrap_err(),
    ];
    for e in refusals {
        let words = e.to_string();
        assert!(matches!(&e, StoreError::Refused(_, Some(hint)) if hint.contains("--only")), "{e:?}");
        assert!(words.starts_with("the snapshot s was made of data that do not belong together"), "{words}");
        assert!(
            words.contains(&format!("broker-2's data ({}) of cluster other", copy.join("broker-2").display())),
            "{words}"
        );
        assert_eq!(seen(&stores)[1], "new broker-1");
        assert!(!incoming(&stores[0].dir).exists() && !layout.exchange().exists());
    }
    restore(&layout, &stores, of("s", Some(Set::Mysql)), &mut quiet()).unwrap();
    assert_eq!(seen(&stores)[3], "old mysql");
}

#[test]
fn data_of_other_nodes_and_of_a_newer_program_are_refused() {
    let (_dir, layout, stores) = stack();
    let mark = r#"{"schema":1,"product":"MySQL","version":"9.7.2"}"#;
    std::fs::write(stores[2].dir.join(identity::MARKER), mark).unwrap();
    create(&layout, &stores, "s", &mut quiet()).unwrap();
    let more = Store { node: NodeName::broker(2), set: Set::Kafka, dir: layout.data(&NodeName::broker(2)) };
    let with_more: Vec<Store> = stores.iter().cloned().chain([more]).collect();
    let e = restore(&layout, &with_more, of("s", None), &mut quiet()).unwrap_err();
    assert!(e.to_string().contains("broker-1, zookeeper, the configuration has broker-1, broker-2, zookeeper"), "{e}");
    let older = DataVersion {
        product: crate::base::recipe::DataProduct::Mysql,
        version: "8.0.46".into(),
        protocol: None,
        data_dir: stores[2].dir.clone(),
    };
    let e = restore(&layout, &stores, Wanted { versions: &[older], ..of("s", None) }, &mut quiet()).unwrap_err();
    assert!(matches!(&e, StoreError::Refused(what, _) if what.contains("9.7.2")), "{e}");
    assert!(matches!(restore(&layout, &stores, of("t", None), &mut quiet()), Err(StoreError::Asked(..))));
}

#[test]
fn a_set_is_reset_whole_and_the_other_stays() {
    let (_dir, layout, stores) = stack();
    reset(&layout, &stores, Set::Kafka).unwrap();
    assert_eq!(seen(&stores), ["-", "-", "old mysql"]);
    assert!(!layout.identity().exists());
    reset(&layout, &stores, Set::Kafka).unwrap();
}

#[test]
fn an_exchange_cut_short_anywhere_is_finished_by_the_next_and_one_not_recorded_never_was() {
    for steps in 0..=6 {
        let (_dir, layout, stores) = stack();
        // A restore up to its record: the new directories wait beside the old ones.
        for store in &stores {
            copy::tree(&store.dir, &incoming(&store.dir), &mut |_| ()).unwrap();
        }
        write_all(&layout, &stores, "new");
        let swaps: Vec<Swap> = stores.iter().map(|s| Swap { dir: s.dir.clone(), new: true }).collect();
        let exchange = Exchange { schema: 1, what: "restore s".into(), swaps, secrets: None, passwords: None };
        std::fs::write(layout.exchange(), serde_json::to_string(&exchange).unwrap()).unwrap();
        for done in 0..steps {
            let dir = &stores[done / 2].dir;
            let (from, to) = if done % 2 == 0 { (dir.clone(), outgoing(dir)) } else { (incoming(dir), dir.clone()) };
            std::fs::rename(from, to).unwrap();
        }
        let words = finish(&layout, &stores).unwrap().unwrap();
        assert!(words.contains("restore s"), "{words}");
        assert_eq!(seen(&stores), ["old zookeeper", "old broker-1", "old mysql"], "after {steps} steps");
        assert_eq!(finish(&layout, &stores).unwrap(), None);
    }
    let (_dir, layout, stores) = stack();
    std::fs::create_dir_all(incoming(&stores[0].dir).join("half")).unwrap();
    assert_eq!(finish(&layout, &stores).unwrap(), None);
    assert!(!incoming(&stores[0].dir).exists());
    assert_eq!(seen(&stores), ["old zookeeper", "old broker-1", "old mysql"]);
}

#[test]
fn a_record_torn_at_any_byte_is_refused_with_words_and_nothing_is_touched() {
    let (_dir, layout, stores) = stack();
    create(&layout, &stores, "s", &mut quiet()).unwrap();
    write_all(&layout, &stores, "new");
    let dir = &stores[0].dir;
    copy::tree(&layout.snapshots().join("s/zookeeper"), &incoming(dir), &mut |_| ()).unwrap();
    std::fs::rename(dir, outgoing(dir)).unwrap();
    let swaps = stores.iter().map(|s| Swap { dir: s.dir.clone(), new: true }).collect();
    let exchange = Exchange { schema: 1, what: "restore s".into(), swaps, secrets: None, passwords: None };
    let text = serde_json::to_vec(&exchange).unwrap();
    let mut texts: Vec<&[u8]> = (0..text.len()).map(|at| &text[..at]).collect();
    texts.push(b"\xff\xfe");
    for torn in texts {
        std::fs::write(layout.exchange(), torn).unwrap();
        let e = finish(&layout, &stores).unwrap_err();
        let why = e.source.to_string();
        assert!(
            e.to_string().contains("exchange.json") && why.contains("data.cdc-outgoing), and new ones ("),
            "{e}: {why}"
        );
        assert_eq!(seen(&stores), ["-", "new broker-1", "new mysql"]);
        assert!(outgoing(dir).join("sub/file").exists() && incoming(dir).join("sub/file").exists());
        assert!(none_is_half_done(&layout).is_err(), "nothing else begins on it");
    }
}

#[test]
fn half_a_snapshot_goes_before_anything_is_started() {
    let (_dir, layout, stores) = stack();
    create(&layout, &stores, "s", &mut quiet()).unwrap();
    std::fs::create_dir_all(layout.snapshots().join(".t.part/zookeeper")).unwrap();
    assert_eq!(finish(&layout, &stores).unwrap(), None);
    assert_eq!(fs::names_in(&layout.snapshots()).unwrap(), ["s"]);
}

#[test]
fn steps_follow_from_what_is_there() {
    for (new, dir, coming, gone, expected) in [
        (true, true, true, false, Step::Aside),
        (true, false, true, true, Step::Come),
        (true, false, true, false, Step::Come),
        (true, true, false, true, Step::Done),
        (false, true, false, false, Step::Aside),
        (false, false, false, true, Step::Done),
        (false, false, false, false, Step::Done),
    ] {
        assert_eq!(step(new, dir, coming, gone), expected, "{new} {dir} {coming} {gone}");
    }
}

#[test]
fn what_cannot_be_renamed_half_way_is_finished_by_the_next_one_and_nothing_else_touches_it_until_then() {
    let (_dir, layout, stores) = stack();
    create(&layout, &stores, "s", &mut quiet()).unwrap();
    write_all(&layout, &stores, "new");
    // What stands in the way of the second directory comes when all is copied.
    let obstacle = outgoing(&stores[1].dir).join("somebody's");
    let mut told = |text: String| {
        if text.starts_with("waiting for the disk") {
            std::fs::create_dir_all(&obstacle).unwrap();
        }
    };
    let e = restore(&layout, &stores, of("s", None), &mut told).unwrap_err();
    assert!(e.to_string().starts_with("cannot rename "), "{e}");
    assert_eq!(seen(&stores), ["old zookeeper", "new broker-1", "new mysql"], "half");
    assert!(layout.exchange().exists());
    let refusals = [
        restore(&layout, &stores, of("s", None), &mut quiet()).unwrap_err(),
        reset(&layout, &stores, Set::Mysql).unwrap_err(),
        create(&layout, &stores, "t", &mut quiet()).map(drop).unwrap_err(),
        // It has the passwords, which come last.
        remove(&layout, "s").map(drop).unwrap_err(),
    ];
    for refused in refusals {
        assert!(matches!(&refused, StoreError::Refused(what, _) if what.contains("half exchanged")), "{refused}");
    }
    assert!(finish(&layout, &stores).is_err(), "it stands there still");
    assert_eq!(seen(&stores), ["old zookeeper", "new broker-1", "new mysql"], "nothing was lost meanwhile");
    std::fs::remove_dir_all(obstacle.parent().unwrap()).unwrap();
    // The exchange has passwords of its own.
    std::fs::remove_dir_all(layout.snapshots().join("s")).unwrap();
    let secrets = incoming(&layout.secrets());
    let away = layout.snapshots().join("away");
    std::fs::rename(&secrets, &away).unwrap();
    let e = finish(&layout, &stores).unwrap_err();
    assert!(e.to_string().contains(secrets.to_str().unwrap()) && layout.exchange().exists(), "{e}");
    std::fs::rename(&away, &secrets).unwrap();
    std::fs::write(secrets.join("root"), "odl").unwrap();
    let e = finish(&layout, &stores).unwrap_err();
    assert!(e.source.to_string().contains("other bytes") && layout.exchange().exists(), "{e}: {}", e.source);
    assert_eq!(std::fs::read_to_string(layout.secret("root")).unwrap(), "new");
    std::fs::write(secrets.join("root"), "old").unwrap();
    assert!(finish(&layout, &stores).unwrap().unwrap().contains("is finished now"));
    assert_eq!(seen(&stores), ["old zookeeper", "old broker-1", "old mysql"]);
    assert_eq!(std::fs::read_to_string(layout.secret("root")).unwrap(), "old");
}

#[test]
fn only_a_plain_name_leads_to_a_snapshot() {
    let (dir, layout, stores) = stack();
    create(&layout, &stores, "s", &mut quiet()).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(layout.snapshots().join("s"), &elsewhere).unwrap();
    for name in [elsewhere.to_str().unwrap(), "../elsewhere", ".", ""] {
        let refusals = [
            restore(&layout, &stores, of(name, None), &mut quiet()).map(drop),
            remove(&layout, name).map(drop),
            verify(&layout, name, &mut quiet()).map(drop),
        ];
        assert!(refusals.iter().all(|done| matches!(done, Err(StoreError::Asked(..)))), "{name}: {refusals:?}");
    }
    assert!(elsewhere.join("manifest.json").exists());
}

#[test]
fn directories_of_others_beside_the_data_are_left_alone() {
    let (_dir, layout, stores) = stack();
    let theirs = [".incoming", ".outgoing", ".old"].map(|ending| beside(&stores[0].dir, ending));
    theirs.iter().for_each(|dir| std::fs::create_dir_all(dir.join("x")).unwrap());
    finish(&layout, &stores).unwrap();
    reset(&layout, &stores, Set::Kafka).unwrap();
    assert!(theirs.iter().all(|dir| dir.join("x").exists()));
}

#[test]
fn a_link_and_a_mount_point_are_not_exchanged() {
    let (dir, layout, stores) = stack();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&stores[2].dir, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &stores[2].dir).unwrap();
    let refused = reset(&layout, &stores, Set::Mysql).unwrap_err();
    assert!(matches!(&refused, StoreError::Refused(what, _) if what.contains("is a link")), "{refused}");
    assert_eq!(seen(&stores)[2], "old mysql");
    let refused = replaceable(Path::new("/proc")).unwrap_err();
    assert!(matches!(&refused, StoreError::Refused(what, _) if what.contains("mount point")), "{refused}");
}
