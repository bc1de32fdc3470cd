//! Carries out a reload: step by step, brokers one at a time, and back again when a node does not come up with its new
//! settings. A roll (`roll`) is the same road with the settings that hold already, and without a way back.
//!
//! Past 500 lines because the way there and the way back take the same steps.
//!
//! Three ends. All done. A node that did not come back: it and what was changed before it get their old settings back. A
//! wait that took too long: the rest is left, what was changed stays changed, and a second reload goes on from there.

use super::{
    dynamic,
    impact::Impact,
    roll,
    whole::{self, Brokers, Said},
};
use crate::{
    base::{
        NodeName, Reason,
        recipe::{ProbeKind, Recipe},
        units::human_duration,
    },
    engine::{Change, EngineOrder, Handle, NodeSnapshot, OrderReply, Rejection, Snapshot, Wanted},
    services::change::{Does, Dynamic, Gate, Step, next_broker},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// Pause between two looks at the cluster.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long leaders are waited for once every replica is in sync. Where they are does not make a restart unsafe; it is waited for
/// so that a leader does not move twice.
const HOME_MAX: Duration = Duration::from_secs(10);

/// How long a node that has no probe must have run before its new settings count as taken: nothing else can be seen of it,
/// and a wrong argument ends a program within milliseconds.
const STEADY: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug)]
pub struct Work {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What is applied.
    pub old: Vec<Recipe>,
    /// What is wanted.
    pub new: Vec<Recipe>,
    /// What brokers that run on are given through the admin API.
    pub dynamic: BTreeMap<NodeName, Dynamic>,
    /// Longest wait for one thing: the cluster to be whole, a node to be ready.
    pub max_wait: Duration,
    /// Why.
    pub purpose: Purpose,
    /// Before the next broker the last one leads again what it is the preferred leader of (`kafka.elect_preferred`).
    pub leaders_home: bool,
}

/// Why nodes are restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The configuration has changed.
    Reload,
    /// Somebody wants it: nothing changes.
    Roll,
}

impl Purpose {
    fn reason(self) -> Reason {
        match self {
            Purpose::Reload => Reason::Configuration,
            Purpose::Roll => Reason::Roll,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Purpose::Reload => "reload",
            Purpose::Roll => "roll",
        }
    }
}

/// How a reload is told about while it runs.
pub trait Report: Send {
    /// A step is taken, or something is said about all.
    fn step(&mut self, node: Option<&NodeName>, text: String);
    /// What is waited for.
    fn waits(&mut self, node: &NodeName, text: String);
}

/// It was not carried out as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The exit code of the contract.
    pub exit: u8,
    /// One sentence.
    pub message: String,
    /// What led to it, what was put back, what is left.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// What one step came to.
enum Broke {
    /// The node did not come up, or did not go.
    Node(String),
    /// A wait took too long.
    Waited(String),
    /// The supervisor is on its way down, or gone.
    Over(String),
}

/// Carries it out; returns a line for each thing that was done.
pub async fn carry_out(engine: &Handle, work: Work, report: &mut dyn Report) -> Result<Vec<String>, Failed> {
    let engine = &engine.because(work.purpose.reason());
    let mut roll = Roll::of(engine, work);
    roll.scale_down_is_safe().await?;
    dynamic::would_take(engine, &roll.dynamic, &roll.old, roll.max_wait, report).await?;
    roll.arrange().await;
    let outcome = roll.all(report).await;
    match outcome {
        Ok(()) => {
            roll.settle(report).await;
            Ok(roll.said())
        }
        Err((step, Broke::Node(why))) => Err(match roll.purpose {
            Purpose::Reload => roll.back(&step, why, report).await,
            Purpose::Roll => roll.stopped(&step, why),
        }),
        Err((step, Broke::Waited(why))) => Err(roll.left(&step, why)),
        Err((step, Broke::Over(why))) => Err(Failed {
            exit: 7,
            message: format!("the {} stopped before {}: {why}", roll.purpose.verb(), step.node),
            causes: roll.summary(&step),
            hint: match roll.purpose {
                Purpose::Reload => {
                    Some("the nodes that were changed have their new settings; `cdc-supervisor plan` shows them".into())
                }
                Purpose::Roll => None,
            },
        }),
    }
}

struct Roll<'a> {
    engine: &'a Handle,
    /// What is in force now, by node: changes as steps are done.
    force: BTreeMap<NodeName, Recipe>,
    old: BTreeMap<NodeName, Recipe>,
    new: BTreeMap<NodeName, Recipe>,
    dynamic: BTreeMap<NodeName, Dynamic>,
    /// Start order: of all that there was, of all that there will be.
    orders: (Vec<NodeName>, Vec<NodeName>),
    left: VecDeque<Step>,
    done: Vec<Step>,
    max_wait: Duration,
    purpose: Purpose,
    leaders_home: bool,
    /// Since when every replica has been in sync and leaders are waited for.
    leaders_since: Option<Instant>,
    /// What the next restart breaks, as last looked at.
    impact: Option<Impact>,
}

impl<'a> Roll<'a> {
    fn of(engine: &'a Handle, work: Work) -> Self {
        let by_name = |recipes: &[Recipe]| recipes.iter().map(|r| (r.node.clone(), r.clone())).collect();
        let names = |recipes: &[Recipe]| recipes.iter().map(|r| r.node.clone()).collect::<Vec<_>>();
        Self {
            engine,
            force: by_name(&work.old),
            old: by_name(&work.old),
            new: by_name(&work.new),
            dynamic: work.dynamic,
            orders: (names(&work.old), names(&work.new)),
            left: work.steps.into(),
            done: Vec::new(),
            max_wait: work.max_wait,
            purpose: work.purpose,
            leaders_home: work.leaders_home,
            leaders_since: None,
            impact: None,
        }
    }

    /// A broker that holds replicas is not taken away: looked at before anything is changed.
    async fn scale_down_is_safe(&self) -> Result<(), Failed> {
        for step in self.left.iter().filter(|s| s.gate == Gate::NoReplicas) {
            let Some(id) = broker_id(self.old.get(&step.node)) else { continue };
            let (message, causes) = match whole::ask(&self.brokers().0).await.replicas_on(id) {
                Ok(None) => continue,
                Ok(Some(partitions)) => (
                    format!("{} is not in the file any more but holds replicas", step.node),
                    vec![format!("replicas of {partitions} are on it")],
                ),
                Err(why) => (format!("whether {} holds replicas cannot be seen", step.node), vec![why]),
            };
            return Err(Failed {
                exit: 8,
                message,
                causes,
                hint: Some("move them to other brokers first (kafka-reassign-partitions); nothing was changed".into()),
            });
        }
        Ok(())
    }

    /// The start order while both old and new nodes are there: the new one, then what is only in the old.
    async fn arrange(&self) {
        let (old, new) = &self.orders;
        let gone = old.iter().filter(|n| !new.contains(n));
        let order = new.iter().chain(gone).cloned().collect();
        // Only the order of the list; nothing depends on an engine that ends just now.
        let _ = self.engine.order(EngineOrder::Change(Change::Order(order))).await;
    }

    async fn all(&mut self, report: &mut dyn Report) -> Result<(), (Step, Broke)> {
        while let Some(step) = self.next().await {
            self.gate(&step, report).await.map_err(|broke| (step.clone(), broke))?;
            let impact = self.impact.take().map_or_else(String::new, |impact| format!("; {}", impact.words()));
            let text = match (step.does, self.purpose) {
                (Does::Restart, Purpose::Roll) => "restarts",
                (Does::Restart, Purpose::Reload) => "restarts with its new settings",
                (Does::Start, _) => "starts: it is new",
                (Does::Stop, _) => "stops: it is not in the file any more",
                (Does::Live, _) => "takes its new settings",
                (Does::Keep, _) => "has its new settings when it is started",
            };
            report.step(Some(&step.node), format!("{}: {text}{impact}", step.node));
            // From here on it is what a way back has to undo.
            self.done.push(step.clone());
            self.take(&step, report).await.map_err(|broke| (step.clone(), broke))?;
        }
        Ok(())
    }

    /// The next step; of brokers that stand together the one whose turn it is now.
    async fn next(&mut self) -> Option<Step> {
        let rolls = |s: &Step| s.gate == Gate::InSync;
        let group: Vec<NodeName> = self.left.iter().take_while(|s| rolls(s)).map(|s| s.node.clone()).collect();
        if group.len() < 2 {
            return self.left.pop_front();
        }
        let controller = whole::ask(&self.brokers().0).await.controller().map(NodeName::broker);
        let snapshot = self.engine.snapshot();
        let ready = |node: &NodeName| snapshot.nodes.iter().any(|n| n.name == *node && n.serves);
        let next = next_broker(&group, ready, controller.as_ref())?;
        let at = self.left.iter().position(|s| s.node == *next)?;
        self.left.remove(at)
    }

    fn brokers(&self) -> (Brokers, Vec<u32>) {
        brokers(&self.engine.snapshot(), &self.force)
    }

    async fn gate(&mut self, step: &Step, report: &mut dyn Report) -> Result<(), Broke> {
        let began = Instant::now();
        self.leaders_since = None;
        loop {
            let why = match step.gate {
                Gate::None | Gate::NoReplicas => None,
                Gate::BrokersReady => self.broker_not_ready(),
                Gate::InSync => self.not_whole(&step.node).await,
            };
            let Some(why) = why else { return Ok(()) };
            if self.engine.snapshot().ending {
                return Err(over());
            }
            if began.elapsed() >= self.max_wait {
                return Err(Broke::Waited(why));
            }
            report.waits(&step.node, format!("waits before {}: {why}", step.node));
            sleep(LOOK_EVERY).await;
        }
    }

    fn broker_not_ready(&self) -> Option<String> {
        let snapshot = self.engine.snapshot();
        let is_broker = |n: &&Arc<NodeSnapshot>| broker_id(self.force.get(&n.name)).is_some() && n.wanted == Wanted::Up;
        let sick = snapshot.nodes.iter().filter(is_broker).find(|n| n.state != "ready")?;
        Some(format!("{} is {}", sick.name, sick.state))
    }

    async fn not_whole(&mut self, next: &NodeName) -> Option<String> {
        let snapshot = self.engine.snapshot();
        let node = snapshot.nodes.iter().find(|n| n.name == *next)?;
        let sick = is_sick(node);
        let (asked, rests) = self.brokers();
        let id = broker_id(self.force.get(next));
        // Stopped by order, it takes its settings and stays down: nobody is missing it more than before.
        if node.wanted == Wanted::Down {
            return None;
        }
        let said: Said = whole::ask(&asked).await;
        if let Some(id) = id.filter(|_| !sick)
            && let [first, ..] = said.alone_on(id).as_slice()
        {
            tracing::warn!(node = %next, "{first} has no replica elsewhere: it is away while broker {id} restarts");
        }
        if let Some(why) = said.in_the_way(id, sick, &rests) {
            self.leaders_since = None;
            return Some(why);
        }
        // The watcher has them elected; a controller that refuses does not hold up the rest.
        if self.leaders_home
            && self.leaders_since.get_or_insert_with(Instant::now).elapsed() < HOME_MAX
            && let Some(why) = said.leaders_away()
        {
            return Some(why);
        }
        match (self.purpose, id) {
            (Purpose::Roll, Some(id)) => match roll::impact_of(&said, &asked, id).await {
                Ok(impact) => {
                    let passing = impact.passing();
                    self.impact = Some(impact);
                    passing
                }
                // Not to be able to tell is no consent.
                Err(why) => Some(format!("what would break cannot be told: {why}")),
            },
            (Purpose::Roll, None) | (Purpose::Reload, _) => None,
        }
    }

    async fn take(&mut self, step: &Step, report: &mut dyn Report) -> Result<(), Broke> {
        let node = &step.node;
        let wanted = self.new.get(node).cloned();
        match (step.does, wanted) {
            (Does::Restart, Some(recipe)) => self.restart(recipe, report).await,
            (Does::Start, Some(recipe)) => self.start(recipe, report).await,
            (Does::Live, Some(recipe)) => match self.dynamic.get(node).cloned() {
                Some(change) => {
                    self.force.insert(node.clone(), recipe.clone());
                    let given = dynamic::give(self.engine, recipe, &change.to, self.max_wait, report).await;
                    given.map_err(Broke::Node)
                }
                None => self.live(recipe).await,
            },
            (Does::Keep, Some(recipe)) => self.live(recipe).await,
            (Does::Stop, _) => self.stop(node, report).await,
            // The steps are made from the wanted recipes.
            (Does::Restart | Does::Start | Does::Live | Does::Keep, None) => Ok(()),
        }
    }

    async fn restart(&mut self, recipe: Recipe, report: &mut dyn Report) -> Result<(), Broke> {
        let node = recipe.node.clone();
        let no_probe = recipe.probe.kind == ProbeKind::None;
        self.force.insert(node.clone(), recipe.clone());
        let order = self.engine.order(match self.purpose {
            Purpose::Reload => EngineOrder::Change(Change::Restart(Box::new(recipe))),
            Purpose::Roll => EngineOrder::Restart { nodes: vec![node.clone()] },
        });
        self.until_served(&node, no_probe, order, report).await
    }

    async fn start(&mut self, recipe: Recipe, report: &mut dyn Report) -> Result<(), Broke> {
        let node = recipe.node.clone();
        let no_probe = recipe.probe.kind == ProbeKind::None;
        self.force.insert(node.clone(), recipe.clone());
        let order = self.engine.add(recipe);
        self.until_served(&node, no_probe, order, report).await
    }

    async fn live(&mut self, recipe: Recipe) -> Result<(), Broke> {
        self.force.insert(recipe.node.clone(), recipe.clone());
        self.engine.take(recipe).await.map(drop).map_err(broke)
    }

    async fn stop(&mut self, node: &NodeName, report: &mut dyn Report) -> Result<(), Broke> {
        let order = self.engine.order(EngineOrder::Stop { nodes: vec![node.clone()], now: false });
        self.watched(node, order, report).await?;
        self.engine.order(EngineOrder::Change(Change::Drop(node.clone()))).await.map_err(broke)?;
        self.force.remove(node);
        Ok(())
    }

    /// Waits for an order about one node and tells what the node does meanwhile.
    async fn watched(
        &self,
        node: &NodeName,
        order: impl Future<Output = OrderReply>,
        report: &mut dyn Report,
    ) -> Result<(), Broke> {
        let mut changes = self.engine.watch();
        let mut told = String::new();
        let limit = sleep(self.max_wait);
        tokio::pin!(order, limit);
        loop {
            tokio::select! {
                reply = &mut order => return reply.map(drop).map_err(|rejection| self.broke(rejection)),
                () = &mut limit => {
                    let detail = self.node(node).map_or_else(String::new, |n| n.detail.clone());
                    let within = human_duration(self.max_wait);
                    return Err(Broke::Node(format!("{node}: not done within {within}: {detail}")));
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        return order.await.map(drop).map_err(|rejection| self.broke(rejection));
                    }
                    let seen = changes.borrow_and_update().nodes.iter().find(|n| n.name == *node).cloned();
                    if let Some(seen) = seen && seen.state != told {
                        seen.state.clone_into(&mut told);
                        report.waits(node, format!("{node}: {}", seen.detail));
                    }
                }
            }
        }
    }

    /// The same, and a node without a probe has to live on for a moment.
    async fn until_served(
        &self,
        node: &NodeName,
        no_probe: bool,
        order: impl Future<Output = OrderReply>,
        report: &mut dyn Report,
    ) -> Result<(), Broke> {
        if let Err(broke) = self.watched(node, order, report).await {
            // A program that has done its work and is not to be started again has come up all the same.
            let completed = self.node(node).is_some_and(|n| {
                n.state == "down" && n.last_exit.as_ref().is_some_and(|e| e.cause == crate::base::Cause::Completed)
            });
            return if completed || self.was_stopped(node, &broke) { Ok(()) } else { Err(broke) };
        }
        let Some(served) = self.node(node).filter(|_| no_probe) else { return Ok(()) };
        let mut changes = self.engine.watch();
        let same = |n: &NodeSnapshot| n.incarnation == served.incarnation && (n.serves || n.state == "down");
        let fell = timeout(STEADY, async {
            loop {
                if let Some(seen) = self.node(node).filter(|n| !same(n)) {
                    return seen;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        match fell.await {
            Ok(_) if self.engine.snapshot().ending => Err(over()),
            Ok(seen) if seen.wanted == Wanted::Down => Ok(()),
            Ok(seen) => Err(Broke::Node(format!("{node}: it ran for less than a second: {}", seen.detail))),
            Err(_) => match self.node(node) {
                Some(n)
                    if n.state == "down"
                        && n.last_exit.as_ref().is_none_or(|e| e.cause != crate::base::Cause::Completed) =>
                {
                    Err(Broke::Node(format!("{node}: {}", n.detail)))
                }
                Some(_) | None => Ok(()),
            },
        }
    }

    /// Whether somebody has stopped the node meanwhile: it has its settings and is where it is wanted.
    fn was_stopped(&self, node: &NodeName, broke: &Broke) -> bool {
        matches!(broke, Broke::Node(_)) && self.node(node).is_some_and(|n| n.wanted == Wanted::Down)
    }

    /// A node that does not come up because everything goes down is no fault of its settings.
    fn broke(&self, rejection: Rejection) -> Broke {
        if self.engine.snapshot().ending { over() } else { broke(rejection) }
    }

    fn node(&self, node: &NodeName) -> Option<Arc<NodeSnapshot>> {
        self.engine.snapshot().nodes.iter().find(|n| n.name == *node).cloned()
    }

    /// After the last broker: done means that the cluster is whole again. Late is said and is no failure.
    async fn settle(&mut self, report: &mut dyn Report) {
        let Some(last) = self.done.iter().rev().find(|s| s.gate == Gate::InSync) else { return };
        let step = Step { node: last.node.clone(), does: Does::Restart, gate: Gate::InSync };
        match self.gate(&step, report).await {
            Ok(()) => report.step(None, "every replica of every partition is in sync".into()),
            Err(Broke::Waited(why) | Broke::Node(why) | Broke::Over(why)) => {
                report.step(None, format!("all is done, but the cluster is not whole yet: {why}"));
            }
        }
    }

    fn said(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (does, word) in [
            (Does::Restart, "restarted"),
            (Does::Start, "started"),
            (Does::Live, "changed live"),
            (Does::Keep, "changed for the next start"),
            (Does::Stop, "stopped and dropped"),
        ] {
            let names: Vec<&str> = self.done.iter().filter(|s| s.does == does).map(|s| s.node.as_str()).collect();
            if !names.is_empty() {
                lines.push(format!("{word} {}", names.join(", ")));
            }
        }
        lines
    }

    fn summary(&self, at: &Step) -> Vec<String> {
        let mut lines: Vec<String> = self.said().into_iter().map(|line| format!("done: {line}")).collect();
        let names = self.names_left(at);
        if !names.is_empty() {
            lines.push(format!("left as they were: {}", names.join(", ")));
        }
        lines
    }

    fn left(&self, at: &Step, why: String) -> Failed {
        let mut causes = vec![why];
        causes.extend(self.summary(at));
        Failed {
            exit: 6,
            message: format!("waited {} before {} and stopped", human_duration(self.max_wait), at.node),
            causes,
            hint: Some(format!(
                "once that is over, `cdc-supervisor {}` does the rest; --max-wait gives it longer",
                match self.purpose {
                    Purpose::Reload => "reload".to_owned(),
                    Purpose::Roll => format!("roll {}", self.names_left(at).join(" ")),
                }
            )),
        }
    }

    /// A roll ends where a broker does not come back: the others have what it lacks.
    fn stopped(&self, at: &Step, why: String) -> Failed {
        let mut causes = vec![why];
        causes.extend(self.summary(at));
        let node = &at.node;
        Failed {
            exit: 6,
            message: format!("{node} did not come back; no other broker is restarted"),
            causes,
            hint: Some(format!("`cdc-supervisor logs {node}` shows what it said; mend it, then roll the others")),
        }
    }

    fn names_left<'b>(&'b self, at: &'b Step) -> Vec<&'b str> {
        std::iter::once(at).chain(&self.left).filter(|s| !self.done.contains(s)).map(|s| s.node.as_str()).collect()
    }

    /// The way back: the last one first, it is the one that does not run.
    async fn back(&mut self, at: &Step, why: String, report: &mut dyn Report) -> Failed {
        report.step(Some(&at.node), format!("{why}; what was changed gets its old settings back"));
        let mut causes = vec![why];
        let mut restored = Vec::new();
        let mut stuck = None;
        while let Some(step) = self.done.pop() {
            if let Err(broke) = self.undo(&step, step == *at, report).await {
                let (Broke::Node(why) | Broke::Waited(why) | Broke::Over(why)) = broke;
                stuck = Some(format!("{} has not come back with its old settings either: {why}", step.node));
                self.done.push(step);
                break;
            }
            restored.push(step.node.to_string());
        }
        if !restored.is_empty() {
            causes.push(format!("with their old settings again: {}", restored.join(", ")));
        }
        let order = self.orders.0.clone();
        let _ = self.engine.order(EngineOrder::Change(Change::Order(order))).await;
        let hint = match stuck {
            None => "nothing has changed; mend the file and reload again".to_owned(),
            Some(stuck) => {
                causes.push(stuck);
                let names: Vec<&str> = self.done.iter().map(|s| s.node.as_str()).collect();
                causes.push(format!("still with their new settings: {}", names.join(", ")));
                "`cdc-supervisor plan` shows what runs with which settings; mend that node, then reload".to_owned()
            }
        };
        Failed {
            exit: 6,
            message: match at.does {
                Does::Live => format!("{} did not take its new settings", at.node),
                Does::Restart | Does::Start | Does::Stop | Does::Keep => {
                    format!("{} did not come up with its new settings", at.node)
                }
            },
            causes,
            hint: Some(hint),
        }
    }

    async fn undo(&mut self, step: &Step, is_culprit: bool, report: &mut dyn Report) -> Result<(), Broke> {
        let node = &step.node;
        let old = self.old.get(node).cloned();
        report.step(Some(node), format!("{node}: goes back to its old settings"));
        match (step.does, old) {
            (Does::Restart, Some(old)) => {
                if !is_culprit {
                    self.gate(step, report).await?;
                }
                self.restart(old, report).await
            }
            (Does::Live, Some(old)) => match self.dynamic.get(node).cloned() {
                Some(change) => {
                    self.force.insert(node.clone(), old.clone());
                    let (engine, max_wait) = (self.engine, self.max_wait);
                    let back = dynamic::give_back(engine, old, &change.back, is_culprit, max_wait, report).await;
                    back.map_err(Broke::Node)
                }
                None => self.live(old).await,
            },
            (Does::Keep, Some(old)) => self.live(old).await,
            (Does::Start, _) => self.stop(node, report).await,
            // A stop that failed half-way has left the node where it was.
            (Does::Stop, Some(old)) if self.node(node).is_none() => self.start(old, report).await,
            (Does::Stop, Some(_)) => {
                let order = self.engine.order(EngineOrder::Start { nodes: vec![node.clone()], with_needs: true });
                self.watched(node, order, report).await
            }
            // Only a node that was there has old settings.
            (Does::Restart | Does::Live | Does::Keep | Does::Stop, None) => Ok(()),
        }
    }
}

/// The brokers that shall run, with their listeners, and those that are stopped by order.
pub(super) fn brokers(snapshot: &Snapshot, force: &BTreeMap<NodeName, Recipe>) -> (Brokers, Vec<u32>) {
    let (mut asked, mut rests) = (Brokers::new(), Vec::new());
    for node in &snapshot.nodes {
        if let Some(ProbeKind::Broker { id, internal, .. }) = force.get(&node.name).map(|r| &r.probe.kind) {
            match node.wanted {
                Wanted::Up => drop(asked.insert(*id, *internal)),
                Wanted::Down => rests.push(*id),
            }
        }
    }
    (asked, rests)
}

/// A broker that is not waited for before its own restart. One that is on its way up, or that only catches up, is.
pub(super) fn is_sick(node: &NodeSnapshot) -> bool {
    !node.serves && matches!(node.state, "degraded" | "failed" | "waiting" | "down")
}

pub(super) fn broker_id(recipe: Option<&Recipe>) -> Option<u32> {
    match recipe.map(|r| &r.probe.kind) {
        Some(ProbeKind::Broker { id, .. }) => Some(*id),
        Some(_) | None => None,
    }
}

fn over() -> Broke {
    Broke::Over("the supervisor is on its way down".into())
}

fn broke(rejection: Rejection) -> Broke {
    match rejection {
        Rejection::NotReady(why) | Rejection::Unsafe(why) => Broke::Node(why.join("; ")),
        Rejection::UnknownNode(node) => Broke::Node(format!("there is no node {node}")),
        Rejection::NotNow(why) if why.contains("on its way down") => Broke::Over(why),
        Rejection::NotNow(why) => Broke::Node(why),
        Rejection::Ending => Broke::Over("the daemon ended".into()),
    }
}
