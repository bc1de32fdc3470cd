//! With scripts in the place of mysqld.

use super::*;
use crate::{
    base::{
        Cause, NodeKind,
        recipe::{Recipe, RenderedFile},
    },
    services,
};
use std::{os::unix::fs::PermissionsExt, path::Path};

/// A server's recipe whose program is this script; `$1` is the option with the file's name.
fn recipe(dir: &Path, script: &str, options: &str) -> Recipe {
    let source = crate::config::Source {
        text: "[command.a]\nargv = [\"/bin/true\"]\n",
        name: "t",
        root_override: Some(dir.to_owned()),
        default_root: "/r".into(),
    };
    let plan = crate::config::load(&source).unwrap();
    let inputs = services::Inputs {
        plan: &plan,
        programs: &crate::base::programs::Programs::default(),
        layout: &plan.layout(),
        cores: 1,
        running_as_root: false,
    };
    let mut recipe = services::recipes(&inputs).unwrap().remove(0);
    let file = dir.join("my.cnf");
    recipe.kind = NodeKind::Mysql;
    recipe.launch.argv = ["/bin/sh", "-c", script, "mysqld"].map(str::to_owned).to_vec();
    recipe.launch.argv.push(format!("--defaults-file={}", file.display()));
    recipe.launch.env = vec![("ONLY".into(), "this".into())];
    recipe.files = vec![RenderedFile { path: file, mode: 0o640, contents: format!("[mysqld]\n{options}\n") }];
    recipe
}

fn asked(dir: &Path, script: &str) -> Answer {
    ask(&recipe(dir, script, "a=1"), None).unwrap()
}

#[test]
fn the_file_in_use_is_not_touched_and_the_one_asked_about_is_gone_afterwards() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    std::fs::write(dir.join("my.cnf"), "in use").unwrap();
    // What the program sees: its arguments, its file, its environment.
    let script = format!("echo \"$1 $2\" > {0}/seen; cat \"${{1#*=}}\" >> {0}/seen; env >> {0}/seen", dir.display());
    assert_eq!(asked(dir, &script), Answer::Takes);
    let seen = std::fs::read_to_string(dir.join("seen")).unwrap();
    assert!(seen.contains("my.cnf.asked --validate-config\n[mysqld]\na=1\n"), "{seen}");
    assert!(seen.contains("ONLY=this") && !seen.contains("HOME="), "{seen}");
    assert_eq!(std::fs::read_to_string(dir.join("my.cnf")).unwrap(), "in use");
    let left: Vec<String> = fs::names_in(dir).unwrap().into_iter().filter(|name| name.contains("asked")).collect();
    assert!(left.is_empty(), "{left:?}");
    let other = Recipe { kind: NodeKind::Command, ..recipe(dir, "exit 1", "") };
    assert_eq!(ask(&other, None), None);
}

#[test]
fn an_answer_a_program_that_cannot_run_and_no_answer_are_three_things() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let refused = asked(dir, "echo \"[ERROR] [MY-000067] [Server] unknown variable 'a=1'.\" >&2; exit 1");
    assert!(matches!(&refused, Answer::Refuses(f) if f.what.contains("unknown variable 'a=1'")), "{refused:?}");
    let killed = asked(dir, "kill -9 $$");
    assert!(matches!(&killed, Answer::Unclear(why) if why.contains("SIGKILL")), "{killed:?}");
    let program = dir.join("mysqld");
    let of_program = || {
        let mut recipe = recipe(dir, "", "a=1");
        recipe.launch.argv = vec![program.display().to_string(), recipe.launch.argv.remove(4)];
        ask(&recipe, None).unwrap()
    };
    let none = of_program();
    assert!(matches!(&none, Answer::CannotRun(f) if f.cause == Cause::CouldNotStart), "{none:?}");
    std::fs::write(&program, "no program").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let strange = of_program();
    assert!(matches!(strange, Answer::CannotRun(_)), "{strange:?}");
    // A directory that is not there yet: it has never been prepared, and its start will say.
    let mut never = recipe(dir, "exit 0", "a=1");
    never.files[0].path = dir.join("none/my.cnf");
    never.launch.argv[4] = format!("--defaults-file={}/none/my.cnf", dir.display());
    let never = ask(&never, None).unwrap();
    assert!(matches!(never, Answer::Unclear(_)), "{never:?}");
}

#[test]
fn a_name_that_only_the_servers_tables_know_does_not_hide_the_slip_behind_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    // It stops at the first name, as mysqld does.
    let script = r#"f="${1#*=}"
        for name in component.a innodb_bufer; do
            grep -q "^$name=" "$f" && { echo "[ERROR] [MY-000067] [Server] unknown variable '$name=1'." >&2; exit 1; }
        done
        exit 0"#;
    let said = ask(&recipe(dir, script, "component.a=1\ninnodb_bufer=1"), None).unwrap();
    assert!(matches!(&said, Answer::Refuses(f) if f.what.contains("innodb_bufer")), "{said:?}");
    assert_eq!(ask(&recipe(dir, script, "component.a=1"), None), Some(Answer::Takes));
    // It says the same for ever: not asked for ever.
    let stubborn = "echo \"[ERROR] [MY-000067] [Server] unknown variable 'loose_a.b=1'.\" >&2; exit 1";
    let said = ask(&recipe(dir, stubborn, "a.b=1\nloose_a.b=1"), None).unwrap();
    assert!(matches!(said, Answer::Unclear(_) | Answer::Refuses(_)), "{said:?}");
}
