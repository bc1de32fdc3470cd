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
    refused(&root, 4, &[&root.path().display().to_string(), "is not a directory", "hint:"]);
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

#[test]
fn a_configuration_that_is_a_directory_unreadable_or_too_large_is_named_with_its_path() {
    let root = Root::raw("");
    let path = root.config().display().to_string();
    fs::remove_file(root.config()).unwrap();
    fs::create_dir(root.config()).unwrap();
    refused(&root, 3, &[&path, "is a directory", "hint:"]);
    fs::remove_dir(root.config()).unwrap();
    fs::File::create(root.config()).unwrap().set_len(2 << 20).unwrap();
    refused(&root, 3, &[&path, "1048576 bytes"]);
}

/// A fifo would be waited on for ever, a device has no end.
#[test]
fn a_configuration_that_is_no_file_is_not_waited_for() {
    let root = Root::raw("");
    fs::remove_file(root.config()).unwrap();
    nix::unistd::mkfifo(root.config(), nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    refused(&root, 3, &["is not a file"]);
    fs::remove_file(root.config()).unwrap();
    std::os::unix::fs::symlink("/dev/zero", root.config()).unwrap();
    refused(&root, 3, &["is not a file"]);
}

#[test]
fn a_configuration_that_this_user_may_not_read_says_so() {
    let root = Root::raw("");
    fs::set_permissions(root.config(), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(root.home(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = if nix::unistd::Uid::effective().is_root() {
        let program = root.home().join("cdc-supervisor");
        fs::copy(crate::support::client::SUPERVISOR, &program).unwrap();
        let program = program.display().to_string();
        let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &program];
        Client::start_program(&root, &wrapper, &["up", "--detach"]).wait(Duration::from_secs(60))
    } else {
        fs::set_permissions(root.config(), fs::Permissions::from_mode(0o000)).unwrap();
        root.run(&["up", "--detach"])
    };
    assert_eq!(output.code, Some(3), "{output}");
    assert!(output.stderr.contains("Permission denied") && output.stderr.contains("supervisor.toml"), "{output}");
    assert!(output.stderr.contains("hint:"), "{output}");
}

/// As where somebody types `sudo -u other cdc-supervisor status` at home, on a machine whose system has no configuration.
#[test]
fn nobody_gets_the_stack_of_no_file_where_they_may_not_look_for_one() {
    const TEST: &str = "nobody_gets_the_stack_of_no_file_where_they_may_not_look_for_one";
    if !nix::unistd::Uid::effective().is_root() {
        return crate::support::skip(TEST, "only root can become another user");
    }
    let root = Root::raw("");
    let (closed, program) = (root.home().join("closed"), root.home().join("cdc-supervisor"));
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("supervisor.toml"), "nonsense = 1\n").unwrap();
    for (place, mode) in [(&closed, 0o700), (&root.home().to_owned(), 0o755)] {
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::copy(crate::support::client::SUPERVISOR, &program).unwrap();
    let (closed, program) = (closed.display().to_string(), program.display().to_string());
    let wrapper = ["env", "-C", &closed, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    // without the --config that every client of these tests has
    let words: Vec<&str> = wrapper.into_iter().chain(["sh", "-c", "exec \"$0\" status", &program]).collect();
    let output = Client::start_program(&root, &words, &[]).wait(Duration::from_secs(60));
    assert_eq!(output.code, Some(3), "{output}");
    assert!(output.stderr.contains("Permission denied") && output.stderr.contains("supervisor.toml"), "{output}");
}

#[test]
fn an_empty_file_is_the_whole_stack_and_comments_with_dos_line_ends_are_read() {
    let root = Root::raw("");
    for text in [&b""[..], b"\n", b"# nothing\r\n\r\n", b"\xef\xbb\xbf# with a mark of the byte order\n"] {
        root.configure_bytes(text);
        let output = root.run(&["--root", &root.path().display().to_string(), "doctor", "--json"]);
        assert!(matches!(output.code, Some(0 | 4)), "{output}");
        let table: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        let memory = &table["checks"].as_array().unwrap().iter().find(|c| c["name"] == "memory").unwrap()["required"];
        assert!(memory.as_str().unwrap().contains("3.6G of caps"), "{memory}");
    }
}

#[test]
fn a_file_with_dos_line_ends_and_a_byte_order_mark_starts_its_nodes() {
    let root = Root::raw("");
    let text = format!("\u{feff}root = \"{}\"\n{}", root.path().display(), fake("a", &[]).toml());
    root.configure_bytes(text.replace('\n', "\r\n").as_bytes());
    root.up();
    assert_eq!(root.node("a")["state"], "ready");
}

#[test]
fn bytes_that_no_text_file_holds_are_refused_with_their_place() {
    let root = Root::raw("");
    let head = format!("root = \"{}\"\n", root.path().display());
    for (bytes, words) in [
        (b"[mysql]\nport = 33\xff\n".to_vec(), &["not UTF-8", "byte"][..]),
        (b"[mysql]\n\0port = 3306\n".to_vec(), &["supervisor.toml", "^"]),
        (b"[command.a]\nargv = [\"/bin/true\", \"x\\u0000y\"]\n".to_vec(), &["argv", "NUL"]),
        ("[mysql]\nport = 3306\n".encode_utf16().flat_map(u16::to_le_bytes).collect(), &["supervisor.toml"]),
    ] {
        root.configure_bytes(&[head.as_bytes(), &bytes].concat());
        refused(&root, 3, words);
    }
}

#[test]
fn keys_written_twice_wrong_units_and_wrong_types_are_refused_at_their_place() {
    let root = Root::raw("");
    for (text, words) in [
        ("[mysql]\nport = 3306\nport = 3307\n", &["duplicate key", "^"][..]),
        ("[mysql]\n[mysql]\n", &["duplicate key", "^"]),
        ("[mysql]\nmemory_max = \"1 gigabyte\"\n", &["mysql.memory_max", "1 gigabyte", "^"]),
        ("[mysql]\nmemory_max = \"-1G\"\n", &["mysql.memory_max", "-1G", "^"]),
        ("[mysql]\ngrace = \"10 minutes\"\n", &["mysql.grace", "10 minutes", "^"]),
        ("[mysql]\ngrace = 10\n", &["mysql.grace", "no unit", "10s"]),
        ("[mysql]\nport = \"3306\"\n", &["mysql.port", "is a text", "^"]),
        ("mysql = 3306\n", &["mysql", "not a table", "[mysql]"]),
        ("[[mysql]]\n", &["mysql", "not a table"]),
        ("[command.a]\nargv = \"/bin/true\"\n", &["command.a.argv", "is a text", "a list"]),
        ("[mysql]\nport = 99999999999999999999999999\n", &["mysql.port"]),
    ] {
        root.configure_raw(text);
        refused(&root, 3, words);
    }
}

#[test]
fn two_nodes_never_share_a_data_directory_however_it_is_written() {
    let root = Root::raw("");
    let data = root.file("data");
    for (z, m) in [
        (data.clone(), format!("{data}/")),
        (data.clone(), format!("{data}//.")),
        (data.clone(), format!("{data}/inside/it")),
        (format!("{data}/inside"), data.clone()),
    ] {
        root.configure_raw(&format!("[zookeeper]\ndata_dir = {z:?}\n[mysql]\ndata_dir = {m:?}\n"));
        refused(&root, 3, &["data directory", "mysql", "zookeeper", "^"]);
    }
    assert!(!std::path::Path::new(&data).exists(), "nothing was made");
}

/// What the file cannot show: a link makes two paths one. Found by the look at the host, so it is exit 4.
#[test]
fn two_data_directories_that_a_link_makes_one_are_refused() {
    let root = Root::raw("");
    let (data, link) = (root.file("data"), root.file("link"));
    fs::create_dir(&data).unwrap();
    fs::write(format!("{data}/keep"), "mine").unwrap();
    std::os::unix::fs::symlink(&data, &link).unwrap();
    let ports = |table: &str| {
        format!("[{table}]\n{} = {}\n", if table == "mysql" { "port" } else { "client_port" }, free_port())
    };
    let text = format!(
        "{}data_dir = {data:?}\n{}data_dir = {:?}\n",
        ports("zookeeper"),
        ports("mysql"),
        format!("{link}/deeper")
    );
    root.configure_raw(&text);
    refused(&root, 4, &["zookeeper and mysql would share a data directory", &data, &link, "mysql.data_dir"]);
    assert_eq!(fs::read_to_string(format!("{data}/keep")).unwrap(), "mine");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing was made in it");
}

#[test]
fn a_socket_path_that_gets_too_long_is_refused_with_the_longest_root_that_fits() {
    let root = Root::raw("");
    let long = root.file(&"x".repeat(100));
    root.configure_bytes(format!("root = {long:?}\n[command.a]\nargv = [\"/bin/true\"]\n").as_bytes());
    refused(&root, 3, &["too long", "107", "at most", "^"]);
    let output = root.fails(3, &["--root", &long, "up", "--detach"]);
    assert!(output.stderr.contains("--root"), "{output}");
    assert!(!std::path::Path::new(&long).exists());
}

#[test]
fn a_relative_root_in_the_file_is_refused_and_on_the_command_line_it_is_below_here() {
    let root = Root::raw("");
    root.configure_bytes(b"root = \"data/cdc\"\n[command.a]\nargv = [\"/bin/true\"]\n");
    refused(&root, 3, &["data/cdc", "not an absolute path", "^"]);
    root.configure_bytes(b"[host]\nallow_volatile_root = true\n[command.a]\nargv = [\"/bin/true\"]\n");
    let output = root.ok(&["--root", "here", "doctor", "--json"]);
    let table: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(table["root"], root.file("here"));
}

#[test]
fn a_root_that_is_a_link_to_nowhere_is_refused_and_the_link_stays() {
    let root = Root::new(&[fake("a", &[])]);
    let target = root.file("gone");
    std::os::unix::fs::symlink(&target, root.path()).unwrap();
    refused(&root, 4, &[&root.path().display().to_string(), "is a link to", &target, "hint:"]);
    assert_eq!(fs::read_link(root.path()).unwrap(), std::path::Path::new(&target));
    fs::create_dir(&target).unwrap();
    root.up();
    assert_eq!(root.node("a")["state"], "ready", "a link to a directory is fine");
}
