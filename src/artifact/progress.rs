//! What fetching tells whoever waits for it.

use std::{fmt, time::Duration};

/// A part of the stack that is resolved and fetched on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The Java runtime.
    Java,
    /// Kafka's and ZooKeeper's jars.
    Kafka,
    /// The MySQL server.
    Mysql,
    /// The web page over the brokers.
    KafkaUi,
}

impl Part {
    /// Its word in messages and in the lock file.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Java => "java",
            Part::Kafka => "kafka",
            Part::Mysql => "mysql",
            Part::KafkaUi => "kafka-ui",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that happened. Parts are fetched side by side, so steps of different parts interleave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another run holds the store; this one waits for it.
    Waiting {
        /// What the holder wrote about itself (`pid 4711 since 2026-01-02T…`).
        holder: String,
    },
    /// It is there already, nothing to fetch.
    Present {
        /// Which part.
        what: Part,
        /// `kafka 3.5.2 (52 jars, 38 MB)`.
        detail: String,
    },
    /// Work on a part began.
    Begin {
        /// Which part.
        what: Part,
        /// `kafka 3.5.2 with mvn`: what, and from where.
        detail: String,
    },
    /// Bytes that arrived so far, for sources that can tell.
    Bytes {
        /// Which part.
        what: Part,
        /// Bytes on disk.
        done: u64,
        /// Bytes announced.
        total: u64,
    },
    /// Something worth a line: a runtime was replaced, a source failed and the next is tried.
    Note {
        /// Which part.
        what: Part,
        /// One sentence.
        text: String,
    },
    /// A part is in the store and verified.
    Done {
        /// Which part.
        what: Part,
        /// `mysql 9.7.4 (55 packages, 57 MB)`.
        detail: String,
        /// How long it took.
        took: Duration,
    },
}

/// `38 MB`: whole mebibytes, rounded.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{} MB", (bytes + (1 << 19)) >> 20)
}

/// Hears the steps. Called from several threads.
pub trait Progress: Sync {
    /// One step.
    fn step(&self, step: &Step);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _: &Step) {}
}
