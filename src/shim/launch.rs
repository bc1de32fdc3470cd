//! Forks the node and takes it to its program: everything is prepared before the fork, the child only makes system calls.

use super::wire::{LaunchFailure, LaunchOrder};
use crate::{
    base::{Timestamp, ids::ProcessId},
    sys::{
        clock,
        failpoint::{fail_io, fail_point},
        process,
    },
};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::resource::{Resource, getrlimit},
    unistd::{ForkResult, fork, geteuid, pipe2, read},
};
use std::{
    ffi::{CStr, CString},
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr,
};

/// A node whose program runs.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) process: ProcessId,
    pub(super) pidfd: OwnedFd,
    pub(super) started_at: Timestamp,
}

/// A failure of a step with the kernel's reason.
pub(super) fn failure(step: &str, doing: &str, e: &io::Error) -> LaunchFailure {
    LaunchFailure {
        step: step.to_owned(),
        errno: e.raw_os_error().unwrap_or(libc::EINVAL),
        text: format!("cannot {doing}: {e}"),
    }
}

/// The steps between fork and exec, as the child reports them.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Step {
    Session = 1,
    Output,
    Cgroup,
    Limit,
    User,
    Dir,
    Exec,
}

/// All that the child needs, in the form in which the kernel takes it.
struct Plan {
    program: CString,
    /// Pointers into `_strings`, with a null at the end.
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    _strings: Vec<CString>,
    dir: CString,
    cgroup: Option<File>,
    nofile: libc::rlimit,
    oom_score_adj: Vec<u8>,
    /// uid, gid, groups; none also when this process is that user already and may not set groups.
    credentials: Option<(libc::uid_t, libc::gid_t, Vec<libc::gid_t>)>,
    null: File,
    output: RawFd,
    lock: RawFd,
    report: RawFd,
}

fn prepare(order: &LaunchOrder, notify: Option<&Path>) -> Result<Plan, LaunchFailure> {
    let c_string = |bytes: &[u8]| {
        CString::new(bytes).map_err(|_| {
            let text = String::from_utf8_lossy(bytes);
            failure(
                "order",
                &format!("pass on {text:?}"),
                &io::Error::new(io::ErrorKind::InvalidInput, "it holds a NUL"),
            )
        })
    };
    let program = match order.argv.first() {
        Some(program) => c_string(program.as_bytes())?,
        None => return Err(failure("order", "run an empty command", &io::ErrorKind::InvalidInput.into())),
    };
    let mut strings = Vec::with_capacity(order.argv.len() + order.env.len() + 1);
    for argument in &order.argv {
        strings.push(c_string(argument.as_bytes())?);
    }
    for (key, value) in &order.env {
        strings.push(c_string(&[key.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    if let Some(path) = notify {
        strings.push(c_string(&[b"NOTIFY_SOCKET=", path.as_os_str().as_bytes()].concat())?);
    }
    let pointers = |part: &[CString]| {
        let mut list: Vec<_> = part.iter().map(|s| s.as_ptr()).collect();
        list.push(ptr::null());
        list
    };
    let (arguments, environment) = strings.split_at(order.argv.len());
    let (argv, envp) = (pointers(arguments), pointers(environment));
    let cgroup = match &order.cgroup {
        None => None,
        Some(dir) => {
            let path = dir.join("cgroup.procs");
            let open = OpenOptions::new().write(true).open(&path);
            Some(open.map_err(|e| failure("cgroup", &format!("open {}", path.display()), &e))?)
        }
    };
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(order.nofile, |(_, hard)| hard);
    let nofile = order.nofile.min(hard);
    let own = geteuid();
    let credentials = order
        .credentials
        .as_ref()
        .filter(|c| own.is_root() || own.as_raw() != c.uid)
        .map(|c| (c.uid, c.gid, c.groups.clone()));
    Ok(Plan {
        program,
        argv,
        envp,
        _strings: strings,
        dir: c_string(order.dir.as_os_str().as_bytes())?,
        cgroup,
        nofile: libc::rlimit { rlim_cur: nofile, rlim_max: nofile },
        oom_score_adj: order.oom_score_adj.to_string().into_bytes(),
        credentials,
        null: OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(|e| failure("fork", "open /dev/null", &e))?,
        output: -1,
        lock: -1,
        report: -1,
    })
}

/// Starts the node. `output` becomes its standard output and error; `lock` stays open in it and in all it starts.
/// Returns once the program runs, or with the step that failed.
pub(super) fn launch(
    order: &LaunchOrder,
    notify: Option<&Path>,
    output: OwnedFd,
    lock: BorrowedFd,
) -> Result<Launched, LaunchFailure> {
    let mut plan = prepare(order, notify)?;
    let pipe = fail_io!("shim.pipe").and_then(|()| Ok(pipe2(OFlag::O_CLOEXEC)?));
    let (report_in, report_out) = pipe.map_err(|e| failure("fork", "make a pipe", &e))?;
    plan.output = output.as_raw_fd();
    plan.lock = lock.as_raw_fd();
    plan.report = report_out.as_raw_fd();
    let started_at = clock::wall();
    fail_io!("shim.fork").map_err(|e| failure("fork", "fork", &e))?;
    // SAFETY: this process has one thread, and the child only makes system calls on what was prepared, then execs or exits.
    let pid = match unsafe { fork() }.map_err(|e| failure("fork", "fork", &e.into()))? {
        ForkResult::Child => in_child(&plan),
        ForkResult::Parent { child } => child.as_raw(),
    };
    drop((output, report_out));
    // No race: an ended child keeps its pid until this process waits for it.
    let handles = process::pidfd_open(pid)
        .and_then(|fd| process::identity(pid).map(|id| (fd, id)).ok_or_else(|| io::ErrorKind::NotFound.into()));
    let mut message = [0; 5];
    let told = loop {
        match read(&report_in, &mut message) {
            Err(Errno::EINTR) => {}
            other => break other,
        }
    };
    let failed = match (told, handles) {
        (Ok(0), Ok((pidfd, process))) => return Ok(Launched { process, pidfd, started_at }),
        (Ok(5), _) => {
            let [step, errno @ ..] = message;
            explain(step, &io::Error::from_raw_os_error(i32::from_ne_bytes(errno)), order, &plan)
        }
        (Ok(_), Ok(_)) => failure("fork", "hear from the child", &io::ErrorKind::InvalidData.into()),
        (_, Err(e)) => failure("fork", "open a pidfd", &e),
        (Err(e), _) => failure("fork", "hear from the child", &e.into()),
    };
    // SAFETY: plain system calls on our own child, which is not reaped yet.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, ptr::null_mut(), 0);
    }
    Err(failed)
}

fn explain(step: u8, e: &io::Error, order: &LaunchOrder, plan: &Plan) -> LaunchFailure {
    let (name, doing) = match step {
        s if s == Step::Session as u8 => ("session", "start a session".to_owned()),
        s if s == Step::Output as u8 => ("fork", "connect the output".to_owned()),
        s if s == Step::Cgroup as u8 => {
            let dir = order.cgroup.as_deref().unwrap_or(Path::new(""));
            ("cgroup", format!("join the cgroup {}", dir.display()))
        }
        s if s == Step::Limit as u8 => ("limit", format!("set the limit of open files to {}", plan.nofile.rlim_cur)),
        s if s == Step::User as u8 => {
            let (uid, gid) = order.credentials.as_ref().map_or((0, 0), |c| (c.uid, c.gid));
            ("user", format!("become uid {uid}, gid {gid}"))
        }
        s if s == Step::Dir as u8 => ("dir", format!("enter {}", order.dir.display())),
        _ => ("exec", format!("run {}", plan.program.to_string_lossy())),
    };
    failure(name, &doing, e)
}

/// The child's way to its program. Only async-signal-safe calls (signal-safety(7)); no allocation.
fn in_child(plan: &Plan) -> ! {
    fail_point!("shim.child");
    let (step, errno) = become_program(plan);
    let mut message = [0; 5];
    message[0] = step as u8;
    message[1..].copy_from_slice(&(errno as i32).to_ne_bytes());
    // SAFETY: write and _exit are async-signal-safe; the buffer lives. A parent that is gone needs no message.
    unsafe {
        libc::write(plan.report, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

/// Returns only with the step that failed.
fn become_program(plan: &Plan) -> (Step, Errno) {
    // SAFETY: async-signal-safe system calls only; all pointers are into `plan`, which the parent filled before the fork
    // and which lives in this process's own copy of memory.
    unsafe {
        // Not through libc, which keeps 32 and 33 for itself and refuses them: an ignored one would be inherited by exec.
        // The kernel's struct is four words at most, and all zero means SIG_DFL with no flags and no mask.
        let default = [0u64; 4];
        for signal in 1..=64 {
            // refused for SIGKILL and SIGSTOP, which have no other
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), 8usize);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        if libc::setsid() < 0 {
            return (Step::Session, Errno::last());
        }
        for (from, to) in [(plan.null.as_raw_fd(), 0), (plan.output, 1), (plan.output, 2)] {
            if libc::dup2(from, to) < 0 {
                return (Step::Output, Errno::last());
            }
        }
        if let Some(procs) = &plan.cgroup
            && libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1
        {
            return (Step::Cgroup, Errno::last());
        }
        // best effort: an ordinary user may not go below what was given (proc(5)), and then keeps that
        let adjust = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if adjust >= 0 {
            libc::write(adjust, plan.oom_score_adj.as_ptr().cast(), plan.oom_score_adj.len());
            libc::close(adjust);
        }
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const plan.nofile) < 0 {
            return (Step::Limit, Errno::last());
        }
        if let Some((uid, gid, groups)) = &plan.credentials
            && (libc::setgroups(groups.len(), groups.as_ptr()) < 0 || libc::setgid(*gid) < 0 || libc::setuid(*uid) < 0)
        {
            return (Step::User, Errno::last());
        }
        libc::umask(0o027);
        if libc::chdir(plan.dir.as_ptr()) < 0 {
            return (Step::Dir, Errno::last());
        }
        // All of ours are close-on-exec by birth; this catches what a careless parent left open (Linux 5.11).
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        // the lock goes along: it is held while anything of the tree lives
        libc::fcntl(plan.lock, libc::F_SETFD, 0);
        execute(&plan.program, &plan.argv, &plan.envp)
    }
}

/// execve. Returns only on failure.
///
/// # Safety
/// Both lists must end with a null pointer and point to strings that live.
unsafe fn execute(program: &CStr, argv: &[*const libc::c_char], envp: &[*const libc::c_char]) -> (Step, Errno) {
    // SAFETY: the caller's promise.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    (Step::Exec, Errno::last())
}
