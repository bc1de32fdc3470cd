//! Makes a guest, boots it with a script, once or several times, and gives what it left behind; once for all tests of a program.

use super::support::node::program;
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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

/// How much memory a guest has, for its kernel's command line, and how long a boot may take.
#[derive(Clone, Copy)]
pub struct Size(pub &'static str, pub Duration);

impl Size {
    /// Enough for small programs.
    pub const SMALL: Self = Self("1G", BOOT_LIMIT);
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
    let guest = guest.get_or_init(|| run(name, (boots, size), script, more)).as_ref().map_err(String::as_str)?;
    if let Some(why) = &guest.broken {
        panic!("{why}\n{}", guest.journal());
    }
    Ok(guest)
}

fn run(
    name: &str,
    (boots, size): (u32, Size),
    script: &Path,
    more: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<Guest, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm");
    let build = Command::new(here.join("build-guest.sh"))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run build-guest.sh: {e}"))?;
    if !build.status.success() {
        return Err(format!("no guest: {}", String::from_utf8_lossy(&build.stderr).trim()));
    }
    let kit = PathBuf::from(String::from_utf8_lossy(&build.stdout).trim());

    // Kept until the next run: what a failed test wants looked at is there.
    let share = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME")).join(name);
    let _ = fs::remove_dir_all(&share);
    fill(&share, &here, script)
        .and_then(|()| more(&share))
        .map_err(|e| format!("cannot prepare {}: {e}", share.display()))?;
    // What the guest changes on its disk goes here and is thrown away.
    let changes = share.join("root.cow");
    let begun = |number| if boots == 1 { "start.rc".to_owned() } else { format!("boot-{number}") };
    let broken = (1..=boots).find_map(|number| boot(&kit, &share, size, (number, &begun(number))).err());
    let _ = fs::remove_file(&changes);
    let guest = Guest { seen: share.join("seen"), console: share.join("console"), broken };
    tell_steps(&guest);
    Ok(guest)
}

/// What was done in the guest and when, past the test harness's capture: one boot serves many tests.
fn tell_steps(guest: &Guest) {
    let mut out = std::io::stderr().lock();
    for line in guest.saw("steps").lines() {
        // Only for whoever watches.
        let _ = writeln!(out, "guest: {line}");
    }
}

/// The directory that the guest mounts: programs without debug information, units, the script, room for what it sees.
fn fill(share: &Path, here: &Path, script: &Path) -> std::io::Result<()> {
    for dir in ["bin", "seen", "systemd"] {
        fs::create_dir_all(share.join(dir))?;
        fs::set_permissions(share.join(dir), fs::Permissions::from_mode(0o755))?;
    }
    fs::set_permissions(share, fs::Permissions::from_mode(0o755))?;
    let programs =
        [Path::new(env!("CARGO_BIN_EXE_cdc-supervisor")), Path::new(env!("CARGO_BIN_EXE_cdc-shim")), program()];
    for program in programs {
        let to = share.join("bin").join(program.file_name().unwrap_or_default());
        let stripped = Command::new("strip").arg("-o").arg(&to).arg(program).status();
        if !stripped.is_ok_and(|s| s.success()) {
            fs::copy(program, &to)?;
        }
    }
    for unit in fs::read_dir(here.join("../../systemd"))?.flatten() {
        fs::copy(unit.path(), share.join("systemd").join(unit.file_name()))?;
    }
    fs::copy(script, share.join("in-guest.sh")).map(drop)
}

/// Boots the guest and waits until it has switched itself off. `begun`: what its script leaves in `seen` at its beginning.
fn boot(kit: &Path, share: &Path, size: Size, (number, begun): (u32, &str)) -> Result<(), String> {
    let fault = |what: &str, e: std::io::Error| format!("{what}: {e}");
    fs::write(share.join("boot"), format!("{number}\n")).map_err(|e| fault("the number of the boot", e))?;
    let console = File::options().create(true).append(true).open(share.join("console"));
    let console = console.map_err(|e| fault("console", e))?;
    let errors = console.try_clone().map_err(|e| fault("console", e))?;
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
        .arg(format!("uml_dir={}", share.display()))
        .arg(format!("ubda={},{}", share.join("root.cow").display(), kit.join("root.img").display()))
        .arg(format!("hostdir={}", share.display()))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TMPDIR", std::env::temp_dir())
        .current_dir(kit)
        // a console input that stays silent: at its end the kernel would close the console
        .stdin(Stdio::piped())
        .stdout(console)
        .stderr(errors);
    // The parent-death signal belongs to the thread that forks: this one waits for the guest's end.
    let mut child = command.spawn().map_err(|e| fault("cannot start the guest", e))?;
    let silent = child.stdin.take();
    let started = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(Some(_)) => break true,
            Ok(None) if started.elapsed() > size.1 => break false,
            Ok(None) => thread::sleep(Duration::from_millis(100)),
            Err(e) => return Err(fault("waiting for the guest", e)),
        }
    };
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
    }
    drop(silent);
    if ended && share.join("seen").join(begun).exists() {
        return Ok(());
    }
    let how = if ended { "ended before its script had begun" } else { "did not end in time" };
    Err(format!("boot {number} of the guest {how}; what it left is in {}", share.display()))
}
