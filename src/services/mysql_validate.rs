//! Would mysqld take this option file: the question (`--validate-config`) and what its answer means. Pure.
//!
//! Tried with 9.7.4 beside a server that runs on the same data: it ends after 20 ms, holds 54 MB, and opens no file of the data
//! directory, no socket and no port. It stops at the first mistake (exit 1, `[ERROR]` on standard error) and sees names and values, not
//! what InnoDB or the network make of them later. A server that is really started meets an unknown name after InnoDB has written.

use super::classify::classify_helper;
use crate::base::{
    Cause, ExitStatus, NodeKind,
    outcome::Failure,
    recipe::{Recipe, RenderedFile},
};
use std::path::PathBuf;

/// A run of mysqld that only reads its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment: without `NOTIFY_SOCKET`, so nobody hears of it.
    pub env: Vec<(String, String)>,
    /// What it reads.
    pub file: RenderedFile,
}

/// What its answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It takes them.
    Takes,
    /// It does not; a start would end there.
    Refuses(Failure),
    /// It cannot run here at all.
    CannotRun(Failure),
    /// It does not know a name that only a server with its data can know: asked again with this file, where that name may be unknown.
    Again(String),
    /// It says nothing.
    Unclear(String),
}

/// The last name of the file that is asked about: beside the one that the server has.
const ASKED: &str = "asked";

/// The question for this recipe; none: it is no MySQL server's.
pub fn question(recipe: &Recipe) -> Option<Question> {
    if recipe.kind != NodeKind::Mysql {
        return None;
    }
    let (at, served) = recipe
        .launch
        .argv
        .iter()
        .enumerate()
        .find_map(|(at, argument)| Some((at, PathBuf::from(argument.strip_prefix("--defaults-file=")?))))?;
    let file = recipe.files.iter().find(|file| file.path == served)?;
    let path = served.with_added_extension(ASKED);
    let mut argv = recipe.launch.argv.clone();
    argv[at] = format!("--defaults-file={}", path.display());
    argv.push("--validate-config".into());
    Some(Question { argv, env: recipe.launch.env.clone(), file: RenderedFile { path, ..file.clone() } })
}

/// Judges how it ended. `runs` is what a server that runs well was made from; none: none does.
pub fn answer(asked: &Question, runs: Option<&Recipe>, status: ExitStatus, output: &str) -> Answer {
    if status == ExitStatus::Code(0) {
        return Answer::Takes;
    }
    if let Some(name) = unknown_name(output)
        && (name.contains('.') || runs.is_some_and(|runs| has_it(runs, asked, name)))
        && let Some(text) = loosened(&asked.file.contents, name)
    {
        return Answer::Again(text);
    }
    let judged = classify_helper(NodeKind::Mysql, status, output);
    match (judged.failure, output.contains("[ERROR]")) {
        (Some(failure), true) if matches!(failure.cause, Cause::BadOption | Cause::CouldNotStart) => {
            let remedy = match unknown_name(output) {
                Some(name) => format!(
                    "correct the setting in supervisor.toml, then reload; where it is one of a plugin that the server loads from its own \
                     tables, write loose_{name}"
                ),
                None => "correct the setting in supervisor.toml, then reload".into(),
            };
            Answer::Refuses(Failure { cause: Cause::BadOption, what: failure.what, remedy })
        }
        (Some(failure), _) => Answer::CannotRun(failure),
        (None, _) if judged.cause == Cause::Crashed => Answer::CannotRun(Failure {
            cause: Cause::CouldNotStart,
            what: format!("it ended with {}", status.describe()),
            remedy: "see whether this mysqld runs on this machine at all, or take another version; then reload".into(),
        }),
        (None, _) => Answer::Unclear(format!("it ended with {}", status.describe())),
    }
}

/// The option that is unknown: `[MY-000067] [Server] unknown variable 'x=1'.`, `[MY-000068] [Server] unknown option '--x'.`
fn unknown_name(output: &str) -> Option<&str> {
    let quoted = |line: &str, before: &str| -> Option<(usize, usize)> {
        let from = line.find(before)? + before.len();
        Some((from, from + line[from..].find('\'')?))
    };
    output.lines().find_map(|line| {
        let (from, to) = quoted(line, "unknown variable '").or_else(|| quoted(line, "unknown option '"))?;
        let option = line[from..to].trim_start_matches("--");
        Some(option.split_once('=').map_or(option, |(name, _)| name))
    })
}

/// Dashes and underscores mean the same.
fn is_named(line: &str, name: &str) -> bool {
    let plain = |text: &str| text.trim().replace('-', "_");
    line.split_once('=').is_some_and(|(own, _)| plain(own) == plain(name))
}

/// Whether the same program runs with the very line: it has found the name in its tables, where a server without its data does not look.
fn has_it(runs: &Recipe, asked: &Question, name: &str) -> bool {
    let of = |text: &str| text.lines().find(|line| is_named(line, name)).map(str::to_owned);
    let files = || runs.files.iter().filter_map(|file| of(&file.contents)).next();
    program(&runs.launch.argv) == program(&asked.argv)
        && files().is_some_and(|line| of(&asked.file.contents) == Some(line))
}

/// What stands before the options: the server, and what loads it.
fn program(argv: &[String]) -> Vec<&String> {
    argv.iter().take_while(|argument| !argument.starts_with("--defaults-file=")).collect()
}

/// The file with this option as one that may be unknown (manual, "Program Option Modifiers"); none: it is not in it as it is said.
fn loosened(text: &str, name: &str) -> Option<String> {
    let is_strict = |line: &&str| is_named(line, name);
    text.lines().find(is_strict)?;
    let lines = text.lines().map(|line| {
        let strict = is_strict(&line);
        format!("{}{line}\n", if strict { "loose_" } else { "" })
    });
    Some(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        services::{Inputs, recipes, tests::programs},
    };

    fn mysql(options: &str, mysqld: &str) -> Recipe {
        let text = format!("[mysql]\n[mysql.options]\n{options}\n");
        let source = config::Source { text: &text, name: "t", root_override: None, default_root: "/srv/cdc".into() };
        let plan = config::load(&source).unwrap();
        let mut programs = programs();
        if let Some(tree) = &mut programs.mysql {
            tree.mysqld = mysqld.into();
        }
        let layout = plan.layout();
        let inputs = Inputs { plan: &plan, programs: &programs, layout: &layout, cores: 2, running_as_root: false };
        recipes(&inputs).unwrap().remove(0)
    }

    const UNKNOWN: &str = "2026-11-26T14:28:06.678887Z 0 [ERROR] [MY-000067] [Server] unknown variable 'innodb_bufer_pool_size=128M'.\n\
         2026-11-26T14:28:06.678908Z 0 [ERROR] [MY-010119] [Server] Aborting\n";

    fn judged(options: &str, runs: Option<&Recipe>, code: i32, output: &str) -> Answer {
        answer(&question(&mysql(options, "/m/sbin/mysqld")).unwrap(), runs, ExitStatus::Code(code), output)
    }

    #[test]
    fn mysqld_is_asked_about_a_file_beside_its_own_with_its_own_command_line() {
        let recipe = mysql("", "/m/sbin/mysqld");
        let asked = question(&recipe).unwrap();
        assert_eq!(
            asked.argv,
            [
                "/m/ld.so",
                "--library-path",
                "/m/lib",
                "/m/sbin/mysqld",
                "--defaults-file=/srv/cdc/nodes/mysql/conf/my.cnf.asked",
                "--validate-config"
            ]
        );
        assert_eq!((asked.file.mode, &asked.file.contents), (recipe.files[0].mode, &recipe.files[0].contents));
        assert!(asked.env.iter().all(|(name, _)| name != "NOTIFY_SOCKET"));
        assert_eq!(question(&Recipe { kind: NodeKind::Command, ..recipe }), None);
    }

    #[test]
    fn what_it_does_not_take_is_refused_with_its_words() {
        assert_eq!(judged("", None, 0, "[Warning] deprecated"), Answer::Takes);
        for (output, words) in [
            (UNKNOWN, "unknown variable 'innodb_bufer_pool_size=128M'"),
            (
                "2026-11-26T14:28:06.846Z 0 [ERROR] [MY-000077] [Server] mysqld: Error while setting value 'ABC' to 'binlog_row_image'.\n",
                "Error while setting value 'ABC'",
            ),
            ("0 [ERROR] [MY-019999] [Server] something new about an option\n", "something new"),
        ] {
            let answer = judged("", None, 1, output);
            let Answer::Refuses(failure) = &answer else { panic!("{answer:?}") };
            assert_eq!(failure.cause, Cause::BadOption);
            assert!(failure.what.contains(words) && failure.remedy.contains("then reload"), "{failure:?}");
            assert_eq!(failure.remedy.contains("loose_innodb_bufer_pool_size"), output == UNKNOWN, "{failure:?}");
        }
    }

    #[test]
    fn a_program_that_does_not_run_is_told_from_a_file_that_it_does_not_take() {
        let library = "mysqld: error while loading shared libraries: libaio.so.1: cannot open shared object file\n";
        assert!(matches!(judged("", None, 127, library), Answer::CannotRun(_)));
        let asked = question(&mysql("", "/m/sbin/mysqld")).unwrap();
        assert!(matches!(answer(&asked, None, ExitStatus::Signal(4), ""), Answer::CannotRun(_)), "SIGILL");
        assert!(matches!(answer(&asked, None, ExitStatus::Signal(9), ""), Answer::Unclear(_)), "somebody's kill");
    }

    #[test]
    fn a_name_that_only_the_servers_own_tables_know_is_no_slip() {
        let unknown = |option: &str| format!("0 [ERROR] [MY-000067] [Server] unknown variable '{option}'.\n");
        let semisync = "rpl_semi_sync_source_enabled = 1\n\"validate_password.policy\" = \"LOW\"";
        let runs = mysql(semisync, "/m/sbin/mysqld");
        // A component's; and a plugin's that the server runs with.
        for (option, loose) in [
            ("validate_password.policy=LOW", "\nloose_validate_password.policy=LOW\n"),
            ("rpl_semi_sync_source_enabled=1", "\nloose_rpl_semi_sync_source_enabled=1\n"),
        ] {
            let answer = judged(semisync, Some(&runs), 1, &unknown(option));
            let Answer::Again(text) = answer else { panic!("{option}: {answer:?}") };
            assert!(text.contains(loose), "{text}");
            assert_eq!(text.matches("loose_").count(), 1);
        }
        // New, with another value, asked of another program, or where nothing runs.
        let other = semisync.replace("enabled = 1", "enabled = 2");
        for (options, runs, option) in [
            (semisync, Some(mysql("", "/m/sbin/mysqld")), "rpl_semi_sync_source_enabled=1"),
            (other.as_str(), Some(runs), "rpl_semi_sync_source_enabled=2"),
            (semisync, Some(mysql(semisync, "/older/mysqld")), "rpl_semi_sync_source_enabled=1"),
            (semisync, None, "rpl_semi_sync_source_enabled=1"),
        ] {
            let answer = judged(options, runs.as_ref(), 1, &unknown(option));
            assert!(matches!(answer, Answer::Refuses(_)), "{option}: {answer:?}");
        }
        // Said of something that is not in the file: no second question, which would be the first again.
        assert!(matches!(judged("", None, 1, &unknown("a.b=1")), Answer::Refuses(_)));
    }

    #[test]
    fn names_are_read_from_both_messages() {
        assert_eq!(unknown_name(UNKNOWN), Some("innodb_bufer_pool_size"));
        assert_eq!(
            unknown_name("0 [ERROR] [MY-000068] [Server] unknown option '--skip-host-cache'."),
            Some("skip-host-cache")
        );
        assert_eq!(unknown_name("0 [ERROR] [MY-000077] [Server] Error while setting value 'ABC' to 'x'."), None);
        assert!(
            is_named("innodb-page-size=1", "innodb_page_size") && !is_named("# innodb_page_size=1", "innodb_page_size")
        );
    }
}
