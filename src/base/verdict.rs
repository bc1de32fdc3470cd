//! What one probe attempt found, with its reason.

/// The result of one attempt to see whether a node is ready. Every verdict carries the words shown in `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It serves. The text says how we know (`Mode: standalone`, `metadata on 29092 and 9092`).
    Ready(String),
    /// It serves, but not as it should (a broker missing from an ISR). Never a reason to kill.
    Degraded(String),
    /// Not yet, because.
    NotReady {
        /// Why not, for people.
        why: String,
        /// A value that changes while the node gets on (log recovery counts, InnoDB phases): a changed mark extends the
        /// start deadline. None: nothing known about progress.
        progress: Option<String>,
    },
}

impl Verdict {
    /// A plain "not yet" without a progress mark.
    pub fn not_ready(why: impl Into<String>) -> Self {
        Verdict::NotReady { why: why.into(), progress: None }
    }
}
