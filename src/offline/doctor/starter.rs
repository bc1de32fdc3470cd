//! Who starts the nodes, and within which limits: the root's daemon that runs, else the unit that is installed for the root,
//! else whoever looks. `doctor` asks about the stack, not about the shell it was typed in.

use crate::{
    base::Layout,
    config::Plan,
    offline::unit::{self, Said, UNIT},
    sys::{
        cgroup, host,
        kernel::{self, Limits},
        mounts, process,
    },
};

/// What is asked about the unit, drop-ins included.
const KEYS: &str = "LoadState,User,LimitNOFILE,LimitNPROC,TasksMax,Delegate,DelegateControllers";

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever looks: it starts, or an `up` from this shell would.
    Here,
    /// The daemon of this root, by its pid.
    Daemon(i32),
    /// The unit, which is installed and does not run.
    Unit,
}

/// What it may do. A limit is none where nobody tells it; `u64::MAX` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Starter {
    pub who: Who,
    /// Its user; none: a user that does not exist, or that cannot be seen.
    pub uid: Option<u32>,
    /// The hard limit of open files.
    pub open_files: Option<u64>,
    /// The limit of processes and threads of its user.
    pub processes: Option<u64>,
    /// The least `pids.max` that it is under.
    pub pids: Option<u64>,
    /// Whether nodes get cgroups with caps, or why not.
    pub caps: Result<(), String>,
}

impl Starter {
    /// This process, which starts nodes itself. Whether it gets caps is not looked at.
    pub(super) fn here() -> Self {
        let limits = kernel::limits();
        Self {
            who: Who::Here,
            uid: Some(host::euid()),
            open_files: limits.open_files,
            processes: limits.processes,
            pids: cgroup::pids_limit(None),
            caps: Err("not looked at".into()),
        }
    }

    /// Whoever starts the nodes of this plan.
    pub(super) fn of(plan: &Plan, layout: &Layout) -> Self {
        if let Some(daemon) = daemon(layout) {
            return daemon;
        }
        if unit::is_for(plan)
            && let Some(said) = unit::properties(UNIT, KEYS)
            && let Some(mut unit) = of_unit(&said)
        {
            // What the unit is not given by systemd, the host may not have at all.
            unit.caps = unit.caps.and_then(|()| cgroup::memory_of_host());
            return unit;
        }
        Self { caps: cgroup::look().map(drop), ..Self::here() }
    }

    /// Whose limits these are, for a row.
    pub(super) fn words(&self) -> String {
        match self.who {
            Who::Here => "here".into(),
            Who::Daemon(pid) => format!("of the daemon (pid {pid})"),
            Who::Unit => format!("of the unit ({UNIT})"),
        }
    }

    /// How a limit is raised for it. `setting` is the unit's line, `option` what prlimit(1) calls it, `ulimit` the shell.
    pub(super) fn raise(&self, setting: &str, option: &str, ulimit: &str, wanted: u64) -> String {
        match self.who {
            Who::Here => format!(
                "raise it: `ulimit {ulimit} {wanted}` as root in the shell that starts it, or /etc/security/limits.conf"
            ),
            Who::Daemon(pid) => format!(
                "`prlimit --pid {pid} --{option}={wanted}:{wanted}` as root raises it for nodes that start from now on; for \
                 good: {setting}={wanted} in the unit, or /etc/security/limits.conf"
            ),
            Who::Unit => format!("`systemctl edit {UNIT}`: [Service] {setting}={wanted}"),
        }
    }
}

/// The daemon that holds the root's lock. Its limits are read as anybody may read them (proc(5)).
fn daemon(layout: &Layout) -> Option<Starter> {
    let pid = *mounts::lock_holders(&layout.daemon_lock()).first()?;
    let Limits { open_files, processes } = kernel::limits_of(pid)?;
    Some(Starter {
        who: Who::Daemon(pid),
        uid: process::uid_of(pid),
        open_files,
        processes,
        pids: cgroup::pids_limit(Some(pid)),
        caps: cgroup::gives_caps(pid),
    })
}

/// The unit by what systemd says; none: it is not installed.
fn of_unit(said: &Said) -> Option<Starter> {
    let value = |key: &str| said.get(key).map(String::as_str).unwrap_or_default();
    if value("LoadState") != "loaded" {
        return None;
    }
    // `infinity` of the limits (systemd.exec(5)); a version that does not know a key leaves it out
    let number = |key: &str| match value(key) {
        "infinity" => Some(u64::MAX),
        text => text.parse().ok(),
    };
    let uid = match value("User") {
        "" => Some(0),
        user => user.parse().ok().or_else(|| process::lookup_user(user).ok().flatten().map(|(uid, _, _)| uid)),
    };
    let delegated = value("Delegate") == "yes";
    let has_memory = value("DelegateControllers").split(' ').any(|c| c == "memory");
    Some(Starter {
        who: Who::Unit,
        uid,
        open_files: number("LimitNOFILE"),
        processes: number("LimitNPROC"),
        pids: number("TasksMax"),
        caps: match delegated && has_memory {
            true => Ok(()),
            false => Err(format!("{UNIT} is not given the memory controller (Delegate=)")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn the_units_limits_are_its_own_and_one_that_is_not_installed_has_none() {
        let text = "LoadState=loaded\nUser=root\nLimitNOFILE=262144\nLimitNPROC=infinity\nTasksMax=16384\nDelegate=yes\n\
                    DelegateControllers=cpu io memory pids";
        let found = of_unit(&said(text)).unwrap();
        assert_eq!((found.who, found.uid, found.caps.clone()), (Who::Unit, Some(0), Ok(())));
        assert_eq!((found.open_files, found.processes, found.pids), (Some(262_144), Some(u64::MAX), Some(16_384)));
        let found = of_unit(&said(&text.replace("yes", "no"))).unwrap();
        assert!(found.caps.unwrap_err().contains("Delegate="));
        assert_eq!(of_unit(&said("LoadState=not-found\nLimitNOFILE=524288")), None);
        assert_eq!(of_unit(&said("")), None);
    }

    #[test]
    fn the_remedy_is_one_for_whoever_starts_the_nodes() {
        let with = |who| Starter { who, ..Starter::here() }.raise("LimitNOFILE", "nofile", "-Hn", 100_000);
        assert!(with(Who::Here).contains("`ulimit -Hn 100000`"));
        assert!(with(Who::Daemon(7)).contains("prlimit --pid 7 --nofile=100000:100000"));
        assert!(with(Who::Unit).ends_with("LimitNOFILE=100000"));
    }
}
