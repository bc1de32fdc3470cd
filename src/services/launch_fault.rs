//! What a start that came to no run means and what to do, by the shim's step that failed and what the kernel said. Pure.

use crate::base::{Cause, NodeKind, recipe::Recipe};

/// Why it need not be tried again; none: it may pass. `step` is the shim's word for what it was doing.
pub fn cause(step: &str, errno: i32) -> Option<Cause> {
    match (step, errno) {
        // A full table of processes, descriptors (of the process, of the host), no memory, a program that is being written.
        (_, libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::ETXTBSY) => None,
        ("exec" | "user" | "dir" | "order", _) => Some(Cause::CouldNotStart),
        // The shim's own files. A held lock is EAGAIN; a full disk is seen to before the start, and gets room again.
        ("log" | "socket" | "lock", libc::EACCES | libc::EPERM | libc::EROFS) => Some(Cause::WrongOwner),
        ("log" | "socket" | "lock", libc::EISDIR | libc::ENOTDIR | libc::ELOOP) => Some(Cause::CouldNotStart),
        // `fork`, `session`, `cgroup`, `limit`
        _ => None,
    }
}

/// What to do; `step` is the shim's word for what it was doing (`exec`, `dir`, `user`, `log`).
pub fn remedy(recipe: &Recipe, step: &str, errno: i32) -> String {
    let node = &recipe.node;
    let program = recipe.launch.argv.first().map_or("its program", String::as_str);
    let dir = recipe.launch.dir.display();
    let user = recipe.launch.user.as_deref();
    let key = match recipe.kind {
        NodeKind::Command => format!("correct command.{node}.argv"),
        NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::Mysql | NodeKind::KafkaUi => {
            "run `cdc-supervisor doctor`, which looks at the programs".to_owned()
        }
    };
    let whom = user.unwrap_or("the supervisor's user");
    let what = match (step, errno) {
        ("exec", libc::ENOENT) => {
            format!("put {program} there (of a script the interpreter in its first line, too), or {key}")
        }
        ("exec", libc::EACCES) => format!(
            "`chmod +x {program}`; {whom} must be able to enter each directory above it, and its file system must not be \
             mounted noexec; or {key}"
        ),
        ("exec", libc::ENOEXEC) => {
            format!("{program} is neither a program for this machine nor a script that begins with #!; {key}")
        }
        ("dir", _) => format!("make {dir} a directory that {whom} may enter"),
        ("log" | "socket" | "lock", libc::EROFS) => {
            "see the kernel's log for the disk's errors, then mount that file system for writing".to_owned()
        }
        ("log" | "socket" | "lock", libc::EPERM) => {
            "see with `lsattr` whether it may not be changed, and whether it is the supervisor's user's".to_owned()
        }
        ("log" | "socket" | "lock", libc::EISDIR | libc::ENOTDIR | libc::ELOOP) => {
            "move away what lies there".to_owned()
        }
        ("log" | "socket" | "lock", _) => {
            "give it, its directory and all in that to the supervisor's user (`chown -R`)".to_owned()
        }
        ("user", _) => format!("run the supervisor as root, or take user out of the settings of {node}"),
        _ => format!("mend its program, directory or user in supervisor.toml ({program})"),
    };
    format!("{what}; then `cdc-supervisor start {node}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_so_is_not_tried_again_and_what_may_pass_is() {
        use Cause::{CouldNotStart, WrongOwner};
        for (steps, errno, expected) in [
            (&["exec", "dir", "user"][..], libc::EACCES, Some(CouldNotStart)),
            (&["exec", "dir"], libc::ENOENT, Some(CouldNotStart)),
            (&["log", "socket", "lock"], libc::EACCES, Some(WrongOwner)),
            (&["log", "socket", "lock"], libc::EROFS, Some(WrongOwner)),
            (&["log", "lock"], libc::EPERM, Some(WrongOwner)),
            (&["log", "lock"], libc::EISDIR, Some(CouldNotStart)),
            (&["log", "socket", "lock"], libc::ENOSPC, None),
            (&["lock"], libc::EWOULDBLOCK, None),
            (&["exec", "dir", "log", "socket", "lock", "fork"], libc::ENFILE, None),
            (&["exec", "log", "fork"], libc::EMFILE, None),
            (&["exec", "fork"], libc::EAGAIN, None),
            (&["exec"], libc::ETXTBSY, None),
            (&["fork", "cgroup"], libc::EACCES, None),
        ] {
            for step in steps {
                assert_eq!(cause(step, errno), expected, "{step} {errno}");
            }
        }
    }

    #[test]
    fn each_way_a_program_cannot_be_run_has_its_own_remedy() {
        let text = "[command.a]\nargv = [\"/opt/a\"]\nuser = \"kim\"";
        let source = crate::config::Source { text, name: "t", root_override: None, default_root: "/r".into() };
        let plan = crate::config::load(&source).unwrap();
        let site = crate::services::Inputs {
            plan: &plan,
            programs: &crate::base::programs::Programs::default(),
            layout: &plan.layout(),
            cores: 2,
            running_as_root: true,
        };
        let mut recipe = crate::services::recipes(&site).unwrap().remove(0);
        for (step, errno, words) in [
            ("exec", libc::ENOENT, "put /opt/a there"),
            ("exec", libc::ENOENT, "command.a.argv"),
            ("exec", libc::EACCES, "`chmod +x /opt/a`; kim must be able"),
            ("exec", libc::ENOEXEC, "begins with #!"),
            ("exec", libc::ENAMETOOLONG, "/opt/a"),
            ("dir", libc::ENOENT, "a directory that kim may enter"),
            ("user", libc::EPERM, "run the supervisor as root"),
            ("log", libc::EACCES, "to the supervisor's user"),
            ("lock", libc::EPERM, "lsattr"),
            ("socket", libc::EROFS, "mount that file system for writing"),
            ("log", libc::EISDIR, "move away what lies there"),
        ] {
            let said = remedy(&recipe, step, errno);
            assert!(said.contains(words) && said.ends_with("; then `cdc-supervisor start a`"), "{words}: {said}");
        }
        recipe.kind = NodeKind::Mysql;
        assert!(remedy(&recipe, "exec", libc::ENOENT).contains("doctor"));
    }
}
