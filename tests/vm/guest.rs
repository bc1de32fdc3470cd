//! Makes a guest, boots it with a script, once or several times, and gives what it left behind; once for all tests of a program.

use super::{
    seats::{Load, Seat},
    support::node::program,
};
use cdc_supervisor::base::ByteSize;
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// A boot takes about 5 s, what is done in it some 30 s; a guest is 3 to 4 times slower than its host.
const BOOT_LIMIT: Duration = Duration::from_secs(420);

/// What a finished guest has left.
pub struct Guest {
    seen: PathBuf,
    console: PathBuf,
    /// Why the guest did not get as far as its script.
    broken: Option<String>,
}

impl Guest {
    /// One thing that was seen, without the newline at its end; empty when it was not looked at.
    pub fn saw(&self, name: &str) -> String {
        fs::read_to_string(self.seen.join(name)).unwrap_or_default().trim_end_matches('\n').to_owned()
    }

    /// A `status --json` that was kept.
    pub fn json(&self, name: &str) -> Value {
        let text = self.saw(&format!("{name}.json"));
        serde_json::from_str(&text).unwrap_or_else(|e| {
            panic!("status {name:?} is not JSON: {e}\n{text}{}\n{}", self.saw(&format!("{name}.err")), self.journal())
        })
    }

    /// The end of the unit's journal and of the console, for messages.
    pub fn journal(&self) -> String {
        let tail = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        let console = fs::read(&self.console).unwrap_or_default();
        format!(
            "--- journal\n{}\n--- console\n{}",
            tail(self.saw("journal")),
            tail(String::from_utf8_lossy(&console).into_owned())
        )
    }
}

/// The one guest of this program, booted when the first test asks; or why none could be made. A guest that was made and then
/// did not run is a failure, never a reason to skip. `script` is run in it; each of `files` is a name in the directory that
/// it shares, and what stands in it.
pub fn guest(script: &Path, files: &[(&str, String)]) -> Result<&'static Guest, &'static str> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    let more = |share: &Path| files.iter().try_for_each(|(name, text)| fs::write(share.join(name), text));
    booted(&GUEST, "guest", (1, Size::SMALL), script, more)
}

/// Memory of a guest with the real products.
const STACK: &str = "4300M";

/// How much memory a guest has, for its kernel's command line, and how long a boot may take.
#[derive(Clone, Copy)]
pub struct Size(pub &'static str, pub Duration);

impl Size {
    /// Enough for small programs.
    pub const SMALL: Self = Self("1G", BOOT_LIMIT);
    /// Enough for the caps of the default stack with the real products, as the ledger reckons.
    pub const fn stack(limit: Duration) -> Self {
        Self(STACK, limit)
    }

    fn load(self) -> Load {
        if self.0 == STACK { Load::Stack } else { Load::Light }
    }
}

/// The same for one guest of several, in a directory called `name`: its disk is booted `boots` times with so much memory, and `more` puts what else
/// it needs into the directory that it shares. The script finds the number of the boot in `/run/host/boot`; of several boots it
/// leaves `seen/boot-NUMBER` when it has begun, of one `seen/start.rc`.
pub fn booted(
    guest: &'static OnceLock<Result<Guest, String>>,
    name: &str,
    (boots, size): (u32, Size),
    script: &Path,
    more: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<&'static Guest, &'static str> {
    known(guest.get_or_init(|| booting(&prepare((name, size, boots), script, more)?, (boots, size))))
}

/// The same for one boot of a guest in which next to nothing happens for a long time: it takes no seat from the others.
pub fn idle(
    guest: &'static OnceLock<Result<Guest, String>>,
    (name, size): (&str, Size),
    script: &Path,
) -> Result<&'static Guest, &'static str> {
    let guest = guest.get_or_init(|| booting(&prepare_in(None, name, script, |_| Ok(()))?, (1, size)));
    known(guest)
}

fn known(guest: &'static Result<Guest, String>) -> Result<&'static Guest, &'static str> {
    let guest = guest.as_ref().map_err(String::as_str)?;
    if let Some(why) = &guest.broken {
        panic!("{why}\n{}", guest.journal());
    }
    Ok(guest)
}

fn booting(prepared: &Prepared, (boots, size): (u32, Size)) -> Result<Guest, String> {
    let begun = |number| if boots == 1 { "start.rc".to_owned() } else { format!("boot-{number}") };
    let broken = (1..=boots).find_map(|number| boot(prepared, size, (number, &begun(number))).err());
    prepared.throw_away();
    let guest = Guest { seen: prepared.share.join("seen"), console: prepared.share.join("console"), broken };
    tell_steps(&guest);
    Ok(guest)
}

/// A guest with its disk, to be booted.
pub struct Prepared {
    kit: PathBuf,
    /// The directory that it mounts.
    pub share: PathBuf,
    /// What it changes on its disk goes here, over all its boots.
    changes: PathBuf,
    _seat: Option<Seat>,
}

/// Makes the kit of all guests and the directory of this one, with what `more` puts into it; or why none could be made.
/// Waits until no more guests run than this machine has processors.
pub fn prepare(
    (name, size, boots): (&str, Size, u32),
    script: &Path,
    more: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<Prepared, String> {
    prepare_in(Some(Seat::take(size.1 * boots, size.load())), name, script, more)
}

fn prepare_in(
    seat: Option<Seat>,
    name: &str,
    script: &Path,
    more: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<Prepared, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm");
    let build = Command::new(here.join("build-guest.sh"))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run build-guest.sh: {e}"))?;
    if !build.status.success() {
        return Err(format!("no guest: {}", String::from_utf8_lossy(&build.stderr).trim()));
    }
    let kit = PathBuf::from(String::from_utf8_lossy(&build.stdout).trim());

    let share = share(name, script, more)?;
    Ok(Prepared { kit, changes: share.join("root.cow"), share, _seat: seat })
}

/// The directory called `name` of a guest, or of a test beside the guests, with what `more` puts into it. Kept until the next run: what a
/// failed test wants looked at is there.
pub fn share(name: &str, script: &Path, more: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm");
    let share = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME")).join(name);
    let _ = fs::remove_dir_all(&share);
    fill(&share, &here, script)
        .and_then(|()| more(&share))
        .map_err(|e| format!("cannot prepare {}: {e}", share.display()))?;
    Ok(share)
}

/// What was done in the guest and when: one boot serves many tests.
fn tell_steps(guest: &Guest) {
    guest.saw("steps").lines().for_each(|line| tell(&format!("guest: {line}")));
}

/// One line for whoever watches, past the test harness's capture.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The directory that the guest mounts: programs without debug information, units, the script, room for what it sees.
fn fill(share: &Path, here: &Path, script: &Path) -> std::io::Result<()> {
    for dir in ["bin", "seen", "systemd"] {
        fs::create_dir_all(share.join(dir))?;
        fs::set_permissions(share.join(dir), fs::Permissions::from_mode(0o755))?;
    }
    fs::set_permissions(share, fs::Permissions::from_mode(0o755))?;
    for name in ["cdc-supervisor", "cdc-shim"] {
        put_program(share, &ours(name), name)?;
    }
    put_program(share, program(), "fake-daemon")?;
    for unit in fs::read_dir(here.join("../../systemd"))?.flatten() {
        fs::copy(unit.path(), share.join("systemd").join(unit.file_name()))?;
    }
    fs::copy(here.join("head.sh"), share.join("head.sh"))?;
    fs::copy(script, share.join("in-guest.sh")).map(drop)
}

/// One of our two programs: as it was built for the tests, or of `CDC_VM_PROGRAMS`, where figures are of released ones.
fn ours(name: &str) -> PathBuf {
    let built = if name == "cdc-shim" { env!("CARGO_BIN_EXE_cdc-shim") } else { env!("CARGO_BIN_EXE_cdc-supervisor") };
    std::env::var_os("CDC_VM_PROGRAMS").map_or_else(|| built.into(), |dir| Path::new(&dir).join(name))
}

/// Puts a program into the directory that the guest mounts, without its debug information.
pub fn put_program(share: &Path, program: &Path, name: &str) -> std::io::Result<()> {
    let to = share.join("bin").join(name);
    let stripped = Command::new("strip").arg("-o").arg(&to).arg(program).status();
    if !stripped.is_ok_and(|s| s.success()) {
        fs::copy(program, &to)?;
    }
    Ok(())
}

/// A guest that runs. It dies with this value.
pub struct Running {
    /// unshare(1), whose child is the guest's kernel.
    child: Child,
    _silent: Option<ChildStdin>,
}

impl Prepared {
    /// Boots it, for the `number`-th time; its console goes into the file of the shared directory called `console`.
    /// To be called on the thread that waits for its end: the parent-death signal belongs to the thread that forks.
    pub fn start(&self, size: Size, number: u32, console: &str) -> Result<Running, String> {
        let fault = |what: &str, e: std::io::Error| format!("{what}: {e}");
        fs::write(self.share.join("boot"), format!("{number}\n")).map_err(|e| fault("the number of the boot", e))?;
        let console = File::options().create(true).append(true).open(self.share.join(console));
        let console = console.map_err(|e| fault("console", e))?;
        let errors = console.try_clone().map_err(|e| fault("console", e))?;
        // What a guest that was killed left of its name: the kernel would look whether process 1, which it was in its own
        // namespace, still lives.
        let _ = fs::remove_dir_all(self.share.join("guest"));
        let mut command = Command::new("setpriv");
        // A pid namespace of its own: whatever ends its first process ends every helper process of the guest, and the guest
        // does not outlive this program even when that is killed.
        command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command
            // for the kernel alone: the programs in front of it need this machine's own C library
            .args(["env", "LD_LIBRARY_PATH=.", "./linux"])
            .args([format!("mem={}", size.0), "seccomp=auto".into(), "umid=guest".into()])
            .args(["root=/dev/ubda", "rw", "quiet", "systemd.show_status=no"])
            .args(["systemd.unified_cgroup_hierarchy=1", "cgroup_no_v1=all", "con=null", "con0=fd:0,fd:1"])
            .arg(format!("uml_dir={}", self.share.display()))
            .arg(format!("ubda={},{}", self.changes.display(), self.kit.join("root.img").display()))
            .arg(format!("hostdir={}", self.share.display()))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TMPDIR", memory_dir(size))
            .current_dir(&self.kit)
            // a console input that stays silent: at its end the kernel would close the console
            .stdin(Stdio::piped())
            .stdout(console)
            .stderr(errors);
        let mut child = command.spawn().map_err(|e| fault("cannot start the guest", e))?;
        Ok(Running { _silent: child.stdin.take(), child })
    }

    /// Removes the disk's changes; the shared directory stays.
    pub fn throw_away(&self) {
        let _ = fs::remove_file(&self.changes);
    }
}

/// Where the file lies that is the guest's memory: a disk's file system would write it back again and again.
fn memory_dir(size: Size) -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    let wanted = ByteSize::parse(size.0).map_or(u64::MAX, |size| size.0);
    let free = nix::sys::statvfs::statvfs(&shared).map_or(0, |s| s.blocks_available() * s.fragment_size());
    if free > wanted { shared } else { std::env::temp_dir() }
}

impl Running {
    /// Whether it has switched itself off.
    pub fn has_ended(&mut self) -> Result<bool, String> {
        self.child.try_wait().map(|status| status.is_some()).map_err(|e| format!("waiting for the guest: {e}"))
    }

    /// Takes its power: its kernel is killed, and nothing of it is left when this returns (the end of a pid namespace's first
    /// process is told after all others are gone, pid_namespaces(7)).
    pub fn cut(&mut self) -> Result<(), String> {
        let unshare = self.child.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap_or_default();
        let kernel = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
        let kernel = nix::unistd::Pid::from_raw(kernel.ok_or("the guest has no kernel any more")?);
        nix::sys::signal::kill(kernel, nix::sys::signal::Signal::SIGKILL).map_err(|e| format!("kill: {e}"))?;
        self.child.wait().map(drop).map_err(|e| format!("waiting for the guest: {e}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Boots the guest and waits until it has switched itself off. `begun`: what its script leaves in `seen` at its beginning.
fn boot(prepared: &Prepared, size: Size, (number, begun): (u32, &str)) -> Result<(), String> {
    let mut running = prepared.start(size, number, "console")?;
    let started = Instant::now();
    let ended = loop {
        if running.has_ended()? {
            break true;
        }
        if started.elapsed() > size.1 {
            break false;
        }
        thread::sleep(Duration::from_millis(100));
    };
    drop(running);
    if ended && prepared.share.join("seen").join(begun).exists() {
        return Ok(());
    }
    let how = if ended { "ended before its script had begun" } else { "did not end in time" };
    Err(format!("boot {number} of the guest {how}; what it left is in {}", prepared.share.display()))
}
