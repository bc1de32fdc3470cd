//! kill -9 of `bundle install`, `fetch` and `artifacts gc` between any two of their durable effects: what the store has is whole, what
//! it had is there, and the next run puts it right.

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

fn names(bench: &Bench) -> BTreeSet<String> {
    let list = fs::read_dir(bench.path("artifacts")).into_iter().flatten().flatten();
    list.map(|e| e.file_name().into_string().unwrap()).filter(|n| n != "files").collect()
}

#[test]
fn no_artifact_is_away_wherever_its_replacement_dies() {
    let points: Vec<String> = all_points(&[]).into_iter().filter(|p| p.starts_with("store.")).collect();
    assert!(points.len() >= 4, "points are gone: {points:?}");
    let bench = Bench::new();
    let body = archives::kafka("apache-kafka", 40);
    let files = bench.path("artifacts/files");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("kafka.tgz"), &*body).unwrap();
    let list = List::of("apache-3.5.2", "apache-kafka", &body, &["https://127.0.0.1:9/kafka.tgz"]).text();
    fs::write(bench.root.file("list.toml"), &list).unwrap();
    configured(&bench, "sources = [\"file\"]");
    let killed = |point: &str, arguments: &[&str]| {
        let _ = fs::remove_file(bench.pair.dir().join("failpoints.hit"));
        bench.arm(&format!("{point} kill"));
        let killed = bench.run(arguments);
        assert!(bench.hit() && killed.signal == Some(9), "{point} is never reached\n{killed}");
    };
    let whole = |point: &str| {
        for verb in [&["fetch"][..], &["artifacts", "verify"]] {
            let output = bench.run(verb);
            assert_eq!(output.code, Some(0), "{point}: {verb:?}\n{output}");
        }
        assert!(!names(&bench).contains("tmp"), "{point}: {:?}", names(&bench));
    };
    whole("none");
    let before = names(&bench);
    let tree = before.iter().find(|name| name.starts_with("test-apache")).expect("a tree").clone();
    let jar = fs::read_dir(bench.path(&format!("artifacts/{tree}/libs"))).unwrap().flatten().next().unwrap().path();
    for point in points {
        if point == "store.gone" {
            // What no record knows goes, and nothing else.
            let old = bench.path("artifacts").join(tree.replace("test-", "test-of-before-"));
            assert!(
                std::process::Command::new("cp")
                    .arg("-r")
                    .arg(bench.path(&format!("artifacts/{tree}")))
                    .arg(&old)
                    .status()
                    .unwrap()
                    .success()
            );
            killed(&point, &["artifacts", "gc"]);
            assert!(!old.exists(), "{point}: half of what goes is seen by nobody");
            assert_eq!(bench.run(&["artifacts", "gc"]).code, Some(0), "{point}");
        } else {
            // A damaged one is fetched again.
            fs::remove_file(&jar).unwrap();
            killed(&point, &["fetch"]);
            assert!(bench.path(&format!("artifacts/{tree}")).exists(), "{point}: nothing is in its place");
            assert_eq!(jar.exists(), point != "store.sealed", "{point}");
            // And one that is not there at all.
            fs::remove_dir_all(bench.path(&format!("artifacts/{tree}"))).unwrap();
            killed(&point, &["fetch"]);
        }
        whole(&point);
        assert_eq!(names(&bench), before, "{point}: left over, or missing");
        eprintln!("killed at {point}: the store is whole");
    }
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
