//! Programs: is there a Java runtime, are the stored programs whole, and does every program find its shared libraries.

use super::{
    Site,
    check::{Check, Severity},
    confinement,
};
use crate::{
    artifact::{
        self, Origin, Part, Settings,
        libraries::{described, package_of},
        transfer::Network,
    },
    base::{NodeName, programs::Programs},
    config::Plan,
    offline::programs,
    sys::elf::{self, Kind, Missing, SearchPath},
};
use std::{collections::BTreeMap, path::PathBuf};

/// One program that a node runs.
#[derive(Clone, Debug)]
struct Program {
    /// Whose: `mysql`, `java`, a command's name.
    whose: String,
    path: PathBuf,
    state: Loads,
}

/// Whether the loader will run it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Loads {
    Yes,
    /// No such program, or it may not be run.
    Absent(String),
    Lacks(Vec<Missing>),
    /// It could not be read.
    Unseen(String),
}

/// What is seen of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// A line per part that is there: `java 17.0.15 (host)`.
    present: BTreeMap<Part, String>,
    /// Parts that are not there, with the reason.
    absent: Vec<(Part, String)>,
    /// The look itself failed, for instance at a configured `java_home` that is none.
    refused: Option<String>,
    loads: Vec<Program>,
    /// Whether the certificates of vendors can be checked; none: nobody will be asked.
    authorities: Option<Result<(), NoAuthorities>>,
    confinement: confinement::Facts,
}

/// There is nothing to check a certificate with.
#[derive(Clone, Debug)]
struct NoAuthorities {
    why: String,
    hint: String,
    /// Other sources are left.
    others: bool,
}

pub(super) fn look(site: &Site) -> Facts {
    let mut facts = Facts { confinement: confinement::look(), ..Facts::default() };
    let wanted = programs::wanted(&site.plan);
    let settings = programs::settings(&site.plan, &site.layout);
    let found = match artifact::survey(wanted, &settings) {
        Ok(survey) => {
            facts.present = survey.present().cloned().collect();
            facts.absent = survey.missing.into_iter().map(|m| (m.part, m.why)).collect();
            survey.programs
        }
        Err(e) => {
            facts.refused = Some(e.to_string());
            Programs::default()
        }
    };
    facts.loads = stored(&found);
    facts.loads.extend(commands(site));
    if !facts.absent.is_empty() && !settings.offline {
        facts.authorities = authorities(&settings);
    }
    facts
}

/// Vendors are asked over https, and nothing of theirs is taken without a certificate that can be checked.
fn authorities(settings: &Settings) -> Option<Result<(), NoAuthorities>> {
    if !settings.sources.contains(&Origin::Vendor) {
        return None;
    }
    let network = Network::new(settings.timing.clone(), None, settings.ca_file.as_deref());
    Some(network.has_authorities().map_err(|fault| NoAuthorities {
        why: fault.to_string(),
        hint: fault.hint().unwrap_or_default(),
        others: settings.sources.len() > 1,
    }))
}

pub(super) fn judge(site: &Site, facts: &Facts) -> Vec<Check> {
    let mut rows = Vec::new();
    if let Some(why) = &facts.refused {
        let row = Check::ok(
            "programs",
            "there, or to be fetched",
            why.clone(),
            "nodes are started with verified programs only",
        );
        rows.push(row.fails(why.clone(), "correct [artifacts] in supervisor.toml").and_starts());
    }
    rows.extend(facts.present.iter().map(|(part, detail)| {
        Check::ok(label(*part), required(*part), detail.clone(), "nodes are started with verified programs only")
    }));
    rows.extend(facts.absent.iter().map(|(part, why)| absent(&site.plan, *part, why)));
    rows.extend(facts.authorities.as_ref().map(certificates));
    let ours: Vec<(String, PathBuf)> = facts.loads.iter().map(|p| (p.whose.clone(), p.path.clone())).collect();
    rows.extend(confinement::judge(&facts.confinement, &ours));
    let bad: Vec<Check> = facts.loads.iter().filter_map(unfit).collect();
    let fine = facts.loads.len() - bad.len();
    rows.extend(bad);
    if fine > 0 {
        let found = format!("all there, for {fine} {}", if fine == 1 { "program" } else { "programs" });
        rows.push(Check::ok(
            "shared libraries",
            "every one that a program names",
            found,
            "a program that lacks one ends before its first line",
        ));
    }
    rows
}

fn certificates(found: &Result<(), NoAuthorities>) -> Check {
    let row = |found: &str| {
        Check::ok(
            "certificates",
            "authorities to check those of vendors with",
            found,
            "programs are fetched over https, and what is missing here ends every download",
        )
    };
    match found {
        Ok(()) => row("there"),
        Err(none) if none.others => row(&none.why).but(Severity::Warn, &none.hint),
        // the fetch that comes next refuses with its own words
        Err(none) => row(&none.why).fails(none.why.clone(), &none.hint).and_starts(),
    }
}

/// What of a resolved set of programs cannot be run: one row each. The look before a start that has just fetched them.
pub(super) fn unfit_of(found: &Programs) -> Vec<Check> {
    stored(found).iter().filter_map(unfit).collect()
}

fn label(part: Part) -> &'static str {
    match part {
        Part::Java => "Java",
        Part::Kafka => "Kafka",
        Part::Mysql => "MySQL",
        Part::KafkaUi => "Kafka UI",
    }
}

fn required(part: Part) -> &'static str {
    match part {
        Part::Java => "17 or 21, of this host or the store",
        Part::Kafka => "the pinned jars, in the store",
        Part::Mysql => "8.0.30 or newer, in the store",
        Part::KafkaUi => "its jar in the store, and the Java it needs",
    }
}

fn absent(plan: &Plan, part: Part, why: &str) -> Check {
    let why = why.strip_prefix(&format!("{part}: ")).unwrap_or(why);
    let row = Check::ok(
        label(part),
        required(part),
        "not there yet",
        format!("nodes are started with verified programs only; {why}"),
    );
    if plan.artifacts.offline {
        let problem = format!("{part} is not in the store ({why}), and artifacts.offline forbids fetching");
        // the fetch that comes next refuses with its own words
        return row.fails(problem, "set artifacts.offline = false, or copy a filled store").and_starts();
    }
    row.but(Severity::Info, "`cdc-supervisor fetch` gets it now, `up` when it starts")
}

/// The programs of the store and the host's Java, with their own search paths.
fn stored(found: &Programs) -> Vec<Program> {
    let mut list = Vec::new();
    if let Some(tree) = &found.mysql {
        // `LOADER --inhibit-cache --library-path A:B mysqld`: the loader looks nowhere else first
        let library_path = tree.launcher.iter().skip_while(|w| *w != "--library-path").nth(1);
        let path = library_path.map(|list| list.split(':').map(PathBuf::from).collect()).unwrap_or_default();
        list.push(program("mysql", tree.mysqld.clone(), path));
        // what the kernel runs, and a profile of the host takes hold of
        list.extend(tree.launcher.first().map(|loader| program("mysql", PathBuf::from(loader), Vec::new())));
    }
    if let Some(java) = &found.java {
        list.push(program("java", java.program.clone(), Vec::new()));
        // loaded by the launcher at run time, so that nothing of it is named in the launcher's own list
        list.push(program("java", java.home.join("lib/server/libjvm.so"), Vec::new()));
    }
    if let Some(Ok(ui)) = &found.kafka_ui
        && found.java.as_ref().is_none_or(|brokers| brokers.home != ui.java.home)
    {
        list.push(program("kafka-ui", ui.java.program.clone(), Vec::new()));
        list.push(program("kafka-ui", ui.java.home.join("lib/server/libjvm.so"), Vec::new()));
    }
    list
}

fn commands(site: &Site) -> Vec<Program> {
    let list = site.plan.commands.iter().filter(|c| site.starting.contains(&c.name));
    list.filter_map(|c| {
        let path = c.env.get("LD_LIBRARY_PATH").map(|p| p.split(':').map(PathBuf::from).collect()).unwrap_or_default();
        Some(program(c.name.as_str(), PathBuf::from(c.argv.first()?), path))
    })
    .collect()
}

fn program(whose: &str, path: PathBuf, library_path: Vec<PathBuf>) -> Program {
    let state = match elf::kind(&path) {
        Err(e) => Loads::Absent(e.to_string()),
        Ok(Kind::Other) => Loads::Yes,
        Ok(Kind::Script(interpreter)) if interpreter.exists() => Loads::Yes,
        Ok(Kind::Script(interpreter)) => Loads::Absent(format!("its interpreter {} is missing", interpreter.display())),
        Ok(Kind::Elf) => match elf::missing(&path, &SearchPath::new(library_path)) {
            Ok(missing) if missing.is_empty() => Loads::Yes,
            Ok(missing) => Loads::Lacks(missing),
            Err(e) => Loads::Unseen(e.to_string()),
        },
    };
    Program { whose: whose.to_owned(), path, state }
}

fn unfit(program: &Program) -> Option<Check> {
    let row = unfit_row(program)?;
    // what the stack is whole without keeps nobody else down
    Some(if program.whose == NodeName::kafka_ui().as_str() { row.and_starts() } else { row })
}

fn unfit_row(program: &Program) -> Option<Check> {
    let path = program.path.display();
    let name = program.path.file_name().unwrap_or_default().to_string_lossy();
    let row = |found: String| {
        Check::ok(
            format!("libraries of {name}"),
            "every shared library that it names",
            found,
            format!("{} runs {path}, and a program that lacks a library ends before its first line", program.whose),
        )
    };
    match &program.state {
        Loads::Yes => None,
        Loads::Absent(why) => {
            let row = Check::ok(
                format!("program of {}", program.whose),
                "exists and can be run",
                format!("{path}: {why}"),
                format!("{} is started with it", program.whose),
            );
            // the node fails with these words itself, and the others start
            Some(row.fails(format!("{path} cannot be run: {why}"), "install it, or correct argv").and_starts())
        }
        Loads::Unseen(why) => Some(row(format!("{path} could not be read: {why}")).unknown()),
        Loads::Lacks(missing) => {
            let mut words: Vec<String> = missing.iter().map(described).collect();
            words.dedup();
            let mut packages: Vec<&str> = missing.iter().filter_map(|m| package_of(&m.library)).collect();
            packages.sort_unstable();
            packages.dedup();
            let unknown: Vec<&str> =
                missing.iter().filter(|m| package_of(&m.library).is_none()).map(|m| m.library.as_str()).collect();
            let mut remedy = Vec::new();
            if !packages.is_empty() {
                remedy.push(format!("apt-get install {}", packages.join(" ")));
            }
            if !unknown.is_empty() {
                remedy.push(format!("find the package with `apt-file search {}`", unknown[0]));
            }
            if missing.iter().any(|m| m.library == "libaio.so.1") {
                remedy.push("Ubuntu 24.04 and Debian 13 name it libaio.so.1t64: put a link libaio.so.1 to it into the program's own library directory".to_owned());
            }
            let problem = format!("{path} lacks {}", words.join(", "));
            Some(row(format!("missing: {}", words.join(", "))).fails(problem, remedy.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::site, *};

    fn lacking(libraries: &[(&str, Option<&str>)]) -> Program {
        let one = |(library, version): &(&str, Option<&str>)| Missing {
            library: (*library).into(),
            version: version.map(str::to_owned),
            wanted_by: "/m/mysqld".into(),
        };
        let state = Loads::Lacks(libraries.iter().map(one).collect());
        Program { whose: "mysql".into(), path: "/m/mysqld".into(), state }
    }

    #[test]
    fn all_missing_libraries_are_told_at_once_with_their_packages() {
        let row = unfit(&lacking(&[("libaio.so.1", None), ("libnuma.so.1", None), ("libc.so.6", Some("GLIBC_2.38"))]))
            .unwrap();
        assert_eq!((row.severity, row.stops_start), (Severity::Fail, true));
        assert_eq!(row.problem.unwrap(), "/m/mysqld lacks libaio.so.1, libnuma.so.1, GLIBC_2.38 of libc.so.6");
        let remedy = row.remedy.unwrap();
        assert!(remedy.starts_with("apt-get install libaio1t64 libc6 libnuma1"), "{remedy}");
        assert!(remedy.contains("link libaio.so.1"), "{remedy}");
        let row = unfit(&lacking(&[("libfoo.so.9", None)])).unwrap();
        assert_eq!(row.remedy.unwrap(), "find the package with `apt-file search libfoo.so.9`");
    }

    #[test]
    fn programs_of_commands_are_looked_at_and_do_not_stop_the_others() {
        let site = site(
            "[command.a]\nargv = [\"/nonexistent/x\"]\n[command.b]\nargv = [\"/bin/sh\"]\n[command.c]\nargv = [\"/proc/self/exe\"]",
        );
        let rows = judge(&site, &look(&site));
        let bad: Vec<&Check> = rows.iter().filter(|c| c.severity == Severity::Fail).collect();
        assert_eq!(bad.len(), 1, "{rows:#?}");
        assert_eq!(bad[0].name, "program of a");
        assert!(!bad[0].stops_start);
        assert!(rows.iter().any(|c| c.found == "all there, for 2 programs"), "{rows:#?}");
    }

    #[test]
    fn without_authorities_only_a_sole_vendor_is_a_failure() {
        let none = |others| Err(NoAuthorities { why: "no authorities".into(), hint: "install them".into(), others });
        assert_eq!(certificates(&Ok(())).severity, Severity::Ok);
        assert_eq!(certificates(&none(true)).severity, Severity::Warn);
        let row = certificates(&none(false));
        assert_eq!((row.severity, row.stops_start), (Severity::Fail, false));
        let mut settings = Settings::new("/nonexistent");
        assert!(authorities(&settings).is_none(), "no vendor will be asked");
        settings.sources.push(Origin::Vendor);
        settings.ca_file = Some("/nonexistent/ca.pem".into());
        let Some(Err(found)) = authorities(&settings) else { panic!("a file that is not there") };
        assert!(found.others && found.why.contains("/nonexistent/ca.pem"), "{found:?}");
    }

    #[test]
    fn what_is_not_fetched_yet_is_no_failure_unless_nothing_may_be_fetched() {
        let facts = Facts { absent: vec![(Part::Mysql, "never fetched".into())], ..Facts::default() };
        let row = |text: &str| judge(&site(text), &facts).remove(0);
        assert_eq!(row("[mysql]").severity, Severity::Info);
        let offline = row("[artifacts]\noffline = true\n[mysql]");
        assert_eq!((offline.severity, offline.stops_start), (Severity::Fail, false));
    }
}
