//! `roll` and `why-not`: brokers are restarted one by one by the daemon, and what would break if a node were stopped now.

use super::reload;
use crate::{
    base::NodeName,
    cli::{
        args,
        context::{Context, unexpected},
        error::{CliError, refusal},
        exit::Exit,
        outlook_text,
    },
    control::wire::{Answer, Order, cluster::Outlook},
};

pub(super) async fn run(context: &Context, asked: args::Roll) -> Result<Exit, CliError> {
    let args::Consent { accept_unavailable, force } = asked.consent;
    let order = Order::Roll {
        nodes: asked.nodes,
        max_wait_s: asked.max_wait.as_secs().max(1),
        accept_unavailable,
        force,
        plan: asked.plan,
    };
    if asked.plan {
        let outlook = ask(context, order).await?;
        print(context, &outlook, asked.json, true)?;
        return Ok(Exit::Done);
    }
    let layout = context.layout()?;
    reload::follow(context, &layout, "roll", order, "the daemon looks at the cluster").await
}

/// Exit 9 when something would break: a question with an answer, as `verify` has one.
pub(super) async fn why_not(context: &Context, node: NodeName, json: bool) -> Result<Exit, CliError> {
    let outlook = ask(context, Order::WhyNot { node }).await?;
    print(context, &outlook, json, false)?;
    Ok(if outlook.safe { Exit::Done } else { Exit::Negative })
}

/// What would break while these brokers restart, in the order in which they would.
pub(super) async fn outlook(context: &Context, nodes: Vec<NodeName>) -> Result<Outlook, CliError> {
    // A plan waits for nothing.
    ask(context, Order::Roll { nodes, max_wait_s: 1, accept_unavailable: false, force: false, plan: true }).await
}

async fn ask(context: &Context, order: Order) -> Result<Outlook, CliError> {
    let layout = context.layout()?;
    match context.ask(&layout, order).await?.next().await? {
        Some(Answer::Outlook(outlook)) => Ok(outlook),
        Some(answer) => Err(refusal(&answer).unwrap_or_else(unexpected)),
        None => Err(unexpected()),
    }
}

fn print(context: &Context, outlook: &Outlook, json: bool, roll: bool) -> Result<(), CliError> {
    let text = if json {
        serde_json::to_string(outlook)
            .map_err(|e| CliError::new(Exit::Unexpected, "cannot write the outlook as JSON").causes([e.to_string()]))?
    } else {
        outlook_text::text(outlook, roll, context.printer.paint())
    };
    context.printer.data(&text)
}
