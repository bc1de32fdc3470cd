//! Logs: all bytes arrive, files rotate at line ends, `logs` reads and follows across rotation.

use crate::support::{Node, Root, STATE_LIMIT, fake, until};
use std::{fs, time::Duration};

#[test]
fn the_tail_is_the_last_lines_in_order() {
    let root = Root::new(&[fake("a", &["lines=1000"])]);
    root.up();
    until(STATE_LIMIT, "all lines are there", || {
        if root.log("a").contains("line 999") { Ok(()) } else { Err(root.log("a").lines().count().to_string()) }
    });
    let output = root.ok(&["logs", "-n", "3", "a"]);
    assert_eq!(output.stdout, "line 997\nline 998\nline 999\n");
}

#[test]
fn rotation_loses_no_line_and_keeps_as_many_files_as_told() {
    let node = fake("a", &["lines=60000"]).key("log", "{ max_bytes = \"64K\", keep = 3 }");
    let root = Root::raw(&format!("[logs]\ncompress = false\n{}", node.toml()));
    root.up();
    until(STATE_LIMIT, "all lines are there", || {
        if root.log("a").contains("line 59999\n") { Ok(()) } else { Err(String::new()) }
    });
    let dir = root.path().join("nodes/a/log");
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 4, "current and three rotated: {files:?}");
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.starts_with("line ") && text.ends_with('\n'), "{} is cut at a line's end", file.display());
        assert!(text.len() <= (64 << 10) + 4096, "{} is {} bytes", file.display(), text.len());
    }
    let output = root.ok(&["logs", "-n", "9000", "a"]);
    let numbers: Vec<u32> = output.stdout.lines().map(|l| l.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (51_000..60_000).collect::<Vec<u32>>(), "the tail goes on in rotated files");
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn rotated_files_are_compressed_and_read_as_if_they_were_not() {
    let node = fake("a", &["lines=60000"]).key("log", "{ max_bytes = \"64K\", keep = 30 }");
    let root = Root::new(&[node]);
    root.up();
    let dir = root.path().join("nodes/a/log");
    let files = until(STATE_LIMIT, "all but the newest rotated file are compressed", || {
        let names = names(&dir);
        let done = names.len() >= 8 && names.iter().filter(|n| !n.ends_with(".gz")).count() == 2;
        if done { Ok(names) } else { Err(format!("{names:?}")) }
    });
    let gz = dir.join(&files[0]);
    let unpacked = std::process::Command::new("zcat").arg(&gz).output().unwrap();
    assert!(unpacked.stdout.starts_with(b"line 0\nline 1\n"), "every box can read it");
    root.ok(&["stop", "a"]);
    let output = root.ok(&["logs", "-n", "59000", "a"]);
    let numbers: Vec<u32> = output.stdout.lines().map(|l| l.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (1_000..60_000).collect::<Vec<u32>>());
}

#[test]
fn rotated_files_older_than_max_age_go_at_a_reload_at_a_rotation_and_at_a_start() {
    let root = Root::raw("");
    let go = root.file("go");
    let lines = "n=0; while [ $n -le 2000 ]; do echo line $n; n=$((n+1)); done";
    let more = format!(
        "while [ ! -e {go} ]; do /bin/sleep 0.05; done; while [ $n -le 2600 ]; do echo line $n; n=$((n+1)); done"
    );
    let node = script("a", &format!("{lines}; {more}")).key("log", "{ max_bytes = \"4K\", keep = 100 }").toml();
    root.configure_raw(&node);
    root.up();
    await_log(&root, "a", "line 2000\n");
    let dir = root.path().join("nodes/a/log");
    // by what stays of a name when a file is compressed
    let rotated = || -> Vec<String> {
        let all = names(&dir).into_iter().filter(|name| !name.starts_with("current") && !name.ends_with(".part"));
        let mut stems: Vec<String> = all.map(|name| name.trim_end_matches(".gz").to_owned()).collect();
        stems.dedup();
        stems
    };
    let settled = || {
        until(STATE_LIMIT, "all but the newest rotated file are compressed", || {
            let names = names(&dir);
            if names.iter().filter(|n| !n.ends_with(".gz")).count() == 2 { Ok(()) } else { Err(format!("{names:?}")) }
        });
    };
    let age = |stem: &str| {
        let file = fs::File::open(dir.join(format!("{stem}.gz"))).unwrap();
        let two_hours_ago = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(7_200);
        file.set_modified(two_hours_ago).unwrap();
    };
    let gone = |stem: &String, others: &[String]| {
        until(STATE_LIMIT, &format!("{stem} is gone"), || {
            let left = rotated();
            if left.contains(stem) { Err(format!("{left:?}")) } else { Ok(()) }
        });
        let left = rotated();
        assert!(others.iter().all(|other| left.contains(other)), "of {others:?} are left {left:?}");
    };
    settled();
    let old = rotated();
    assert!(old.len() >= 4, "{old:?}");
    age(&old[0]);
    // its own renames wake the keeper of logs once more, a second later: a reload must wake it when it sleeps
    crate::support::wait::stays(Duration::from_secs(3), "nothing ages without max_age", || rotated() == old);
    root.configure_raw(&format!("[logs]\nmax_age = \"1h\"\n{node}"));
    root.ok(&["reload"]);
    gone(&old[0], &old[1..]);
    age(&old[1]);
    fs::write(&go, "").unwrap();
    gone(&old[1], &old[2..]);
    await_log(&root, "a", "line 2600\n");
    settled();
    root.down();
    age(&old[2]);
    root.up();
    gone(&old[2], &old[3..]);
    let told = fs::read_to_string(root.path().join("state/supervisor.log")).unwrap();
    assert!(told.contains("older than logs.max_age"), "{told}");
}

#[test]
fn all_logs_together_stay_below_their_total_when_they_are_compressed_too() {
    let bounds = "{ max_bytes = \"16K\", keep = 1000 }";
    let node = fake("loud", &["lines=2000000"]).key("log", bounds);
    let root = Root::raw(&format!("[logs]\ntotal = \"1M\"\n{}", node.toml()));
    root.up();
    let dir = root.path().join("nodes/loud/log");
    until(STATE_LIMIT, "the total holds", || {
        let bytes: u64 = fs::read_dir(&dir).unwrap().flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum();
        let written = root.log("loud").contains("line 1999999\n");
        // the oldest are both the first that are compressed and the first that go: right behind the flood none may be left
        let packed = fs::read_dir(&dir).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().ends_with(".gz"));
        let packed = packed.count();
        let holds = written && bytes <= 1 << 20 && packed > 0;
        if holds { Ok(()) } else { Err(format!("{bytes} bytes, all written: {written}, {packed} compressed")) }
    });
}

#[test]
fn all_logs_together_stay_below_their_total_and_a_quiet_node_keeps_its_files() {
    let bounds = "{ max_bytes = \"16K\", keep = 500 }";
    let nodes = [fake("loud", &["lines=500000"]).key("log", bounds), fake("quiet", &["lines=8000"]).key("log", bounds)];
    let text: String = nodes.iter().map(Node::toml).collect();
    let root = Root::raw(&format!("[logs]\ntotal = \"1M\"\ncompress = false\n{text}"));
    root.up();
    let dir = |node: &str| root.path().join("nodes").join(node).join("log");
    let bytes = |node: &str| -> u64 {
        fs::read_dir(dir(node)).unwrap().flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
    };
    until(STATE_LIMIT, "the total holds", || {
        let (loud, quiet) = (bytes("loud"), bytes("quiet"));
        let written = root.log("loud").contains("line 499999\n") && root.log("quiet").contains("line 7999\n");
        if written && loud + quiet <= 1 << 20 { Ok(()) } else { Err(format!("{loud} + {quiet}")) }
    });
    assert!(bytes("loud") > 500_000, "no more goes than must");
    let quiet = root.ok(&["logs", "-n", "9000", "quiet"]);
    assert_eq!(quiet.stdout.lines().count(), 8_000);
}

#[test]
fn following_goes_on_across_rotation() {
    let node = fake("a", &["tick=1"]).key("log", "{ max_bytes = \"64K\", keep = 5 }");
    let root = Root::new(&[node]);
    root.up();
    let follow = root.spawn(&["logs", "-f", "-n", "1", "a"]);
    let dir = root.path().join("nodes/a/log");
    // 64 KiB of `tick N` are some 6500 lines
    until(Duration::from_secs(60), "the log was rotated", || {
        let files = fs::read_dir(&dir).unwrap().count();
        if files > 1 { Ok(()) } else { Err(format!("{files} files")) }
    });
    let rotated_at: u64 = last_tick(&root.log("a"));
    until(STATE_LIMIT, "lines from behind the rotation are shown", || {
        let shown = last_tick(&follow.stdout());
        if shown > rotated_at + 100 { Ok(()) } else { Err(format!("{shown} shown, rotated at {rotated_at}")) }
    });
    follow.signal(2);
    let output = follow.wait(Duration::from_secs(20));
    let numbers: Vec<u64> = output.stdout.lines().filter_map(|l| l.strip_prefix("tick ")?.parse().ok()).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "a line is missing or twice");
}

fn last_tick(text: &str) -> u64 {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete.lines().last().and_then(|l| l.strip_prefix("tick ")?.parse().ok()).unwrap_or(0)
}

#[test]
fn logs_of_several_nodes_say_whose_each_line_is() {
    let root = Root::new(&[fake("alpha", &["print=one"]), fake("beta", &["print=two"])]);
    root.up();
    until(STATE_LIMIT, "both have printed", || {
        if root.log("alpha").contains("one") && root.log("beta").contains("two") { Ok(()) } else { Err(String::new()) }
    });
    let output = root.ok(&["logs", "alpha", "beta"]);
    let line = |word: &str| output.stdout.lines().find(|l| l.contains(word)).unwrap_or_else(|| panic!("{output}"));
    assert!(line("one").contains("alpha") && line("two").contains("beta"), "{output}");
}

#[test]
fn logs_of_earlier_runs_stay_and_can_be_read_without_a_daemon() {
    let root = Root::new(&[fake("a", &["print=first-words"])]);
    root.up();
    until(STATE_LIMIT, "printed", || if root.log("a").contains("first-words") { Ok(()) } else { Err(String::new()) });
    root.ok(&["restart", "a"]);
    // it is ready as soon as it runs, and may be stopped before its first word
    until(STATE_LIMIT, "printed again", || match root.log("a").matches("first-words").count() {
        2 => Ok(()),
        n => Err(n.to_string()),
    });
    root.down();
    let output = root.ok(&["logs", "a"]);
    assert_eq!(output.stdout.matches("first-words").count(), 2, "{output}");
}

#[test]
fn logs_of_a_node_that_does_not_exist_are_a_usage_error() {
    let root = Root::new(&[fake("a", &[])]);
    let output = root.run(&["logs", "ghost"]);
    assert!(matches!(output.code, Some(2 | 3)), "{output}");
    assert!(output.stderr.contains("ghost"), "{output}");
}

/// A node that runs this shell script. It has no PATH: programs are named with their paths.
fn script(name: &str, script: &str) -> Node {
    Node::program(name, &["/bin/sh", "-c", &format!("{script}; exec /bin/sleep 1000")])
}

fn await_log(root: &Root, node: &str, end: &str) {
    until(STATE_LIMIT, &format!("{node} has written {end}"), || {
        let log = fs::read(root.path().join("nodes").join(node).join("log/current")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        if log.contains(end) { Ok(()) } else { Err(log) }
    });
}

#[test]
fn logs_of_several_nodes_are_merged_by_time_filtered_and_counted() {
    let a = "printf '2026-01-01T00:00:01Z INFO a1\\n2026-01-01T00:00:04Z ERROR a4\\n\\tat a4\\n'";
    let b = "printf '2026-01-01T00:00:02Z INFO b2\\n2026-01-01T00:00:05Z ERROR b5\\n2026-01-01T00:00:06Z INFO b6\\n'";
    let root = Root::new(&[script("aa", a), script("b", b)]);
    root.up();
    await_log(&root, "aa", "at a4");
    await_log(&root, "b", "b6");
    let ends = |arguments: &[&str]| -> Vec<String> {
        let output = root.ok(arguments).stdout;
        output.lines().map(|l| format!("{}{}", &l[..5], &l[l.len() - 2..])).collect()
    };
    assert_eq!(ends(&["logs"]), ["aa | a1", "b  | b2", "aa | a4", "aa | a4", "b  | b5", "b  | b6"]);
    assert_eq!(ends(&["logs", "--until", "2026-01-01T00:00:02Z"]), ["aa | a1", "b  | b2"]);
    assert_eq!(ends(&["logs", "--since", "2026-01-01T00:00:05Z"]), ["b  | b5", "b  | b6"]);
    assert_eq!(ends(&["logs", "--grep", "ERROR"]), ["aa | a4", "aa | a4", "b  | b5"], "a trace comes with its line");
    assert_eq!(ends(&["logs", "-n", "1", "--grep", "INFO"]), ["aa | a1", "b  | b6"], "counted after the filter");
    assert_eq!(root.ok(&["logs", "b", "b", "-n", "1"]).stdout, "2026-01-01T00:00:06Z INFO b6\n");
    root.fails(2, &["logs", "--raw"]);
}

#[test]
fn half_a_line_is_marked_and_its_rest_shown_when_it_comes() {
    let root = Root::raw("");
    let go = root.file("go");
    root.configure(&[script(
        "a",
        &format!("printf 'one\\nhalf'; while [ ! -e {go} ]; do /bin/sleep 0.05; done; printf ' and the rest\\ntwo\\n'"),
    )]);
    root.up();
    await_log(&root, "a", "half");
    assert_eq!(root.ok(&["logs", "a"]).stdout, "one\nhalf [no line end yet]\n");
    let follow = root.spawn(&["logs", "-f", "a"]);
    until(STATE_LIMIT, "half a line is shown", || {
        let out = follow.stdout();
        if out == "one\nhalf [no line end yet]\n" { Ok(()) } else { Err(out) }
    });
    fs::write(&go, "").unwrap();
    until(STATE_LIMIT, "its rest is shown", || {
        let out = follow.stdout();
        if out.ends_with("yet]\n[continued]  and the rest\ntwo\n") { Ok(()) } else { Err(out) }
    });
    follow.signal(2);
    follow.wait(Duration::from_secs(20));
    assert_eq!(root.ok(&["logs", "a"]).stdout, "one\nhalf and the rest\ntwo\n");
}

#[test]
fn what_could_play_tricks_on_a_terminal_is_shown_as_text_and_is_there_with_raw() {
    let bytes = "nul \\000 broken \\377 \\033[31mred\\033[0m \\033[2Jclear\\n";
    let node = |name: &str, bytes: &str| script(name, &format!("printf '{bytes}'; printf 'no end'"));
    let root = Root::new(&[node("a", bytes), node("text", &bytes.replace("\\377", "bytes"))]);
    root.up();
    await_log(&root, "a", "no end");
    await_log(&root, "text", "no end");
    let shown = root.ok(&["logs", "a"]).stdout;
    assert_eq!(shown, "nul \\x00 broken \\xff red \\x1b[2Jclear\nno end [no line end yet]\n");
    let raw = root.ok(&["logs", "--raw", "text"]).stdout;
    assert!(raw.contains("\u{1b}[31mred\u{1b}[0m \u{1b}[2Jclear\n") && raw.contains('\0'), "{raw:?}");
    assert!(raw.ends_with("\nno end"), "not even a line end is added: {raw:?}");
}

#[test]
fn what_looks_bad_and_is_not_is_folded_with_the_reason_and_what_ends_a_node_is_explained() {
    let noise = "ERROR Error processing message, terminating consumer process:  (kafka.tools.ConsoleConsumer$)";
    let lines = format!(
        "begin\\n{noise}\\n\\tat a.trace\\n{noise}\\nmiddle\\nIOException: No space left on device\\n\\tat b\\n{noise}\\n"
    );
    let root = Root::new(&[script("a", &format!("printf '{lines}last'"))]);
    root.up();
    await_log(&root, "a", "last");
    let shown = root.ok(&["logs", "a"]).stdout;
    let expected = format!(
        "begin\n{noise}\n[cdc-supervisor] harmless: kafka-console-consumer with --timeout-ms ends this way when no more messages \
         come\n[cdc-supervisor] 2 more lines of it folded; --raw shows all\nmiddle\nIOException: No space left on device\n\
         [cdc-supervisor] "
    );
    assert!(shown.starts_with(&expected), "{shown}");
    assert!(shown.contains("\tat b\n") && shown.ends_with("last [no line end yet]\n"), "{shown}");
    let raw = root.ok(&["logs", "--raw", "a"]).stdout;
    assert_eq!(raw.matches(noise).count(), 3, "{raw}");
    let found = root.ok(&["logs", "--grep", "terminating", "a"]).stdout;
    assert_eq!(found.matches(noise).count(), 3, "what is looked for is found: {found}");
    assert!(found.contains("\tat a.trace\n"), "{found}");
}

#[test]
fn a_line_that_is_harmless_at_first_is_shown_plainly_later() {
    let said = |time: &str| {
        format!(
            "{time} WARN Connection to node 2 could not be established. Broker may not be available. (o.a.k.c.NetworkClient)"
        )
    };
    // long before this node's start, nothing is known of that time; long after it, it has been up all the time
    let (early, late) = (said("2020-01-01T00:00:00.000Z"), said("2090-01-01T00:00:00.000Z"));
    let root = Root::new(&[script("a", &format!("printf '{early}\\n{early}\\n{late}\\n{late}\\nlast'"))]);
    root.up();
    await_log(&root, "a", "last");
    let shown = root.ok(&["logs", "a"]).stdout;
    let expected = format!(
        "{early}\n[cdc-supervisor] harmless: another broker is down or starting\n[cdc-supervisor] 1 more line of it folded; --raw \
         shows all\n{late}\n[cdc-supervisor] no broker was down or starting just now: "
    );
    assert!(shown.starts_with(&expected), "{shown}");
    assert!(
        shown.contains("cdc-supervisor verify`") && shown.ends_with(&format!("\n{late}\nlast [no line end yet]\n")),
        "{shown}"
    );
}

#[test]
fn the_daemons_own_log_is_shown_on_request() {
    let root = Root::new(&[fake("a", &["print=x"])]);
    root.up();
    let shown = root.ok(&["logs", "supervisor", "-n", "1000"]).stdout;
    assert!(shown.contains("ready for orders"), "{shown}");
    let both = root.ok(&["logs", "supervisor", "a", "--grep", "ready for|^x"]).stdout;
    assert!(both.contains("supervisor | ") && both.contains("a          | x"), "{both}");
    let hint = root.fails(2, &["logs", "ghost"]).stderr;
    assert!(hint.contains("supervisor for the daemon itself"), "{hint}");
}

#[test]
fn logs_of_several_nodes_are_followed_together() {
    let root = Root::new(&[fake("a", &["tick=20"]), fake("b", &["tick=20"])]);
    root.up();
    let follow = root.spawn(&["logs", "-f", "-n", "0", "a", "b"]);
    until(STATE_LIMIT, "both are shown", || {
        let out = follow.stdout();
        let count = |name: &str| out.lines().filter(|l| l.starts_with(name)).count();
        if count("a | ") > 20 && count("b | ") > 20 { Ok(()) } else { Err(out) }
    });
    follow.signal(2);
    let output = follow.wait(Duration::from_secs(20));
    assert_eq!(output.code, Some(130));
    for name in ["a | tick ", "b | tick "] {
        let numbers: Vec<u64> = output.stdout.lines().filter_map(|l| l.strip_prefix(name)?.parse().ok()).collect();
        assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "a line of {name} is missing or twice");
    }
}
