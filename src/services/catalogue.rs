//! Reads log lines with the list of known ones: what a line means, whether it ends the node, what to do about it.

use super::known;
use crate::base::{Cause, NodeKind};
use std::time::Duration;

/// Whose lines an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Brokers.
    Kafka,
    /// ZooKeeper.
    Zookeeper,
    /// mysqld.
    Mysql,
    /// Spring Boot applications: the UI.
    Spring,
    /// Debezium, in a Kafka Connect that runs as a command.
    Debezium,
    /// What the JVM itself says, in all of them.
    Jvm,
    /// Every kind of node, commands too: words of the kernel.
    Any,
}

impl Product {
    fn writes_for(self, kind: NodeKind) -> bool {
        match (self, kind) {
            (Product::Any, _)
            | (Product::Kafka | Product::Jvm, NodeKind::Broker(_))
            | (Product::Zookeeper | Product::Jvm, NodeKind::Zookeeper)
            | (Product::Mysql, NodeKind::Mysql)
            | (Product::Spring | Product::Jvm, NodeKind::KafkaUi)
            // tools of Kafka's run as commands, too
            | (Product::Kafka | Product::Debezium | Product::Spring | Product::Jvm, NodeKind::Command) => true,
            // what Kafka's clients log inside the UI is about brokers, and ends nothing there
            (Product::Kafka, NodeKind::Zookeeper | NodeKind::Mysql | NodeKind::KafkaUi)
            | (Product::Zookeeper, NodeKind::Broker(_) | NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command)
            | (
                Product::Debezium,
                NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::Mysql | NodeKind::KafkaUi,
            )
            | (Product::Jvm, NodeKind::Mysql)
            | (Product::Spring, NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::Mysql)
            | (
                Product::Mysql,
                NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::KafkaUi | NodeKind::Command,
            ) => false,
        }
    }
}

/// A line that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who writes it.
    pub product: Product,
    /// Every one of these is in the line.
    pub parts: &'static [&'static str],
    /// This is in the line before it, or it means something else; none: it says enough by itself.
    pub behind: Option<&'static str>,
    /// What it means, one clause without a full stop.
    pub meaning: &'static str,
    /// What to do about it, imperative; empty for harmless lines.
    pub remedy: &'static str,
    /// Why a node that wrote it ended; none for harmless lines.
    pub cause: Option<Cause>,
    /// Of a harmless line: it is only for a while; none: always.
    pub passes: Option<Passes>,
    /// It comes behind whatever the matter is, and says less of it.
    pub follows: bool,
}

/// For how long a line is harmless, and what it means behind that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// After the node's own start, and after a broker was away.
    pub within: Duration,
    /// What it means later.
    pub meaning: &'static str,
    /// What to do then, imperative.
    pub remedy: &'static str,
}

impl Known {
    fn matches(&self, kind: NodeKind, line: &str) -> bool {
        self.product.writes_for(kind) && self.parts.iter().all(|part| line.contains(part))
    }
}

/// The entries of a list, in their order.
fn of(list: &'static [&'static [Known]]) -> impl Iterator<Item = &'static Known> {
    list.iter().copied().flatten()
}

/// The entry of a line that explains why a node of `kind` ends or cannot go on; the most specific comes first.
///
/// Worth asking of a node that runs, too: a 3.5.2 broker whose port is taken logs so and goes on as "started", registered
/// in ZooKeeper, with a listener missing (tried).
pub fn fatal(kind: NodeKind, line: &str) -> Option<&'static Known> {
    of(known::FATAL).find(|known| known.behind.is_none() && known.matches(kind, line))
}

/// The same of a line behind another one.
fn fatal_behind(kind: NodeKind, before: &str, line: &str) -> Option<&'static Known> {
    of(known::FATAL).find(|k| k.behind.is_some_and(|words| before.contains(words)) && k.matches(kind, line))
}

/// The entry of a line that means more than it says, and ends nothing.
pub fn noted(kind: NodeKind, line: &str) -> Option<&'static Known> {
    of(known::NOTED).find(|known| known.matches(kind, line))
}

/// The entry of a line that looks bad and is not, or not for a while ([`Known::passes`]).
pub fn harmless(kind: NodeKind, line: &str) -> Option<&'static Known> {
    of(known::HARMLESS).find(|known| known.matches(kind, line))
}

/// The line among `lines` that explains an end best: one that no restart cures before one that it might, one that says what the matter
/// is before one that only follows from it, the last of equals.
pub fn explain(kind: NodeKind, lines: &str) -> Option<(&'static Known, &str)> {
    best(kind, lines, None)
}

/// The same of a run that has served, and that had written `before` in it: what only a start ends of is passed over.
pub fn explain_served<'a>(kind: NodeKind, lines: &'a str, before: &str) -> Option<(&'static Known, &'a str)> {
    let survived: Vec<&Known> = match marks_its_lines(kind) {
        true => known_lines(kind, before).filter(|(_, _, line)| line.mark.is_some()).map(|(known, ..)| known).collect(),
        false => Vec::new(),
    };
    best(kind, lines, Some(&survived))
}

/// `survived`: of a run that has served, what it had said before and gone on.
fn best<'a>(kind: NodeKind, lines: &'a str, survived: Option<&[&Known]>) -> Option<(&'static Known, &'a str)> {
    let end = End::of(kind, lines, survived.is_some());
    let found = known_lines(kind, lines).filter(|(known, _, line)| {
        let terminal = known.cause.is_some_and(Cause::is_terminal);
        let of_a_start = known.cause.is_some_and(Cause::is_of_a_start);
        match survived {
            Some(survived) => !of_a_start && !(terminal && (survived.contains(known) || end.outlives(line))),
            None => !(terminal && end.outlives(line)),
        }
    });
    found
        .map(|(known, text, _)| (known, text))
        .max_by_key(|(known, _)| (known.cause.is_some_and(Cause::is_terminal), !known.follows))
}

/// The lines that explain an end, each with its entry and its place.
fn known_lines(kind: NodeKind, text: &str) -> impl Iterator<Item = (&'static Known, &str, Line<'_>)> {
    let before = std::iter::once("").chain(text.lines());
    before.zip(text.lines()).zip(places(text)).filter_map(move |((before, line), place)| {
        let known = fatal(kind, line).or_else(|| fatal_behind(kind, before, line))?;
        Some((known, line, place))
    })
}

/// Where a line stands in what a program wrote.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    nth: usize,
    /// The line that it belongs to, its own or that of the exception whose trace it is in.
    head: &'a str,
    /// How bad the program says that one is; none: it does not say.
    mark: Option<Mark>,
}

fn places(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().enumerate().scan((None, ""), |(mark, head), (nth, line)| {
        let own = Mark::of(line);
        if own.is_some() || !goes_on(line) {
            (*mark, *head) = (own, line);
        }
        Some(Line { nth, head, mark: *mark })
    })
}

/// Whether a node of this kind may be any program: then what its lines say of themselves counts. What the products write that are ours to
/// start is known line by line, and mysqld names some of its own ends in a warning first. What the UI says is about somebody's request.
fn marks_its_lines(kind: NodeKind) -> bool {
    match kind {
        NodeKind::Command | NodeKind::KafkaUi => true,
        NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::Mysql => false,
    }
}

/// What an end came behind: whatever was said before that is not what a program ended of.
///
/// A restart too many is put right by the next end, whose run has not served; one too few is a node that stays down. So an error counts
/// in a run that has served only as its last one, and of what its parts say (a Kafka Connect's tasks) nothing does.
#[derive(Debug)]
struct End {
    /// A JVM's own word that it terminates, which ends every kind of run.
    terminated: Option<usize>,
    /// The last line that its program calls an error.
    error: Option<usize>,
    served: bool,
    marks: bool,
}

impl End {
    fn of(kind: NodeKind, lines: &str, served: bool) -> Self {
        let last = |is: &dyn Fn(&Line<'_>, &str) -> bool| {
            places(lines).zip(lines.lines()).filter(|(place, line)| is(place, line)).map(|(place, _)| place.nth).last()
        };
        Self {
            terminated: last(&|_, line| line.starts_with(TERMINATING)),
            // of its own line, not of its trace
            error: last(&|place, line| place.mark == Some(Mark::Error) && place.head == line),
            served,
            marks: marks_its_lines(kind),
        }
    }

    fn outlives(&self, line: &Line<'_>) -> bool {
        let before = |end: Option<usize>| end.is_some_and(|end| line.nth < end);
        let by_its_mark = match line.mark {
            // A start says once what it cannot do, and then that it ends.
            Some(Mark::Error) => self.served && before(self.error),
            // The warning is not what it ended of (a Kafka Connect that may not read one file of its plugins, and finds no brokers).
            Some(Mark::Less) => before(self.error),
            None => false,
        };
        before(self.terminated) || self.marks && (by_its_mark || is_of_a_part(line.head))
    }
}

/// `-XX:+ExitOnOutOfMemoryError` (report_java_out_of_memory in debug.cpp, OpenJDK 17).
const TERMINATING: &str = "Terminating due to java.lang.OutOfMemoryError";

/// Whether a line is about a part of its program, which goes on without it. Of Kafka Connect (3.5.2): its tasks and connectors, by their
/// names (WorkerTask, WorkerConnector) and by what stands before whatever is logged for them (LoggingContext), and plugins (PluginUtils).
fn is_of_a_part(head: &str) -> bool {
    const PARTS: [&[&str]; 7] = [
        &["WorkerSinkTask{id="],
        &["WorkerSourceTask{id="],
        &["WorkerConnector{id="],
        &["|task-"],
        &["|worker]"],
        &["Failed to start ", "connect.runtime."],
        &["plugin path: ", " Ignoring"],
    ];
    Mark::of(head).is_some() && PARTS.iter().any(|parts| parts.iter().all(|part| head.contains(part)))
}

/// How bad a program says that a line of its own is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// An error, or an exception that nobody caught.
    Error,
    /// A warning or less.
    Less,
}

impl Mark {
    /// It stands in a line's head, behind the time and perhaps the thread: `[2026-11-27 01:02:03,456] WARN …`.
    fn of(line: &str) -> Option<Self> {
        const HEAD: usize = 5;
        let ends =
            ["Exception in thread ", TERMINATING, "# A fatal error has been detected by the Java Runtime Environment"];
        if ends.iter().any(|end| line.starts_with(end)) {
            return Some(Mark::Error);
        }
        line.split_whitespace().take(HEAD).find_map(|word| match word.trim_matches(|c: char| !c.is_alphabetic()) {
            "ERROR" | "FATAL" | "SEVERE" => Some(Mark::Error),
            "WARN" | "WARNING" | "INFO" | "DEBUG" | "TRACE" => Some(Mark::Less),
            _ => None,
        })
    }
}

/// Whether a line without a mark belongs to the one before it: of an exception, its class and its trace.
fn goes_on(line: &str) -> bool {
    let first = line.split([':', ' ']).next().unwrap_or_default();
    let is_class = first.contains('.') && (first.ends_with("Exception") || first.ends_with("Error"));
    is_class || line.starts_with([' ', '\t']) || line.starts_with("Caused by: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [NodeKind; 5] =
        [NodeKind::Zookeeper, NodeKind::Broker(1), NodeKind::Mysql, NodeKind::KafkaUi, NodeKind::Command];

    #[test]
    fn the_owners_three_traps_are_known() {
        let line = "kafka.common.InconsistentClusterIdException: The Cluster ID Gg0YLaCaRNmYWWnhG1sHQA doesn't match stored \
                    clusterId Some(lKc4F836TxufcYSvvAOeVw) in meta.properties. The broker is trying to join the wrong cluster.";
        assert_eq!(fatal(NodeKind::Broker(1), line).unwrap().cause, Some(Cause::WrongIdentity));
        let line = "[MY-010262] [Server] Can't start server: Bind on TCP/IP port: Address already in use";
        assert_eq!(fatal(NodeKind::Mysql, line).unwrap().cause, Some(Cause::PortTaken));
        let line = "[2025-02-14 10:00:00,000] ERROR Error processing message, terminating consumer process:  (kafka.tools.ConsoleConsumer$)";
        assert!(harmless(NodeKind::Command, line).unwrap().meaning.contains("--timeout-ms"));
    }

    #[test]
    fn a_product_does_not_answer_for_another() {
        let line = "2026-11-23T03:32:05Z ERROR Unable to access datadir, exiting abnormally";
        assert!(fatal(NodeKind::Zookeeper, line).is_some());
        assert!(fatal(NodeKind::Mysql, line).is_none());
        assert!(fatal(NodeKind::Broker(2), line).is_none());
    }

    #[test]
    fn what_no_restart_cures_explains_more_than_what_it_might() {
        let lines =
            "a\nERROR No space left on device\nERROR Shutdown broker because all log dirs in /d have failed\nlast";
        let (known, line) = explain(NodeKind::Broker(1), lines).unwrap();
        assert_eq!(known.cause, Some(Cause::DiskFull));
        assert!(line.contains("No space"));
        assert!(explain(NodeKind::Broker(1), "all is well").is_none());
    }

    #[test]
    fn what_a_client_sends_to_zookeeper_is_no_damage_of_its_data() {
        let line = "java.io.IOException: Unreasonable length = 1701969920";
        let client = format!("WARN [NIOWorkerThread-1:NIOServerCnxn@373] - Close of session 0x0\n{line}\n\tat x");
        assert_eq!((fatal(NodeKind::Zookeeper, line), explain(NodeKind::Zookeeper, &client)), (None, None));
        let end = format!("{client}\nERROR [main] - Unexpected exception, exiting abnormally\n{line}");
        assert!(explain(NodeKind::Zookeeper, &end).unwrap().0.meaning.contains("is damaged"));
    }

    #[test]
    fn a_line_that_only_follows_explains_less_than_what_came_before_it() {
        let explained = |kind, lines| explain(kind, lines).unwrap().1;
        let lines = "java.io.IOException: Map failed\nERROR Shutdown broker because all log dirs in /d have failed\n";
        assert_eq!(explained(NodeKind::Broker(1), lines), "java.io.IOException: Map failed");
        let lines = "Unrecognized option: -nosuch\nError: Could not create the Java Virtual Machine.\n";
        assert_eq!(explained(NodeKind::Zookeeper, lines), "Unrecognized option: -nosuch");
        let alone = "Error: Could not create the Java Virtual Machine.";
        assert_eq!(explained(NodeKind::Zookeeper, alone), alone);
    }

    #[test]
    fn a_warning_that_a_command_has_outlived_is_not_what_it_ended_of() {
        const COMMAND: NodeKind = NodeKind::Command;
        let denied = "java.nio.file.AccessDeniedException: /usr/share/java/x";
        let cause = |kind, lines: &str| explain(kind, lines).and_then(|(known, _)| known.cause);
        let (owner, error) =
            (Some(Cause::WrongOwner), "[2026-11-27 01:02:05,000] ERROR Stopping due to error (o.x.Cli)");
        for warned in [
            format!("[2026-11-27 01:02:03,456] WARN cannot read it: {denied} (o.x.Plugins)"),
            format!(
                "2026-11-27T01:02:03.456Z INFO [main] cannot read it\n{denied}\n\tat a.b(C.java:1)\nCaused by: {denied}"
            ),
            format!("01:02:03.456 [main] WARN o.x.Plugins - cannot read it\n{denied}"),
        ] {
            assert_eq!(cause(COMMAND, &format!("{warned}\n{error}")), None, "{warned}");
            assert_eq!(cause(COMMAND, &format!("{warned}\nException in thread \"main\" a.b.C")), None, "{warned}");
            // It was its last word, or says nothing of how bad it is, or is said again by what it ended of.
            assert_eq!(cause(COMMAND, &warned), owner, "{warned}");
            assert_eq!(cause(COMMAND, &format!("{warned}\n[2026-11-27 01:02:05,000] INFO on")), owner, "{warned}");
            assert_eq!(cause(COMMAND, &format!("{warned}\n{error}\n{denied}")), owner, "{warned}");
            assert_eq!(cause(NodeKind::Broker(1), &format!("{warned}\n{error}")), owner, "{warned}");
        }
        assert_eq!(
            cause(COMMAND, &format!("INFO begins\nsh: x: {denied}\n{error}")),
            owner,
            "no word of the program that marks"
        );
        let lesser = "WARN x: Too many open files";
        assert_eq!(cause(COMMAND, &format!("{lesser}\n{error}")), Some(Cause::Crashed), "a hint harms nobody");
    }

    #[test]
    fn every_entry_can_be_reached_and_is_complete() {
        type Find = fn(NodeKind, &str) -> Option<&'static Known>;
        type List = &'static [&'static [Known]];
        let lists: [(List, Find); 3] = [(known::FATAL, fatal), (known::NOTED, noted), (known::HARMLESS, harmless)];
        for (nth, (list, find)) in lists.into_iter().enumerate() {
            for known in of(list) {
                assert!(!known.parts.is_empty() && !known.meaning.is_empty(), "{known:?}");
                assert_eq!((known.cause.is_some(), known.remedy.is_empty()), (nth == 0, nth == 2), "{known:?}");
                assert!(known.passes.is_none() || nth == 2, "{known:?}");
                let later = known.passes.map_or(["", ""], |passes| [passes.meaning, passes.remedy]);
                let words = [known.meaning, known.remedy].into_iter().chain(later);
                assert!(words.into_iter().all(|words| !words.ends_with('.')), "{known:?}");
                let line = known.parts.join(" ");
                let told = |kind| match known.behind {
                    Some(words) => explain(kind, &format!("{words}\n{line}")).map(|(known, _)| known),
                    None => find(kind, &line),
                };
                let found = KINDS.iter().filter_map(|k| told(*k));
                assert!(found.into_iter().any(|f| f == known), "hidden by an entry before it: {known:?}");
            }
        }
    }

    #[test]
    fn no_line_is_in_two_lists() {
        for known in of(known::HARMLESS).chain(of(known::NOTED)) {
            let line = known.parts.join(" ");
            for kind in KINDS {
                let found = [fatal(kind, &line), noted(kind, &line), harmless(kind, &line)];
                assert!(found.into_iter().flatten().count() <= 1, "{known:?}");
            }
        }
    }
}
