//! What a step of a reload or a roll waits for, what is refused before anything is changed, and when all of it is done.

use super::{
    LOOK_EVERY, Purpose, Report, Roll,
    ends::{Broke, NEVER_SAFE, Refused, holds_replicas, over},
};
use crate::{
    base::{NodeName, units::human_duration},
    engine::{NodeSnapshot, Wanted},
    operate::{
        away,
        gate::{self, Field, Verdict, broker_id},
        reload::Failed,
        whole::{self, Obstacle},
    },
    services::change::{Does, Gate, Step},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// How long leaders are waited for once every replica is in sync. Where they are does not make a restart unsafe; it is waited for
/// so that a leader does not move twice.
const HOME_MAX: Duration = Duration::from_secs(10);

/// How long brokers are given to say the same of a broker that leaves, before anything is changed: they hear of a topic that was
/// made or deleted one after the other. At its own gate it is waited for as long as for anything.
const AGREE_WITHIN: Duration = Duration::from_secs(5);

impl Roll<'_> {
    /// A broker that holds replicas is not taken away: looked at before anything is changed, and again at its turn.
    pub(super) async fn scale_down_is_safe(&self) -> Result<(), Failed> {
        for step in self.left.iter().filter(|s| s.gate == Gate::NoReplicas) {
            let Some(id) = broker_id(self.old.get(&step.node)) else { continue };
            let began = Instant::now();
            let found = loop {
                let said = whole::ask(&self.brokers()).await;
                match said.replicas_on(id) {
                    Err(_) if began.elapsed() < AGREE_WITHIN => sleep(LOOK_EVERY).await,
                    // Somebody answers: its turn will tell.
                    Err(_) if said.view().is_some() => break Ok(None),
                    found => break found,
                }
            };
            let refused = match found {
                Ok(None) => continue,
                Ok(Some(partitions)) => holds_replicas(&step.node, &partitions),
                Err(why) => Refused {
                    message: format!("whether {} holds replicas cannot be seen", step.node),
                    causes: vec![why],
                    hint: "nothing was changed",
                },
            };
            return Err(Failed {
                exit: 8,
                message: format!("{}; nothing was changed", refused.message),
                causes: refused.causes,
                hint: Some(refused.hint.into()),
            });
        }
        Ok(())
    }

    /// Partitions with too few replicas are unavailable while one of their brokers is away, and no waiting changes that: looked at
    /// before anything is changed, and again before each broker, for what cannot be told now and for topics that are made meanwhile.
    pub(super) async fn refuse_what_is_never_safe(&self) -> Result<(), Failed> {
        let rolled: Vec<&Step> =
            self.left.iter().filter(|s| s.gate == Gate::InSync && s.does == Does::Restart).collect();
        if self.terms.accept_unavailable || rolled.is_empty() {
            return Ok(());
        }
        let field = self.look().await;
        let mut causes = Vec::new();
        for node in rolled.iter().map(|s| &s.node) {
            let runs = field.node(node).is_some_and(|n| n.process.is_some());
            let Some(id) = field.id(node).filter(|_| runs) else { continue };
            if let Ok(found) = field.impact(id).await {
                causes.extend(gate::never_safe(node, &found));
            }
        }
        if causes.is_empty() {
            return Ok(());
        }
        let what = match self.purpose {
            Purpose::Reload => "changed",
            Purpose::Roll => "restarted",
        };
        Err(Failed {
            exit: 8,
            message: format!("partitions would be unavailable, and no waiting changes that; nothing was {what}"),
            causes,
            hint: Some(NEVER_SAFE.into()),
        })
    }

    pub(super) async fn gate(&mut self, step: &Step, report: &mut dyn Report) -> Result<(), Broke> {
        let began = Instant::now();
        (self.leaders_since, self.not_home) = (None, None);
        loop {
            let obstacle = match step.gate {
                Gate::None => None,
                Gate::NoReplicas => self.not_empty(&step.node).await?,
                Gate::BrokersReady => self.broker_not_ready(&step.node).await,
                Gate::InSync => self.not_clear(&step.node).await?,
            };
            let Some(obstacle) = obstacle else { return Ok(()) };
            let snapshot = self.engine.snapshot();
            if snapshot.ending {
                return Err(over());
            }
            if began.elapsed() >= self.max_wait {
                return Err(Broke::Waited(obstacle));
            }
            let (why, starts) = (obstacle.advice(), gate::starting(&snapshot));
            report.waits(&step.node, format!("waits before {}: {why}{starts}", step.node));
            sleep(LOOK_EVERY).await;
        }
    }

    /// The gate of ZooKeeper. One that does not serve helps nobody: its restart is the cure, and waits for nothing.
    pub(super) async fn broker_not_ready(&self, zookeeper: &NodeName) -> Option<Obstacle> {
        let snapshot = self.engine.snapshot();
        if self.node(zookeeper).is_none_or(|n| !n.serves) {
            return None;
        }
        let is_broker = |n: &&Arc<NodeSnapshot>| broker_id(self.force.get(&n.name)).is_some() && n.wanted == Wanted::Up;
        if let Some(sick) = snapshot.nodes.iter().filter(is_broker).find(|n| n.state != "ready") {
            return Some(Obstacle::passing(format!("{} is {}", sick.name, sick.state)));
        }
        // Nodes are looked at every few seconds only.
        away::against(self.engine, &self.force, None).await.map(Obstacle::passing)
    }

    /// The gate of a broker that is restarted.
    pub(super) async fn not_clear(&mut self, next: &NodeName) -> Result<Option<Obstacle>, Broke> {
        let field = self.look().await;
        self.controller = field.said.controller().map(NodeName::broker);
        match field.verdict(next, self.terms).await {
            Verdict::Waits(obstacle) => {
                self.leaders_since = None;
                return Ok(Some(obstacle));
            }
            Verdict::Refused(causes) => {
                let message =
                    format!("{next} is not restarted: partitions would be unavailable, and no waiting changes that");
                return Err(Broke::Refused(Refused { message, causes, hint: NEVER_SAFE }));
            }
            Verdict::Goes { impact, over } => (self.impact, self.over) = (impact, over),
        }
        if self.node(next).is_none_or(|n| n.wanted == Wanted::Down) {
            return Ok(None);
        }
        if let Some(away) = self.leaders_away(&field) {
            return Ok(Some(Obstacle::passing(away)));
        }
        Ok(field.unregistered(Some(next)).await.map(Obstacle::passing))
    }

    /// Leaders that are on their way home. The watcher has them elected; a controller that refuses does not hold up the rest, and is
    /// told of.
    pub(super) fn leaders_away(&mut self, field: &Field) -> Option<String> {
        if !self.leaders_home {
            return None;
        }
        let since = *self.leaders_since.get_or_insert_with(Instant::now);
        let away = field.said.leaders_away();
        if since.elapsed() < HOME_MAX {
            return away;
        }
        self.not_home = away.map(|away| format!("waited {} for leaders in vain: {away}", human_duration(HOME_MAX)));
        None
    }

    /// The gate of a broker that leaves: all others agree that it holds no replica.
    pub(super) async fn not_empty(&self, node: &NodeName) -> Result<Option<Obstacle>, Broke> {
        let Some(id) = broker_id(self.force.get(node)) else { return Ok(None) };
        match whole::ask(&self.brokers()).await.replicas_on(id) {
            Ok(None) => Ok(None),
            Ok(Some(partitions)) => Err(Broke::Refused(holds_replicas(node, &partitions))),
            Err(why) => Ok(Some(Obstacle::passing(format!("whether it holds replicas cannot be told: {why}")))),
        }
    }

    /// It became the controller, or was not known to be it, while it was waited for, and others shall go before the controller.
    pub(super) fn is_overtaken(&self, step: &Step) -> bool {
        let others = self.left.iter().take_while(|s| s.gate == Gate::InSync).count();
        let serves = self.node(&step.node).is_some_and(|n| n.serves);
        step.gate == Gate::InSync && others > 0 && serves && self.controller.as_ref() == Some(&step.node)
    }

    /// After the last broker: done means that the cluster is whole again. Late is said and is no failure; what no waiting mends is
    /// not waited for.
    pub(super) async fn settle(&mut self, report: &mut dyn Report) {
        let Some(last) = self.done.iter().rev().find(|s| s.gate == Gate::InSync) else { return };
        let (node, began) = (last.node.clone(), Instant::now());
        (self.leaders_since, self.not_home) = (None, None);
        loop {
            let field = self.look().await;
            let obstacle = field.said.obstacle(None, false, &field.rests);
            let why = match obstacle.as_ref().filter(|o| !o.forceable) {
                Some(obstacle) => {
                    self.leaders_since = None;
                    Some(obstacle.what.clone())
                }
                None => self.leaders_away(&field),
            };
            let text = match why {
                Some(why) if began.elapsed() < self.max_wait && !self.engine.snapshot().ending => {
                    let starts = gate::starting(&field.snapshot);
                    report.waits(&node, format!("waits until the cluster is whole: {why}{starts}"));
                    sleep(LOOK_EVERY).await;
                    continue;
                }
                Some(why) => format!("all is done, but the cluster is not whole yet: {why}"),
                None => match (obstacle, self.not_home.take()) {
                    (Some(Obstacle { what, .. }), _) => format!("every replica that can be is in sync: {what}"),
                    (None, Some(away)) => format!("every replica of every partition is in sync; {away}"),
                    (None, None) => "every replica of every partition is in sync".into(),
                },
            };
            return report.step(None, text);
        }
    }
}
