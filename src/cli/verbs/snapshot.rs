//! `snapshot`, `restore`, `reset`: copies of the stores that belong together, and their return. Through the daemon when one runs,
//! which stops and starts nodes; else by this process, under the daemon's lock.

use crate::{
    base::{Layout, Timestamp},
    cli::{
        args::{self, Snapshot},
        context::{Context, TICK},
        error::CliError,
        exit::Exit,
        live::Live,
        signals::Signals,
        table::size,
    },
    control::{
        client::{Client, ClientError},
        wire::Order,
    },
    offline::{
        owner,
        stores::{
            self, Alone, Manifest, Set, StoreError,
            exchange::{self, Wanted},
        },
    },
};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};

/// `snapshot …`.
pub(super) async fn run(context: &Context, asked: Snapshot) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    match asked {
        Snapshot::Create { name, stop } => {
            let name = name.unwrap_or_else(stores::name_now);
            let order = Order::Snapshot { name: name.clone(), stop };
            carry_out(context, "snapshot", order, move |here, told| {
                stores::leaves_room(&here.layout, &here.stores, &here.disk)?;
                let made = stores::create(&here.layout, &here.stores, &name, told)?;
                Ok(vec![stores::made(&made)])
            })
            .await
        }
        Snapshot::List { json } => {
            let found = stores::list(&layout).map_err(|e| failed(&e))?;
            context.printer.data(&if json { listed_json(&found)? } else { listed(&found) })?;
            Ok(Exit::Done)
        }
        Snapshot::Verify { name } => {
            let name2 = name.clone();
            let (manifest, wrong) =
                work(context, "snapshot", layout.clone(), move |told| stores::verify(&layout, &name2, told)).await?;
            for one in &wrong {
                context.printer.data(&format!("FAIL  {one}"))?;
            }
            let sum = format!("{name}: {} of {}", size(manifest.bytes()), manifest.made_at);
            if !manifest.proves_secrets() {
                let what = "an earlier version made it, without digests of MySQL's passwords: that they are there is all that can be told of them";
                context.printer.warn(what);
            }
            if wrong.is_empty() {
                context.printer.data(&format!("whole  {sum}"))?;
                return Ok(Exit::Done);
            }
            context.printer.data(&format!("not what it was: {} differences  {sum}", wrong.len()))?;
            Ok(Exit::Negative)
        }
        Snapshot::Remove { name, confirm } => {
            confirmed("remove", &name, confirm.as_deref())?;
            let gone = work(context, "snapshot", layout.clone(), move |_| stores::remove(&layout, &name)).await?;
            context.printer.data(&format!("removed {}, {} of {}", gone.name, size(gone.bytes()), gone.made_at))?;
            Ok(Exit::Done)
        }
    }
}

/// `restore NAME`.
pub(super) async fn restore(context: &Context, args: args::Restore) -> Result<Exit, CliError> {
    confirmed("restore", &args.name, args.confirm.as_deref())?;
    let (name, only) = (args.name, args.only);
    let order = Order::Restore { name: name.clone(), only: only.map(|set| set.as_str().to_owned()) };
    carry_out(context, "restore", order, move |here, told| {
        // Of an older program than the data were written by, the next start says no.
        exchange::restore(&here.layout, &here.stores, Wanted { name: &name, only, versions: &[] }, told)
    })
    .await
}

/// `reset SET`.
pub(super) async fn reset(context: &Context, args: args::Reset) -> Result<Exit, CliError> {
    confirmed("reset", args.set.as_str(), args.confirm.as_deref())?;
    let set = args.set;
    let order = Order::Reset { set: set.as_str().to_owned() };
    carry_out(context, "reset", order, move |here, _| exchange::reset(&here.layout, &here.stores, set)).await
}

/// What destroys data is typed twice.
fn confirmed(verb: &str, name: &str, confirm: Option<&str>) -> Result<(), CliError> {
    if confirm == Some(name) {
        return Ok(());
    }
    let what = match verb {
        "remove" => format!("`snapshot remove` deletes the snapshot {name}"),
        "restore" => format!("`restore` stops the nodes and replaces their data by those of the snapshot {name}"),
        _ => format!("`reset` stops the nodes of {name} and deletes all their data"),
    };
    Err(CliError::new(Exit::Refused, format!("{what}; nothing was done"))
        .hint(format!("say so with --confirm {name}; `cdc-supervisor snapshot create` keeps what is there now")))
}

/// By the daemon; when none runs, here.
async fn carry_out(
    context: &Context,
    label: &'static str,
    order: Order,
    here: impl FnOnce(&Alone, &mut stores::Told<'_>) -> Result<Vec<String>, StoreError> + Send + 'static,
) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    let lines = match Client::connect(&layout.control_socket()).await {
        Ok(client) => {
            // Only a knock: an open connection without a request would be waited for.
            drop(client);
            context.carry_out(&layout, label, order).await?
        }
        Err(ClientError::NoDaemon { .. }) => {
            let plan = context.load()?.plan;
            work(context, label, layout.clone(), move |told| {
                let alone = Alone::with(layout, &plan, told)?;
                here(&alone, told)
            })
            .await?
        }
        Err(e) => return Err(e.into()),
    };
    for line in lines {
        context.printer.data(&line)?;
    }
    Ok(Exit::Done)
}

/// Blocking work beside a line that says how far it is. What was begun is finished: Ctrl-C ends nothing half done. Root does it as the owner
/// of the root: passwords and snapshots of root's own would keep their daemon from reading them.
async fn work<T: Send + 'static>(
    context: &Context,
    label: &'static str,
    layout: Layout,
    work: impl FnOnce(&mut stores::Told<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, CliError> {
    let mut signals = Signals::listen()?;
    let doing = Arc::new(Mutex::new("files are read".to_owned()));
    let theirs = Arc::clone(&doing);
    let mut running = tokio::task::spawn_blocking(move || {
        owner::act_for(layout.root())?;
        work(&mut |text| *theirs.lock().unwrap_or_else(PoisonError::into_inner) = text)
    });
    let mut live = Live::begin(context.printer, label);
    loop {
        tokio::select! {
            done = &mut running => {
                drop(live);
                let done = done.map_err(|e| CliError::new(Exit::Unexpected, "the work failed").causes([e.to_string()]))?;
                return done.map_err(|e| failed(&e));
            }
            () = signals.next() => {
                context.printer.warn("it is finished first: data that is half copied or half exchanged is worth nothing");
            }
            () = tokio::time::sleep(TICK) => live.show(&doing.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }
}

fn failed(e: &StoreError) -> CliError {
    let exit = match e {
        StoreError::Asked(..) => Exit::Usage,
        StoreError::Refused(..) => Exit::Refused,
        StoreError::System(_) => Exit::Unexpected,
    };
    let error = CliError::of(exit, e);
    match e.hint() {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn listed(found: &[Result<Manifest, String>]) -> String {
    if found.is_empty() {
        return "there is no snapshot; `cdc-supervisor snapshot create` makes one".into();
    }
    let line = |one: &Result<Manifest, String>| match one {
        Ok(manifest) => stores::made(manifest),
        Err(why) => format!("unreadable  {why}"),
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn listed_json(found: &[Result<Manifest, String>]) -> Result<String, CliError> {
    #[derive(Serialize)]
    struct Doc<'a> {
        schema: u32,
        snapshots: Vec<One<'a>>,
    }
    #[derive(Serialize)]
    struct One<'a> {
        name: &'a str,
        made_at: Timestamp,
        bytes: u64,
        sets: Vec<Set>,
        nodes: Vec<&'a str>,
        cluster: Option<&'a str>,
        mysql: Option<&'a str>,
    }
    fn one(m: &Manifest) -> One<'_> {
        One {
            name: &m.name,
            made_at: m.made_at,
            bytes: m.bytes(),
            sets: m.sets(),
            nodes: m.stores.iter().map(|s| s.node.as_str()).collect(),
            cluster: m.cluster.as_deref(),
            mysql: m.mysql.as_deref(),
        }
    }
    let doc = Doc { schema: 1, snapshots: found.iter().flatten().map(one).collect() };
    serde_json::to_string(&doc)
        .map_err(|e| CliError::new(Exit::Unexpected, "cannot write it as JSON").causes([e.to_string()]))
}
