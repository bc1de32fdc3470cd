//! Asks mysqld whether it takes the options it would be started with, before the server that runs is stopped for them.

use super::places;
use crate::{
    base::recipe::Recipe,
    services::{
        launch_fault,
        mysql_validate::{Answer, Question, answer, question},
    },
    sys::{
        command::{Cancel, Command, Finished, Identity},
        error::SysError,
        fs,
    },
};
use std::time::Duration;

/// Longest that one answer may take: 20 ms measured. A machine that is busy gets a thousand times as long.
const LIMIT: Duration = Duration::from_secs(20);

/// How often it is asked anew about names that only a server with its data can know; each is one option.
const QUESTIONS: usize = 16;

/// Asks; none: this recipe is no MySQL server's. `runs`: what a server that runs was made from. Blocks.
///
/// As the node's user, and not in the node's cgroup: there it could be what takes the server that runs over its cap.
pub fn ask(recipe: &Recipe, runs: Option<&Recipe>) -> Option<Answer> {
    let mut asked = question(recipe)?;
    let mut said = Answer::Unclear("it does not know more and more names".into());
    for _ in 0..QUESTIONS {
        said = match once(recipe, &asked) {
            Ok(done) => answer(&asked, runs, done.status, &format!("{}\n{}", done.stdout, done.stderr)),
            Err(e) => not_asked(recipe, &asked, &e),
        };
        match said {
            Answer::Again(text) => asked.file.contents = text,
            Answer::Takes | Answer::Refuses(_) | Answer::CannotRun(_) | Answer::Unclear(_) => break,
        }
        said = Answer::Unclear("it does not know more and more names".into());
    }
    // One that stays is written over by the next question, and nobody reads it.
    if let Err(e) = fs::remove_optional(&asked.file.path) {
        tracing::info!(error = %e.source, "{e}");
    }
    Some(said)
}

fn once(recipe: &Recipe, asked: &Question) -> Result<Finished, SysError> {
    places::write_beside(recipe, &asked.file)?;
    let user = Identity::of(recipe.launch.user.as_deref())?;
    let command = Command { argv: asked.argv.clone(), env: asked.env.clone(), dir: "/".into(), stdin: None };
    command.run_as(user.as_ref(), LIMIT, &Cancel::default())
}

/// A program that is not there or may not be run stays so; whatever else keeps it from an answer says nothing about the options.
fn not_asked(recipe: &Recipe, asked: &Question, e: &SysError) -> Answer {
    let of_the_program = asked.argv.first().is_some_and(|program| e.doing == format!("run {program}"));
    let cause = |errno| Some((errno, launch_fault::cause("exec", errno)?));
    match e.errno().filter(|_| of_the_program).and_then(cause) {
        Some((errno, cause)) => Answer::CannotRun(crate::base::outcome::Failure {
            cause,
            what: e.in_one_line(),
            remedy: launch_fault::remedy(recipe, "exec", errno),
        }),
        None => Answer::Unclear(e.in_one_line()),
    }
}

#[cfg(test)]
mod tests;
