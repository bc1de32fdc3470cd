//! What a signal that asks a process to stop means when it is not the first: in order still, or now.

use std::time::Duration;

/// The signals that ask a process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: a service manager, or `kill PID`.
    Terminate,
    /// SIGHUP: the terminal went away.
    Hangup,
}

impl StopSignal {
    /// By its number (signal(7)); none: it asks for something else.
    pub fn of(number: i32) -> Option<Self> {
        match number {
            1 => Some(StopSignal::Hangup),
            2 => Some(StopSignal::Interrupt),
            15 => Some(StopSignal::Terminate),
            _ => None,
        }
    }

    /// `SIGINT` and its like.
    pub fn name(self) -> &'static str {
        match self {
            StopSignal::Interrupt => "SIGINT",
            StopSignal::Terminate => "SIGTERM",
            StopSignal::Hangup => "SIGHUP",
        }
    }
}

/// What to do about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The first: everything stops in order.
    InOrder,
    /// The same once more.
    Again,
    /// Somebody does not want to wait: kill.
    Now,
}

/// How long after a SIGTERM another one means that somebody does not want to wait.
///
/// One wish sends several signals: the kernel hangs up the foreground group when the shell that led the terminal ends, and the
/// shell has hung up its jobs before (bash(1), SIGNALS); systemd follows the SIGTERM for a session's scope by a SIGHUP at once
/// (systemd.kill(5), SendSIGHUP=); wrappers pass a signal on that the whole group has got. All within milliseconds.
const TERMINATE_AGAIN: Duration = Duration::from_secs(2);

/// The signals heard so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    any: bool,
    interrupted: bool,
    terminated: Option<Duration>,
}

impl Heard {
    /// Takes one. `at`: time on any clock that only goes on. A person kills with a second Ctrl-C, a program with a second
    /// SIGTERM that is no echo of the first; a terminal that goes away never does.
    pub fn take(&mut self, signal: StopSignal, at: Duration) -> Meaning {
        self.take_from(signal, false, at)
    }

    /// The same, where it is known whether process 1 has sent it. That one does not insist: at the end of a shutdown whose deadline is
    /// over systemd sends SIGTERM to everything that still runs, and waits 90 s before it kills (systemd-shutdown, `broadcast_signal`;
    /// DefaultTimeoutStopSec=). Nodes whose turn has just come have that time.
    pub fn take_from(&mut self, signal: StopSignal, by_init: bool, at: Duration) -> Meaning {
        let first = !std::mem::replace(&mut self.any, true);
        let insists = match signal {
            StopSignal::Hangup => false,
            StopSignal::Interrupt => std::mem::replace(&mut self.interrupted, true),
            StopSignal::Terminate => {
                let since = at.saturating_sub(*self.terminated.get_or_insert(at));
                !by_init && since >= TERMINATE_AGAIN
            }
        };
        match (insists, first) {
            (true, _) => Meaning::Now,
            (false, true) => Meaning::InOrder,
            (false, false) => Meaning::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StopSignal::{Hangup, Interrupt, Terminate};

    fn meanings(signals: &[(StopSignal, u64)]) -> Vec<Meaning> {
        let mut heard = Heard::default();
        signals.iter().map(|(signal, ms)| heard.take(*signal, Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn a_second_interrupt_kills() {
        assert_eq!(meanings(&[(Interrupt, 0), (Interrupt, 1)]), [Meaning::InOrder, Meaning::Now]);
        let others_first = meanings(&[(Hangup, 0), (Interrupt, 1), (Interrupt, 2)]);
        assert_eq!(others_first, [Meaning::InOrder, Meaning::Again, Meaning::Now]);
    }

    #[test]
    fn a_shutdown_that_reaches_its_deadline_gives_nodes_the_time_that_is_left() {
        let mut heard = Heard::default();
        let mut init = |ms| heard.take_from(Terminate, true, Duration::from_millis(ms));
        assert_eq!([init(0), init(60_000), init(61_000)], [Meaning::InOrder, Meaning::Again, Meaning::Again]);
        assert_eq!(heard.take_from(Terminate, false, Duration::from_secs(70)), Meaning::Now, "a person does insist");
    }

    #[test]
    fn a_terminal_that_goes_away_never_kills() {
        let closed = [(Hangup, 0), (Hangup, 3), (Terminate, 90), (Hangup, 91), (Hangup, 60_000)];
        assert!(meanings(&closed).iter().all(|m| *m != Meaning::Now));
        let logout = [(Terminate, 0), (Hangup, 0)];
        assert_eq!(meanings(&logout), [Meaning::InOrder, Meaning::Again]);
    }

    #[test]
    fn a_second_terminate_kills_when_it_is_no_echo_of_the_first() {
        let echoed = [(Terminate, 0), (Terminate, 20), (Terminate, 1_999), (Terminate, 2_000)];
        assert_eq!(meanings(&echoed), [Meaning::InOrder, Meaning::Again, Meaning::Again, Meaning::Now]);
        assert_eq!(meanings(&[(Interrupt, 0), (Terminate, 9_000)]), [Meaning::InOrder, Meaning::Again]);
    }
}
