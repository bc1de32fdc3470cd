//! Before a reload stops mysqld: would the one that comes take its options. What the answer means for the reload.

use crate::{
    base::recipe::Recipe,
    engine::mysql_validate,
    offline::plan::Lives,
    services::{
        change::{Does, Life, Refusal, ReloadPlan, Side},
        mysql_validate::Answer,
        redact::redact,
    },
};

/// Asks about every server that is restarted. Blocks while a program runs.
pub(super) fn ask(
    plan: &ReloadPlan,
    old: &Side,
    new: &Side,
    lives: &Lives,
    refusals: &mut Vec<(u8, Refusal)>,
    notes: &mut Vec<String>,
) {
    for step in plan.steps.iter().filter(|s| s.does == Does::Restart) {
        let of = |side: &'_ Side| -> Option<Recipe> { side.recipes.iter().find(|r| r.node == step.node).cloned() };
        let runs = lives.get(&step.node) == Some(&Life::Runs);
        let Some(recipe) = of(new) else { continue };
        match mysql_validate::ask(&recipe, of(old).as_ref().filter(|_| runs)).map(|answer| judged(&recipe, answer)) {
            Some(Judged::Refused(exit, refusal)) => refusals.push((exit, refusal)),
            Some(Judged::Noted(note)) => notes.push(note),
            Some(Judged::Fine) | None => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Fine,
    Refused(u8, Refusal),
    Noted(String),
}

fn judged(recipe: &Recipe, answer: Answer) -> Judged {
    let node = &recipe.node;
    match answer {
        Answer::Takes => Judged::Fine,
        // A mistake in the file, as one that we find ourselves.
        Answer::Refuses(failure) => {
            // It quotes the line that it does not know, with its value.
            let what = format!("{node}: {}", redact(&failure.what, &[]));
            Judged::Refused(3, Refusal { what, hint: failure.remedy })
        }
        Answer::CannotRun(failure) => Judged::Refused(
            4,
            Refusal { what: format!("{node}: its program cannot run here: {}", failure.what), hint: failure.remedy },
        ),
        // Nothing is known against the file, and a start that fails is undone.
        Answer::Again(_) => {
            Judged::Noted(format!("{node}: mysqld was not asked to the end whether it takes its options"))
        }
        Answer::Unclear(why) => Judged::Noted(format!(
            "{node}: mysqld did not say whether it takes its options ({why}); it is restarted all the same"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Cause, outcome::Failure, programs::Programs},
        config, services,
    };

    fn failure() -> Failure {
        Failure { cause: Cause::BadOption, what: "it said no".into(), remedy: "mend it".into() }
    }

    #[test]
    fn a_slip_is_a_mistake_of_the_file_a_program_that_cannot_run_is_the_hosts_and_silence_stops_nothing() {
        let source = config::Source {
            text: "[command.a]\nargv = [\"/bin/true\"]\n",
            name: "t",
            root_override: Some("/r".into()),
            default_root: "/r".into(),
        };
        let plan = config::load(&source).unwrap();
        let inputs = services::Inputs {
            plan: &plan,
            programs: &Programs::default(),
            layout: &plan.layout(),
            cores: 1,
            running_as_root: false,
        };
        let recipe = services::recipes(&inputs).unwrap().remove(0);
        assert_eq!(judged(&recipe, Answer::Takes), Judged::Fine);
        for (answer, code) in [(Answer::Refuses(failure()), 3), (Answer::CannotRun(failure()), 4)] {
            let Judged::Refused(exit, refusal) = judged(&recipe, answer) else { panic!() };
            assert_eq!(exit, code);
            assert!(refusal.what.starts_with("a: ") && refusal.what.ends_with("it said no"), "{refusal:?}");
            assert_eq!(refusal.hint, "mend it");
        }
        let unclear = judged(&recipe, Answer::Unclear("not done after 20 s, killed".into()));
        assert!(matches!(&unclear, Judged::Noted(note) if note.contains("not done after 20 s")), "{unclear:?}");
        assert!(matches!(judged(&recipe, Answer::Again(String::new())), Judged::Noted(_)));
    }
}
