//! `up`: from a configuration to a proven stack; in the foreground it stays and stops everything at Ctrl-C.

mod choose;
pub(super) mod fetch_view;
mod ready;
mod stay;
mod summary;

use crate::{
    base::{Layout, NodeName},
    cli::{
        args,
        context::{Context, unexpected},
        error::{CliError, refusal},
        exit::Exit,
        launch::{Daemon, Launch, Started},
        live::Live,
        signals::Signals,
    },
    control::{
        client::{Client, ClientError},
        wire::{Answer, Order, Status},
    },
    offline::{
        config_file::Loaded,
        preflight::{self, Preflight},
        scope, status,
    },
};
use ready::Reached;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How long another `up` or a unit that has just begun may take until its daemon takes orders.
const OTHER_ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// How often a daemon that dies is replaced, and within which time.
const REPLACEMENTS: usize = 5;
const REPLACEMENTS_WITHIN: Duration = Duration::from_secs(60);

/// How often a daemon is launched when others hold the root for a moment and go.
const LAUNCHES: usize = 3;

/// One `up` on its way.
struct Up<'a> {
    context: &'a Context,
    args: args::Up,
    loaded: Loaded,
    layout: Layout,
    signals: Signals,
    /// The daemon, when this `up` started it: then it also stops it. None: attached to one that was there.
    daemon: Option<Daemon>,
    replaced: Vec<Instant>,
}

pub(super) async fn run(context: &Context, args: args::Up) -> Result<Exit, CliError> {
    let loaded = context.load()?;
    let layout = loaded.plan.layout();
    if loaded.path.is_none() {
        let root = layout.root().display();
        context
            .printer
            .say(&format!("no supervisor.toml here or in /etc/cdc-supervisor: the built-in stack, under {root}"));
    }
    check_names(&loaded, &args.only)?;
    let signals = Signals::listen()?;
    let mut up = Up { context, args, loaded, layout, signals, daemon: None, replaced: Vec::new() };
    if !up.attach().await? {
        up.begin().await?;
    }
    up.see_it_through().await
}

fn check_names(loaded: &Loaded, only: &[NodeName]) -> Result<(), CliError> {
    let nodes = loaded.plan.nodes();
    match only.iter().find(|n| !nodes.contains(n)) {
        None => Ok(()),
        Some(unknown) => {
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            Err(CliError::new(Exit::Usage, format!("there is no node {unknown}"))
                .hint(format!("the configuration has {}", names.join(", "))))
        }
    }
}

impl Up<'_> {
    /// Looks for a daemon of this root and compares what it runs; false when there is none.
    async fn attach(&mut self) -> Result<bool, CliError> {
        let Some(answer) = self.greet().await? else { return Ok(false) };
        match answer {
            Answer::Hello(hello) if hello.plan_digest == self.loaded.plan.digest() => {
                self.context.printer.step("attach", &format!("a daemon runs already (pid {})", hello.pid), None);
                Ok(true)
            }
            Answer::Hello(hello) => Err(CliError::new(
                Exit::Refused,
                format!(
                    "{} runs with a different configuration (daemon pid {})",
                    self.layout.root().display(),
                    hello.pid
                ),
            )
            .hint("`cdc-supervisor plan` shows what would change, `cdc-supervisor reload` applies it")),
            answer => Err(refusal(&answer).unwrap_or_else(unexpected)),
        }
    }

    /// Asks the daemon of this root who it is; none when there is none.
    async fn greet(&mut self) -> Result<Option<Answer>, CliError> {
        let began = Instant::now();
        loop {
            let Some(client) = self.connect().await? else { return Ok(None) };
            let answer = async { client.ask(Order::Hello).await?.next().await };
            match answer.await {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => return Err(unexpected()),
                // It is ending, or was killed just now: the kernel takes connections for it until it is gone altogether.
                Err(ClientError::WentAway) if began.elapsed() < OTHER_ANSWERS_WITHIN => tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(50)) => {}
                    () = self.signals.next() => return Err(interrupted()),
                },
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Connects to the daemon of this root; none when there is none.
    async fn connect(&mut self) -> Result<Option<Client>, CliError> {
        match Client::connect(&self.layout.control_socket()).await {
            Ok(client) => Ok(Some(client)),
            // It starts, or another `up` has just started it: it is worth the wait.
            Err(ClientError::NoDaemon { .. }) if status::daemon_holds(&self.layout) => self.other_answers().await,
            Err(ClientError::NoDaemon { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits for a daemon that somebody else starts; none when it is gone again.
    async fn other_answers(&mut self) -> Result<Option<Client>, CliError> {
        let mut live = Live::begin(self.context.printer, "attach");
        while status::daemon_holds(&self.layout) {
            if let Ok(client) = Client::connect(&self.layout.control_socket()).await {
                return Ok(Some(client));
            }
            if live.lasted() > OTHER_ANSWERS_WITHIN {
                let lock = self.layout.daemon_lock();
                return Err(CliError::new(
                    Exit::NoDaemon,
                    format!("a daemon holds {} but takes no orders", lock.display()),
                )
                .hint(format!("its log is {}", self.layout.supervisor_log().display())));
            }
            live.show("a daemon that starts already");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
                () = self.signals.next() => return Err(interrupted()),
            }
        }
        Ok(None)
    }

    /// Preflight, programs, daemon.
    async fn begin(&mut self) -> Result<(), CliError> {
        if let Err(e) = self.preflight().await {
            // What is in the way may be a daemon that came up meanwhile, with nodes that have their ports.
            if self.attach().await? {
                return Ok(());
            }
            return Err(e);
        }
        fetch_view::fetch(self.context.printer, self.loaded.plan.clone(), None, &mut self.signals).await?;
        self.start_daemon().await
    }

    async fn preflight(&self) -> Result<(), CliError> {
        let (plan, layout) = (self.loaded.plan.clone(), self.layout.clone());
        let only = self.args.only.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let living = status::nodes_that_live(&layout);
            // What `--only` needs besides is left to its own start: the daemon knows the order, this is a first look.
            let starting: BTreeSet<NodeName> = if only.is_empty() { plan.nodes() } else { only }.into_iter().collect();
            (preflight::check(&plan, &starting, &living), !living.is_empty())
        });
        let tell = |problems: Vec<preflight::Problem>| {
            for problem in problems {
                let text = [vec![problem.what], problem.causes, vec![format!("hint: {}", problem.hint)]].concat();
                self.context.printer.warn(&text.join("\n"));
            }
            Ok(())
        };
        match looked.await {
            Ok((Ok(warnings), _)) => tell(warnings),
            Ok((Err(Preflight::Memory(errors)), _)) => Err(CliError::drawn(Exit::Configuration, errors.to_string())),
            // Nodes that live are not left alone for it, as the daemon itself goes on (`daemon::inputs`).
            Ok((Err(Preflight::Host(problems)), true)) => tell(problems),
            Ok((Err(Preflight::Host(problems)), false)) => {
                let error =
                    |p: preflight::Problem| CliError::new(Exit::Preflight, p.what).causes(p.causes).hint(p.hint);
                Err(CliError::several(Exit::Preflight, problems.into_iter().map(error).collect()))
            }
            Err(e) => Err(CliError::new(Exit::Unexpected, "the look at the host failed").causes([e.to_string()])),
        }
    }

    async fn start_daemon(&mut self) -> Result<(), CliError> {
        // Asked of the service manager, which answers within milliseconds.
        let scope = tokio::task::spawn_blocking(scope::wanted).await.ok().flatten();
        let until_logout = scope.as_ref().is_some_and(|scope| self.args.detach && !scope.lingers);
        let launch = Launch {
            layout: self.layout.clone(),
            config: self.loaded.path.clone(),
            only: self.args.only.clone(),
            scope,
            throw_away: None,
        };
        for launched in 1..=LAUNCHES {
            let mut daemon = launch.start()?;
            match daemon.answers(&self.layout.control_socket()).await? {
                Started::Answers => {
                    self.daemon = Some(daemon);
                    if until_logout {
                        self.context.printer.say(
                            "caps    in a scope of your own service manager: it ends with your last logout, unless you run `loginctl enable-linger`",
                        );
                    }
                    return Ok(());
                }
                // Somebody else's was faster; or one that ends still held the root and is gone now: then again.
                Started::AnotherRuns => {
                    if self.attach().await? {
                        return Ok(());
                    }
                }
                Started::Killed(status) if launched == LAUNCHES => return Err(daemon.early_end(status)),
                Started::Killed(_) => {
                    self.context.printer.warn("the daemon was killed before it took orders; it is started again");
                }
            }
        }
        Err(CliError::from(ClientError::WentAway))
    }

    /// The daemon went away. Replaces it where this `up` started it; nodes do not notice.
    async fn daemon_went_away(&mut self) -> Result<(), CliError> {
        let Some(daemon) = &mut self.daemon else {
            return match self.other_comes_back().await {
                true => Ok(()),
                false => Err(CliError::from(ClientError::WentAway)),
            };
        };
        let socket = self.layout.control_socket();
        let Some(ended) = daemon.ended_unless_back(&socket, Duration::from_secs(10)).await else {
            // It lives but hung up (it became another program, or this process was stopped for long): the next connection tells.
            return Ok(());
        };
        if ended.success() {
            return Err(CliError::new(Exit::NoDaemon, "the daemon was told to end by somebody else"));
        }
        let tail = daemon.tail();
        let early = daemon.early_end(ended);
        if !matches!(early.exit, Exit::Unexpected) {
            return Err(early);
        }
        let now = Instant::now();
        self.replaced.retain(|at| now.duration_since(*at) < REPLACEMENTS_WITHIN);
        if self.replaced.len() >= REPLACEMENTS {
            return Err(CliError::new(
                Exit::Unexpected,
                format!("the daemon died {} times within a minute; nodes run on without one", REPLACEMENTS + 1),
            )
            .causes(tail)
            .hint(format!("its whole log is {}", self.layout.supervisor_log().display())));
        }
        self.replaced.push(now);
        self.context.printer.warn("the daemon died; nodes run on, and a new daemon takes them over");
        self.start_daemon().await
    }

    async fn other_comes_back(&self) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            if Client::connect(&self.layout.control_socket()).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// Waits for ready, proves it, says so, and stays when it is in the foreground.
    async fn see_it_through(&mut self) -> Result<Exit, CliError> {
        let status = match self.until_ready().await? {
            Reached::Ready(status) => *status,
            Reached::Interrupted => return self.interrupted_before_ready().await,
        };
        if !self.prove(&status).await? {
            return self.interrupted_before_ready().await;
        }
        let status = self.newest(status).await;
        let printer = self.context.printer;
        let host = status::host_memory();
        printer.say("");
        printer.data(&summary::text(&status, &self.loaded.plan, status::now(), host, printer.paint()))?;
        if self.args.detach || self.daemon.is_none() {
            return Ok(Exit::Done);
        }
        self.stay().await
    }

    async fn interrupted_before_ready(&mut self) -> Result<Exit, CliError> {
        if self.daemon.is_none() {
            return Err(CliError::new(Exit::Interrupted, "interrupted; the daemon and its nodes run on"));
        }
        self.stop_everything().await?;
        Err(CliError::silent(Exit::Interrupted))
    }

    /// Proves that the cluster works; false when interrupted. Nothing is proven of commands: their probes said all.
    async fn prove(&mut self, status: &Status) -> Result<bool, CliError> {
        // A daemon that was there had its proof when it was started.
        if self.daemon.is_none() || status.nodes.iter().all(|n| n.kind == "command" || n.wanted != "up") {
            return Ok(true);
        }
        let beside = ["command", "kafka-ui"];
        let stack = status.nodes.iter().filter(|n| !beside.contains(&n.kind.as_str()));
        let down: Vec<&str> = stack.filter(|n| n.wanted != "up").map(|n| n.name.as_str()).collect();
        if !down.is_empty() {
            // With `--only`: the proof is of the whole.
            let said =
                format!("not made: not to be started were {}; `cdc-supervisor verify` makes it", down.join(", "));
            self.context.printer.step("prove", &said, None);
            return Ok(true);
        }
        let mut answers = self.context.ask(&self.layout, Order::Prove).await?;
        let mut live = Live::begin(self.context.printer, "prove");
        let mut doing = "the cluster".to_owned();
        loop {
            tokio::select! {
                answer = answers.next() => match answer? {
                    Some(Answer::Progress { text, .. }) => doing = text,
                    Some(Answer::Done { text }) => {
                        drop(live);
                        self.context.printer.step("prove", &text.join("; "), None);
                        return Ok(true);
                    }
                    Some(answer) => {
                        let error = refusal(&answer).unwrap_or_else(unexpected);
                        return Err(error);
                    }
                    None => return Err(unexpected()),
                },
                () = self.signals.next() => return Ok(false),
                () = tokio::time::sleep(crate::cli::context::TICK) => live.show(&doing),
            }
        }
    }

    /// The status as it is now, for the summary; the one that was seen when the daemon does not answer this moment.
    async fn newest(&self, seen: Status) -> Status {
        let Ok(mut answers) = self.context.ask(&self.layout, Order::Status).await else { return seen };
        match answers.next().await {
            Ok(Some(Answer::Status(status))) => *status,
            Ok(_) | Err(_) => seen,
        }
    }
}

fn interrupted() -> CliError {
    CliError::new(Exit::Interrupted, "interrupted")
}
