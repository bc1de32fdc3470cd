//! `doctor`: the table and its JSON, exit codes, and that the same checks decide before a start.

use crate::support::{Client, Node, Root, VERB_LIMIT, fake, node::free_port, process};
use serde_json::Value;
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

/// Roots of tests lie below /tmp: that is wanted here.
const VOLATILE: &str = "[host]\nallow_volatile_root = true\n";

fn root_of(nodes: &[Node]) -> Root {
    let nodes: String = nodes.iter().map(Node::toml).collect();
    Root::raw(&format!("{VOLATILE}{nodes}"))
}

fn table(root: &Root, code: i32) -> Value {
    let output = root.fails(code, &["doctor", "--json"]);
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("no JSON: {e}\n{output}"))
}

fn check(table: &Value, name: &str) -> Value {
    let checks = table["checks"].as_array().unwrap();
    checks.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no check {name} in {table:#}")).clone()
}

#[test]
fn a_fit_host_is_exit_0_and_nothing_is_made() {
    let root = root_of(&[fake("a", &[])]);
    let table = table(&root, 0);
    assert_eq!(table["schema"], 1);
    assert_ne!(table["verdict"], "fail");
    assert_eq!(table["root"].as_str().unwrap(), root.path().display().to_string());
    for c in table["checks"].as_array().unwrap() {
        for key in ["name", "required", "found", "severity", "why", "remedy", "problem", "stops_start", "fix"] {
            assert!(c.get(key).is_some(), "{key} is missing in {c}");
        }
    }
    assert!(!root.path().exists(), "a look makes no root");
}

#[test]
fn the_script_that_prepares_a_host_is_printed_and_changes_nothing() {
    let root = root_of(&[fake("a", &[])]);
    let script = root.ok(&["doctor", "--script"]).stdout;
    assert!(script.starts_with("#!/bin/sh\n") && script.contains(&root.path().display().to_string()), "{script}");
    let file = root.file("script.sh");
    fs::write(&file, &script).unwrap();
    let reads = std::process::Command::new("sh").args(["-n", file.as_str()]).status().unwrap();
    assert!(reads.success(), "{script}");
    let output = root.fails(2, &["doctor", "--fix", "everything"]);
    assert!(output.stderr.contains("swappiness"), "the names are told: {output}");
    root.fails(2, &["doctor", "--yes"]);
}

#[test]
fn a_taken_port_is_a_failure_with_its_owner_and_exit_4() {
    let port = free_port();
    let _held = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let root = root_of(&[fake("a", &[]).key("ports", &format!("[\"127.0.0.1:{port}\"]"))]);
    let table = table(&root, 4);
    assert_eq!(table["verdict"], "fail");
    let row = check(&table, &format!("port {port}"));
    assert_eq!((row["severity"].as_str(), row["stops_start"].as_bool()), (Some("fail"), Some(true)));
    assert!(row["found"].as_str().unwrap().contains(&format!("pid {}", std::process::id())), "{row}");
    assert!(row["why"].as_str().unwrap().contains("supervisor.toml line"), "{row}");
    assert!(row["remedy"].as_str().unwrap().contains("command.a.ports[0]"), "{row}");
    let output = root.fails(4, &["doctor"]);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines.iter().all(|l| l.chars().count() <= 100), "{output}");
    let first = lines.iter().find(|l| l.starts_with("fail")).unwrap();
    assert!(first.contains(&format!("port {port}")), "{output}");
    assert!(lines.iter().any(|l| l.contains("--all shows")), "{output}");
    assert!(!output.stdout.contains("\nok "), "{output}");
    assert!(root.fails(4, &["doctor", "--all"]).stdout.contains("\nok "));
}

#[test]
fn the_ports_of_running_nodes_are_no_failure() {
    let port = free_port();
    let listen = format!("listen={port}");
    let root = root_of(&[fake("a", &[&listen]).key("ports", &format!("[\"127.0.0.1:{port}\"]")).tcp(port)]);
    root.up();
    let ports = check(&table(&root, 0), "ports");
    assert!(ports["found"].as_str().unwrap().contains(&format!("held by nodes of this root: {port}")), "{ports}");
}

/// A shell with other limits asks about a daemon: the limits that nodes get are the daemon's.
#[test]
fn the_limits_told_are_those_of_the_daemon_that_runs() {
    let root = root_of(&[fake("a", &[])]);
    let shell = ["sh", "-c", "ulimit -n 5000; exec \"$@\"", "sh", crate::support::client::SUPERVISOR];
    let output = Client::start_program(&root, &shell, &["up", "--detach"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(0), "{output}");
    let found = |root: &Root| check(&table(root, 0), "open files of a node")["found"].as_str().unwrap().to_owned();
    assert_eq!(found(&root), format!("5000 of the daemon (pid {})", root.daemon()));
    root.down();
    assert!(found(&root).ends_with(" here"), "{}", found(&root));
}

#[test]
fn a_wrong_configuration_is_exit_3_as_everywhere() {
    let root = Root::raw("[command.a]\nargv = 7\n");
    let output = root.fails(3, &["doctor", "--json"]);
    assert!(output.stdout.is_empty() && output.stderr.contains("argv"), "{output}");
}

#[test]
fn a_missing_library_is_named_with_its_package() {
    let root = root_of(&[]);
    // a program that asks for a library of a name that nobody has: the C library's name in a copy of ours, changed in place
    let mut bytes = fs::read(crate::support::node::program()).unwrap();
    let name = b"libgcc_s.so.1\0";
    let at = bytes.windows(name.len()).position(|w| w == name).expect("the fake daemon names libgcc_s");
    bytes[at..at + name.len()].copy_from_slice(b"libaio_.so.1\0\0");
    let program = root.file("lacking");
    fs::write(&program, bytes).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    root.configure_raw(&format!("{VOLATILE}{}", Node::program("a", &[&program]).toml()));
    let row = check(&table(&root, 4), "libraries of lacking");
    assert_eq!(row["severity"], "fail", "{row}");
    assert!(row["found"].as_str().unwrap().contains("libaio_.so.1"), "{row}");
}

#[test]
fn a_user_that_does_not_exist_stops_a_start_before_anything_runs() {
    let root = root_of(&[fake("a", &[]).text("user", "nobody-of-this-name")]);
    let output = root.fails(4, &["up", "--detach"]);
    assert!(output.stderr.contains("there is no user nobody-of-this-name"), "{output}");
    assert!(output.stderr.contains("line"), "the key's place is told\n{output}");
    assert!(process::of_root(root.home()).is_empty());
    assert!(check(&table(&root, 4), "user nobody-of-this-name")["stops_start"].as_bool().unwrap());
}

/// `run` is what the unit starts: it looks with the same eyes, and exits 4 before it takes anything.
#[test]
fn the_daemons_own_start_is_refused_for_the_same_reasons() {
    let port = free_port();
    let _held = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let root = root_of(&[fake("a", &[]).key("ports", &format!("[\"127.0.0.1:{port}\"]"))]);
    let output = root.fails(4, &["run"]);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains(&format!("port {port} is taken by")), "{output}");
    assert!(said.contains("command.a.ports[0]"), "the hint is there too\n{output}");
    assert!(process::of_root(root.home()).is_empty());
}

/// The look comes first: nothing is fetched for a start that is refused, and no daemon is started, which would make itself at home.
#[test]
fn a_start_that_is_refused_has_made_its_root_and_nothing_in_it() {
    let port = free_port();
    let _held = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let root = root_of(&[fake("a", &[]).key("ports", &format!("[\"127.0.0.1:{port}\"]"))]);
    root.fails(4, &["up", "--detach"]);
    let made: Vec<_> = fs::read_dir(root.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(made.is_empty(), "{made:?}");
    assert!(process::of_root(root.home()).is_empty());
}

/// Runs `script` as root in a mount namespace of its own, with `$HOME_DIR` the directory around the root; none when that is
/// not allowed here.
fn in_own_mounts(root: &Root, script: &str, arguments: &[&str]) -> Option<crate::support::Output> {
    let probe = std::process::Command::new("unshare").args(["--mount", "true"]).output();
    if !probe.is_ok_and(|o| o.status.success()) {
        return None;
    }
    let home = root.home().display().to_string();
    let text = format!("set -e; H={home}; R={}; {script}; exec \"$@\"", root.path().display());
    let line =
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", &text, "sh", crate::support::client::SUPERVISOR];
    Some(Client::start_program(root, &line, arguments).wait(VERB_LIMIT))
}

fn mounted(name: &str, script: &str, arguments: &[&str], root: &Root) -> Option<crate::support::Output> {
    let output = in_own_mounts(root, script, arguments);
    if output.is_none() {
        crate::support::skip(name, "it needs the right to mount");
    }
    output
}

#[test]
fn a_root_on_tmpfs_fails_in_doctor_and_a_start_warns_and_goes_on() {
    let root = Root::new(&[fake("a", &[])]);
    let tmpfs = "mkdir -p $R; mount -t tmpfs -o size=64m,mode=755 none $R";
    let name = "a_root_on_tmpfs_fails_in_doctor_and_a_start_warns_and_goes_on";
    let Some(output) = mounted(name, tmpfs, &["doctor", "--json"], &root) else { return };
    assert_eq!(output.code, Some(4), "{output}");
    let row = check(&serde_json::from_str(&output.stdout).unwrap(), "file system of root");
    assert!(row["problem"].as_str().unwrap().contains("a reboot loses all data"), "{row}");
    assert_eq!(row["stops_start"], false);
    // both in one namespace: the mount is gone with its last process
    let both = format!(
        "{tmpfs}; \"$1\" --config $H/supervisor.toml up --detach; ls $R/state; set -- \"$1\" --config $H/supervisor.toml down"
    );
    let output = mounted(name, &both, &[], &root).unwrap();
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stderr.contains("warning: the root") && output.stderr.contains("tmpfs"), "{output}");
    assert!(output.stderr.contains("allow_volatile_root"), "{output}");
    let wanted = format!("{VOLATILE}{}", fake("a", &[]).toml());
    root.configure_raw(&wanted);
    let output = mounted(name, tmpfs, &["doctor", "--json"], &root).unwrap();
    assert_eq!(output.code, Some(0), "the key takes it as it is\n{output}");
}

#[test]
fn a_full_root_is_refused_with_exit_4_and_nothing_is_started_or_lost() {
    let root = Root::new(&[fake("a", &[])]);
    let full = "mkdir -p $R; mount -t tmpfs -o size=1m,mode=755 none $R; mkdir $R/state; echo mine >$R/state/plan.toml; \
        dd if=/dev/zero of=$R/ballast bs=4k 2>/dev/null || true; \
        \"$1\" --config $H/supervisor.toml up --detach || code=$?; cat $R/state/plan.toml; find $R -type f | wc -l; exit $code";
    let name = "a_full_root_is_refused_with_exit_4_and_nothing_is_started_or_lost";
    let Some(output) = mounted(name, full, &[], &root) else { return };
    assert_eq!(output.code, Some(4), "{output}");
    assert!(output.stderr.contains("No space left on device") && output.stderr.contains("free some space"), "{output}");
    assert!(output.stderr.contains(&root.path().display().to_string()), "{output}");
    assert_eq!(output.stdout, "mine\n2\n", "what was there is there, and nothing else\n{output}");
    assert!(process::of_root(root.home()).is_empty());
}

#[test]
fn a_root_without_inodes_is_refused_with_exit_4() {
    let root = Root::new(&[fake("a", &[])]);
    let full = "mkdir -p $R; mount -t tmpfs -o size=64m,nr_inodes=20,mode=755 none $R";
    let name = "a_root_without_inodes_is_refused_with_exit_4";
    let Some(output) = mounted(name, full, &["up", "--detach"], &root) else { return };
    assert_eq!(output.code, Some(4), "{output}");
    assert!(output.stderr.contains("files can still be made"), "{output}");
}

#[test]
fn a_root_on_a_read_only_mount_is_refused_with_exit_4() {
    let root = Root::new(&[fake("a", &[])]);
    let read_only = "mkdir -p $R; mount -t tmpfs -o ro,size=1m none $R";
    let name = "a_root_on_a_read_only_mount_is_refused_with_exit_4";
    for verb in [&["up", "--detach"][..], &["doctor"]] {
        let Some(output) = mounted(name, read_only, verb, &root) else { return };
        assert_eq!(output.code, Some(4), "{output}");
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.to_lowercase().contains("read-only") && said.contains("remount"), "{output}");
    }
    assert!(process::of_root(root.home()).is_empty());
}

#[test]
fn a_root_of_another_user_is_refused_for_root_and_for_others() {
    if !nix::unistd::Uid::effective().is_root() {
        crate::support::skip("a_root_of_another_user_is_refused_for_root_and_for_others", "it needs uid 0");
        return;
    }
    let root = Root::new(&[fake("a", &[])]);
    fs::set_permissions(root.home(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(root.path().join("state")).unwrap();
    let give = |path: &Path| {
        let id = 65_533;
        nix::unistd::chown(path, Some(nix::unistd::Uid::from_raw(id)), Some(nix::unistd::Gid::from_raw(id))).unwrap();
    };
    give(root.path());
    give(&root.path().join("state"));
    let output = root.fails(4, &["up", "--detach"]);
    assert!(output.stderr.contains("belongs to user 65533, and this runs as root"), "{output}");
    assert!(output.stderr.contains("sudo -u 65533") && output.stderr.contains("chown"), "{output}");
    // somebody else, who may not even look into it
    let bin = root.home().join("bin");
    fs::create_dir(&bin).unwrap();
    let built = Path::new(crate::support::client::SUPERVISOR).parent().unwrap();
    for program in ["cdc-supervisor", "cdc-shim"] {
        fs::copy(built.join(program), bin.join(program)).unwrap();
    }
    let program = bin.join("cdc-supervisor").display().to_string();
    let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &program];
    let output = Client::start_program(&root, &wrapper, &["up", "--detach"]).wait(VERB_LIMIT);
    assert_eq!(output.code, Some(4), "{output}");
    assert!(output.stderr.contains("belongs to user 65533"), "{output}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing was made in it");
    assert!(process::of_root(root.home()).is_empty());
}
