//! What a user can get wrong before anything runs: each is found, named, and nothing is started.

use crate::support::{Client, Node, Root, STATE_LIMIT, fake, node::free_port, process, until};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

/// `up` is refused with this code, and nothing was started.
fn refused(root: &Root, code: i32, words: &[&str]) {
    let output = root.fails(code, &["up", "--detach"]);
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is missing\n{output}");
    }
    assert!(output.stdout.is_empty(), "an error goes to standard error only\n{output}");
    let left = process::of_root(root.home());
    assert!(left.is_empty(), "something was started: {}", process::describe(&left));
}

#[test]
fn garbage_is_shown_with_line_and_caret() {
    let root = Root::raw("");
    root.configure_bytes(b"root = \"/tmp/x\"\n[command.a\nargv = ???\n");
    refused(&root, 3, &["supervisor.toml", "2", "^"]);
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let root = Root::raw("");
    root.configure_bytes(b"\x7fELF\x02\x01\x01\x00\xff\xfe");
    refused(&root, 3, &["supervisor.toml"]);
}

#[test]
fn an_unknown_key_is_refused_and_the_known_one_suggested() {
    let root = Root::raw("[command.a]\nargv = [\"/bin/sleep\", \"1000\"]\ngrase = \"1s\"\n");
    refused(&root, 3, &["grase", "grace", "^"]);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let root = Root::raw(
        "[command.a]\nargv = []\nmemory_max = \"12X\"\n\n[command.b]\nargv = [\"/bin/true\"]\nrestart = \"sometimes\"\n",
    );
    refused(&root, 3, &["argv", "12X", "sometimes"]);
}

#[test]
fn a_port_given_to_two_nodes_is_refused() {
    let root = Root::new(&[
        fake("a", &[]).key("ports", "[\"127.0.0.1:7001\"]"),
        fake("b", &[]).key("ports", "[\"127.0.0.1:7001\"]"),
    ]);
    refused(&root, 3, &["7001", "command.a", "command.b"]);
}

#[test]
fn caps_over_the_hosts_memory_are_refused_with_the_arithmetic() {
    let root = Root::new(&[fake("a", &[]).text("memory_max", "900G"), fake("b", &[]).text("memory_max", "1G")]);
    refused(&root, 3, &["900G", "1G", "sum", "host"]);
}

#[test]
fn a_cycle_of_nodes_is_refused_with_its_members() {
    let root = Root::new(&[fake("a", &[]).after(&["b"]), fake("b", &[]).after(&["c"]), fake("c", &[]).after(&["a"])]);
    refused(&root, 3, &["a -> b -> c -> a", "^"]);
}

#[test]
fn a_node_after_one_that_does_not_exist_is_refused() {
    let root = Root::new(&[fake("a", &[]).after(&["ghost"])]);
    refused(&root, 3, &["ghost"]);
}

#[test]
fn a_missing_configuration_is_named() {
    let root = Root::raw("");
    fs::remove_file(root.config()).unwrap();
    refused(&root, 3, &["supervisor.toml"]);
}

/// A process that listens on a port. Not this one: what another test starts at that moment has this process's listeners too
/// until it has become its program, so a port that is closed here is not free at once.
struct Holder(std::process::Child);

impl Holder {
    fn of(port: u16) -> Self {
        let mut command = std::process::Command::new(crate::support::node::program());
        let holder = Self(command.arg(format!("listen={port}")).spawn().unwrap());
        until(STATE_LIMIT, "the holder listens", || {
            TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|e| e.to_string())
        });
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_taken_port_names_its_owner() {
    let port = free_port();
    let holder = Holder::of(port);
    let root = Root::new(&[fake("a", &[]).key("ports", &format!("[\"127.0.0.1:{port}\"]"))]);
    refused(&root, 4, &[&port.to_string(), &holder.0.id().to_string(), "command.a.ports"]);
    drop(holder);
    root.up();
}

#[test]
fn a_port_taken_on_every_address_is_found_too() {
    let port = free_port();
    let _holder = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let root = Root::new(&[fake("a", &[]).key("ports", &format!("[\"127.0.0.1:{port}\"]"))]);
    refused(&root, 4, &[&port.to_string(), &std::process::id().to_string()]);
}

#[test]
fn a_root_that_cannot_be_written_is_refused() {
    let root = Root::new(&[Node::program("a", &["/bin/sleep", "1000"])]);
    fs::set_permissions(root.home(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = if nix::unistd::Uid::effective().is_root() {
        // root may write everywhere: so as somebody else, with the programs where that one can reach them
        let bin = root.home().join("bin");
        fs::create_dir(&bin).unwrap();
        let built = std::path::Path::new(crate::support::client::SUPERVISOR).parent().unwrap();
        for program in ["cdc-supervisor", "cdc-shim"] {
            fs::copy(built.join(program), bin.join(program)).unwrap();
        }
        let program = bin.join("cdc-supervisor").display().to_string();
        let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &program];
        Client::start_program(&root, &wrapper, &["up", "--detach"]).wait(Duration::from_secs(60))
    } else {
        fs::set_permissions(root.home(), fs::Permissions::from_mode(0o555)).unwrap();
        let output = root.run(&["up", "--detach"]);
        fs::set_permissions(root.home(), fs::Permissions::from_mode(0o755)).unwrap();
        output
    };
    assert_eq!(output.code, Some(4), "{output}");
    assert!(output.stderr.contains(&root.path().display().to_string()), "the directory is named\n{output}");
}

#[test]
fn a_root_that_is_a_file_is_refused() {
    let root = Root::new(&[fake("a", &[])]);
    fs::write(root.path(), "I was here first").unwrap();
    refused(&root, 4, &[&root.path().display().to_string()]);
    assert_eq!(fs::read_to_string(root.path()).unwrap(), "I was here first");
}

#[test]
fn a_program_that_does_not_exist_fails_with_its_name_and_is_not_tried_again() {
    let root = Root::new(&[Node::program("a", &["/nonexistent/program"]).text("restart", "always")]);
    root.expect_log("/nonexistent/program");
    let output = root.run(&["up", "--detach"]);
    assert!(matches!(output.code, Some(4 | 6)), "{output}");
    assert!(output.stderr.contains("/nonexistent/program"), "{output}");
}

#[test]
fn a_verb_that_does_not_exist_and_a_node_that_does_not_exist_are_usage_errors() {
    let root = Root::new(&[fake("a", &[])]);
    root.fails(2, &["frobnicate"]);
    root.fails(2, &["up", "--sideways"]);
    root.up();
    let output = root.fails(2, &["stop", "ghost"]);
    assert!(output.stderr.contains("ghost"), "{output}");
    let output = root.fails(2, &["kill", "a", "--signal", "SIGFOO"]);
    assert!(output.stderr.contains("SIGFOO"), "{output}");
}
