//! cgroup v2: finding the part that is ours, a group per node with its limits, and reading what happened in it.
//!
//! Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst and systemd's "Control Group APIs and Delegation".

mod limits;
mod usage;

pub use limits::{Caps, Deviation, Limit, read_limit};
pub use usage::{
    ABOVE_MAX, Above, MemoryNow, OomCounts, OomSince, memory_max, memory_now, memory_peak, oom_by, oom_counts,
};

use super::{error::SysError, mounts::unescape, process};
use crate::base::NodeName;
use limits::read_number;
use nix::unistd::{AccessFlags, access};
use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use usage::keyed;

/// The group that the daemon and its shims sit in: `DelegateSubgroup=` of the unit (systemd.resource-control(5)).
pub const OWN_GROUP: &str = "supervisor";
/// The group that holds one group per node.
pub const NODES_GROUP: &str = "nodes";

/// Where the facts are read: parameters, so that tests use a tree of plain files.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/proc/self/cgroup`.
    pub membership: PathBuf,
    /// `/proc/self/mountinfo`.
    pub mountinfo: PathBuf,
    /// `/run/systemd/system`: exists when systemd manages this machine (sd_booted(3)).
    pub systemd: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            membership: "/proc/self/cgroup".into(),
            mountinfo: "/proc/self/mountinfo".into(),
            systemd: "/run/systemd/system".into(),
        }
    }
}

/// A delegated part of the tree, controllers enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupRoot {
    unit: PathBuf,
}

#[cfg(test)]
impl CgroupRoot {
    /// A directory of plain files in the place of one.
    pub(crate) fn at(unit: &Path) -> Self {
        Self { unit: unit.to_owned() }
    }
}

/// Finds this process's delegated group and makes it ready for nodes; the error says in words why there is none.
pub fn detect() -> Result<CgroupRoot, String> {
    detect_at(&Places::default())
}

/// [`detect`] with the places given.
pub fn detect_at(places: &Places) -> Result<CgroupRoot, String> {
    let (root, in_subgroup) = find(places)?;
    // an ordinary user may also write to groups that its own systemd manages for somebody else
    let all_ours = !places.systemd.exists() || is_delegated(&root.unit);
    root.prepare(in_subgroup, all_ours).map_err(|e| format!("{e}: {}", e.source))?;
    Ok(root)
}

/// Moves this process into the group of that one, when that is a supervisor's group other than its own; true when it is there.
pub fn join_group_of(pid: i32) -> bool {
    let (Some((_, theirs)), Some((_, own))) = (group_of(Some(pid)), group_of(None)) else { return false };
    if own == theirs || theirs.file_name().is_none_or(|name| name != OWN_GROUP) {
        return own == theirs;
    }
    // Refused where the two have no group in common that is this user's: then it stays where it is.
    write(&theirs.join("cgroup.procs"), "0").is_ok()
}

/// What this process could use, and nothing is changed: the group that was delegated to it, or in words why there is none.
pub fn look() -> Result<PathBuf, String> {
    find(&Places::default()).map(|(root, _)| root.unit)
}

/// The mount of cgroup v2 and the group of a process below it; none `pid`: of this process.
fn group_of(pid: Option<i32>) -> Option<(PathBuf, PathBuf)> {
    let places = Places::default();
    let membership = pid.map_or(places.membership, |pid| format!("/proc/{pid}/cgroup").into());
    let own = own_path(&fs::read_to_string(membership).ok()?)?;
    let (mount, mount_root) = mount_of(&fs::read_to_string(&places.mountinfo).ok()?)?;
    let below = own.strip_prefix(&mount_root).unwrap_or(&own);
    let dir = mount.join(below.strip_prefix("/").unwrap_or(below));
    Some((mount, dir))
}

/// Whether a daemon has made groups with caps for its nodes, seen from outside; or in words why not.
pub fn gives_caps(pid: i32) -> Result<(), String> {
    let (_, dir) = group_of(Some(pid)).ok_or("it is in no cgroup v2 group")?;
    let nodes = dir.with_file_name(NODES_GROUP);
    let in_subgroup = dir.file_name().is_some_and(|n| n == OWN_GROUP);
    // The unit's umask closes the groups that the daemon has made to others. What those have was given to the one above first.
    let list = match fs::read_to_string(nodes.join("cgroup.subtree_control")) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            fs::read_to_string(dir.with_file_name("cgroup.subtree_control"))
        }
        list => list,
    };
    match list {
        Ok(list) if in_subgroup && has_word(&list, "memory") => Ok(()),
        Ok(_) | Err(_) => Err(format!("it has no groups for nodes beside its own, {}", dir.display())),
    }
}

/// The least `pids.max` of a process's group and those above it, as far as they can be seen; none: no limit. None `pid`: of
/// this process.
pub fn pids_limit(pid: Option<i32>) -> Option<u64> {
    let (mount, dir) = group_of(pid)?;
    let limits = dir.ancestors().take_while(|d| d.starts_with(&mount)).filter_map(|d| read_number(&d.join("pids.max")));
    limits.min()
}

/// The delegated group, and whether this process is in the sub-group for the supervisor already.
fn find(places: &Places) -> Result<(CgroupRoot, bool), String> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{} cannot be read: {e}", path.display()));
    let own = own_path(&read(&places.membership)?).ok_or("this process is in no cgroup v2 group")?;
    let mountinfo = read(&places.mountinfo)?;
    let (mount, mount_root) = mount_of(&mountinfo).ok_or("no cgroup v2 file system is mounted")?;
    // in a container the mount may show only a part of the tree
    let below = own.strip_prefix(&mount_root).unwrap_or(&own);
    let dir = mount.join(below.strip_prefix("/").unwrap_or(below));
    let in_subgroup = dir.file_name().is_some_and(|n| n == OWN_GROUP);
    let unit = if in_subgroup { dir.parent().unwrap_or(&dir).to_owned() } else { dir };
    // of the unit: the sub-group below it has none until they are enabled here
    let controllers = read(&unit.join("cgroup.controllers"))?;
    if !has_word(&controllers, "memory") {
        return Err(without_memory(&mount, &unit, &controllers, &mountinfo));
    }
    for needed in ["", "cgroup.procs", "cgroup.subtree_control"] {
        let path = if needed.is_empty() { unit.clone() } else { unit.join(needed) };
        if let Err(e) = access(&path, AccessFlags::W_OK) {
            return Err(format!("{} was not delegated to this user: {e}", path.display()));
        }
    }
    // root may write everywhere, which is no permission to: systemd owns what it did not mark as delegated
    if nix::unistd::geteuid().is_root() && places.systemd.exists() && !is_delegated(&unit) {
        return Err(format!(
            "{} belongs to systemd and was not delegated (Delegate=yes in the unit or scope)",
            unit.display()
        ));
    }
    Ok((CgroupRoot { unit }, in_subgroup))
}

/// Why a group has no memory controller: the first version of cgroups has it, a group above keeps it, or nobody has it.
fn without_memory(mount: &Path, unit: &Path, controllers: &str, mountinfo: &str) -> String {
    if let Some(v1) = v1_memory(mountinfo) {
        // A controller is in one hierarchy only (cgroup-v2.rst, "Mounting").
        return format!("the memory controller is that of cgroup v1 here ({})", v1.display());
    }
    let has = if controllers.trim().is_empty() { "none" } else { controllers.trim() };
    let what = format!("the memory controller of cgroup v2 is not available in {} (it has: {has})", unit.display());
    let has_it = |dir: &&Path| {
        fs::read_to_string(dir.join("cgroup.controllers")).is_ok_and(|controllers| has_word(&controllers, "memory"))
    };
    let above = unit.ancestors().skip(1).take_while(|dir| dir.starts_with(mount)).find(has_it);
    match above {
        Some(dir) => format!("{what}: {} has it and does not pass it on", dir.display()),
        None => what,
    }
}

/// Where the memory controller of cgroup v1 is mounted; none: it is not (proc(5), mountinfo: the options of the file system, behind
/// its source, name its controllers).
fn v1_memory(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let is_v1 = right.next()? == "cgroup";
        let has_memory = right.nth(1)?.split(',').any(|option| option == "memory");
        if is_v1 && has_memory { Some(unescape(left.split(' ').nth(4)?).into()) } else { None }
    })
}

/// Whether this host has the memory controller for cgroup v2 at all, or in words why not.
pub fn memory_of_host() -> Result<(), String> {
    memory_at(&Places::default())
}

fn memory_at(places: &Places) -> Result<(), String> {
    let mountinfo = fs::read_to_string(&places.mountinfo).unwrap_or_default();
    let (mount, _) = mount_of(&mountinfo).ok_or("no cgroup v2 file system is mounted")?;
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    if has_word(&controllers, "memory") {
        Ok(())
    } else {
        Err(without_memory(&mount, &mount, &controllers, &mountinfo))
    }
}

/// systemd marks a delegated group with an extended attribute; `user.delegate` where the file system has user attributes.
fn is_delegated(dir: &Path) -> bool {
    let Ok(c_path) = std::ffi::CString::new(dir.as_os_str().as_encoded_bytes()) else { return false };
    [c"trusted.delegate", c"user.delegate"].iter().any(|name| {
        let mut value = [0u8; 8];
        // SAFETY: both strings end with NUL and live through the call; the length is that of the buffer.
        let n = unsafe { libc::getxattr(c_path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        n == 1 && value[0] == b'1'
    })
}

fn own_path(membership: &str) -> Option<PathBuf> {
    membership.lines().find_map(|l| l.strip_prefix("0::")).map(PathBuf::from)
}

/// Mount point and shown part of the first cgroup2 mount (proc(5), mountinfo: "36 35 98:0 /root /mnt opts ... - type ...").
fn mount_of(mountinfo: &str) -> Option<(PathBuf, PathBuf)> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        if right.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = left.split(' ').skip(3);
        let root = unescape(fields.next()?);
        Some((unescape(fields.next()?).into(), root.into()))
    })
}

fn has_word(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|w| w == word)
}

fn write(path: &Path, text: &str) -> Result<(), SysError> {
    // never created: a missing file means a missing controller
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut f| f.write_all(text.as_bytes()))
        .map_err(|e| SysError::new(format!("write {text:?} to {}", path.display()), e))
}

fn make_group(path: &Path) -> Result<(), SysError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(SysError::path("make cgroup", path, e)),
    }
}

fn enable(dir: &Path) -> Result<(), SysError> {
    let control = dir.join("cgroup.subtree_control");
    for best_effort in ["+cpu", "+io"] {
        // weights are a courtesy; a host without these controllers is no reason to run without caps
        let _ = write(&control, best_effort);
    }
    write(&control, "+memory +pids")
}

impl CgroupRoot {
    fn prepare(&self, in_subgroup: bool, all_ours: bool) -> Result<(), SysError> {
        if !in_subgroup {
            // a group with processes cannot enable controllers for its children ("no internal processes")
            let own = self.unit.join(OWN_GROUP);
            make_group(&own)?;
            write(&own.join("cgroup.procs"), "0")?;
            // Shims that wait in reserve; in a scope also the shell or the `up` that started us.
            let own_pid = Some(std::process::id().cast_signed());
            let ours = |pid: &i32| all_ours || process::parent(*pid) == own_pid;
            for pid in members(&self.unit).into_iter().filter(ours) {
                // one that has ended meanwhile needs no move; one that stays is told by the next write
                let _ = write(&own.join("cgroup.procs"), &pid.to_string());
            }
        }
        enable(&self.unit)?;
        make_group(&self.nodes())?;
        enable(&self.nodes())
    }

    /// The delegated group itself.
    pub fn unit(&self) -> &Path {
        &self.unit
    }

    /// The group that holds the nodes' groups.
    pub fn nodes(&self) -> PathBuf {
        self.unit.join(NODES_GROUP)
    }

    /// The group of the daemon and its shims.
    pub fn own(&self) -> PathBuf {
        self.unit.join(OWN_GROUP)
    }

    /// The group of one node.
    pub fn node(&self, node: &NodeName) -> PathBuf {
        self.nodes().join(node.as_str())
    }

    /// Removes the group of a node, and groups its processes made below. Processes that are being reaped keep it busy for
    /// a moment: tried for up to 200 ms.
    pub fn remove_node(&self, node: &NodeName) -> Result<(), SysError> {
        let mut tries = 0;
        while !self.remove_node_now(node)? && tries < 40 {
            tries += 1;
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The same, tried once. False: it is busy still.
    pub fn remove_node_now(&self, node: &NodeName) -> Result<bool, SysError> {
        let dir = self.node(node);
        match remove_tree(&dir) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::ResourceBusy => Ok(false),
            Err(e) => Err(SysError::path("remove cgroup", &dir, e)),
        }
    }
}

impl CgroupRoot {
    /// Removes the groups that nobody is in, but those of nodes to `keep`. The kernel refuses to remove one that is populated.
    pub fn remove_idle(&self, keep: impl Fn(&NodeName) -> bool) {
        for entry in fs::read_dir(self.nodes()).into_iter().flatten().flatten() {
            let is_group = entry.file_type().is_ok_and(|t| t.is_dir());
            let name = entry.file_name().to_str().and_then(|name| NodeName::new(name).ok());
            if is_group && name.is_some_and(|name| !keep(&name)) {
                // Busy: somebody is in it after all, and it goes with its node's next end.
                let _ = remove_tree(&entry.path());
            }
        }
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    remove_tree(&entry.path())?;
                }
            }
        }
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    }
    fs::remove_dir(dir)
}

/// SIGKILL to everything in the group, forks included (`cgroup.kill`, Linux 5.14); on older kernels to each member.
/// The kill is asynchronous: look at [`populated`]. A group that is not there has nothing to kill.
pub fn kill(dir: &Path) -> Result<(), SysError> {
    let e = match write(&dir.join("cgroup.kill"), "1") {
        Ok(()) => return Ok(()),
        Err(_) if !dir.exists() => return Ok(()),
        Err(e) => e,
    };
    let members = members(dir);
    let mut killed = false;
    for pid in members {
        killed |= process::pidfd_open(pid).and_then(|fd| process::pidfd_signal(&fd, libc::SIGKILL)).is_ok();
    }
    if killed { Ok(()) } else { Err(e) }
}

/// Whether a live process is in the group or below it; none when the group is not there.
pub fn populated(dir: &Path) -> Option<bool> {
    keyed(&fs::read_to_string(dir.join("cgroup.events")).ok()?, "populated").map(|n| n != 0)
}

/// The processes in the group itself.
pub fn members(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|l| l.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
