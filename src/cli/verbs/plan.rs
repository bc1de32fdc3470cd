//! `plan`: what the configuration file would change, and what `reload` would do about it.

use super::roll;
use crate::{
    base::{Layout, NodeName},
    cli::{
        cluster_text::beats_files,
        context::{Context, unexpected},
        error::{CliError, Text},
        exit::Exit,
        plan_text,
    },
    control::{
        client::{Client, ClientError},
        wire::{Answer, Order, Status, plan::PlanDoc},
    },
    offline::{
        plan::{self, Lives, PlanError},
        status,
    },
};

pub(super) async fn run(context: &Context, json: bool) -> Result<Exit, CliError> {
    let loaded = context.load()?;
    let layout = loaded.plan.layout();
    let seen = daemon_status(&layout).await?;
    let daemon = seen.as_ref().and_then(|status| status.supervisor.pid);
    let beats_files = seen.as_ref().and_then(|status| Some(beats_files(status.cluster.as_ref()?).collect::<Vec<_>>()));
    let file = loaded.path.as_ref().map(|path| path.display().to_string());
    let work = tokio::task::spawn_blocking(move || {
        let lives = match &seen {
            Some(status) => lives_of(status),
            None => lives_without_daemon(&layout),
        };
        plan::outlook(&loaded.plan, &lives).map(|outlook| outlook.document(&loaded.plan, file, daemon))
    });
    let mut document = work
        .await
        .map_err(|e| CliError::new(Exit::Unexpected, "the plan could not be worked out").causes([e.to_string()]))?
        .map_err(|e| CliError::of(exit_of(&e), &e))?;
    let command = "`kafka-configs --alter --delete-config` takes it back, and a reload that is to change it is refused until then";
    document.notes.extend(beats_files.into_iter().flatten().map(|text| format!("{text}: {command}")));
    tell_what_breaks(context, &mut document).await;
    let text = if json {
        serde_json::to_string(&document)
            .map_err(|e| CliError::new(Exit::Unexpected, "the plan cannot be printed").causes([e.to_string()]))?
    } else {
        plan_text::text(&document, context.printer.paint())
    };
    context.printer.data(&text)?;
    Ok(Exit::Done)
}

/// Has the daemon say what would break while each broker that is restarted is away.
async fn tell_what_breaks(context: &Context, document: &mut PlanDoc) {
    let restarts = document.steps.iter().filter(|s| s.does == "restart" && s.node.as_str().starts_with("broker-"));
    let nodes: Vec<NodeName> = restarts.map(|s| s.node.clone()).collect();
    if document.daemon.is_none() || nodes.is_empty() {
        return;
    }
    match roll::outlook(context, nodes).await {
        Ok(outlook) => document.outlook = Some(outlook),
        Err(e) => {
            let why = match e.text {
                Text::Sentence { message, .. } | Text::Drawn(message) => message,
                Text::Silent | Text::Several(_) => "the daemon does not answer".into(),
            };
            document.notes.push(format!("what would break while brokers restart cannot be told: {why}"));
        }
    }
}

fn exit_of(e: &PlanError) -> Exit {
    match e {
        PlanError::Applied(..) => Exit::Unexpected,
        PlanError::Artifact(_) => Exit::Artifact,
        PlanError::Service(_) => Exit::Configuration,
    }
}

/// What the daemon of this root says; none when there is none, or when this user may not ask it.
pub(super) async fn daemon_status(layout: &Layout) -> Result<Option<Status>, CliError> {
    let client = match Client::connect(&layout.control_socket()).await {
        Ok(client) => client,
        Err(ClientError::NoDaemon { .. } | ClientError::NotAllowed { .. }) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let answer = async { client.ask(Order::Status).await?.next().await };
    match answer.await {
        Ok(Some(Answer::Status(status))) => Ok(Some(*status)),
        Ok(_) => Err(unexpected()),
        // It ends just now: its nodes are looked for without it.
        Err(ClientError::WentAway) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn lives_of(status: &Status) -> Lives {
    status.nodes.iter().map(|n| (n.name.clone(), plan::life(n))).collect()
}

fn lives_without_daemon(layout: &Layout) -> Lives {
    status::nodes_that_live(layout).into_iter().map(|node| (node, plan::runs())).collect()
}
