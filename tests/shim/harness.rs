//! Starts shims as a daemon would, and helps to wait. What a test leaves running is killed when its guard is dropped.

use cdc_supervisor::{
    base::{ExitRecord, Incarnation, Layout, NodeName},
    shim::{
        client::Client,
        wire::{LaunchOrder, Report, Request, ShimState, parse_exit_record},
    },
    sys::{process, socket},
};
use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    ops::{Deref, DerefMut},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Long enough for a busy machine; a test that passes never waits for it.
pub const WAIT: Duration = Duration::from_secs(20);

/// An order with its root directory, which goes when this goes.
pub struct Order {
    order: LaunchOrder,
    _root: TempDir,
}

impl Deref for Order {
    type Target = LaunchOrder;
    fn deref(&self) -> &LaunchOrder {
        &self.order
    }
}

impl DerefMut for Order {
    fn deref_mut(&mut self) -> &mut LaunchOrder {
        &mut self.order
    }
}

/// A shim under test and this side of its birth connection.
pub struct Spawned {
    pub client: Client,
    pub shim: i32,
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // it listens, or it has ended: both are fine
        let _ = self.client.request(&Request::KillTree);
        let end = Instant::now() + WAIT;
        while process::try_wait(self.shim).is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A launched node.
pub struct Node {
    spawned: Spawned,
    pub state: ShimState,
    pub order: Order,
    pub layout: Layout,
    pub name: NodeName,
}

impl Deref for Node {
    type Target = Spawned;
    fn deref(&self) -> &Spawned {
        &self.spawned
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Spawned {
        &mut self.spawned
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(mut client) = Client::connect(&self.socket()) {
            let _ = client.request(&Request::KillTree);
        } else if process::is_same_alive(&self.state.process)
            && let Ok(fd) = process::pidfd_open(self.state.process.pid)
        {
            let _ = process::pidfd_signal(&fd, libc::SIGKILL);
        }
    }
}

impl Node {
    /// Runs a shell script.
    pub fn start(script: &str) -> Self {
        Self::launch(order(script))
    }

    /// Carries out an order that must succeed.
    pub fn launch(order: Order) -> Self {
        let mut spawned = spawn(&order);
        let state = state(&mut spawned.client);
        let (layout, name) = (Layout::new(&order.root), order.node.clone());
        Self { spawned, state, order, layout, name }
    }

    /// Launches the next incarnation.
    pub fn respawn(&mut self, incarnation: Incarnation) {
        self.order.incarnation = incarnation;
        self.spawned = spawn(&self.order);
        self.state = state(&mut self.spawned.client);
    }

    /// Closes the birth connection, as the death of the daemon does.
    pub fn forget_daemon(&mut self) {
        let (near, _) = UnixStream::pair().unwrap();
        self.client = Client::from_stream(near);
    }

    pub fn socket(&self) -> PathBuf {
        self.layout.shim_socket(&self.name, self.state.incarnation)
    }

    /// What is in the current log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.layout.log(&self.name)).unwrap_or_default()
    }

    /// The number behind `pid ` in the log.
    pub fn pid_in_log(&self) -> Option<i32> {
        self.log().lines().find_map(|l| l.strip_prefix("pid ")?.parse().ok())
    }

    /// The exit record, once it is there.
    pub fn wait_for_record(&self) -> ExitRecord {
        let path = self.layout.exit_record(&self.name, self.state.incarnation);
        poll(|| fs::read_to_string(&path).ok().map(|text| parse_exit_record(&text).unwrap()))
    }
}

/// An order in a directory of its own, running `/bin/sh -c script`.
pub fn order(script: &str) -> Order {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("work");
    fs::create_dir_all(&dir).unwrap();
    let order = LaunchOrder {
        root: root.path().to_owned(),
        node: NodeName::new("test-node").unwrap(),
        incarnation: Incarnation(1),
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin:/usr/sbin:/sbin".into())],
        dir,
        credentials: None,
        nofile: 1024,
        oom_score_adj: 0,
        cgroup: None,
        notify: false,
        log_max_bytes: 10 << 20,
        log_keep: 3,
        leftovers_ms: 200,
    };
    Order { order, _root: root }
}

/// An order that runs [`helper`] as `role`.
pub fn helper_order(role: &str) -> Order {
    let mut order = order("");
    let own = std::env::current_exe().unwrap().display().to_string();
    order.argv = [own.as_str(), "helper", "--exact", "--nocapture", "--test-threads=1"].map(Into::into).into();
    order.env.push(("SHIM_TEST_ROLE".into(), role.into()));
    order
}

/// The programs of [`helper_order`]; nothing without a role.
pub fn helper() {
    match std::env::var("SHIM_TEST_ROLE").as_deref() {
        Ok("notify") => {
            let path = std::env::var("NOTIFY_SOCKET").unwrap();
            let socket = UnixDatagram::unbound().unwrap();
            for text in ["STATUS=starting", "STATUS=starting", "READY=1\nSTATUS=serving", "MAINPID=1"] {
                socket.send_to(text.as_bytes(), &path).unwrap();
            }
            // lives until it is killed
            std::thread::sleep(WAIT);
        }
        Ok("listen") => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            println!("\nport {}", listener.local_addr().unwrap().port());
            std::io::stdout().flush().unwrap();
            // lives until it is killed
            std::thread::sleep(WAIT);
        }
        Ok("fork-chain") => {
            let end = Instant::now() + WAIT;
            while Instant::now() < end {
                // SAFETY: the child goes on with this thread alone and calls nothing that another thread may have locked.
                unsafe {
                    match libc::fork() {
                        0 => drop(libc::setsid()),
                        _ => libc::_exit(0),
                    }
                }
            }
        }
        _ => {}
    }
}

/// Starts a shim and gives it its order.
pub fn spawn(order: &LaunchOrder) -> Spawned {
    let (near, far) = socket::socketpair().unwrap();
    let errors = File::create(order.root.join("shim.stderr")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_cdc-shim"));
    let shim = process::spawn_shim(program, far, errors, (&order.node, order.incarnation)).unwrap();
    let mut client = Client::from_stream(UnixStream::from(near));
    client.launch(order).unwrap();
    Spawned { client, shim }
}

/// The next report, which must be the state.
pub fn state(client: &mut Client) -> ShimState {
    match client.next_report(WAIT).unwrap() {
        Some(Report::State(state)) => state,
        other => panic!("{other:?}"),
    }
}

/// The record of the report that all is gone, whatever comes before it.
pub fn gone(client: &mut Client) -> ExitRecord {
    loop {
        match client.next_report(WAIT).unwrap() {
            Some(Report::Gone(record)) => return record,
            Some(_) => {}
            None => panic!("closed before Gone"),
        }
    }
}

/// The next report, which must be a failed launch.
pub fn launch_failed(client: &mut Client) -> (String, i32, String) {
    match client.next_report(WAIT).unwrap() {
        Some(Report::LaunchFailed { step, errno, text }) => (step, errno, text),
        other => panic!("{other:?}"),
    }
}

/// Looks until there is something.
pub fn poll<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + WAIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not seen within {WAIT:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
