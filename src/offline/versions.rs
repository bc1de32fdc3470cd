//! Whether the programs of a configuration may have the data that lie there: asked before anything is stopped for them, by `plan` and
//! by `reload`, with the rule and the words of a start.

use crate::{
    base::{
        NodeName,
        recipe::{DataVersion, PrepareStep, Recipe},
    },
    services::{
        change::{Does, Refusal, ReloadPlan},
        identity::{Seen, bars_the_way_back, is_mark, judge_version, look},
    },
    sys::{error::SysError, fs, imprint},
};

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Nodes that would be stopped, or made, for a program that may not have their data. Exit 8.
    pub refusals: Vec<Refusal>,
    /// Marks that cannot be read, so that a start could not be made either. Whoever asks may be somebody else than who starts.
    pub unreadable: Vec<Refusal>,
    /// Worth knowing before.
    pub notes: Vec<String>,
}

/// Looks at the data of all nodes that the plan starts, restarts or keeps for their next start. Reads files.
pub fn look_at(plan: &ReloadPlan, recipes: &[Recipe]) -> Found {
    let mut found = Found::default();
    for step in &plan.steps {
        let Some(recipe) = recipes.iter().find(|r| r.node == step.node) else { continue };
        for wanted in versions(recipe) {
            match step.does {
                Does::Start | Does::Restart => found.starts(&step.node, wanted),
                Does::Keep => found.keeps(&step.node, wanted),
                // What runs has its data, and what goes leaves them.
                Does::Live | Does::Stop => {}
            }
        }
    }
    found
}

impl Found {
    fn starts(&mut self, node: &NodeName, wanted: &DataVersion) {
        let seen = match written_by(wanted) {
            Ok(seen) => seen,
            Err(e) => {
                return self.unreadable.push(Refusal {
                    what: format!("{node}: {e}: {}", e.source),
                    hint: "see that the supervisor's user may read it; its start would end there".into(),
                });
            }
        };
        match judge_version(wanted, &seen) {
            Err(failure) => {
                self.refusals.push(Refusal { what: format!("{node}: {}", failure.what), hint: failure.remedy });
            }
            Ok(_) => self.notes.extend(bars_the_way_back(wanted, &seen).map(|lost| format!("{node}: {lost}"))),
        }
    }

    /// Nobody starts it now, and whoever goes back with a snapshot has to be able to say so first.
    fn keeps(&mut self, node: &NodeName, wanted: &DataVersion) {
        if let Some(failure) = written_by(wanted).ok().and_then(|seen| judge_version(wanted, &seen).err()) {
            self.notes.push(format!("{node} will be refused its next start: {}; {}", failure.what, failure.remedy));
        }
    }
}

fn versions(recipe: &Recipe) -> impl Iterator<Item = &DataVersion> {
    recipe
        .prepare
        .iter()
        .filter_map(|step| if let PrepareStep::DataVersion(version) = step { Some(version) } else { None })
}

fn written_by(wanted: &DataVersion) -> Result<Seen, SysError> {
    look(wanted, fs::read_plain_lossy_optional, |dir| imprint::of(dir, is_mark).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Layout, programs::Programs},
        config,
        services::{
            self,
            change::{Gate, Step},
            identity::MARKER,
        },
        sys::host,
    };
    use std::path::Path;

    /// MySQL's recipe with another version in it.
    fn recipe(root: &Path, version: &str) -> Recipe {
        let source = config::Source {
            text: "[command.mysql-like]\nargv = [\"/bin/true\"]\n",
            name: "t",
            root_override: Some(root.to_owned()),
            default_root: root.to_owned(),
        };
        let plan = config::load(&source).unwrap();
        let layout = Layout::new(root);
        let inputs = services::Inputs {
            plan: &plan,
            programs: &Programs::default(),
            layout: &layout,
            cores: host::cores(),
            running_as_root: false,
        };
        let mut recipe = services::recipes(&inputs).unwrap().remove(0);
        recipe.prepare.push(PrepareStep::DataVersion(DataVersion {
            product: crate::base::recipe::DataProduct::Mysql,
            version: version.into(),
            protocol: None,
            data_dir: root.join("data"),
        }));
        recipe
    }

    fn found(root: &Path, does: Does, version: &str) -> Found {
        let recipe = recipe(root, version);
        let steps = vec![Step { node: recipe.node.clone(), does, gate: Gate::None }];
        look_at(&ReloadPlan { steps, ..ReloadPlan::default() }, &[recipe])
    }

    #[test]
    fn an_older_program_is_refused_before_a_stop_a_newer_one_is_told_of_and_the_rest_is_quiet() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        let quiet = |does, version| {
            let found = found(root, does, version);
            found.refusals.is_empty() && found.unreadable.is_empty() && found.notes.is_empty()
        };
        assert!(quiet(Does::Restart, "8.4.11"), "no data yet");
        std::fs::create_dir(root.join("data")).unwrap();
        let mark = root.join("data").join(MARKER);
        std::fs::write(&mark, r#"{"schema":1,"product":"MySQL","version":"9.7.4"}"#).unwrap();
        for does in [Does::Start, Does::Restart] {
            let refused = found(root, does, "8.4.11").refusals;
            let [Refusal { what, hint }] = refused.as_slice() else { panic!("{does:?}: {refused:?}") };
            assert!(what.contains("mysql-like: the data in") && what.contains("MySQL 9.7.4 (its mark says)"), "{what}");
            assert!(hint.contains("load a dump into it"), "{hint}");
        }
        let kept = found(root, Does::Keep, "8.4.11");
        assert!(kept.refusals.is_empty() && kept.notes[0].contains("will be refused its next start"), "{kept:?}");
        for (does, version) in
            [(Does::Live, "8.4.11"), (Does::Stop, "8.4.11"), (Does::Restart, "9.7.4"), (Does::Keep, "9.7.4")]
        {
            assert!(quiet(does, version), "{does:?} {version}");
        }
        let newer = found(root, Does::Restart, "10.0.1");
        assert!(newer.refusals.is_empty() && newer.notes[0].contains("only a snapshot"), "{newer:?}");
        // What no start could read.
        std::fs::remove_file(&mark).unwrap();
        std::fs::create_dir(&mark).unwrap();
        let unreadable = found(root, Does::Restart, "9.7.4").unreadable;
        assert!(unreadable[0].what.contains(MARKER), "{unreadable:?}");
    }
}
