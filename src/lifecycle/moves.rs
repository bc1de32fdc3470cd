//! What the cells of the table do: each move changes a copy of the node and lists the actions.

use super::{
    Action, BackOff, Dying, Ended, Hold, Node, Run, State, StopReason, Wait, Wanted,
    restart::{Next, Past, after_end, ended_for_good},
    step::Around,
    words,
};
use crate::base::{Cause, Incarnation, Moment, Verdict, ids::ProcessId, outcome::Failure};
use std::time::Duration;

/// SIGKILL is sent again after this time: a process can be stuck in the kernel, and a fork can slip past one round.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// Clock ticks per second in `/proc/PID/stat`. `USER_HZ` is 100 on every architecture we build for
/// (include/asm-generic/param.h); it is not the kernel's own HZ.
const MILLIS_PER_TICK: u64 = 1_000 / 100;

/// A node that has taken an event, and what is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) node: Node,
    pub(super) actions: Vec<Action>,
}

impl Change {
    /// Nothing has changed yet.
    pub(super) fn of(node: &Node) -> Self {
        Self { node: node.clone(), actions: Vec::new() }
    }

    /// Wants it up or down. What an earlier order left open is forgotten.
    pub(super) fn want(mut self, wanted: Wanted) -> Self {
        self.node.wanted = wanted;
        self.node.start_due = false;
        self.node.bounce = false;
        self.node.kill = false;
        self
    }

    /// A start that an earlier daemon was ordered and did not live to launch.
    pub(super) fn owe_start(mut self, start_due: bool) -> Self {
        self.node.start_due = start_due;
        self
    }

    /// Wants it up anew, with a clean slate: an operator's order is not held up by what happened before.
    pub(super) fn want_anew(self) -> Self {
        let mut next = self.want(Wanted::Up);
        next.node.deaths_in_a_row = 0;
        next.node.start_due = true;
        next
    }

    /// Wants it started again as soon as it is gone, by order.
    pub(super) fn want_bounce(self) -> Self {
        let mut next = self.want_anew();
        next.node.bounce = true;
        next
    }

    /// Wants it killed as soon as the launch under way says what there is to kill.
    pub(super) fn want_killed(self) -> Self {
        let mut next = self.want(Wanted::Down);
        next.node.kill = true;
        next
    }

    fn into(mut self, state: State) -> Self {
        self.node.state = state;
        self
    }

    /// Nothing runs, nothing is about to.
    pub(super) fn down(mut self) -> Self {
        self.node.restart_due = false;
        self.node.start_due = false;
        self.node.bounce = false;
        self.node.kill = false;
        let last = self.node.last_end;
        self.into(State::Down { last })
    }

    /// As `down`, with a preparation under way.
    pub(super) fn cancel(mut self) -> Self {
        self.actions.push(Action::CancelPrepare { node: self.node.name.clone() });
        self.down()
    }

    /// Stopped for good.
    pub(super) fn fail(mut self, failure: Failure, now: Moment) -> Self {
        self.node.restart_due = false;
        self.node.start_due = false;
        self.node.bounce = false;
        self.node.kill = false;
        self.into(State::Failed { failure, since: now })
    }

    /// The first half of a start: wait for those it comes after, then prepare.
    pub(super) fn begin(mut self, around: &Around, now: Moment) -> Self {
        self.node.bounce = false;
        self.node.kill = false;
        if around.missing.is_empty() {
            self.actions.push(Action::Prepare { node: self.node.name.clone() });
            self.into(State::Preparing { since: now })
        } else {
            self.await_dependencies(around)
        }
    }

    /// Waits for those it comes after.
    pub(super) fn await_dependencies(self, around: &Around) -> Self {
        self.into(State::Waiting(Wait::Dependencies(around.missing.clone())))
    }

    /// As `begin`, when nobody ordered it and a run has ended before.
    pub(super) fn begin_counted(mut self, around: &Around, now: Moment) -> Self {
        self.node.restarts = self.node.restarts.saturating_add(1);
        self.node.restart_due = true;
        self.begin(around, now)
    }

    /// The second half of a start: launch the next incarnation, unless a dependency stopped serving meanwhile.
    pub(super) fn launch(mut self, around: &Around, now: Moment) -> Self {
        if !around.missing.is_empty() {
            return self.await_dependencies(around);
        }
        self.node.incarnation = self.node.incarnation.next();
        self.node.restart_due = false;
        self.node.start_due = false;
        self.actions.push(Action::Spawn { node: self.node.name.clone(), incarnation: self.node.incarnation });
        let deadline = now + self.node.start_deadline;
        self.into(State::Starting { run: None, since: now, deadline, progress: None, why: words::LAUNCHING.into() })
    }

    /// Preparing reports what it waits for. The start of the wait stays while the kind of wait stays.
    pub(super) fn hold(self, hold: Hold, now: Moment) -> Self {
        let wait = match (hold, &self.node.state) {
            (Hold::OldSession { why }, State::Waiting(Wait::OldSession { since, .. })) => {
                Wait::OldSession { since: *since, why }
            }
            (Hold::Other { why }, State::Waiting(Wait::Held { since, .. })) => Wait::Held { since: *since, why },
            (Hold::OldSession { why }, _) => Wait::OldSession { since: now, why },
            (Hold::Other { why }, _) => Wait::Held { since: now, why },
        };
        self.into(State::Waiting(wait))
    }

    /// Preparing failed: a pause as after a death, but never without one, since nothing has slowed the attempt down.
    pub(super) fn retry_preparing(mut self, why: String, now: Moment, dice: u64) -> Self {
        self.node.deaths_in_a_row = self.node.deaths_in_a_row.saturating_add(1);
        self.pause(Cause::CouldNotStart, Some(why), now, dice)
    }

    fn pause(self, cause: Cause, why: Option<String>, now: Moment, dice: u64) -> Self {
        let attempt = self.node.deaths_in_a_row.saturating_sub(1).max(1);
        let until = now + BackOff::of(&self.node.restart).pause(attempt, dice);
        self.into(State::Waiting(Wait::BackOff { until, attempt, cause, why }))
    }

    /// The launch answered: there is a process.
    pub(super) fn spawned(self, process: ProcessId, since: Moment, around: &Around, now: Moment) -> Self {
        let run = Run { incarnation: self.node.incarnation, process, spawned: now };
        if self.node.kill {
            return self.kill(run, StopReason::Ordered, None, now);
        }
        self.starts(run, since, words::STARTING, around, now)
    }

    /// There is a process that has not been looked at. It is asked to stop at once if that is due.
    fn starts(mut self, run: Run, since: Moment, why: &str, around: &Around, now: Moment) -> Self {
        self.node.shim_lost = false;
        let deadline = now + self.node.start_deadline;
        let incarnation = run.incarnation;
        let mut next =
            self.into(State::Starting { run: Some(run), since, deadline, progress: None, why: why.to_owned() });
        match next.stop_is_due(around) {
            Some(reason) => next.ask_running(reason, now),
            None => {
                next.actions.push(Action::Watch { node: next.node.name.clone(), incarnation });
                next
            }
        }
    }

    /// A new daemon goes on with a node that is wanted up and has no process: what follows its last end is decided as if it
    /// had just been seen. None: it had never run. One that had failed stays so: another daemon cures nothing. A start that
    /// was ordered after all that is begun.
    pub(super) fn resume(
        mut self,
        ended: Option<Cause>,
        failure: Option<Failure>,
        around: &Around,
        now: Moment,
        dice: u64,
    ) -> Self {
        self.node.last_end = ended;
        if self.node.start_due {
            return self.begin(around, now);
        }
        if let Some(failure) = failure {
            return self.fail(failure, now);
        }
        match ended {
            None => self.begin(around, now),
            Some(cause) if cause.is_terminal() => self.fail(words::hopeless(cause), now),
            Some(cause) if ended_for_good(&self.node.restart, cause) => self.down(),
            Some(_) if self.node.deaths_in_a_row < 2 => self.begin_counted(around, now),
            Some(cause) => self.pause(cause, None, now, dice),
        }
    }

    /// A new daemon found it running.
    pub(super) fn adopt(
        mut self,
        incarnation: Incarnation,
        process: ProcessId,
        restarts: u32,
        around: &Around,
        now: Moment,
    ) -> Self {
        self.node.incarnation = self.node.incarnation.max(incarnation);
        self.node.restarts = restarts;
        self.node.bounce = self.node.start_due;
        // The kernel counts its ticks from boot, and so does a Moment.
        let spawned = Moment(process.start_ticks.saturating_mul(MILLIS_PER_TICK)).min(now);
        let run = Run { incarnation, process, spawned };
        self.starts(run, now, words::ADOPTED, around, now)
    }

    /// Whether a running node is to be asked to stop now, and for whom; none: it goes on as it is.
    ///
    /// Not while it starts and the signal would hurt it: then it is asked when it serves or its start is late. A stop waits
    /// for dependents that are to stop too; a replacement for a lost shim, which nobody has ordered, for peers.
    pub(super) fn stop_is_due(&self, around: &Around) -> Option<StopReason> {
        if self.node.start_is_protected() {
            return None;
        }
        let due = match self.node.wanted {
            Wanted::Down => !around.held,
            Wanted::Up => self.node.bounce || (self.node.shim_lost && !around.peer_away),
        };
        due.then_some(if self.node.shim_lost { StopReason::ShimLost } else { StopReason::Ordered })
    }

    /// Asks a running node to stop if that is due; else it goes on as it is.
    pub(super) fn stop_when_free(self, around: &Around, now: Moment) -> Self {
        match self.stop_is_due(around) {
            Some(reason) => self.ask_running(reason, now),
            None => self,
        }
    }

    /// Its shim was killed.
    pub(super) fn lose_shim(mut self) -> Self {
        self.node.shim_lost = true;
        self
    }

    /// Asks the process of a running node to stop.
    pub(super) fn ask_running(self, reason: StopReason, now: Moment) -> Self {
        let ready_since = self.node.state.ready_since();
        match self.node.state.run().cloned() {
            Some(run) => self.ask(run, reason, ready_since, now),
            None => self,
        }
    }

    fn ask(mut self, run: Run, reason: StopReason, ready_since: Option<Moment>, now: Moment) -> Self {
        self.actions.push(Action::AskToStop { node: self.node.name.clone(), incarnation: run.incarnation, reason });
        let dying = Dying::Asked { kill_at: now + self.node.stop.grace };
        self.into(State::Stopping { run, reason, dying, ready_since })
    }

    /// Sends the stop signal once more, now through the daemon that has taken over; the deadline stays.
    pub(super) fn ask_without_shim(mut self, run: &Run) -> Self {
        self.actions.push(Action::AskToStop {
            node: self.node.name.clone(),
            incarnation: run.incarnation,
            reason: StopReason::ShimLost,
        });
        if let State::Stopping { reason, .. } = &mut self.node.state {
            *reason = StopReason::ShimLost;
        }
        self.lose_shim()
    }

    /// SIGKILL for the tree of a node with a process; an earlier reason to stop stays.
    pub(super) fn kill_running(self, now: Moment) -> Self {
        let ready_since = self.node.state.ready_since();
        let reason = match &self.node.state {
            State::Stopping { reason, .. } => *reason,
            State::Down { .. }
            | State::Waiting(_)
            | State::Preparing { .. }
            | State::Starting { .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Failed { .. }
                if self.node.shim_lost =>
            {
                StopReason::ShimLost
            }
            State::Down { .. }
            | State::Waiting(_)
            | State::Preparing { .. }
            | State::Starting { .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Failed { .. } => StopReason::Ordered,
        };
        match self.node.state.run().cloned() {
            Some(run) => self.kill(run, reason, ready_since, now),
            None => self,
        }
    }

    fn kill(mut self, run: Run, reason: StopReason, ready_since: Option<Moment>, now: Moment) -> Self {
        self.node.kill = false;
        self.actions.push(Action::KillTree { node: self.node.name.clone(), incarnation: run.incarnation });
        let dying = Dying::Killed { again_at: now + KILL_AGAIN };
        self.into(State::Stopping { run, reason, dying, ready_since })
    }

    /// One signal for the main process.
    pub(super) fn signal(mut self, run: &Run, signal: i32) -> Self {
        self.actions.push(Action::Signal { node: self.node.name.clone(), incarnation: run.incarnation, signal });
        self
    }

    /// The main process is gone, the shim removes the rest.
    pub(super) fn leftovers(self, run: &Run, reason: StopReason) -> Self {
        let ready_since = self.node.state.ready_since();
        self.into(State::Stopping { run: run.clone(), reason, dying: Dying::Leftovers, ready_since })
    }

    /// The start deadline passed without progress. It goes on: nothing that recovers is killed.
    pub(super) fn late(self, run: &Run, why: &str, now: Moment) -> Self {
        let why = words::late(self.node.start_deadline, why);
        self.into(State::Degraded { run: run.clone(), since: now, why, ready_since: None })
    }

    /// A look at a node that was not ready yet.
    pub(super) fn looked_while_starting(mut self, run: &Run, verdict: Verdict, around: &Around, now: Moment) -> Self {
        match verdict {
            Verdict::Ready(how) => self.ready(run, how, now).stop_when_free(around, now),
            // The verdict says that it serves, so those that come after it need not wait.
            Verdict::Degraded(why) => self
                .into(State::Degraded { run: run.clone(), since: now, why, ready_since: Some(now) })
                .stop_when_free(around, now),
            Verdict::NotReady { why: new_why, progress: mark } => {
                let late_at = now + self.node.start_deadline;
                if let State::Starting { deadline, progress, why, .. } = &mut self.node.state {
                    *why = new_why;
                    // A look that learns no mark (a refused connection) takes back nothing.
                    if mark.is_some() && mark != *progress {
                        *progress = mark;
                        *deadline = late_at;
                    }
                }
                self
            }
        }
    }

    /// A look at a ready node.
    pub(super) fn looked_while_ready(mut self, run: &Run, since: Moment, verdict: Verdict, now: Moment) -> Self {
        let why = match verdict {
            Verdict::Ready(new_how) => {
                if let State::Ready { failures, how, .. } = &mut self.node.state {
                    *failures = 0;
                    *how = new_how;
                }
                return self;
            }
            Verdict::Degraded(why) => why,
            Verdict::NotReady { why, progress: _ } => {
                let limit = self.node.probe_failures.max(1);
                if let State::Ready { failures, .. } = &mut self.node.state {
                    *failures = failures.saturating_add(1);
                    if *failures < limit {
                        return self;
                    }
                }
                why
            }
        };
        self.into(State::Degraded { run: run.clone(), since: now, why, ready_since: Some(since) })
    }

    /// A look at a degraded node.
    pub(super) fn looked_while_degraded(mut self, run: &Run, verdict: Verdict, now: Moment) -> Self {
        let start_deadline = self.node.start_deadline;
        match verdict {
            Verdict::Ready(how) => return self.ready(run, how, now),
            Verdict::Degraded(new_why) => {
                if let State::Degraded { why, ready_since, .. } = &mut self.node.state {
                    *why = new_why;
                    *ready_since = ready_since.or(Some(now));
                }
            }
            Verdict::NotReady { why: new_why, progress: _ } => {
                if let State::Degraded { why, ready_since, .. } = &mut self.node.state {
                    *why = if ready_since.is_some() { new_why } else { words::late(start_deadline, &new_why) };
                }
            }
        }
        self
    }

    fn ready(self, run: &Run, how: String, now: Moment) -> Self {
        self.into(State::Ready { run: run.clone(), since: now, failures: 0, how })
    }

    /// The whole tree is gone.
    pub(super) fn gone(mut self, ended: &Ended, around: &Around, now: Moment, dice: u64) -> Self {
        self.node.last_end = Some(ended.cause);
        self.node.shim_lost = false;
        if self.node.wanted == Wanted::Down {
            return self.down();
        }
        let reason = match &self.node.state {
            State::Stopping { reason, .. } => Some(*reason),
            State::Down { .. }
            | State::Waiting(_)
            | State::Preparing { .. }
            | State::Starting { .. }
            | State::Ready { .. }
            | State::Degraded { .. }
            | State::Failed { .. } => None,
        };
        let past = Past {
            run: self.node.state.run(),
            ready_since: self.node.state.ready_since(),
            reason,
            bounce: self.node.bounce,
            ended,
        };
        match after_end(&self.node.restart, &past, now) {
            Next::Ordered => {
                self.node.deaths_in_a_row = 0;
                self.begin(around, now)
            }
            Next::Replaced => self.begin_counted(around, now),
            Next::OldSession => self.begin(around, now),
            Next::Healthy => {
                self.node.deaths_in_a_row = 0;
                self.begin_counted(around, now)
            }
            Next::Death => {
                self.node.deaths_in_a_row = self.node.deaths_in_a_row.saturating_add(1);
                if self.node.deaths_in_a_row == 1 {
                    self.begin_counted(around, now)
                } else {
                    self.pause(ended.cause, None, now, dice)
                }
            }
            Next::Finished => self.down(),
            Next::Hopeless(failure) => {
                let failure = failure.unwrap_or_else(|| words::hopeless(ended.cause));
                self.fail(failure, now)
            }
        }
    }

    /// The launch was refused: there never was a process.
    pub(super) fn refused_launch(mut self, failure: Failure, now: Moment) -> Self {
        self.node.last_end = Some(failure.cause);
        match self.node.wanted {
            Wanted::Up => self.fail(failure, now),
            Wanted::Down => self.down(),
        }
    }
}
