//! The exit codes: an interface, one meaning each.

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Carried out. Also: nothing was left to do.
    Done,
    /// Something that nobody thought of, or an operating system that refused something.
    Unexpected,
    /// The command line is wrong: unknown verb, unknown node, missing argument.
    Usage,
    /// `supervisor.toml` is wrong, or asks for more memory than the host has.
    Configuration,
    /// The host is not fit for a start: a port is taken, a directory cannot be written.
    Preflight,
    /// Programs could not be fetched or are not what they should be.
    Artifact,
    /// A node failed or was not ready in time.
    NotReady,
    /// No daemon to talk to.
    NoDaemon,
    /// Refused as unsafe; the reasons are printed.
    Refused,
    /// The verdict of a `verify`, a `drill` or of the proof at the end of `up` is negative.
    Negative,
    /// Ctrl-C, or the signal that means the same, before it was done.
    Interrupted,
}

impl Exit {
    /// Every one, for the help and for tests.
    pub const ALL: [Exit; 11] = [
        Exit::Done,
        Exit::Unexpected,
        Exit::Usage,
        Exit::Configuration,
        Exit::Preflight,
        Exit::Artifact,
        Exit::NotReady,
        Exit::NoDaemon,
        Exit::Refused,
        Exit::Negative,
        Exit::Interrupted,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Unexpected => 1,
            Exit::Usage => 2,
            Exit::Configuration => 3,
            Exit::Preflight => 4,
            Exit::Artifact => 5,
            Exit::NotReady => 6,
            Exit::NoDaemon => 7,
            Exit::Refused => 8,
            Exit::Negative => 9,
            Exit::Interrupted => 130,
        }
    }

    /// The meaning of a number; [`Exit::Unexpected`] for one that has none.
    pub fn of_code(code: u8) -> Self {
        Self::ALL.into_iter().find(|e| e.code() == code).unwrap_or(Exit::Unexpected)
    }

    /// A few words for the help.
    pub fn words(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Unexpected => "unexpected",
            Exit::Usage => "usage",
            Exit::Configuration => "configuration",
            Exit::Preflight => "preflight: the host is not fit for it",
            Exit::Artifact => "artifact: programs could not be fetched or verified",
            Exit::NotReady => "a node failed or was not ready in time",
            Exit::NoDaemon => "no daemon to talk to",
            Exit::Refused => "refused as unsafe, reasons printed",
            Exit::Negative => "verdict negative",
            Exit::Interrupted => "interrupted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_contract_and_lead_back_to_their_meaning() {
        let codes: Vec<u8> = Exit::ALL.into_iter().map(Exit::code).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130]);
        for exit in Exit::ALL {
            assert_eq!(Exit::of_code(exit.code()), exit);
        }
        assert_eq!(Exit::of_code(77), Exit::Unexpected);
    }
}
