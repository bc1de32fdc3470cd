//! A store on a file system of its own that runs out of room at every step: `fetch` says so, leaves nothing half done, and ends
//! right as soon as there is room.

use crate::{
    archives::{self, List},
    hostile_http::{Answer, Server},
    sources::{Place, says},
    support::{Client, Output, VERB_LIMIT},
};
use std::{fs, sync::Arc};

const CHOICE: &str = "apache-3.5.2";
const LAYOUT: &str = "apache-kafka";

/// Mounts a tmpfs of these options ($1) on the store ($2), runs the rest there, says what is in the store, makes room, runs it
/// again. The mount goes with its namespace.
const SCRIPT: &str = r#"options=$1 store=$2; shift 2
mount -t tmpfs -o "$options" none "$store" || exit 99
"$@"; first=$?
echo "left: $(find "$store" -mindepth 1 -printf '%P ' | tr '\n' ' ')" >&2
mount -o remount,size=300m,nr_inodes=10000 "$store" || exit 98
"$@"; second=$?
echo "after: $(find "$store" -mindepth 1 -maxdepth 1 -printf '%P ' | tr '\n' ' ') $(cat "$store/lock.toml")" >&2
echo "first $first second $second" >&2
exit $first"#;

/// One run in a store of these options, or none where nothing can be mounted.
fn in_a_small_store(test: &str, at: &Place, options: &str) -> Option<Output> {
    fs::create_dir_all(at.store()).unwrap();
    let store = at.store().display().to_string();
    let inside = ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", options, store.as_str()];
    let run = Client::start(&at.root, &inside, &["fetch"]).wait(VERB_LIMIT);
    if run.stderr.contains("unshare:") || run.code == Some(99) {
        crate::support::skip(test, "no right to mount a tmpfs");
        return None;
    }
    Some(run)
}

/// What must hold whenever the room ends, and how it ended.
fn ends_right(run: &Output, what: &str) -> bool {
    assert!(run.stderr.contains(" second 0"), "{what}: {run}");
    assert!(run.stderr.contains("after: ") && run.stderr.contains("test-apache-3.5.2"), "{what}: {run}");
    for left in ["downloads/", " tmp "] {
        let after = run.stderr.split("after: ").nth(1).unwrap();
        assert!(!after.contains(left), "{what}: {left} is left: {run}");
    }
    if run.code == Some(0) {
        return false;
    }
    assert_eq!(run.code, Some(5), "{what}: {run}");
    says(run, "hint: the disk is full");
    let left = run.stderr.split("left: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    assert!(!left.contains("tmp/"), "{what}: an unpacked tree is left: {left}");
    // A tree that has its name is whole: its list is written before it is renamed.
    let trees = left.split(' ').filter(|p| p.starts_with("test-apache") && !p.contains('/')).count();
    let lists = left.split(' ').filter(|p| p.starts_with("test-apache") && p.ends_with("/.manifest")).count();
    assert_eq!(trees, lists, "{what}: {left}");
    true
}

/// Bytes run out while files are unpacked, their list or the record is written.
#[test]
fn a_disk_that_fills_up_while_an_archive_is_unpacked_leaves_nothing_and_the_next_run_ends_right() {
    let at = Place::new();
    let body = archives::kafka(LAYOUT, 40);
    let files = at.root.file("files");
    fs::create_dir(&files).unwrap();
    fs::write(format!("{files}/kafka.tgz"), &*body).unwrap();
    at.list(&List::of(CHOICE, LAYOUT, &body, &["http://127.0.0.1:9/kafka.tgz"]));
    at.configure(&format!("sources = [\"file\"]\nfiles = \"{files}\""), CHOICE);
    let mut full = 0;
    // From less than one jar to more than all: 4 x 98 KiB in pages, and small files of a page each.
    for size in [64, 200, 300, 396, 400, 404, 408, 412, 416, 440] {
        let Some(run) = in_a_small_store("a disk that fills up", &at, &format!("size={size}k")) else { return };
        full += u32::from(ends_right(&run, &format!("{size}k")));
    }
    assert!((4..10).contains(&full), "{full} of 10 runs were out of room");
}

/// Names run out: at each directory, file and rename of a fetch in turn.
#[test]
fn a_disk_without_room_for_one_more_name_is_full_at_every_step_and_the_next_run_ends_right() {
    let at = Place::new();
    let body = archives::kafka(LAYOUT, 41);
    let served = Arc::clone(&body);
    let server = Server::start(move |asked| Answer { length: None, ..Answer::file(&served, "\"a\"", asked) });
    at.list(&List::of(CHOICE, LAYOUT, &body, &[&server.url("kafka.tgz")]));
    at.configure("sources = [\"vendor\"]", CHOICE);
    let mut full = 0;
    for inodes in 2..40 {
        let options = format!("size=200m,nr_inodes={inodes}");
        let Some(run) = in_a_small_store("a disk without names", &at, &options) else { return };
        if !ends_right(&run, &format!("{inodes} inodes")) {
            break;
        }
        full += 1;
    }
    assert!((10..38).contains(&full), "{full} runs were out of room");
}
