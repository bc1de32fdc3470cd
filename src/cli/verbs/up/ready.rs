//! The wait until all is ready: statuses in, words out.

use super::{Up, choose};
use crate::{
    base::NodeName,
    cli::{
        context::{TICK, unexpected},
        error::{CliError, refusal},
        exit::Exit,
        live::Live,
        printer::Printer,
        wait::{BecameReady, Judgement, Wait},
    },
    control::{
        client::{Answers, ClientError},
        wire::{Answer, Order, Status},
    },
};
use std::time::{Duration, Instant};

/// A preparation shorter than this is not worth a line.
const PREPARE_SHOWN: Duration = Duration::from_secs(1);

/// How the wait ended.
pub(super) enum Reached {
    /// All wanted nodes are ready.
    Ready(Box<Status>),
    /// Ctrl-C.
    Interrupted,
}

impl Up<'_> {
    /// Orders the start and waits until all wanted nodes are ready.
    pub(super) async fn until_ready(&mut self) -> Result<Reached, CliError> {
        let began = Instant::now();
        let mut wait = Wait::new(self.args.timeout, Duration::ZERO).named(&self.args.only);
        let mut steps = Steps::new(self.context.printer, self.daemon.is_some());
        let mut last: Option<Status> = None;
        'connection: loop {
            // Nodes that were stopped, or that failed before, are wanted up again; the rest stays as it is.
            let fresh = self.daemon.is_some();
            let asked = async {
                let now = self.status_now().await?;
                let nodes = choose::to_start(&now, &self.args.only, fresh);
                let ordered = match nodes.is_empty() {
                    true => None,
                    false => Some(
                        self.context.ask(&self.layout, Order::Start { nodes, with_needs: true, anyway: false }).await?,
                    ),
                };
                Ok::<_, CliError>((now, ordered, self.context.ask(&self.layout, Order::Watch).await?))
            };
            let (mut ordered, mut watch) = match asked.await {
                Ok((now, ordered, watch)) => {
                    if !fresh && last.is_none() {
                        steps.leaves_alone(&now);
                    }
                    (ordered, watch)
                }
                Err(e) if e.exit == Exit::NoDaemon => {
                    self.daemon_went_away().await?;
                    continue 'connection;
                }
                Err(e) => return Err(e),
            };
            loop {
                let gone = tokio::select! {
                    answer = watch.next() => match answer {
                        Ok(Some(Answer::Status(status))) => {
                            steps.look(&status);
                            last = Some(*status);
                            false
                        }
                        Ok(Some(answer)) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
                        Ok(None) => return Err(unexpected()),
                        Err(ClientError::WentAway) => true,
                        Err(e) => return Err(e.into()),
                    },
                    answer = next_of(&mut ordered) => match answer {
                        Ok(Some(Answer::Progress { .. })) => false,
                        // Ready, or the daemon has given up waiting: the statuses tell, and say more. The last one seen may
                        // be from before the order.
                        Ok(Some(Answer::Done { .. } | Answer::Refused { exit: 6, .. })) => {
                            last = Some(self.status_now().await?);
                            ordered = None;
                            false
                        }
                        // Data that a start would harm, or a daemon on its way out: the nodes tell which.
                        Ok(Some(answer @ Answer::Refused { exit: 8, .. })) => {
                            let status = self.status_now().await?;
                            if !unsafe_to_start(&status) {
                                return Err(refusal(&answer).unwrap_or_else(unexpected));
                            }
                            last = Some(status);
                            ordered = None;
                            false
                        }
                        Ok(Some(answer)) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
                        Ok(None) => return Err(unexpected()),
                        Err(ClientError::WentAway) => true,
                        Err(e) => return Err(e.into()),
                    },
                    () = self.signals.next() => return Ok(Reached::Interrupted),
                    () = tokio::time::sleep(TICK) => false,
                };
                if gone {
                    self.daemon_went_away().await?;
                    continue 'connection;
                }
                let Some(status) = &last else { continue };
                let now = began.elapsed();
                let (judgement, new) = wait.look(status, now);
                steps.became_ready(new);
                match judgement {
                    Judgement::Waiting(nodes) => steps.waits_for(&nodes),
                    // Until the order is answered, a status may be from before it.
                    Judgement::Ready if ordered.is_some() => {}
                    Judgement::Ready => {
                        let status = status.clone();
                        steps.done();
                        for (node, why) in wait.without() {
                            let what = format!("{node} is not ready, and the stack goes on without it\n{why}");
                            self.context.printer.warn(&what);
                        }
                        return Ok(Reached::Ready(Box::new(status)));
                    }
                    Judgement::Failed { .. } if ordered.is_some() && now < wait.deadline() => {}
                    Judgement::Failed { why, nodes } => {
                        let exit = if unsafe_to_start(status) { Exit::Refused } else { Exit::NotReady };
                        drop(steps);
                        return Err(not_ready(exit, &why, &nodes));
                    }
                }
            }
        }
    }
}

impl Up<'_> {
    async fn status_now(&self) -> Result<Status, CliError> {
        let mut asked = self.context.ask(&self.layout, Order::Status).await?;
        match asked.next().await? {
            Some(Answer::Status(status)) => Ok(*status),
            Some(answer) => Err(refusal(&answer).unwrap_or_else(unexpected)),
            None => Err(unexpected()),
        }
    }
}

/// The next answer to an order; for ever when it has been answered.
async fn next_of(ordered: &mut Option<Answers>) -> Result<Option<Answer>, ClientError> {
    match ordered {
        Some(answers) => answers.next().await,
        None => std::future::pending().await,
    }
}

/// Whether a node stays down because its start would harm data: it belongs elsewhere, or a newer program wrote it.
fn unsafe_to_start(status: &Status) -> bool {
    let failures = status.nodes.iter().filter(|n| n.wanted == "up").filter_map(|n| n.failure.as_ref());
    failures.into_iter().any(|failure| failure.cause.is_about_whose_data())
}

fn not_ready(exit: Exit, why: &str, nodes: &[(NodeName, String)]) -> CliError {
    let first = nodes.first().map_or("NODE", |(node, _)| node.as_str());
    CliError::new(exit, why).causes(nodes.iter().map(|(node, why)| format!("{node}: {why}"))).hint(format!(
        "see `cdc-supervisor logs {first}`; the daemon and the other nodes run on, `cdc-supervisor down` stops them"
    ))
}

/// The lines `prepare` and `start`.
struct Steps {
    printer: Printer,
    /// Nodes that were ready when it began are no news.
    fresh: bool,
    looked: bool,
    live: Option<Live>,
    ready: Vec<String>,
    preparing: Option<Instant>,
    prepared: Vec<NodeName>,
    prepare_took: Duration,
}

impl Steps {
    fn new(printer: Printer, fresh: bool) -> Self {
        Self {
            printer,
            fresh,
            looked: false,
            live: Some(Live::begin(printer, "start")),
            ready: Vec::new(),
            preparing: None,
            prepared: Vec::new(),
            prepare_took: Duration::ZERO,
        }
    }

    /// Says which nodes have done their work under the daemon that was there, and are not run for this `up`.
    fn leaves_alone(&self, status: &Status) {
        for node in status.nodes.iter().filter(|n| choose::has_done_its_work(n)) {
            let at = node.last_exit.as_ref().map(|exit| format!(" at {}", exit.at)).unwrap_or_default();
            let name = &node.name;
            let text = format!("{name} has done its work{at}; `cdc-supervisor start {name}` runs it again");
            self.above(|printer| printer.step("done", &text, None));
        }
    }

    /// Notes who is being prepared, and says how long that took once it is over.
    fn look(&mut self, status: &Status) {
        let preparing: Vec<&NodeName> =
            status.nodes.iter().filter(|n| n.state == "preparing").map(|n| &n.name).collect();
        for node in &preparing {
            if !self.prepared.contains(node) {
                self.prepared.push((*node).clone());
            }
        }
        match (self.preparing, preparing.is_empty()) {
            (None, false) => self.preparing = Some(Instant::now()),
            (Some(since), true) => {
                self.preparing = None;
                self.prepare_took += since.elapsed();
                if self.prepare_took >= PREPARE_SHOWN {
                    let names: Vec<&str> = self.prepared.iter().map(NodeName::as_str).collect();
                    self.above(|printer| printer.step("prepare", &names.join(", "), Some(self.prepare_took)));
                    self.prepared.clear();
                    self.prepare_took = Duration::ZERO;
                }
            }
            (None, true) | (Some(_), false) => {}
        }
    }

    /// Prints above the moving line.
    fn above(&self, print: impl FnOnce(&Printer)) {
        match &self.live {
            Some(live) => live.above(|| print(&self.printer)),
            None => print(&self.printer),
        }
    }

    fn became_ready(&mut self, nodes: Vec<BecameReady>) {
        let news = self.fresh || self.looked;
        self.looked = true;
        if !news {
            return;
        }
        for BecameReady { node, after } in nodes {
            let text = match after {
                Some(after) => format!("{node} {:.1} s", after.as_secs_f64()),
                None => node.to_string(),
            };
            if !self.printer.err_is_terminal {
                self.printer.step("start", &text, None);
            }
            self.ready.push(text);
        }
    }

    fn waits_for(&mut self, nodes: &[(NodeName, String)]) {
        let Some((node, why)) = nodes.first() else { return };
        let more = match nodes.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let ready = if self.ready.is_empty() || !self.printer.err_is_terminal {
            String::new()
        } else {
            format!("{}; ", self.ready.join(", "))
        };
        if let Some(live) = &mut self.live {
            live.show(&format!("{ready}{node}: {why}{more}"));
        }
    }

    fn done(mut self) {
        self.live = None;
        if self.printer.err_is_terminal && !self.ready.is_empty() {
            self.printer.step("start", &self.ready.join(", "), None);
        }
    }
}
