//! What to do when a program cannot be executed, by the step that failed and what the kernel said. Pure.

use crate::base::{NodeKind, recipe::Recipe};

/// What to do; `step` is the shim's word for what it was doing (`exec`, `dir`, `user`).
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
        ("user", _) => format!("run the supervisor as root, or take user out of the settings of {node}"),
        _ => format!("mend its program, directory or user in supervisor.toml ({program})"),
    };
    format!("{what}; then `cdc-supervisor start {node}`")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            let said = remedy(&recipe, step, errno);
            assert!(said.contains(words) && said.ends_with("; then `cdc-supervisor start a`"), "{words}: {said}");
        }
        recipe.kind = NodeKind::Mysql;
        assert!(remedy(&recipe, "exec", libc::ENOENT).contains("doctor"));
    }
}
