//! `dist/install.sh` without a guest: what it refuses, and what is left when it is killed before any of its commands. It runs as root in
//! namespaces of its own, over layers that take what it writes (`installer.sh`); systemctl is a stand-in there. With a real systemd, with
//! a daemon and nodes that run, and with a loss of power: `cut.rs`.

use super::{guest, packed, script};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The least number of commands before which each of them is killed. Were one not found any more, nothing would be proven.
const FLOWS: [(&str, usize); 4] = [("first", 35), ("upgrade", 25), ("uninstall", 10), ("purge", 12)];

struct Seen(PathBuf);

impl Seen {
    fn saw(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default().trim_end().to_owned()
    }

    fn lines(&self, name: &str) -> BTreeSet<String> {
        self.saw(name).lines().map(str::to_owned).collect()
    }

    /// The numbers of the commands before which a flow was killed.
    fn rounds(&self, flow: &str) -> Vec<String> {
        let names = fs::read_dir(self.0.join(flow)).into_iter().flatten().flatten();
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().strip_suffix(".before").map(str::to_owned);
        names.filter_map(name).collect()
    }
}

fn seen() -> Result<&'static Seen, &'static str> {
    static SEEN: OnceLock<Result<Seen, String>> = OnceLock::new();
    let seen = SEEN.get_or_init(run).as_ref().map_err(String::as_str)?;
    assert_eq!(seen.saw("end"), "reached", "{}", seen.saw("log"));
    Ok(seen)
}

fn run() -> Result<Seen, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("root is needed to lay file systems over others".into());
    }
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
    let share = guest::share("installer", &script("installer.sh"), |share| {
        // Its file outlives it: it need be a socket, nobody answers.
        drop(UnixListener::bind(share.join("socket"))?);
        packed::tree(share, &dist)?;
        packed::small(&share.join("packed"))
    })?;
    let all = if std::env::var_os("CDC_TEST_LONG").is_some() { "yes" } else { "no" };
    let log = fs::File::create(share.join("seen/log")).map_err(|e| e.to_string())?;
    let errors = log.try_clone().map_err(|e| e.to_string())?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "bash"]);
    command.arg(share.join("in-guest.sh")).arg(&share).arg(all);
    let status =
        command.stdin(Stdio::null()).stdout(log).stderr(errors).status().map_err(|e| format!("unshare: {e}"))?;
    let seen = Seen(share.join("seen"));
    if status.success() { Ok(seen) } else { Err(format!("{status}: {}", seen.saw("log"))) }
}

#[test]
fn what_install_refuses_is_told_with_a_remedy_and_nothing_is_written() {
    let seen = or_skip!(seen(), "what_install_refuses_is_told_with_a_remedy_and_nothing_is_written");
    for (name, words) in [
        ("libc", "need a GNU C library of 2."),
        ("musl", "this system has no GNU C library"),
        ("unbooted", "systemd does not run here"),
        ("busless", "there is no system bus"),
        ("machine", "the programs are for riscv64, this machine is "),
        ("foreign", "bin/cdc-supervisor does not run here"),
        ("noexec", "/mnt/noexec lies on a file system from which no program may be started (noexec)"),
        ("hybrid", "/sys/fs/cgroup is tmpfs"),
        ("room", "/usr has 4 MB free"),
        ("bundle-room", "/var/lib has 1 MB free"),
        // where its configuration, which is there before, has the programs
        ("store-room", "/mnt/small has 1 MB free, 2 MB are needed for the programs in /mnt/large.bundle"),
        // and where it is unpacked before that, to be looked at
        ("look-room", "/mnt/small has 1 MB free, 2 MB are needed to look at /mnt/large.bundle"),
        // a bundle says how large it is unpacked
        ("said-room", " MB free, 3149 MB are needed to look at /mnt/said.bundle"),
    ] {
        let of = |what: &str| seen.saw(&format!("refused/{name}.{what}"));
        let text = of("text");
        assert_eq!((of("rc"), of("list")), ("4".into(), seen.saw(&format!("{name}.before"))), "{name}: {text}");
        assert!(text.contains(words) && text.lines().any(|l| l.starts_with("hint: ")), "{name}: {text}");
    }
}

#[test]
fn on_v1_on_a_hybrid_host_and_without_the_controller_the_daemon_says_what_to_boot_with() {
    const TEST: &str = "on_v1_on_a_hybrid_host_and_without_the_controller_the_daemon_says_what_to_boot_with";
    let seen = match seen() {
        Ok(seen) if seen.saw("caps/mounted") == "0" => seen,
        Ok(_) => return super::support::skip(TEST, "the memory controller cannot be mounted as cgroup v1 has it"),
        Err(reason) => return super::support::skip(TEST, reason),
    };
    let boot = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line";
    for (name, why, remedy) in [
        ("v1", "no cgroup v2 file system is mounted", boot),
        ("hybrid", "the memory controller is that of cgroup v1 here (/sys/fs/cgroup/memory)", boot),
        ("no-controller", "the memory controller of cgroup v2 is not available", "boot with cgroup_enable=memory"),
    ] {
        let text = seen.saw(&format!("caps/{name}.text"));
        assert_eq!(seen.saw(&format!("caps/{name}.rc")), "4", "{name}: {text}");
        for words in ["memory caps cannot be set, and the unit requires them: ", why, remedy] {
            assert!(text.contains(words), "{name}: {words:?} is not in {text}");
        }
    }
}

#[test]
fn two_runs_of_install_at_once_are_one_too_many() {
    let seen = or_skip!(seen(), "two_runs_of_install_at_once_are_one_too_many");
    let text = seen.saw("refused/beside.text");
    assert_eq!((seen.saw("refused/beside.rc"), seen.saw("refused/beside.list")), ("8".into(), String::new()), "{text}");
    assert!(text.contains("another install.sh runs"), "{text}");
}

/// What a run has while it works, and the next one takes away.
fn is_of_a_run(line: &str) -> bool {
    ["/.cdc-supervisor.", ".cdc-new", "/usr/lib/cdc-supervisor/begun", "/usr/lib/cdc-supervisor/removing"]
        .iter()
        .any(|part| line.contains(part))
}

#[test]
fn an_installation_that_is_killed_anywhere_is_made_whole_by_the_next_run() {
    let seen = or_skip!(seen(), "an_installation_that_is_killed_anywhere_is_made_whole_by_the_next_run");
    let mut wrong = Vec::new();
    for (flow, least) in FLOWS {
        let whole = seen.lines(&format!("{flow}/whole.list"));
        assert_eq!(seen.saw(&format!("{flow}/whole.rc")), "0", "{}", seen.saw(&format!("{flow}/whole.text")));
        let rounds = seen.rounds(flow);
        assert!(rounds.len() >= least, "{flow}: killed before {} commands", rounds.len());
        for at in rounds {
            let of = |what: &str| seen.saw(&format!("{flow}/{at}.{what}"));
            let again = seen.lines(&format!("{flow}/{at}.again.list"));
            // 137: killed. The very last thing of an uninstall is an empty directory, and then there is nothing to remove.
            let done =
                again == whole && (of("again.rc") == "0" || of("again.text").contains("has installed nothing here"));
            if of("rc") != "137" || !done {
                let differs: Vec<_> = again.symmetric_difference(&whole).take(4).collect();
                let before = of("before");
                wrong.push(format!("{flow} {at}: {before}: {} {}: {differs:?}", of("again.rc"), of("again.text")));
            }
            let then = of("then.text");
            if ["first", "upgrade"].contains(&flow) && !then.is_empty() && !then.contains("is installed already") {
                wrong.push(format!("{flow} {at}: the third run: {then}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn where_an_installation_was_killed_each_file_is_of_before_or_of_after_and_whole() {
    let seen = or_skip!(seen(), "where_an_installation_was_killed_each_file_is_of_before_or_of_after_and_whole");
    for (flow, _) in FLOWS {
        let both = &seen.lines(&format!("{flow}.before")) | &seen.lines(&format!("{flow}/whole.list"));
        // Its own list has more in it than afterwards, and what is in a directory with the configuration is root's before its group is there.
        let on_the_way = |line: &String| {
            is_of_a_run(line)
                || line.contains("/usr/lib/cdc-supervisor/installed")
                || line.starts_with("/etc/cdc-supervisor")
        };
        for at in seen.rounds(flow) {
            let strange: Vec<String> = seen
                .lines(&format!("{flow}/{at}.list"))
                .into_iter()
                .filter(|l| !both.contains(l) && !on_the_way(l))
                .collect();
            assert!(strange.is_empty(), "{flow} {at}, {}: {strange:?}", seen.saw(&format!("{flow}/{at}.before")));
        }
    }
}
