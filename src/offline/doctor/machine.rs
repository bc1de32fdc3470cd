//! The machine: its system and kernel, cores, clocks, time zone, power setting, systemd.

use super::{
    Site,
    check::{Check, Severity},
    fix::Fix,
};
use crate::sys::{
    command::{Cancel, Command},
    host::{self, OsRelease},
    kernel::{self, ClockState},
    mounts,
};
use std::{fs, path::Path, time::Duration};

/// What is seen of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    os: OsRelease,
    release: Option<String>,
    cores: usize,
    clock: Option<ClockState>,
    /// An NTP client is installed and off, so that `timedatectl set-ntp` can put it on.
    ntp_off: bool,
    clock_source: Option<String>,
    /// The zone that `/etc/localtime` leads to, and the one that `/etc/timezone` names.
    zones: (Option<String>, Option<String>),
    governor: Option<String>,
    /// None: systemd does not manage this machine. `Some(None)`: it does not say its version.
    systemd: Option<Option<u32>>,
    trim: Trim,
}

/// Whether the root's disk is told what is free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Trim {
    /// It cannot be seen, or this disk does not want to be.
    #[default]
    NotWanted,
    /// By the file system, at every deletion.
    Mount,
    /// By `fstrim.timer`, which is `enabled`, `disabled` or another word of systemctl(1).
    Timer(String),
}

pub(super) fn look(site: &Site) -> Facts {
    let clock = kernel::clock_state();
    Facts {
        os: host::os_release(),
        release: kernel::text("kernel.osrelease"),
        cores: host::cores(),
        clock,
        // D-Bus starts a service to answer this: only where the answer is of use
        ntp_off: clock.is_some_and(|state| !state.synchronised) && ntp_is_off(),
        clock_source: kernel::read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        zones: (local_zone(), kernel::read("/etc/timezone")),
        governor: kernel::read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        // sd_booted(3)
        systemd: Path::new("/run/systemd/system").is_dir().then(systemd_version),
        trim: trim_of(site.layout.root()),
    }
}

fn local_zone() -> Option<String> {
    let target = fs::read_link("/etc/localtime").ok()?;
    let text = target.to_str()?;
    text.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned())
}

fn systemd_version() -> Option<u32> {
    version(&systemctl(&["--version"])?)
}

/// What systemctl(1) prints; none when it is not there or does not answer.
pub(super) fn systemctl(arguments: &[&str]) -> Option<String> {
    ask("systemctl", arguments)
}

fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let argv = [program].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let env = std::env::var("PATH").map(|path| vec![("PATH".to_owned(), path)]).unwrap_or_default();
    let command = Command { argv, env, dir: "/".into(), stdin: None };
    command.run(Duration::from_secs(2), &Cancel::default()).ok().map(|said| said.stdout)
}

/// `CanNTP=yes` and `NTP=no` (org.freedesktop.timedate1(5)).
fn ntp_is_off() -> bool {
    let said = ask("timedatectl", &["show", "-p", "CanNTP", "-p", "NTP"]).unwrap_or_default();
    ["CanNTP=yes", "NTP=no"].iter().all(|line| said.lines().any(|l| l == *line))
}

fn trim_of(root: &Path) -> Trim {
    let system = root.ancestors().find(|dir| dir.exists()).and_then(|dir| mounts::file_system(dir).ok());
    match system {
        Some(system) if mounts::is_trimmed(system.device) != Some(true) => Trim::NotWanted,
        None => Trim::NotWanted,
        Some(system) if system.discards => Trim::Mount,
        Some(_) => {
            let said = systemctl(&["is-enabled", "fstrim.timer"]).unwrap_or_default();
            Trim::Timer(said.trim().to_owned())
        }
    }
}

/// `systemd 255 (255.4-1ubuntu8.4)`.
fn version(said: &str) -> Option<u32> {
    said.split_whitespace().nth(1)?.split('.').next()?.parse().ok()
}

pub(super) fn judge(site: &Site, facts: &Facts) -> Vec<Check> {
    let mut rows = vec![system(&facts.os), release(facts.release.as_deref()), cores(facts.cores)];
    rows.push(clock(facts.clock, facts.ntp_off));
    rows.push(clock_source(facts.clock_source.as_deref()));
    rows.push(zone(site, &facts.zones));
    rows.push(governor(facts.governor.as_deref()));
    rows.push(trim(&facts.trim));
    rows.push(systemd(facts.systemd));
    rows
}

fn system(os: &OsRelease) -> Check {
    let found = if os.id.is_empty() { "no os-release".to_owned() } else { format!("{} {}", os.id, os.version) };
    let known = [("ubuntu", "24.04"), ("debian", "12"), ("debian", "13")];
    let why = "package names and library versions are known for these";
    let row = Check::ok("system", "Ubuntu 24.04, Debian 12 or 13", found.trim(), why);
    if known.contains(&(os.id.as_str(), os.version.as_str())) {
        row
    } else {
        row.but(Severity::Warn, "run dist/test.sh here before relying on it")
    }
}

/// pidfd_open(2) came with Linux 5.3, cgroup.kill with 5.14, memory.peak with 5.19.
fn release(release: Option<&str>) -> Check {
    let why = "5.3 tells processes from later ones with the same number, 5.14 kills a node as a whole";
    let row = |found: &str| Check::ok("kernel", "Linux 5.14 or newer", found, why);
    let Some(text) = release else { return row("not readable").unknown() };
    let row = row(text);
    let mut numbers = text.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (5, 3) {
        row.fails(format!("Linux {text} has no pidfd_open, which came with 5.3"), "install a newer kernel")
    } else if version < (5, 14) {
        row.but(Severity::Warn, "install a newer kernel (Ubuntu: apt-get install linux-generic-hwe-XX.04)")
    } else {
        row
    }
}

fn cores(cores: usize) -> Check {
    let row = Check::ok(
        "cores",
        "4 or more",
        cores.to_string(),
        "three brokers, ZooKeeper and mysqld start and recover at the same time",
    );
    if cores < 4 { row.but(Severity::Warn, "nothing for trials: starts and recoveries take longer") } else { row }
}

fn clock(state: Option<ClockState>, ntp_off: bool) -> Check {
    let why =
        "times of records, binlog events and logs are compared with those of other machines, and a step ends sessions";
    let row = |found: String| Check::ok("clock", "synchronised, within 500 ms", found, why);
    let Some(state) = state else { return row("the kernel does not tell".into()).unknown() };
    let row = row(match state.synchronised {
        true => format!("synchronised, {} ms off", state.offset.as_millis()),
        false => "not synchronised".to_owned(),
    });
    if state.synchronised && state.offset < Duration::from_millis(500) {
        return row;
    }
    let row = row.but(Severity::Warn, "run an NTP client: apt-get install chrony, or timedatectl set-ntp true");
    if ntp_off { row.fixed_by(Fix::time_sync()) } else { row }
}

/// A slow source costs a system call per reading, and brokers read the clock for every record batch.
fn clock_source(source: Option<&str>) -> Check {
    let row = |found: &str| {
        Check::ok("clock source", "tsc or one of a hypervisor", found, "others make each reading of the clock slow")
    };
    match source {
        None => row("not readable").unknown(),
        Some(slow @ ("acpi_pm" | "hpet" | "jiffies" | "pit")) => {
            row(slow).but(Severity::Info, "see `dmesg | grep -i tsc` for why the kernel does not use tsc")
        }
        Some(fast) => row(fast),
    }
}

/// Logs of all nodes are in UTC, and mysqld's sessions are in UTC unless the file says otherwise; what can disagree is the
/// host with itself and a time zone that the user gave to mysqld.
fn zone(site: &Site, (local, named): &(Option<String>, Option<String>)) -> Check {
    let why = "DATETIME has no zone: who writes and who reads it must mean the same one";
    let row = |found: String| Check::ok("time zone", "one, and UTC inside MySQL", found, why);
    let set = site.plan.mysql.as_ref().and_then(|m| m.options.get("default_time_zone"));
    if let Some(zone) = set.filter(|zone| !["+00:00", "UTC", "Etc/UTC"].contains(&zone.as_str())) {
        return row(format!("mysqld in {zone}")).but(
            Severity::Warn,
            "take default_time_zone out of [mysql.options], or set the same zone in every reader of the data",
        );
    }
    match (local, named) {
        (Some(local), Some(named)) if local != named => {
            row(format!("{local} by /etc/localtime, {named} by /etc/timezone"))
                .but(Severity::Warn, format!("timedatectl set-timezone {local}"))
        }
        (Some(zone), _) | (None, Some(zone)) => row(format!("host {zone}; Kafka, ZooKeeper and MySQL UTC")),
        (None, None) => row("host UTC (no /etc/localtime); Kafka, ZooKeeper and MySQL UTC".into()),
    }
}

fn governor(governor: Option<&str>) -> Check {
    let row = |found: &str| {
        Check::ok(
            "CPU governor",
            "performance, or one that follows load",
            found,
            "powersave keeps some CPUs slow while brokers wait for them",
        )
    };
    match governor {
        None => row("none to be seen"),
        Some(word @ "powersave") => {
            row(word).but(Severity::Info, "cpupower frequency-set -g performance, when latency matters more than power")
        }
        Some(word) => row(word),
    }
}

/// Brokers delete whole segments all the time; a disk that is not told keeps copying them around.
fn trim(trim: &Trim) -> Check {
    let row = |found: &str| {
        Check::ok(
            "trim",
            "a solid-state disk is told what is free",
            found,
            "brokers delete segments all the time, and a disk that is not told gets slower",
        )
    };
    match trim {
        Trim::NotWanted => row("not for this disk, as far as can be seen"),
        Trim::Mount => row("at every deletion, by the file system"),
        Trim::Timer(word) if word == "enabled" => row("weekly, by fstrim.timer"),
        Trim::Timer(word) => {
            let word = if word.is_empty() { "not there" } else { word };
            row(&format!("fstrim.timer is {word}"))
                .but(Severity::Info, "systemctl enable --now fstrim.timer, or `fstrim -av` from cron once a week")
        }
    }
}

/// `DelegateSubgroup=`, which the unit needs, came with systemd 254.
fn systemd(version: Option<Option<u32>>) -> Check {
    let row =
        |found: String| Check::ok("systemd", "254 or newer, for the unit", found, "the unit needs DelegateSubgroup=");
    match version {
        None => row("does not manage this machine".into()).but(Severity::Info, "use `up`; there is no unit here"),
        Some(None) => row("runs, and does not say its version".into()).unknown(),
        Some(Some(v)) if v < 254 => row(v.to_string())
            .but(Severity::Warn, "use `up --detach`, or a distribution with systemd 254 (Ubuntu 24.04)"),
        Some(Some(v)) => row(v.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::site, *};

    fn named(checks: &[Check], name: &str) -> Check {
        checks.iter().find(|c| c.name == name).cloned().unwrap_or_else(|| panic!("no row {name}"))
    }

    fn noble() -> Facts {
        Facts {
            os: OsRelease { id: "ubuntu".into(), version: "24.04".into() },
            release: Some("6.8.0-45-generic".into()),
            cores: 4,
            clock: Some(ClockState {
                synchronised: true,
                offset: Duration::from_millis(3),
                max_error: Duration::from_millis(40),
            }),
            ntp_off: false,
            clock_source: Some("tsc".into()),
            zones: (Some("Asia/Seoul".into()), Some("Asia/Seoul".into())),
            governor: Some("schedutil".into()),
            systemd: Some(Some(255)),
            trim: Trim::Timer("enabled".into()),
        }
    }

    #[test]
    fn the_mini_pc_it_was_made_for_is_fine() {
        let checks = judge(&site(""), &noble());
        assert!(checks.iter().all(|c| c.severity == Severity::Ok), "{checks:#?}");
        assert_eq!(named(&checks, "clock").found, "synchronised, 3 ms off");
        let off = Facts {
            clock: Some(ClockState { synchronised: false, ..noble().clock.unwrap() }),
            ntp_off: true,
            ..noble()
        };
        assert_eq!(named(&judge(&site(""), &off), "clock").fix, Some(Fix::time_sync()));
        assert_eq!(named(&checks, "time zone").found, "host Asia/Seoul; Kafka, ZooKeeper and MySQL UTC");
    }

    #[test]
    fn each_thing_that_differs_is_told_with_a_remedy() {
        let unsynchronised =
            ClockState { synchronised: false, offset: Duration::ZERO, max_error: Duration::from_secs(16) };
        let late = ClockState { synchronised: true, offset: Duration::from_millis(500), max_error: Duration::ZERO };
        for (facts, name, severity) in [
            (
                Facts { os: OsRelease { id: "arch".into(), version: String::new() }, ..noble() },
                "system",
                Severity::Warn,
            ),
            (Facts { os: OsRelease::default(), ..noble() }, "system", Severity::Warn),
            (Facts { release: Some("5.4.0-1-generic".into()), ..noble() }, "kernel", Severity::Warn),
            (Facts { release: Some("4.19.0".into()), ..noble() }, "kernel", Severity::Fail),
            (Facts { cores: 2, ..noble() }, "cores", Severity::Warn),
            (Facts { clock: Some(unsynchronised), ..noble() }, "clock", Severity::Warn),
            (Facts { clock: Some(late), ..noble() }, "clock", Severity::Warn),
            (Facts { clock: None, ..noble() }, "clock", Severity::Unknown),
            (Facts { clock_source: Some("hpet".into()), ..noble() }, "clock source", Severity::Info),
            (Facts { zones: (Some("UTC".into()), Some("Asia/Seoul".into())), ..noble() }, "time zone", Severity::Warn),
            (Facts { governor: Some("powersave".into()), ..noble() }, "CPU governor", Severity::Info),
            (Facts { trim: Trim::Timer("disabled".into()), ..noble() }, "trim", Severity::Info),
            (Facts { trim: Trim::Timer(String::new()), ..noble() }, "trim", Severity::Info),
            (Facts { systemd: Some(Some(252)), ..noble() }, "systemd", Severity::Warn),
            (Facts { systemd: None, ..noble() }, "systemd", Severity::Info),
        ] {
            let row = named(&judge(&site(""), &facts), name);
            assert_eq!(row.severity, severity, "{row:?}");
            assert!(row.remedy.is_some() || severity == Severity::Unknown, "{row:?}");
        }
    }

    #[test]
    fn a_time_zone_given_to_mysqld_is_told() {
        let row = |text: &str| named(&judge(&site(text), &noble()), "time zone").severity;
        assert_eq!(row("[mysql]\noptions.default_time_zone = \"+09:00\""), Severity::Warn);
        assert_eq!(row("[mysql]\noptions.default_time_zone = \"+00:00\""), Severity::Ok);
    }

    #[test]
    fn systemds_version_is_its_second_word() {
        assert_eq!(version("systemd 255 (255.4-1ubuntu8.4)\n+PAM"), Some(255));
        assert_eq!(version("systemd 257.9 (x)"), Some(257));
        assert_eq!(version(""), None);
    }
}
