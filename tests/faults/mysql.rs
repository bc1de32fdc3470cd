//! kill -9 of the daemon while MySQL's data directory is made and marked: whoever comes next ends up with all of it.

use crate::{
    bench::Bench,
    points::all_points,
    support::{node::free_port, skip},
};
use std::fs;

/// What is written on that way.
const FILES: [&str; 4] = [
    "state/secrets/mysql-root",
    "state/secrets/debezium",
    "state/identity.json",
    "nodes/mysql/data/cdc-supervisor.json",
];

/// Without `CDC_TEST_LONG` only these of the writes: each round makes a data directory (6 s on two cores).
const SHORT: [&str; 3] = [
    "write.half@state/secrets/debezium",
    "write.half@state/identity.json",
    "write.renamed@nodes/mysql/data/cdc-supervisor.json",
];

#[test]
fn a_mysql_data_directory_is_made_as_a_whole_wherever_its_daemon_dies() {
    let Ok(store) = std::env::var("CDC_TEST_STORE") else {
        return skip("a_mysql_data_directory_is_made_as_a_whole", "CDC_TEST_STORE names no filled artifact store");
    };
    let only = std::env::var("CDC_FAULTS").unwrap_or_default();
    let long = std::env::var_os("CDC_TEST_LONG").is_some();
    let of_mysql = |p: &String| p.starts_with("mysql.") || p.starts_with("write.");
    let chosen = |p: &String| long || p.starts_with("mysql.") || SHORT.contains(&p.as_str());
    let points: Vec<String> =
        all_points(&FILES).into_iter().filter(of_mysql).filter(chosen).filter(|p| p.contains(&only)).collect();
    assert!(points.len() >= 7 || !only.is_empty(), "points are gone: {points:?}");
    for point in points {
        let port = free_port();
        let bench = Bench::with(&format!("[artifacts]\nstore = \"{store}\"\noffline = true\n[mysql]\nport = {port}\n"));
        bench.arm(&format!("{point} kill"));
        // That `up` replaces the daemon and goes on; its proof at the end reads the rows and the grants.
        let output = bench.run(&["up", "--detach"]);
        assert!(bench.hit(), "{point} is never reached\n{output}");
        assert_eq!(output.code, Some(0), "{point}\n{output}");
        assert!(output.stderr.contains("3 rows"), "{point}\n{output}");
        assert_eq!(bench.node("mysql").expect("a daemon that answers")["state"], "ready", "{point}");
        for dir in ["nodes/mysql", "nodes/mysql/data", "state", "state/secrets"] {
            for entry in fs::read_dir(bench.path(dir)).unwrap().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                assert!(
                    !name.ends_with(".tmp") && !name.ends_with(".bad") && !name.contains("build"),
                    "{point}: {dir}/{name}"
                );
            }
        }
        for secret in ["mysql-root", "debezium"] {
            let password = fs::read_to_string(bench.path(&format!("state/secrets/{secret}"))).unwrap();
            assert_eq!(password.len(), 33, "{point}: {secret}");
        }
        assert_eq!(bench.run(&["down"]).code, Some(0), "{point}");
        // Made once: it is found as it was left.
        let output = bench.run(&["up", "--detach"]);
        assert_eq!(output.code, Some(0), "{point}\n{output}");
        assert_eq!(bench.run(&["down"]).code, Some(0), "{point}");
        bench.root.await_empty();
        eprintln!("killed at {point}: MySQL is whole");
    }
}
