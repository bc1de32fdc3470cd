//! Where a handler puts its answers: a bounded queue that never makes the handler wait for a slow client.

use crate::control::wire::Answer;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Steps kept for a client that does not read. More than a whole start of a stack has.
const STEPS_MAX: usize = 256;

/// One end of the queue: the handler's.
#[derive(Debug)]
pub struct AnswerSink {
    queue: Arc<Queue>,
}

impl AnswerSink {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        queue.lock().sinks += 1;
        Self { queue }
    }

    /// Queues an answer. Never waits: of several statuses that a slow client has not read only the newest is kept, of
    /// too many steps the newest 256. After an answer that ends, and after the client hung up, nothing is kept.
    pub fn send(&self, answer: Answer) {
        self.queue.push(answer);
    }

    /// One step on the way, of no node in particular.
    pub fn progress(&self, text: impl Into<String>) {
        self.send(Answer::Progress { node: None, text: text.into() });
    }

    /// Ends when nobody will read any more: the client hung up, or the daemon ends.
    pub async fn closed(&self) {
        loop {
            let woken = self.queue.closed.notified();
            if self.is_closed() {
                return;
            }
            woken.await;
        }
    }

    /// Whether nobody will read any more.
    pub fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }
}

impl Clone for AnswerSink {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.queue))
    }
}

impl Drop for AnswerSink {
    fn drop(&mut self) {
        self.queue.lock().sinks -= 1;
        self.queue.readable.notify_one();
    }
}

/// The queue between a handler and the writer of its connection.
#[derive(Debug)]
pub(super) struct Queue {
    /// Whether a status is the last answer (to `Status`) or one of many (to `Watch`).
    status_ends: bool,
    inner: Mutex<Inner>,
    /// Wakes the one writer.
    readable: Notify,
    /// Wakes handlers that wait for the end.
    closed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    answers: VecDeque<(Answer, bool)>,
    sinks: usize,
    ended: bool,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is a whole one, so a panic elsewhere leaves the queue usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new(status_ends: bool) -> Self {
        Self { status_ends, inner: Mutex::default(), readable: Notify::new(), closed: Notify::new() }
    }

    fn push(&self, answer: Answer) {
        let last = match answer {
            Answer::Status(_) => self.status_ends,
            Answer::Hello(_)
            | Answer::Verdict(_)
            | Answer::Outlook(_)
            | Answer::Drilled(_)
            | Answer::Topics(_)
            | Answer::Done { .. }
            | Answer::Refused { .. } => true,
            Answer::Progress { .. } => false,
        };
        let mut inner = self.lock();
        if inner.closed || inner.ended {
            return;
        }
        match answer {
            Answer::Status(_) => inner.answers.retain(|(queued, _)| !matches!(queued, Answer::Status(_))),
            Answer::Progress { .. } if inner.answers.len() >= STEPS_MAX => drop(inner.answers.pop_front()),
            Answer::Progress { .. }
            | Answer::Hello(_)
            | Answer::Verdict(_)
            | Answer::Outlook(_)
            | Answer::Drilled(_)
            | Answer::Topics(_)
            | Answer::Done { .. }
            | Answer::Refused { .. } => {}
        }
        inner.answers.push_back((answer, last));
        inner.ended = last;
        drop(inner);
        self.readable.notify_one();
    }

    /// The next answer and whether it is the last; none when nothing is queued and nothing can follow. One caller only.
    pub(super) async fn next(&self) -> Option<(Answer, bool)> {
        loop {
            {
                let mut inner = self.lock();
                if let Some(answer) = inner.answers.pop_front() {
                    return Some(answer);
                }
                if inner.sinks == 0 || inner.closed {
                    return None;
                }
            }
            self.readable.notified().await;
        }
    }

    /// No more answers are taken; what is queued can still be read.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.closed.notify_waiters();
        self.readable.notify_one();
    }
}
