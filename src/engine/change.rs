//! New settings for nodes while the daemon runs: taken live, with a restart, for a new node; and nodes that go.

use super::{
    Engine, adopt,
    dispatcher::{Waited, spec},
    node::NodeRuntime,
    orders::{Goal, Rejection},
    watch,
};
use crate::{
    base::{Incarnation, NodeName, recipe::Recipe},
    lifecycle::{Event, State, Wanted},
    sys::clock,
};
use std::{collections::BTreeMap, sync::Arc};

/// One change of settings.
#[derive(Debug)]
pub enum Change {
    /// The order of start from now on. Names that are no nodes (yet) may be in it.
    Order(Vec<NodeName>),
    /// The node has these settings from now on; what runs, runs on. Caps are written by [`Handle::take`](super::Handle::take).
    Take(Box<Recipe>),
    /// The same for a broker whose process of this incarnation has been given what differs in its file: from now on it counts as
    /// started with it. Refused when that process is not there any more.
    Given(Box<Recipe>, Incarnation),
    /// The same, and it is stopped (in the way it was started for) and started with them. Carried out when it serves again.
    /// One that is wanted down only takes them.
    Restart(Box<Recipe>),
    /// A node that is not there yet, wanted up. Carried out when it serves.
    Add(Box<Recipe>, Past),
    /// A node that is down is forgotten; its files stay.
    Drop(NodeName),
}

/// What is known of earlier runs of a node that is added: an incarnation is never used twice.
#[derive(Debug, Default)]
pub struct Past(pub(super) Option<Box<adopt::FoundNode>>);

pub(super) fn carry_out(engine: &mut Engine, change: Change) -> Result<Option<Waited>, Rejection> {
    match change {
        Change::Order(order) => {
            engine.order = order;
            Ok(None)
        }
        Change::Take(recipe) => {
            let name = recipe.node.clone();
            known(engine, &name)?;
            take(engine, *recipe);
            look_anew(engine, &name);
            Ok(None)
        }
        Change::Given(recipe, to) => given(engine, *recipe, to).map(|()| None),
        Change::Restart(recipe) => restart(engine, *recipe),
        Change::Add(recipe, past) => Ok(Some(add(engine, *recipe, past))),
        Change::Drop(name) => {
            known(engine, &name)?;
            if !engine.fleet.remove(&name) {
                return Err(Rejection::NotNow(format!("{name} is not down")));
            }
            engine.nodes.remove(&name);
            engine.shown.remove(&name);
            engine.order.retain(|n| *n != name);
            tracing::info!(node = %name, "dropped");
            Ok(None)
        }
    }
}

fn known(engine: &Engine, name: &NodeName) -> Result<(), Rejection> {
    if engine.nodes.contains_key(name) { Ok(()) } else { Err(Rejection::UnknownNode(name.clone())) }
}

/// Gives the node its settings, for the machine and for everything that is done with it from now on.
fn take(engine: &mut Engine, recipe: Recipe) {
    let name = recipe.node.clone();
    // A node that is there keeps its own counters.
    let settings = spec(&recipe, None, false);
    if let Some(runtime) = engine.nodes.get_mut(&name) {
        runtime.recipe = Arc::new(recipe);
        runtime.note_difference();
    }
    let actions = engine.fleet.put(settings, clock::now(), rand::random());
    engine.act(actions);
}

fn given(engine: &mut Engine, recipe: Recipe, to: Incarnation) -> Result<(), Rejection> {
    let name = recipe.node.clone();
    known(engine, &name)?;
    let runs = engine.fleet.node(&name).is_some_and(|node| node.incarnation() == to)
        && engine.nodes.get(&name).is_some_and(|runtime| runtime.link.is_some());
    if !runs {
        return Err(Rejection::NotNow(format!("{name} ended while it was given its new settings")));
    }
    take(engine, recipe);
    if let Some(runtime) = engine.nodes.get_mut(&name) {
        // Whether that has to be written down does not matter: whoever gave the settings does it.
        runtime.note_given();
    }
    look_anew(engine, &name);
    Ok(())
}

/// The look at a node that runs begins anew, with the probe it has now.
fn look_anew(engine: &mut Engine, name: &NodeName) {
    let looked_at = engine.fleet.node(name).and_then(|node| match node.state() {
        State::Starting { run: Some(run), .. } | State::Ready { run, .. } | State::Degraded { run, .. } => {
            Some(run.incarnation)
        }
        State::Starting { run: None, .. }
        | State::Down { .. }
        | State::Waiting(_)
        | State::Preparing { .. }
        | State::Stopping { .. }
        | State::Failed { .. } => None,
    });
    if let Some(incarnation) = looked_at {
        watch::begin(engine, name, incarnation);
    }
}

fn restart(engine: &mut Engine, recipe: Recipe) -> Result<Option<Waited>, Rejection> {
    let name = recipe.node.clone();
    known(engine, &name)?;
    let Some(node) = engine.fleet.node(&name) else { return Err(Rejection::UnknownNode(name)) };
    let before = node.incarnation();
    if node.wanted() == Wanted::Down {
        take(engine, recipe);
        return Ok(None);
    }
    match node.state() {
        // What runs was started for the old settings and is stopped by them: the order comes first.
        State::Starting { .. } | State::Ready { .. } | State::Degraded { .. } | State::Stopping { .. } => {
            let old = engine.nodes.get(&name).map(|n| n.recipe.stop.clone());
            engine.event(&name, Event::Restart);
            take(engine, recipe);
            if let Some(runtime) = engine.nodes.get_mut(&name)
                && runtime.link.is_some()
            {
                runtime.leaving = old;
            }
        }
        // Nothing runs. A preparation under way uses the old settings: it is given up and begun anew.
        State::Waiting(_) | State::Preparing { .. } => {
            engine.event(&name, Event::Stop);
            take(engine, recipe);
            engine.event(&name, Event::Start);
        }
        State::Down { .. } | State::Failed { .. } => {
            take(engine, recipe);
            engine.event(&name, Event::Start);
        }
    }
    let goals = BTreeMap::from([(name.clone(), Goal::ServesAfter(before))]);
    Ok(Some((goals, format!("restarted {name}"))))
}

fn add(engine: &mut Engine, recipe: Recipe, Past(past): Past) -> Waited {
    let name = recipe.node.clone();
    let before = past.as_deref().map_or_else(Incarnation::default, adopt::FoundNode::incarnation);
    let settings = spec(&recipe, past.as_deref(), false);
    let mut runtime = NodeRuntime::new(recipe, clock::wall());
    if let Some(past) = &past {
        past.remember(&mut runtime);
    }
    engine.nodes.insert(name.clone(), runtime);
    if !engine.order.contains(&name) {
        engine.order.push(name.clone());
    }
    let actions = engine.fleet.put(settings, clock::now(), rand::random());
    engine.act(actions);
    engine.event(&name, Event::Start);
    (BTreeMap::from([(name.clone(), Goal::ServesAfter(before))]), format!("started {name}"))
}
