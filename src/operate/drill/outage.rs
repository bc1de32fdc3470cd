//! Breaks something under load and watches until everything is whole again, or for too long.

use super::{
    FLOWS, Load, Refused, Stage, Tell, brokers,
    evidence::Evidence,
    fault::{Fault, Undo},
    ready,
    timeline::{Instant, Watch, Whole},
};
use crate::{
    base::{
        Moment, NodeName,
        drill::{Drill, Plan, TimeLine},
        units::human_duration,
    },
    clients::kafka::{ClusterView, listener_metadata},
    engine::Snapshot,
    operate::{operation::Running, whole},
    sys::clock,
};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};
use tokio::time::sleep;

/// Pause between two looks until the leaders have moved, and after it: each costs the brokers a connection and an answer. Where one
/// takes long (thousands of partitions) it is four times as long as it took, at most so long.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOK_LATER_EVERY: Duration = Duration::from_millis(100);
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(250);
/// Bound of one look at one broker.
const LOOK: Duration = Duration::from_secs(1);
/// How long everything may take to be whole again after the last thing that we do to it.
const WHOLE_WITHIN: Duration = Duration::from_secs(180);
/// How long leaders may take to go home once every replica is in sync: brokers look every 30 s by themselves.
const HOME_WITHIN: Duration = Duration::from_secs(75);
/// How long the brokers may take to refuse a write when too few replicas are left: the session of a dead one has to go.
const REFUSED_WITHIN: Duration = Duration::from_secs(60);
/// How long the supervisor may take to say what a throw-away cluster suffers: the load has to fill the rest of a file system, or
/// everything is stopped and started.
const SHOWN_WITHIN: Duration = Duration::from_secs(120);
/// How long it is looked at then, so that a loop of restarts shows: the first pauses of the back-off are 0.2 to 3 s.
const HELD: Duration = Duration::from_secs(6);
/// How long writes may stand still on a whole cluster until another client tries.
const RENEW_AFTER: Duration = Duration::from_secs(10);

/// What was seen between the fault and the end of its consequences.
pub(super) struct Seen {
    /// When it was broken.
    pub(super) fault: Instant,
    /// The time line.
    pub(super) watch: Watch,
    /// For how long it was kept broken.
    pub(super) lasted: Option<Duration>,
    /// What did not go as it should.
    pub(super) faults: Vec<String>,
    /// What the supervisor said of it.
    pub(super) observed: Vec<String>,
    /// Records that were given up because their client was replaced.
    pub(super) abandoned: u64,
}

/// Breaks it and watches.
pub(super) async fn watch(
    stage: &Stage<'_>,
    plan: &Plan,
    running: &Running,
    load: &Load,
    victims: &[NodeName],
    undo: Undo,
    tell: Tell<'_>,
) -> Result<Seen, Refused> {
    let mut eyes = Eyes::of(stage, victims);
    let before = eyes.look().await;
    let mut fault = Fault::new((stage.layout, stage.engine), running, plan, victims.to_vec(), undo);
    let names: Vec<&str> = victims.iter().map(NodeName::as_str).collect();
    tell(format!("{}: {}", plan.drill, names.join(", ")));
    let at = Instant { moment: clock::now(), wall: clock::wall() };
    let apart = plan.drill.is_on_throw_away();
    // Of a restart of everything what is written to: a command may have done its work before anybody looks at it.
    let snapshot = stage.engine.snapshot();
    let felt = snapshot.nodes.iter().filter(|n| victims.contains(&n.name) && ready::is_of_the_stack(n.kind));
    let felt: Vec<NodeName> = felt.map(|n| n.name.clone()).collect();
    let mut outage = Outage {
        drill: plan.drill,
        watch: Watch::begin(at, &felt, &snapshot, before.as_ref()),
        lasts: plan.lasts().or(apart.then_some(HELD)),
        evidence: apart.then(Evidence::new),
        refusal: Refusal::wanted(plan.drill, load, victims, before.as_ref()),
        at: at.moment,
        mended_at: None,
        full_since: None,
        stalled_since: None,
        abandoned: 0,
        faults: Vec::new(),
    };
    if let Err(why) = fault.begin().await {
        fault.leave_nothing().await;
        let message = format!("{} could not begin: {why}", plan.drill);
        return Err(Refused { exit: 6, message, causes: Vec::new(), hint: None });
    }
    let ended = outage.last(stage, load, &mut fault, &mut eyes, tell).await;
    fault.leave_nothing().await;
    ended?;
    outage.faults.extend(outage.refusal.fault());
    let lasted = outage.lasts.and(outage.mended_at).map(|mended| mended.since(at.moment));
    let observed = outage.evidence.map(|evidence| evidence.observed).unwrap_or_default();
    let Outage { watch, faults, abandoned, .. } = outage;
    Ok(Seen { fault: at, watch, lasted, faults, observed, abandoned })
}

struct Outage {
    drill: Drill,
    watch: Watch,
    /// How long it is kept broken; none: until the supervisor has mended it.
    lasts: Option<Duration>,
    refusal: Refusal,
    /// What has to be shown before it is mended; none: nothing.
    evidence: Option<Evidence>,
    at: Moment,
    mended_at: Option<Moment>,
    /// Since when everything but the leaders is as it was.
    full_since: Option<Moment>,
    /// Since when everything is whole and writes do not flow.
    stalled_since: Option<Moment>,
    abandoned: u64,
    faults: Vec<String>,
}

impl Outage {
    async fn last(
        &mut self,
        stage: &Stage<'_>,
        load: &Load,
        fault: &mut Fault<'_>,
        eyes: &mut Eyes,
        tell: Tell<'_>,
    ) -> Result<(), Refused> {
        let mut told = String::new();
        let mut took = Duration::ZERO;
        loop {
            let pause = if self.watch.leaders_move() { LOOK_EVERY } else { LOOK_LATER_EVERY };
            sleep((took * 4).clamp(pause, LOOK_AT_LEAST_EVERY)).await;
            let snapshot = stage.engine.snapshot();
            if snapshot.ending {
                return Err(Refused::unsafe_now("the supervisor is on its way down", None));
            }
            self.watch.nodes(clock::now(), &snapshot);
            self.watch.events(&stage.engine.journal().since(self.watch.began()));
            let asked = clock::now();
            let view = eyes.look().await;
            let now = clock::now();
            took = now.since(asked);
            if let Some(view) = &view {
                self.watch.view(now, view, &eyes.wanted);
            }
            let why = match self.mended_at {
                None => self.while_broken(load, fault, eyes, &snapshot, now).await,
                Some(_) => match fault.orders_done().await {
                    Ok(true) => self.not_whole_yet(load, &snapshot, view.as_ref(), eyes, now),
                    Ok(false) => Some("the supervisor starts what was stopped".into()),
                    Err(why) => {
                        self.faults.push(why);
                        None
                    }
                },
            };
            let why = match why {
                Some(why) => why,
                None if whole_everywhere(stage).await => return Ok(()),
                None => "not every broker sees everything in sync yet".to_owned(),
            };
            if why != told {
                tell(why.clone());
                told.clone_from(&why);
            }
            if self.mended_at.is_some_and(|since| now.since(since) >= WHOLE_WITHIN) {
                self.faults.push(format!("not whole again within {}: {why}", human_duration(WHOLE_WITHIN)));
                return Ok(());
            }
        }
    }

    /// Keeps it broken for as long as it is to be, and mends it then.
    async fn while_broken(
        &mut self,
        load: &Load,
        fault: &mut Fault<'_>,
        eyes: &Eyes,
        snapshot: &Snapshot,
        now: Moment,
    ) -> Option<String> {
        let Some(lasts) = self.lasts else {
            // the supervisor mends it
            self.mended_at = Some(self.at);
            return Some("waiting for the supervisor".into());
        };
        if self.watch.line().death_seen.is_some() {
            self.refusal.look(load, &eyes.others).await;
        }
        let lasted = now.since(self.at);
        if let Some(evidence) = &mut self.evidence {
            if let Some(shown) = fault.shown(snapshot, load.flows_since(now - FLOWS)).await {
                evidence.look(shown, snapshot, now);
            }
            match evidence.since() {
                None if lasted < SHOWN_WITHIN => return Some(evidence.waiting_for().to_owned()),
                Some(since) if now.since(since) < lasts => {
                    return Some("looking whether anything is tried in vain".into());
                }
                None | Some(_) => {}
            }
            self.faults.extend(evidence.faults(snapshot, &human_duration(lasts)));
            self.watch.only_the_dead();
        } else if lasted < lasts || (!self.refusal.seen && lasted < REFUSED_WITHIN) {
            return Some(format!("it is kept so for {}", human_duration(lasts)));
        }
        if let Err(why) = fault.mend().await {
            self.faults.push(why);
        }
        self.mended_at = Some(clock::now());
        Some("it is over: waiting until everything is whole".into())
    }

    /// What is not as it was; none: all is.
    fn not_whole_yet(
        &mut self,
        load: &Load,
        snapshot: &Snapshot,
        view: Option<&ClusterView>,
        eyes: &Eyes,
        now: Moment,
    ) -> Option<String> {
        let whole = match view {
            Some(view) => Whole::of(view, &eyes.wanted),
            None => Whole { full: eyes.wanted.is_empty(), home: eyes.wanted.is_empty() },
        };
        let why = not_felt(self.drill, self.watch.line())
            .or_else(|| ready::sick(snapshot).map(|sick| sick.to_string()))
            .or_else(|| (!whole.full).then(|| "replicas catch up".to_owned()));
        let stalled = why.is_none() && !load.flows_since(now - FLOWS);
        let why = if stalled { Some(self.stalled(load, now)) } else { why };
        if !stalled {
            self.stalled_since = None;
        }
        if why.is_some() {
            self.full_since = None;
            return why;
        }
        let since = *self.full_since.get_or_insert(now);
        let late = now.since(since) >= HOME_WITHIN;
        (!whole.home && !late).then(|| "leaders are on their way home".to_owned())
    }
}

impl Outage {
    /// Everything is whole, and what is written does not get through. After a full disk that may be the client's: it has had
    /// batches fail and others behind them refused, and librdkafka's idempotent producer was seen to send nothing any more then.
    /// Applications start a new one, so that is done here, once, and told.
    fn stalled(&mut self, load: &Load, now: Moment) -> String {
        let since = *self.stalled_since.get_or_insert(now);
        let mut words = "writes do not flow in every partition yet".to_owned();
        let may = self.drill == Drill::DiskFull && self.abandoned == 0 && now.since(since) >= RENEW_AFTER;
        let Some(records) = load.records.as_ref().filter(|_| may) else { return words };
        self.stalled_since = None;
        match records.renew() {
            Ok(count) => {
                self.abandoned = count;
                let told = format!(
                    "the producer sent nothing any more: {count} records without an acknowledgement were given up, and a new one wrote on"
                );
                words.clone_from(&told);
                if let Some(evidence) = &mut self.evidence {
                    evidence.observed.push(told);
                }
            }
            Err(e) => self.faults.push(format!("no other producer: {}", e.in_one_line())),
        }
        words
    }
}

/// The fault is not felt yet, so that nothing is mended that only looks whole; none: it is.
fn not_felt(drill: Drill, line: &TimeLine) -> Option<String> {
    let died = match drill {
        Drill::BrokerKill
        | Drill::BrokerTerm
        | Drill::TwoBrokers
        | Drill::ZookeeperRestart
        | Drill::ZookeeperDown
        | Drill::MysqlKill
        | Drill::ColdRestart
        | Drill::DiskFull
        | Drill::PortThief
        | Drill::ClusterIdMismatch => true,
        Drill::BrokerPause => false,
    };
    (died && line.ready.is_none()).then(|| "what was broken is not ready again".to_owned())
}

/// Every broker says the same.
async fn whole_everywhere(stage: &Stage<'_>) -> bool {
    match brokers(stage.targets) {
        Some(brokers) => whole::ask(&brokers).await.in_the_way(None, false, &[]).is_none(),
        None => true,
    }
}

/// Who is asked for the state of the cluster while something is broken.
struct Eyes {
    /// Listeners of brokers that are not broken; of all of them when all are.
    others: Vec<SocketAddr>,
    /// The brokers there should be.
    wanted: BTreeSet<u32>,
    next: usize,
}

impl Eyes {
    fn of(stage: &Stage<'_>, victims: &[NodeName]) -> Self {
        let all = brokers(stage.targets).unwrap_or_default();
        let spared: Vec<SocketAddr> = all
            .iter()
            .filter(|(id, _)| !victims.contains(&NodeName::broker(**id)))
            .map(|(_, address)| *address)
            .collect();
        let others = if spared.is_empty() { all.values().copied().collect() } else { spared };
        Self { others, wanted: all.keys().copied().collect(), next: 0 }
    }

    /// Asks one of them, the next one when it does not answer.
    async fn look(&mut self) -> Option<ClusterView> {
        for _ in 0..self.others.len() {
            let address = *self.others.get(self.next)?;
            match listener_metadata(address, LOOK).await {
                Ok(view) => return Some(view),
                Err(_) => self.next = (self.next + 1) % self.others.len(),
            }
        }
        None
    }
}

/// The proof that a write is refused when too few replicas are left.
struct Refusal {
    /// Where it must be: with more than three brokers, or where one replica is enough, not everywhere.
    at: (String, i32),
    /// It was refused, or no refusal is wanted.
    seen: bool,
    /// Why not, the last time.
    last: String,
}

impl Refusal {
    fn wanted(drill: Drill, load: &Load, victims: &[NodeName], before: Option<&ClusterView>) -> Self {
        let taken = |id: u32| victims.contains(&NodeName::broker(id));
        let records = load.records.as_ref().filter(|_| drill == Drill::TwoBrokers);
        let at = records.and_then(|records| records.refusing(before, taken));
        Self { seen: at.is_none(), at: at.unwrap_or_default(), last: "nothing was asked".into() }
    }

    async fn look(&mut self, load: &Load, only: &[SocketAddr]) {
        let Some(records) = load.records.as_ref().filter(|_| !self.seen) else { return };
        match records.is_refused(only, &self.at).await {
            Ok(()) => self.seen = true,
            Err(why) => self.last = why,
        }
    }

    fn fault(&self) -> Option<String> {
        (!self.seen).then(|| format!("a write was not refused with one broker left: {}", self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_is_not_over_before_its_fault_was_felt() {
        let nothing = TimeLine::default();
        let back = TimeLine { ready: Some(2_000), ..TimeLine::default() };
        for drill in Drill::ALL {
            assert_eq!(not_felt(drill, &nothing).is_some(), drill != Drill::BrokerPause, "{drill}");
            assert_eq!(not_felt(drill, &back), None);
        }
    }

    #[test]
    fn a_write_that_was_never_refused_is_a_fault() {
        let mut refusal = Refusal { at: ("t".into(), 0), seen: false, last: "it was acknowledged".into() };
        assert_eq!(refusal.fault().unwrap(), "a write was not refused with one broker left: it was acknowledged");
        refusal.seen = true;
        assert_eq!(refusal.fault(), None);
    }
}
