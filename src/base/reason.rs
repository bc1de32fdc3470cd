//! Why a node is stopped, started or restarted: a closed list, in the node's events.

use std::fmt;

/// On whose behalf an order about nodes is given, or what else has them start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A person's `start`, `stop`, `restart`, `kill`.
    ByHand,
    /// Its configuration is another one (`reload`).
    Configuration,
    /// Brokers are restarted one by one (`roll`).
    Roll,
    /// Something is broken on purpose, or put right after it (`drill`).
    Drill,
    /// Its data have too little room, or room again.
    Disk,
    /// Its data are copied, exchanged or deleted (`snapshot`, `restore`, `reset`).
    Stores,
    /// Its program was missing and is there now.
    Programs,
    /// Everything goes down (`down`, or a signal to the daemon).
    Down,
    /// It ended by itself: `cause` of its end says why.
    Died,
    /// Its shim was lost, so it is replaced by another copy.
    Replaced,
}

impl Reason {
    /// Every one, for help texts and tests.
    pub const ALL: [Reason; 10] = [
        Reason::ByHand,
        Reason::Configuration,
        Reason::Roll,
        Reason::Drill,
        Reason::Disk,
        Reason::Stores,
        Reason::Programs,
        Reason::Down,
        Reason::Died,
        Reason::Replaced,
    ];

    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::ByHand => "by-hand",
            Reason::Configuration => "configuration",
            Reason::Roll => "roll",
            Reason::Drill => "drill",
            Reason::Disk => "disk",
            Reason::Stores => "stores",
            Reason::Programs => "programs",
            Reason::Down => "down",
            Reason::Died => "died",
            Reason::Replaced => "replaced",
        }
    }

    /// Words behind an event's text; none: the event before it says so already (`order`, `ended`).
    pub fn clause(self) -> Option<&'static str> {
        match self {
            Reason::Configuration => Some("for its new configuration"),
            Reason::Roll => Some("for a roll"),
            Reason::Drill => Some("for a drill"),
            Reason::Disk => Some("for room on its disk"),
            Reason::Stores => Some("for a snapshot, restore or reset"),
            Reason::Programs => Some("because its program is there now"),
            Reason::Replaced => Some("in the place of the copy whose shim was lost"),
            Reason::ByHand | Reason::Down | Reason::Died => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_words_are_all_different() {
        let words: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
