//! The shape of the code: who may import whom, how long a file may be, where `unsafe`, clocks and printing live, and that
//! `DESIGN.md` lists every source file with the job its header states.
//!
//! `WRITE_DESIGN=1 cargo test --test architecture` writes the list in `DESIGN.md` anew from the headers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod imports;
mod points;
mod source;

use source::{Source, sources};
use std::fmt::Write as _;

/// A file longer than this is two files that have not been told apart yet.
const LINES_MAX: usize = 800;

/// Fails with one line per finding.
fn none(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n{}", findings.join("\n"));
}

/// `path:line: text` for every line of code (comments and strings blanked) for which `bad` is true.
fn lines(files: &[Source], bad: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.code.lines().enumerate() {
            if bad(file, line) {
                found.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn rooms_import_only_what_the_map_allows() {
    let mut findings = Vec::new();
    for file in sources() {
        for import in imports::of(&file) {
            if !imports::allowed(&file.room, &import.room) {
                findings.push(format!("{}:{}: {} imports {}", file.path, import.line, file.room, import.room));
            }
        }
        for line in imports::climbing(&file) {
            findings.push(format!("{}:{line}: `super::super` reaches out of its room; write `crate::`", file.path));
        }
    }
    none("arrows that DESIGN.md does not allow", &findings);
}

#[test]
fn every_room_of_the_tree_is_in_the_map() {
    let unknown: Vec<String> =
        sources().iter().filter(|f| !imports::is_room(&f.room)).map(|f| f.path.clone()).collect();
    none("files in a room that tests/architecture/imports.rs does not know", &unknown);
}

#[test]
fn every_file_says_its_job_in_its_first_line() {
    let without: Vec<String> =
        sources().iter().filter(|f| f.job().len() < 8).map(|f| format!("{}: {:?}", f.path, f.job())).collect();
    none("files whose first line is no `//! job`", &without);
}

#[test]
fn no_file_is_longer_than_800_lines() {
    let long: Vec<String> = sources()
        .iter()
        .map(|f| (f, f.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(f, lines)| format!("{}: {lines}", f.path))
        .collect();
    none("files that are too long", &long);
}

#[test]
fn unsafe_lives_in_sys_shim_and_kafka_ffi_only() {
    let allowed = |f: &Source| {
        f.room == "sys"
            || f.room.starts_with("shim")
            || f.path.starts_with("src/clients/kafka_ffi")
            || f.path == "src/bin/cdc-shim.rs"
    };
    none(
        "unsafe code outside its rooms",
        &lines(&sources(), |f, line| !allowed(f) && source::has_word(line, "unsafe")),
    );
}

#[test]
fn every_unsafe_block_argues_its_safety() {
    let mut findings = Vec::new();
    for file in sources() {
        let text: Vec<&str> = file.text.lines().collect();
        for (number, line) in file.code.lines().enumerate() {
            let opens = source::has_word(line, "unsafe") && (line.contains("unsafe {") || line.contains("unsafe impl"));
            // the argument stands right above, or on the line itself
            let above = &text[number.saturating_sub(8)..=number];
            if opens && !above.iter().any(|l| l.contains("SAFETY:")) {
                findings.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    none("unsafe blocks without a `SAFETY:` comment", &findings);
}

#[test]
fn the_transition_table_has_no_catch_all() {
    let step = sources().into_iter().filter(|f| f.path.starts_with("src/lifecycle/step")).collect::<Vec<_>>();
    assert!(!step.is_empty(), "src/lifecycle/step.rs is gone: name the file that holds the table now");
    let catch_all = |line: &str| {
        let arm = line.trim_start();
        ["_ =>", "_ if ", "(_, _) =>", "(_, _, _) =>"].iter().any(|start| arm.starts_with(start))
    };
    none("catch-all arms in the transition table", &lines(&step, |f, line| !f.is_test && catch_all(line)));
}

#[test]
fn only_cli_prints() {
    let macros = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];
    let allowed = |f: &Source| f.is_test || f.room == "cli" || f.room == "main";
    none(
        "printing outside cli",
        &lines(&sources(), |f, line| !allowed(f) && macros.iter().any(|m| source::has_word(line, m))),
    );
}

#[test]
fn nothing_is_left_undone() {
    let marks = ["todo!", "unimplemented!", "TODO", "FIXME", "XXX", "HACK"];
    let mut findings = Vec::new();
    for file in sources() {
        for (number, line) in file.text.lines().enumerate() {
            if marks.iter().any(|m| source::has_word(line, m)) {
                findings.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    none("unfinished places", &findings);
}

#[test]
fn the_wall_clock_is_read_in_sys_clock_only() {
    let reads = ["SystemTime::now", "clock_gettime", "Timestamp::now", "Zoned::now"];
    none(
        "reads of the wall clock",
        &lines(&sources(), |f, line| f.path != "src/sys/clock.rs" && reads.iter().any(|r| line.contains(r))),
    );
}

#[test]
fn rooms_that_only_decide_read_no_clock_and_no_file() {
    let pure = ["base", "config", "services", "render", "lifecycle", "control::wire"];
    let does =
        ["Instant::now", "fs::read", "fs::write", "File::open", "File::create", "Command::new", "TcpStream", "async "];
    none(
        "doing in a room that only decides",
        &lines(&sources(), |f, line| {
            pure.contains(&f.room.as_str()) && !f.is_test && does.iter().any(|d| line.contains(d))
        }),
    );
}

#[test]
fn only_the_daemons_rooms_write_telemetry() {
    let allowed = ["engine", "daemon", "operate", "control::server", "telemetry", "main"];
    // librdkafka hands its own lines to a callback that has no other way out
    let callback = "src/clients/kafka/mod.rs";
    none(
        "tracing outside engine, operate, daemon and control::server",
        &lines(&sources(), |f, line| {
            !allowed.contains(&f.room.as_str()) && f.path != callback && line.contains("tracing::")
        }),
    );
}

#[test]
fn no_path_of_a_home_directory_is_written_down() {
    // What lies in somebody's home holds on one machine only.
    let words = ["/root/"];
    let mut findings = Vec::new();
    for file in source::tracked_text() {
        for (number, line) in file.text.lines().enumerate() {
            if file.path != "tests/architecture/main.rs" && words.iter().any(|w| line.contains(w)) {
                findings.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    none("paths of somebody's home", &findings);
}

#[test]
fn design_md_lists_every_source_file_with_its_job() {
    const START: &str = "<!-- files: written by WRITE_DESIGN=1 cargo test --test architecture -->\n";
    const END: &str = "<!-- end of files -->";
    let path = source::repository().join("DESIGN.md");
    let text = std::fs::read_to_string(&path).expect("DESIGN.md");
    let (head, rest) = text.split_once(START).expect("DESIGN.md has no list of files");
    let (listed, tail) = rest.split_once(END).expect("the list of files in DESIGN.md has no end");
    let mut wanted = String::from("| file | job |\n|---|---|\n");
    for file in sources().iter().filter(|f| !f.is_test) {
        writeln!(wanted, "| `{}` | {} |", file.path, file.job().replace('|', "\\|")).unwrap();
    }
    if std::env::var_os("WRITE_DESIGN").is_some() {
        std::fs::write(&path, format!("{head}{START}{wanted}{END}{tail}")).expect("write DESIGN.md");
        return;
    }
    let missing: Vec<&str> = wanted.lines().filter(|l| !listed.lines().any(|x| x == *l)).collect();
    let stale: Vec<&str> = listed.lines().filter(|l| !wanted.lines().any(|x| x == *l)).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "DESIGN.md and src differ; run WRITE_DESIGN=1 cargo test --test architecture\nmissing:\n{}\nstale:\n{}",
        missing.join("\n"),
        stale.join("\n")
    );
}

#[test]
fn every_test_that_the_readme_of_the_units_names_exists() {
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let root = source::repository();
    let mut tests = String::new();
    let mut left = vec![root.join("tests/vm"), root.join("tests/faults")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            tests.push_str(&read(&path));
        }
    }
    let readme = read(&root.join("systemd/README.md"));
    let words = readme.split('`').skip(1).step_by(2);
    // a test's name is a sentence
    let names: Vec<&str> = words
        .filter(|w| {
            w.matches('_').count() > 2 && w.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
        })
        .collect();
    assert!(names.len() > 30, "{names:?}");
    let missing = names.iter().filter(|name| !tests.contains(&format!("fn {name}("))).map(|name| (*name).to_owned());
    none("named in systemd/README.md and neither in tests/vm nor in tests/faults", &missing.collect::<Vec<_>>());
}

#[test]
fn every_line_of_the_units_stands_in_their_readme_with_its_test() {
    let systemd = source::repository().join("systemd");
    let readme = std::fs::read_to_string(systemd.join("README.md")).unwrap();
    let told = |key: &str| {
        let family = ["Protect", "Private"].iter().find(|family| key.starts_with(**family));
        // words for people
        matches!(key, "Description" | "Documentation")
            || readme.contains(&format!("`{key}="))
            || family.is_some_and(|family| readme.contains(&format!("`{family}…=`")))
    };
    let mut silent = Vec::new();
    for file in std::fs::read_dir(&systemd).unwrap().flatten() {
        if file.path().extension().is_some_and(|e| e == "service") {
            let unit = std::fs::read_to_string(file.path()).unwrap();
            let keys = unit.lines().filter(|l| l.starts_with(char::is_alphabetic)).filter_map(|l| l.split_once('='));
            silent.extend(keys.filter(|(key, _)| !told(key)).map(|(key, _)| format!("{:?}: {key}=", file.file_name())));
        }
    }
    none("lines of a unit of which systemd/README.md does not say what they are for", &silent);
}
