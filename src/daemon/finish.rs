//! Finishes a roll that was cut short with the last daemon: once, when the nodes have settled and nobody else is at work, by the rules of
//! any roll (`roll`). What a status says of it meanwhile.

use super::{handover::Work, reload::Reloads, roll::Finished, systemd::READY_AFTER};
use crate::{
    base::Moment,
    control::wire::CutShort,
    engine::{Handle, Snapshot},
    operate::unrolled::{self, Unrolled},
    sys::clock,
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long all must have been still: an `up` that has brought this daemon asks for its proof when all is ready, and a broker that is away
/// would spoil it.
const STILL_FOR: Duration = Duration::from_secs(2);

/// What was left, and what this daemon does about it.
#[derive(Debug)]
pub(super) struct Rest(Mutex<Option<(Unrolled, Stage)>>);

/// How far this daemon is with it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not begun: what it waits for.
    Waits(String),
    /// It is at it.
    Runs(String),
    /// It does not, or not any more: why.
    Left(String),
}

/// What is there to finish it with.
pub(super) struct Site<'a> {
    pub(super) engine: &'a Handle,
    pub(super) reloads: &'a Reloads,
    /// Orders under way, and whether the program is about to be replaced.
    pub(super) work: &'a Work,
}

impl Rest {
    pub(super) fn new(left: Option<Unrolled>) -> Self {
        let staged = left.map(|left| {
            let stage = match left.is_given_up() {
                Some(why) => Stage::Left(why),
                None => Stage::Waits("when the nodes have settled".into()),
            };
            (left, stage)
        });
        Self(Mutex::new(staged))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Unrolled, Stage)>> {
        // The values are replaced as wholes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, to: Stage) {
        if let Some((_, stage)) = self.lock().as_mut() {
            *stage = to;
        }
    }

    /// What this daemon is to finish.
    fn to_finish(&self) -> Option<Unrolled> {
        match self.lock().as_ref() {
            Some((left, Stage::Waits(_) | Stage::Runs(_))) => Some(left.clone()),
            Some((_, Stage::Left(_))) | None => None,
        }
    }

    /// As a status has it; none: nothing is left.
    pub(super) fn told(&self, now: &Snapshot) -> Option<CutShort> {
        let staged = self.lock();
        let (left, stage) = staged.as_ref()?;
        let not_restarted = left.rest(now);
        let (resume, detail) = match stage {
            Stage::Waits(what) => ("waits", what),
            Stage::Runs(what) => ("runs", what),
            Stage::Left(why) => ("left", why),
        };
        (!not_restarted.is_empty()).then(|| CutShort {
            operation: left.operation.clone(),
            begun_at: left.begun_at,
            step: left.step.clone(),
            not_restarted,
            resume: Some(resume.to_owned()),
            resume_detail: Some(detail.clone()),
        })
    }

    /// Goes on with it to its end; nothing is done where nothing is left. To be called once.
    pub(super) async fn finish(&self, site: &Site<'_>) {
        let Some(left) = self.to_finish() else { return };
        let mut began = clock::now();
        let mut still = None;
        loop {
            let now = site.engine.snapshot();
            if now.ending {
                return;
            }
            let unsettled = unrolled::unsettled(&now)
                .or_else(|| (!site.work.is_idle()).then(|| "an order is being carried out".to_owned()));
            if left.rest(&now).is_empty() {
                return self.gone(site, &now);
            }
            let due = left.due(&now);
            match may_begin(unsettled, &mut still, began, clock::now()) {
                Err(why) => self.set(Stage::Waits(why)),
                // A broker that is on its way down by order is not left any more when it is there.
                Ok(()) if due.is_empty() => {}
                Ok(()) => {
                    // None: another program takes this one's place, and finds what is left.
                    if let Some(_working) = site.work.begin() {
                        self.set(Stage::Runs("begins".into()));
                        let mut says = |text| self.set(Stage::Runs(text));
                        match site.reloads.finish(site.engine, &left, due, &mut says).await {
                            Finished::Done => return self.gone(site, &site.engine.snapshot()),
                            Finished::Left(why) => return self.set(Stage::Left(why)),
                            Finished::Later(why) => {
                                self.set(Stage::Waits(why));
                                (began, still) = (clock::now(), None);
                            }
                        }
                    }
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Nothing is left, so nothing is kept.
    fn gone(&self, site: &Site<'_>, now: &Snapshot) {
        match unrolled::take_up(site.engine.layout(), None, now) {
            Ok(None) => *self.lock() = None,
            Ok(Some(left)) => {
                let why = "a person has stopped it";
                unrolled::give_up(site.engine.layout(), &left, why);
                *self.lock() = Some((left, Stage::Left(why.into())));
            }
            // The next daemon finds out.
            Err(e) => tracing::warn!(error = %e.source, "{e}"),
        }
    }
}

/// Whether it may begin, or what is waited for. What does not settle holds it up for as long as a start, and no longer: from then on the gate
/// before each broker is what it waits at, and says for what.
fn may_begin(unsettled: Option<String>, still: &mut Option<Moment>, began: Moment, now: Moment) -> Result<(), String> {
    if now.since(began) >= READY_AFTER {
        return Ok(());
    }
    let Some(why) = unsettled else {
        let since = *still.get_or_insert(now);
        return if now.since(since) >= STILL_FOR { Ok(()) } else { Err("when the nodes have settled".into()) };
    };
    *still = None;
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{NodeKind, NodeName},
        engine::NodeSnapshot,
    };
    use std::sync::Arc;

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000)
    }

    #[test]
    fn it_begins_when_all_has_been_still_for_a_moment_or_a_start_has_had_its_time() {
        let mut still = None;
        let why = || Some("broker-1 is starting".to_owned());
        assert_eq!(may_begin(why(), &mut still, at(10), at(10)), Err("broker-1 is starting".into()));
        assert!(may_begin(None, &mut still, at(10), at(20)).is_err(), "it has just settled");
        assert!(may_begin(why(), &mut still, at(10), at(21)).is_err(), "and goes again");
        assert!(may_begin(None, &mut still, at(10), at(30)).is_err());
        assert!(may_begin(None, &mut still, at(10), at(31)).is_err());
        assert_eq!(may_begin(None, &mut still, at(10), at(32)), Ok(()));
        assert_eq!(may_begin(why(), &mut still, at(10), at(10 + READY_AFTER.as_secs())), Ok(()));
    }

    #[test]
    fn a_status_tells_what_is_left_and_what_this_daemon_does_about_it() {
        let text =
            r#"{"schema":1,"operation":"roll","begun_at":"1970-01-01T00:00:05.000Z","step":"s","runs":{"broker-2":1}}"#;
        let left: Unrolled = serde_json::from_str(text).unwrap();
        let node = |run| Arc::new(NodeSnapshot::sample(NodeName::broker(2), NodeKind::Broker(2), "ready", run));
        let (old, new) =
            (Snapshot { nodes: vec![node(1)], ending: false }, Snapshot { nodes: vec![node(2)], ending: false });
        let rest = Rest::new(Some(left.clone()));
        let told = rest.told(&old).unwrap();
        assert_eq!((told.resume.as_deref(), told.not_restarted), (Some("waits"), vec![NodeName::broker(2)]));
        assert!(rest.to_finish().is_some());
        rest.set(Stage::Left("tried".into()));
        let told = rest.told(&old).unwrap();
        assert_eq!((told.resume.as_deref(), told.resume_detail.as_deref()), (Some("left"), Some("tried")));
        assert_eq!((rest.to_finish(), rest.told(&new)), (None, None), "once, and nothing is left");
        assert_eq!(Rest::new(None).told(&old), None);

        let given_up = Rest::new(Some(Unrolled { given_up: Some("tried".into()), ..left.clone() }));
        assert!(given_up.to_finish().is_none(), "an earlier daemon has tried it");
        assert_eq!(given_up.told(&old).unwrap().resume_detail.as_deref(), Some("tried"));

        let twice = Rest::new(Some(Unrolled { deaths: 2, ..left }));
        assert!(twice.to_finish().is_none(), "it may be what kills them");
        assert!(twice.told(&old).unwrap().resume_detail.unwrap().contains("2 daemons have died in it"));
    }
}
