//! What of a node's settings and of its last lines tells about its memory. Pure.

use super::jvm;
use crate::base::{NodeKind, recipe::Recipe};
use std::path::PathBuf;

/// Flags of a JVM that bound a part of its memory; of two the last one holds (the java command).
const FLAGS: [&str; 6] =
    ["-Xmx", "-Xms", "-Xss", "-XX:MaxDirectMemorySize=", "-XX:MaxMetaspaceSize=", "-XX:ReservedCodeCacheSize="];

/// Options of mysqld that decide most about its memory (MySQL manual, "How MySQL Uses Memory").
const OPTIONS: [&str; 3] = ["innodb_buffer_pool_size", "max_connections", "tmp_table_size"];

/// The settings that bound a node's memory, as its program was given them.
pub fn memory_settings(recipe: &Recipe) -> Vec<String> {
    let argv = &recipe.launch.argv;
    let flags = FLAGS.iter().filter_map(|flag| argv.iter().rev().find(|arg| arg.starts_with(flag)).cloned());
    let lines = || recipe.files.iter().flat_map(|file| file.contents.lines()).map(str::trim);
    let of_key =
        |key: &&str| lines().rfind(|line| line.split('=').next().is_some_and(|k| k.trim().replace('-', "_") == **key));
    match recipe.kind {
        NodeKind::Mysql => OPTIONS.iter().filter_map(of_key).map(str::to_owned).collect(),
        NodeKind::Zookeeper | NodeKind::Broker(_) | NodeKind::KafkaUi | NodeKind::Command => flags.collect(),
    }
}

/// The file that a JVM's collections are written to; the one before it has `.0` behind its name. None: no JVM of ours.
pub fn gc_log(recipe: &Recipe) -> Option<PathBuf> {
    let named = recipe.launch.argv.iter().find_map(|arg| arg.strip_prefix(jvm::GC_LOG))?;
    named.split(':').next().map(PathBuf::from)
}

/// Most lines that are picked out.
const TELLING: usize = 6;

/// Words of lines that tell about memory or about a fault: of a JVM's garbage collector (`-Xlog:gc`: `[gc] GC(12) Pause Full`),
/// of log4j, of mysqld, of a JVM's and a C library's own messages.
const WORDS: [&str; 10] = [
    "GC(",
    "Pause Full",
    "OutOfMemory",
    " ERROR ",
    "[ERROR]",
    " FATAL ",
    "Exception",
    "Cannot allocate memory",
    "memory exhausted",
    "out of memory",
];

/// The last lines of a log that tell something, oldest first.
pub fn telling_lines(tail: &str) -> Vec<&str> {
    let lines: Vec<&str> = tail.lines().filter(|line| WORDS.iter().any(|word| line.contains(word))).collect();
    lines[lines.len().saturating_sub(TELLING)..].to_vec()
}

/// Which of a JVM's own limits a line names: `java-heap` and the like, words of `Memory::limit` of an incident.
pub fn java_limit(line: &str) -> Option<&'static str> {
    let of = |words: &[&str]| words.iter().all(|word| line.contains(word));
    if !line.contains("OutOfMemoryError") {
        None
    } else if of(&["Java heap space"]) || of(&["GC overhead limit exceeded"]) {
        Some("java-heap")
    } else if of(&["Metaspace"]) || of(&["Compressed class space"]) {
        Some("java-metaspace")
    } else if of(&["direct buffer memory"]) || of(&["Direct buffer memory"]) {
        Some("java-direct")
    } else if of(&["unable to create native thread"]) {
        Some("java-threads")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Recipe {
        let source = crate::config::Source { text, name: "t", root_override: None, default_root: "/var/lib/x".into() };
        let plan = crate::config::load(&source).unwrap();
        let site = crate::services::Inputs {
            plan: &plan,
            programs: &crate::base::programs::Programs::default(),
            layout: &plan.layout(),
            cores: 2,
            running_as_root: false,
        };
        crate::services::recipes(&site).unwrap().remove(0)
    }

    #[test]
    fn of_two_flags_the_last_one_counts() {
        let jvm = recipe("[command.a]\nargv = [\"/bin/java\", \"-Xmx64m\", \"-cp\", \"x\", \"-Xmx96m\", \"Main\"]");
        assert_eq!(memory_settings(&jvm), ["-Xmx96m"]);
        let mut server = jvm;
        server.kind = NodeKind::Mysql;
        server.files = vec![crate::base::recipe::RenderedFile {
            path: "/x".into(),
            mode: 0o600,
            contents: "[mysqld]\ninnodb_buffer_pool_size = 512M\nmax-connections=100\n".into(),
        }];
        assert_eq!(memory_settings(&server), ["innodb_buffer_pool_size = 512M", "max-connections=100"]);
    }

    #[test]
    fn the_file_with_the_collections_is_the_one_of_the_command_line() {
        let mut jvm = recipe("[command.a]\nargv = [\"/bin/java\", \"-Xlog:gc\", \"Main\"]");
        assert_eq!(gc_log(&jvm), None);
        jvm.launch.argv.push(super::super::jvm::gc_log("/r/nodes/a/run/tmp"));
        assert_eq!(gc_log(&jvm), Some("/r/nodes/a/run/tmp/gc.log".into()));
    }

    #[test]
    fn lines_about_memory_and_faults_are_picked_out() {
        let tail = "hello\n[12.3s][info][gc] GC(7) Pause Full (Allocation Failure) 509M->508M(512M) 120ms\nmore\n2026 ERROR x (y)\nbye\n";
        assert_eq!(telling_lines(tail).len(), 2);
        let many = "java.lang.OutOfMemoryError: Java heap space\n".repeat(20);
        assert_eq!(telling_lines(&many).len(), TELLING);
    }

    #[test]
    fn the_limits_of_a_jvm_are_told_apart() {
        for (line, limit) in [
            ("Terminating due to java.lang.OutOfMemoryError: Java heap space", Some("java-heap")),
            ("Terminating due to java.lang.OutOfMemoryError: Metaspace", Some("java-metaspace")),
            ("OutOfMemoryError: Cannot reserve 1 bytes of direct buffer memory", Some("java-direct")),
            ("OutOfMemoryError: unable to create native thread: possibly", Some("java-threads")),
            ("OutOfMemoryError: of another kind", None),
            ("Java heap space", None),
        ] {
            assert_eq!(java_limit(line), limit, "{line}");
        }
    }
}
