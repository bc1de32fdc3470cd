//! kill -9 of `bundle install` between any two of its durable effects: the store is as it was, and the next run puts it right.

use crate::{
    archives::{self, List},
    bench::Bench,
    points::all_points,
};
use std::{collections::BTreeSet, fs};

/// What is written on that way: the record, and each tree's list.
const FILES: [&str; 2] = ["artifacts/lock.toml", "/.manifest"];

fn configured(bench: &Bench, more: &str) {
    let list = bench.root.file("list.toml");
    bench.root.configure_raw(&format!(
        "[artifacts]\nlist = \"{list}\"\n{more}\n[zookeeper]\n[kafka]\ndistribution = \"apache-3.5.2\"\n"
    ));
}

#[test]
fn a_bundle_is_installed_as_a_whole_wherever_its_installation_dies() {
    let only = std::env::var("CDC_FAULTS").unwrap_or_default();
    let of_bundle = |p: &String| p.starts_with("bundle.") || p.starts_with("write.");
    let points: Vec<String> = all_points(&FILES).into_iter().filter(of_bundle).filter(|p| p.contains(&only)).collect();
    assert!(points.len() >= 11 || !only.is_empty(), "points are gone: {points:?}");

    let here = Bench::new();
    let body = archives::kafka("apache-kafka", 40);
    let files = here.path("artifacts/files");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("kafka.tgz"), &*body).unwrap();
    let list = List::of("apache-3.5.2", "apache-kafka", &body, &["https://127.0.0.1:9/kafka.tgz"]).text();
    fs::write(here.root.file("list.toml"), &list).unwrap();
    configured(&here, "sources = [\"file\"]");
    assert_eq!(here.run(&["fetch"]).code, Some(0));
    let made = here.run(&["bundle", "create", "stack.bundle"]);
    let sha256 = made.stdout.lines().find_map(|l| l.strip_prefix("sha256 ")).expect("a digest").to_owned();
    let bundle = here.root.file("stack.bundle");

    let there = Bench::new();
    fs::write(there.root.file("list.toml"), &list).unwrap();
    configured(&there, "offline = true");
    let names = |bench: &Bench| -> BTreeSet<String> {
        let list = fs::read_dir(bench.path("artifacts")).into_iter().flatten().flatten();
        list.map(|e| e.file_name().into_string().unwrap()).filter(|n| n != "files").collect()
    };
    for point in points {
        let _ = fs::remove_dir_all(there.path("artifacts"));
        let _ = fs::remove_file(there.pair.dir().join("failpoints.hit"));
        there.arm(&format!("{point} kill"));
        let killed = there.run(&["bundle", "install", &bundle, "--sha256", &sha256]);
        assert!(there.hit() && killed.signal == Some(9), "{point} is never reached\n{killed}");
        // What has no record is not used; what has one is whole.
        let fetch = there.run(&["fetch"]);
        let recorded = there.path("artifacts/lock.toml").exists();
        assert_eq!(fetch.code, Some(if recorded { 0 } else { 5 }), "{point}\n{fetch}");
        let output = there.run(&["bundle", "install", &bundle, "--sha256", &sha256]);
        assert_eq!(output.code, Some(0), "{point}\n{output}");
        assert_eq!(names(&there), names(&here), "{point}: left over, or missing");
        for verb in [&["fetch"][..], &["artifacts", "verify"]] {
            let output = there.run(verb);
            assert_eq!(output.code, Some(0), "{point}: {verb:?}\n{output}");
        }
        eprintln!("killed at {point}: the store is whole");
    }
}
