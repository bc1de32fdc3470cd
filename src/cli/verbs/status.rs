//! `status`: the table, `--json`, `--watch`.

use crate::{
    base::{Layout, Timestamp},
    cli::{
        args, cluster_text,
        context::{Context, no_daemon, unexpected},
        disk_text,
        error::{CliError, of_output, refusal},
        exit::Exit,
        memory_table, stall_text, table,
    },
    control::{
        client::ClientError,
        wire::{Answer, Order, Status},
    },
    offline::{incidents::newest, status},
};
use std::{
    io::{self, Write},
    time::Duration,
};

/// How long a watch waits for a daemon that went away before it says that none runs.
const RETRY: Duration = Duration::from_secs(1);

pub(super) async fn run(context: &Context, args: &args::Status) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    let order = if args.watch { Order::Watch } else { Order::Status };
    let mut answers = match context.ask(&layout, order).await {
        Ok(answers) => answers,
        Err(e) if e.exit == Exit::NoDaemon => return Err(without_daemon(&layout).await.unwrap_or(e)),
        Err(e) => return Err(e),
    };
    let mut last = None;
    loop {
        match answers.next().await {
            Ok(Some(Answer::Status(mut status))) => {
                number_incidents(&mut status, &layout);
                let text = text(context, &status, args)?;
                let news = if args.json { self::text(context, &without_counts(&status), args)? } else { text.clone() };
                show(context, args, &text, news, &mut last)?;
                if !args.watch {
                    return Ok(Exit::Done);
                }
            }
            Ok(Some(answer)) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
            Ok(None) => return Err(unexpected()),
            Err(ClientError::WentAway) if args.watch => {
                // It may be replaced at once (an upgrade, a restart by the unit).
                tokio::time::sleep(RETRY).await;
                answers = context.ask(&layout, Order::Watch).await?;
            }
            // It was killed just now, so it is as good as none.
            Err(ClientError::WentAway) => {
                return Err(without_daemon(&layout).await.unwrap_or_else(|| ClientError::WentAway.into()));
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// The status without what only counts on: a watch tells what is new.
fn without_counts(status: &Status) -> Status {
    let mut status = status.clone();
    status.supervisor.up_ms = None;
    status.nodes.iter_mut().for_each(|node| node.up_ms = None);
    status.disks.iter_mut().flatten().for_each(|disk| disk.free_bytes = 0);
    if let Some(cluster) = &mut status.cluster {
        // The same look a second later is nothing new, and neither is a counter of ZooKeeper's.
        if let Some(kafka) = &mut cluster.kafka {
            kafka.seen_at = Timestamp::default();
        }
        if let Some(zookeeper) = &mut cluster.zookeeper {
            (zookeeper.latency_avg_ms, zookeeper.latency_max_ms) = (None, None);
            (zookeeper.outstanding, zookeeper.connections) = (None, None);
        }
    }
    status
}

/// A daemon older than this key tells no incidents; their files do.
fn number_incidents(status: &mut Status, layout: &Layout) {
    if status.nodes.iter().any(|n| n.incident.is_some()) {
        return;
    }
    let newest = newest(layout);
    for node in &mut status.nodes {
        node.incident = newest.get(&node.name).copied();
    }
}

fn text(context: &Context, status: &Status, args: &args::Status) -> Result<String, CliError> {
    if args.json {
        return serde_json::to_string(status)
            .map_err(|e| CliError::new(Exit::Unexpected, "cannot write the status as JSON").causes([e.to_string()]));
    }
    let now = status::now();
    let supervisor = &status.supervisor;
    let mut head = format!("cdc-supervisor {}", supervisor.version);
    if let Some(pid) = supervisor.pid {
        head.push_str(&format!(", pid {pid}"));
    }
    if let Some(up) = table::up(now, supervisor.started_at, supervisor.up_ms) {
        head.push_str(&format!(", up {up}"));
    }
    head.push_str(&format!(", root {}", supervisor.root));
    let nodes = match args.memory {
        true => memory_table::table(status),
        false => table::nodes(status, now, status::host_memory(), context.printer.paint()),
    };
    let mut parts = vec![head, String::new(), nodes];
    let cluster = status.cluster.as_ref().filter(|_| !args.memory);
    let mut lines = cluster.map(|cluster| cluster_text::lines(cluster, now)).unwrap_or_default();
    lines.extend(cluster.and_then(|_| stall_text::line(&status.nodes)));
    if !lines.is_empty() {
        parts.push(String::new());
        parts.extend(lines);
    }
    let mut remarks = table::remarks(status, now);
    remarks.extend(status.cut_short.as_ref().map(table::cut_short));
    remarks.extend(cluster.map(cluster_text::remarks).unwrap_or_default());
    remarks.extend(cluster.map(|_| stall_text::remarks(&status.nodes)).unwrap_or_default());
    remarks.extend(status.disks.iter().flatten().filter_map(disk_text::remark));
    if !remarks.is_empty() {
        parts.push(String::new());
        parts.extend(remarks);
    }
    Ok(parts.join("\n"))
}

/// Prints one status: over the last one on a terminal, below it elsewhere and only when it says something new.
/// `news` is what of it counts as new.
fn show(
    context: &Context,
    args: &args::Status,
    text: &str,
    news: String,
    last: &mut Option<String>,
) -> Result<(), CliError> {
    if args.watch && !args.json && context.printer.out_is_terminal {
        // Home, the text with each line's rest erased, everything below erased (ECMA-48 CUP, EL, ED): no flicker.
        let lines = text.replace('\n', "\u{1b}[K\r\n");
        let first = if last.is_none() { "\u{1b}[2J" } else { "" };
        *last = Some(String::new());
        let mut out = io::stdout().lock();
        return write!(out, "{first}\u{1b}[H{lines}\u{1b}[K\r\n\u{1b}[J")
            .and_then(|()| out.flush())
            .map_err(|e| of_output(&e));
    }
    if last.as_ref() == Some(&news) {
        return Ok(());
    }
    if last.is_some() && !args.json {
        context.printer.data("")?;
    }
    *last = Some(news);
    context.printer.data(text)
}

/// What is known without a daemon: the nodes that run on. None: nothing runs.
async fn without_daemon(layout: &Layout) -> Option<CliError> {
    let looked_at = layout.clone();
    let nodes = tokio::task::spawn_blocking(move || status::nodes_that_run(&looked_at)).await.ok()?;
    if nodes.is_empty() {
        return None;
    }
    let lines =
        nodes.iter().map(|n| format!("{} runs on: pid {}, since {}, shim {}", n.node, n.pid, n.since, n.shim_pid));
    Some(
        no_daemon(layout)
            .causes(lines)
            .hint("nodes run on without a daemon; `cdc-supervisor up` starts one that takes them over"),
    )
}
