//! `roll` and `why-not`: what would break if a node were stopped now, and brokers restarted one by one so that nothing does.
//!
//! The restarts themselves are those of a reload (`reload`): the sick first, the controller last, each when every replica of
//! every partition is in sync and leaders are home (`gate`). Nothing here fails because it is unsafe just now: it waits and says for what.

use super::{
    gate::{Field, Terms, broker_id, is_sick},
    impact::Impact,
    reload::{self, Failed, Purpose, Report, Work},
};
use crate::{
    base::{NodeKind, NodeName, recipe::Recipe},
    engine::{Handle, Wanted},
    services::change::{Does, Gate, Step, next_broker},
};
use std::{collections::BTreeMap, time::Duration};

/// What is asked of a roll.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which brokers; empty: all that are wanted up.
    pub nodes: Vec<NodeName>,
    /// Longest wait for one thing.
    pub max_wait: Duration,
    /// What whoever ordered it has agreed to.
    pub terms: Terms,
    /// `kafka.elect_preferred`.
    pub leaders_home: bool,
}

/// A node that would be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Which.
    pub node: NodeName,
    /// What breaks, partition by partition.
    pub impact: Impact,
    /// What a roll would wait for; none: nothing.
    pub waits_for: Option<String>,
    /// What else goes with it.
    pub notes: Vec<String>,
    /// What the notes say is a loss.
    pub notes_break: bool,
}

impl Outlook {
    /// Nothing breaks, and nothing has to be waited for.
    pub fn is_safe(&self) -> bool {
        self.impact.is_none() && self.waits_for.is_none() && !self.notes_break
    }
}

/// Restarts brokers one by one; a line for each thing that was done.
pub async fn roll(
    engine: &Handle,
    asked: &Asked,
    recipes: &[Recipe],
    report: &mut dyn Report,
) -> Result<Vec<String>, Failed> {
    let nodes = chosen(engine, &asked.nodes, recipes)?;
    let step = |node: &NodeName| Step { node: node.clone(), does: Does::Restart, gate: Gate::InSync };
    let work = Work {
        dynamic: BTreeMap::new(),
        steps: nodes.iter().map(step).collect(),
        old: recipes.to_vec(),
        new: recipes.to_vec(),
        max_wait: asked.max_wait,
        purpose: Purpose::Roll,
        terms: asked.terms,
        leaders_home: asked.leaders_home,
        sessions_last: None,
    };
    reload::carry_out(engine, work, report).await
}

/// `roll --plan`: the brokers in the order in which they would be restarted, each as if it were stopped now.
pub async fn plan(engine: &Handle, asked: &Asked, recipes: &[Recipe]) -> Result<Vec<Outlook>, Failed> {
    let mut left = chosen(engine, &asked.nodes, recipes)?;
    let field = Field::look(engine, &reload::by_name(recipes)).await;
    let controller = field.said.controller().map(NodeName::broker);
    let mut all = Vec::new();
    while let Some(next) = next_broker(&left, |node| field.serves(node), controller.as_ref()).cloned() {
        left.retain(|node| *node != next);
        let mut outlook = outlook(&field, &next).await;
        if !asked.leaders_home {
            outlook.notes.push(reload::NOT_WAITED.into());
        }
        all.push(outlook);
    }
    Ok(all)
}

/// `why-not`: what breaks if this node is stopped now.
pub async fn why_not(engine: &Handle, node: &NodeName, recipes: &[Recipe]) -> Result<Outlook, Failed> {
    let Some(recipe) = recipes.iter().find(|r| r.node == *node) else { return Err(unknown(node)) };
    if broker_id(Some(recipe)).is_some() {
        return Ok(outlook(&Field::look(engine, &reload::by_name(recipes)).await, node).await);
    }
    let (notes, notes_break) = beside(recipe, recipes);
    Ok(Outlook { node: node.clone(), impact: Impact::default(), waits_for: None, notes, notes_break })
}

/// The brokers that a roll is about. One that is stopped by order is not started by it.
fn chosen(engine: &Handle, asked: &[NodeName], recipes: &[Recipe]) -> Result<Vec<NodeName>, Failed> {
    let snapshot = engine.snapshot();
    let is_up = |node: &NodeName| snapshot.nodes.iter().any(|n| n.name == *node && n.wanted == Wanted::Up);
    let is_broker = |node: &NodeName| broker_id(recipes.iter().find(|r| r.node == *node)).is_some();
    for node in asked {
        if !recipes.iter().any(|r| r.node == *node) {
            return Err(unknown(node));
        }
        let (what, hint) = if !is_broker(node) {
            (format!("{node} is no broker"), format!("`cdc-supervisor restart {node}` restarts it"))
        } else if !is_up(node) {
            (format!("{node} is stopped by order"), format!("`cdc-supervisor start {node}` starts it"))
        } else {
            continue;
        };
        return Err(Failed { exit: 8, message: what, causes: Vec::new(), hint: Some(hint) });
    }
    let brokers = recipes.iter().map(|r| &r.node).filter(|node| is_broker(node) && is_up(node));
    let chosen: Vec<NodeName> = brokers.filter(|node| asked.is_empty() || asked.contains(node)).cloned().collect();
    if chosen.is_empty() {
        return Err(Failed {
            exit: 8,
            message: "there is no broker to restart".into(),
            causes: Vec::new(),
            hint: Some("`cdc-supervisor status` lists the nodes".into()),
        });
    }
    Ok(chosen)
}

fn unknown(node: &NodeName) -> Failed {
    Failed {
        exit: 2,
        message: format!("there is no node {node}"),
        causes: Vec::new(),
        hint: Some("`cdc-supervisor status` lists the nodes".into()),
    }
}

/// One broker as if it were stopped now.
async fn outlook(field: &Field, node: &NodeName) -> Outlook {
    let mut outlook = Outlook {
        node: node.clone(),
        impact: Impact::default(),
        waits_for: None,
        notes: Vec::new(),
        notes_break: false,
    };
    let (Some(seen), Some(id)) = (field.node(node), field.id(node)) else { return outlook };
    if seen.wanted == Wanted::Down {
        outlook.notes.push("it is stopped already".into());
        return outlook;
    }
    let mut zookeeper = field.zookeeper_is_away();
    if zookeeper.is_none() {
        zookeeper = field.unregistered(Some(node)).await;
    }
    let found = if zookeeper.is_some() {
        outlook
            .notes
            .push("no leader could move and no ISR could change: writes to what it replicates would wait".into());
        outlook.notes_break = true;
        Ok(field.impact_without_zookeeper(id))
    } else {
        field.impact(id).await
    };
    let obstacle = field.said.obstacle(Some(id), is_sick(seen), &field.rests);
    outlook.waits_for = zookeeper.or_else(|| obstacle.map(|obstacle| obstacle.advice()));
    match found {
        Ok(impact) => outlook.impact = impact,
        Err(why) => {
            outlook.notes.push(format!("what would break cannot be told: {why}"));
            outlook.notes_break = true;
        }
    }
    if field.said.controller() == Some(id) {
        outlook.notes.push("it is the controller: another broker takes that over first".into());
    }
    outlook
}

/// What goes with a node that is no broker, and whether that is a loss.
fn beside(recipe: &Recipe, recipes: &[Recipe]) -> (Vec<String>, bool) {
    let after: Vec<&str> = recipes.iter().filter(|r| r.after.contains(&recipe.node)).map(|r| r.node.as_str()).collect();
    let mut notes = Vec::new();
    let breaks = match recipe.kind {
        NodeKind::Zookeeper => {
            notes.push(
                "brokers go on with what they lead; meanwhile no leader is elected, no ISR changes, no broker starts"
                    .into(),
            );
            notes.push("when it is back it gives each broker's session its whole time again".into());
            true
        }
        NodeKind::Mysql => {
            notes.push("its clients are cut off; readers of its binlog wait and go on where they were".into());
            true
        }
        NodeKind::KafkaUi => {
            notes.push("only the page is away".into());
            false
        }
        NodeKind::Command | NodeKind::Broker(_) => !after.is_empty(),
    };
    if !after.is_empty() {
        notes.push(format!("what comes after it runs on without it: {}", after.join(", ")));
    }
    (notes, breaks)
}
