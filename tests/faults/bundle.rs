//! kill -9 of `bundle install` between its durable effects: the next install ends with whole trees and nothing beside them.

use crate::{bench::Bench, points::all_points, support::skip};
use std::fs;

#[test]
fn a_bundle_is_installed_as_a_whole_by_the_next_install_wherever_one_dies() {
    let Ok(store) = std::env::var("CDC_TEST_STORE") else {
        return skip("a_bundle_is_installed_as_a_whole", "CDC_TEST_STORE names no filled artifact store");
    };
    let from = Bench::with(&format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[zookeeper]\n"));
    let bundle = from.root.file("kafka.bundle");
    let output = from.run(&["bundle", "create", &bundle]);
    assert_eq!(output.code, Some(0), "{output}");
    let points: Vec<String> = all_points(&[]).into_iter().filter(|p| p.starts_with("bundle.")).collect();
    assert!(points.len() >= 3, "points are gone: {points:?}");
    for point in points {
        let bench = Bench::with("[artifacts]\noffline = true\n[zookeeper]\n");
        bench.arm(&format!("{point} kill"));
        let output = bench.run(&["bundle", "install", &bundle]);
        assert!(bench.hit() && output.code.is_none(), "{point} is never reached\n{output}");
        bench.disarm();
        let output = bench.run(&["bundle", "install", &bundle]);
        assert_eq!(output.code, Some(0), "{point}\n{output}");
        for verb in [&["artifacts", "verify"][..], &["fetch"]] {
            let output = bench.run(verb);
            assert_eq!(output.code, Some(0), "{point}\n{output}");
        }
        assert!(!bench.path("artifacts/tmp").exists(), "{point}: tmp is left");
        let trees = fs::read_dir(bench.path("artifacts")).unwrap().flatten();
        let trees = trees.filter(|e| e.file_name().to_string_lossy().starts_with("kafka-")).count();
        assert_eq!(trees, 1, "{point}");
        eprintln!("killed at {point}: installed as a whole");
    }
}
