//! Makes the guest, boots it with a script, and gives what it left behind; once for all tests of a program.

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

/// What is done in a guest.
pub struct Scene {
    /// Of the directory that is left.
    pub name: &'static str,
    /// Run in it. It leaves `seen/start.rc` when it has begun.
    pub script: PathBuf,
    /// Names in the directory that it shares, and what stands in them.
    pub files: Vec<(&'static str, String)>,
    /// Of the guest, for the kernel's command line.
    pub memory: &'static str,
    /// How long it may take.
    pub limit: Duration,
}

impl Scene {
    /// A small guest.
    pub fn new(name: &'static str, script: PathBuf) -> Self {
        Self { name, script, files: Vec::new(), memory: "1G", limit: BOOT_LIMIT }
    }
}

/// A guest that was booted once, or why none could be made.
pub type Booted = OnceLock<Result<Guest, String>>;

/// The guest of a program with one script, booted when the first test asks. `script` is run in it; each of `files` is a name in
/// the directory that it shares, and what stands in it.
pub fn guest(script: &Path, files: &[(&'static str, String)]) -> Result<&'static Guest, &'static str> {
    static GUEST: Booted = OnceLock::new();
    once(&GUEST, || Ok(Scene { files: files.to_vec(), ..Scene::new("guest", script.to_owned()) }))
}

/// The guest of a scene, booted when the first test asks; or why none could be made. A guest that was made and then did not
/// run is a failure, never a reason to skip.
pub fn once(
    booted: &'static Booted,
    scene: impl FnOnce() -> Result<Scene, String>,
) -> Result<&'static Guest, &'static str> {
    let guest = booted.get_or_init(|| run(&scene()?)).as_ref().map_err(String::as_str)?;
    if let Some(why) = &guest.broken {
        panic!("{why}\n{}", guest.journal());
    }
    Ok(guest)
}

fn run(scene: &Scene) -> Result<Guest, String> {
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
    let share = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME")).join(scene.name);
    let _ = fs::remove_dir_all(&share);
    fill(&share, &here, scene).map_err(|e| format!("cannot prepare {}: {e}", share.display()))?;
    let broken = boot(&kit, &share, scene).err();
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
fn fill(share: &Path, here: &Path, scene: &Scene) -> std::io::Result<()> {
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
    fs::copy(&scene.script, share.join("in-guest.sh"))?;
    scene.files.iter().try_for_each(|(name, text)| fs::write(share.join(name), text))
}

/// Boots the guest and waits until it has switched itself off.
fn boot(kit: &Path, share: &Path, scene: &Scene) -> Result<(), String> {
    let fault = |what: &str, e: std::io::Error| format!("{what}: {e}");
    let console = File::create(share.join("console")).map_err(|e| fault("console", e))?;
    let errors = console.try_clone().map_err(|e| fault("console", e))?;
    // What the guest changes on its disk goes here and is thrown away.
    let changes = share.join("root.cow");
    let mut command = Command::new("setpriv");
    // A pid namespace of its own: whatever ends its first process ends every helper process of the guest, and the guest
    // does not outlive this program even when that is killed.
    command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
        // for the kernel alone: the programs in front of it need this machine's own C library
        .args(["env", "LD_LIBRARY_PATH=.", "./linux"])
        .args([format!("mem={}", scene.memory), format!("umid={}", scene.name)])
        .args(["seccomp=auto", "root=/dev/ubda", "rw", "quiet", "systemd.show_status=no"])
        .args(["systemd.unified_cgroup_hierarchy=1", "cgroup_no_v1=all", "con=null", "con0=fd:0,fd:1"])
        .arg(format!("uml_dir={}", share.display()))
        .arg(format!("ubda={},{}", changes.display(), kit.join("root.img").display()))
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
            Ok(None) if started.elapsed() > scene.limit => break false,
            Ok(None) => thread::sleep(Duration::from_millis(100)),
            Err(e) => return Err(fault("waiting for the guest", e)),
        }
    };
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
    }
    drop(silent);
    let _ = fs::remove_file(&changes);
    if ended && share.join("seen/start.rc").exists() {
        return Ok(());
    }
    let how = if ended { "the guest ended before the unit was started" } else { "the guest did not end in time" };
    Err(format!("{how}; what it left is in {}", share.display()))
}
