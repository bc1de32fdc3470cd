//! `[command.NAME]` tables for tests, and the fake daemon they run.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::SystemTime,
};

/// A `[command.NAME]` table.
#[derive(Clone, Debug)]
pub struct Node {
    name: String,
    argv: Vec<String>,
    keys: Vec<String>,
    probe: Option<String>,
}

/// A node that runs the fake daemon with these habits (see `fake_daemon.rs`), without a probe.
pub fn fake(name: &str, habits: &[&str]) -> Node {
    let mut argv = vec![program().display().to_string()];
    argv.extend(habits.iter().map(|h| (*h).to_owned()));
    Node { name: name.to_owned(), argv, keys: Vec::new(), probe: None }
}

impl Node {
    /// Any program.
    pub fn program(name: &str, argv: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            keys: Vec::new(),
            probe: None,
        }
    }

    /// Adds `key = value`, the value as TOML.
    #[must_use]
    pub fn key(mut self, key: &str, value: &str) -> Self {
        self.keys.push(format!("{key} = {value}"));
        self
    }

    /// Adds `key = "text"`.
    #[must_use]
    pub fn text(self, key: &str, text: &str) -> Self {
        self.key(key, &format!("{text:?}"))
    }

    /// Comes after these nodes.
    #[must_use]
    pub fn after(self, nodes: &[&str]) -> Self {
        self.key("after", &format!("{nodes:?}"))
    }

    /// Ready when `port` takes a connection.
    #[must_use]
    pub fn tcp(mut self, port: u16) -> Self {
        self.probe = Some(format!("tcp = \"127.0.0.1:{port}\""));
        self
    }

    /// Ready when `GET /health` on `port` is answered with 2xx.
    #[must_use]
    pub fn http(mut self, port: u16) -> Self {
        self.probe = Some(format!("http = \"http://127.0.0.1:{port}/health\""));
        self
    }

    /// Ready when this command ends with 0.
    #[must_use]
    pub fn exec(mut self, argv: &[&str]) -> Self {
        self.probe = Some(format!("exec = {argv:?}"));
        self
    }

    /// Ready when it says so.
    #[must_use]
    pub fn notify(mut self) -> Self {
        self.probe = Some("notify = true".to_owned());
        self
    }

    /// Adds `key = value` to its probe, the value as TOML.
    #[must_use]
    pub fn probe_key(mut self, key: &str, value: &str) -> Self {
        let probe = self.probe.take().unwrap_or_default();
        self.probe = Some(format!("{probe}\n{key} = {value}"));
        self
    }

    /// The table as text.
    pub fn toml(&self) -> String {
        let mut text = format!("[command.{}]\nargv = {:?}\n", self.name, self.argv);
        for key in &self.keys {
            text += &format!("{key}\n");
        }
        if let Some(probe) = &self.probe {
            text += &format!("[command.{}.probe]\n{probe}\n", self.name);
        }
        text + "\n"
    }
}

/// A TCP port of 127.0.0.1 that nobody has now. Counted up from a place outside the kernel's range for outgoing connections
/// (`ip_local_port_range`, 32768 up), so that nothing of ours takes it by chance before the node does.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let start = 20_000 + u16::try_from(std::process::id() % 90 * 100).unwrap_or(0);
    let next = NEXT.get_or_init(|| AtomicU16::new(start));
    loop {
        let port = next.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "no free port");
        // Not bound to find out: a program that another test starts at that moment would hold the port for as long as it
        // takes to become that program.
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

/// The fake daemon's program. `cargo test` builds it with everything else; with `--test NAME` it builds only that test, so
/// it is built here when it is missing or older than its source.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // target/debug/deps/it-HASH -> target/debug/examples/fake-daemon
        let me = std::env::current_exe().expect("the path of this test");
        let profile = me.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
        let program = profile.join("examples/fake-daemon");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_daemon.rs");
        if modified(&program) < modified(&source) {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--offline", "--quiet", "--example", "fake-daemon"]);
            build.current_dir(env!("CARGO_MANIFEST_DIR"));
            assert!(build.status().is_ok_and(|s| s.success()), "cannot build the fake daemon");
        }
        program
    })
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|m| m.modified()).ok()
}
