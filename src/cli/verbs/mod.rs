//! One file per verb.

mod artifacts;
mod bundle;
mod completions;
mod doctor;
mod down;
mod drill;
mod events;
mod fetch;
mod hold_port;
mod incidents;
mod logs;
mod man;
mod nodes;
mod orders;
mod places;
mod plan;
mod port_owners;
mod reload;
mod roll;
mod root;
mod snapshot;
mod status;
mod topics;
mod unit_paths;
mod up;
mod upgrade_self;
mod verify;

use super::{args::Verb, context::Context, error::CliError, exit::Exit};
use crate::control::wire::Order;

/// Carries out a verb other than `run`.
pub(super) async fn run(context: &Context, verb: Verb) -> Result<Exit, CliError> {
    match verb {
        Verb::Up(args) => up::run(context, args).await,
        Verb::Down(args) => down::run(context, args.now).await,
        Verb::Status(args) => status::run(context, &args).await,
        Verb::Logs(args) => logs::run(context, args).await,
        Verb::Events(args) => events::run(context, args).await,
        Verb::Incidents(args) => incidents::run(context, args).await,
        Verb::Start(args) => {
            let order = Order::Start { nodes: args.nodes, with_needs: true, anyway: args.anyway };
            orders::run(context, "start", order).await
        }
        Verb::Stop(args) => {
            let order = Order::Stop { nodes: args.nodes, now: args.now, anyway: args.anyway };
            orders::run(context, "stop", order).await
        }
        Verb::Restart(args) => {
            let order = Order::Restart { nodes: args.nodes, anyway: args.anyway };
            orders::run(context, "restart", order).await
        }
        Verb::Kill(args) => orders::run(context, "kill", Order::Kill { node: args.node, signal: args.signal }).await,
        Verb::Verify(args) => verify::run(context, args.json).await,
        Verb::Drill(asked) => drill::run(context, asked).await,
        Verb::Fence(args) => orders::run(context, "fence", Order::Fence { node: args.node }).await,
        Verb::Doctor(args) => doctor::run(context, &args).await,
        Verb::Plan(args) => plan::run(context, args.json).await,
        Verb::Reload(asked) => reload::run(context, &asked).await,
        Verb::Roll(asked) => roll::run(context, asked).await,
        Verb::WhyNot(asked) => roll::why_not(context, asked.node, asked.json).await,
        Verb::Topics(asked) => topics::run(context, asked).await,
        Verb::Fetch(asked) => fetch::run(context, asked).await,
        Verb::Artifacts(asked) => artifacts::run(context, asked).await,
        Verb::Bundle(asked) => bundle::run(context, asked).await,
        Verb::Snapshot(asked) => snapshot::run(context, asked).await,
        Verb::Restore(args) => snapshot::restore(context, args).await,
        Verb::Reset(args) => snapshot::reset(context, args).await,
        Verb::UpgradeSelf => upgrade_self::run(context).await,
        Verb::Completions { shell } => completions::run(context, shell),
        Verb::PortOwners => port_owners::run(context),
        Verb::HoldPort { address } => hold_port::run(context, address),
        Verb::UnitPaths { write } => unit_paths::run(context, write).await,
        Verb::Root => root::run(context),
        Verb::Places => places::run(context).await,
        Verb::Man { dir } => man::run(context, &dir),
        // The caller makes a daemon of it; as a verb there is nothing to carry out.
        Verb::Run(_) => Ok(Exit::Done),
    }
}
