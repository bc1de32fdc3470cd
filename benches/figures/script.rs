//! What a careful person's shell script does with the same programs: ZooKeeper and mysqld first, the brokers when ZooKeeper
//! answers, each looked at with the same probe as often as the supervisor looks; no class-data archive, no flags that only serve
//! the start, nothing else of ours.

use crate::{ours::Ours, proc, real::START_LIMIT, report::Measured};
use cdc_supervisor::{
    base::{NodeName, Verdict, recipe::Recipe},
    offline::{
        config_file,
        programs::{self, Cancel, Progress, Step},
    },
    probe::{self, Context},
    services,
    sys::host,
};
use nix::sys::signal::Signal;
use std::{
    fs::File,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

struct Quiet;

impl Progress for Quiet {
    fn step(&self, _: &Step) {}
}

/// One start until all are ready, and the stop after it. The root's daemon must be down.
pub fn run(ours: &Ours) -> Measured<Duration> {
    let loaded = config_file::load(Some(&ours.config()), None).map_err(|e| e.to_string())?;
    let found =
        programs::ensure(&loaded.plan, &ours.layout(), &Quiet, &Cancel::default()).map_err(|e| e.to_string())?;
    let inputs = services::Inputs {
        plan: &loaded.plan,
        programs: &found,
        layout: &ours.layout(),
        cores: host::cores(),
        running_as_root: host::is_root(),
    };
    let recipes = services::recipes(&inputs).map_err(|e| e.to_string())?;
    let recipes: Vec<Recipe> = recipes.into_iter().filter(|r| r.node.as_str() != crate::adoption::TICKER).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let mut running: Vec<(Recipe, Child)> = Vec::new();
    let began = Instant::now();
    let result = runtime.block_on(start(&recipes, &mut running));
    let took = began.elapsed();
    stop(running);
    result.map(|()| took)
}

async fn start(recipes: &[Recipe], running: &mut Vec<(Recipe, Child)>) -> Measured<()> {
    let (first, then): (Vec<_>, Vec<_>) = recipes.iter().partition(|r| r.after.is_empty());
    let mut looks = tokio::task::JoinSet::new();
    let zookeeper = NodeName::zookeeper();
    for recipe in first.into_iter().filter(|r| r.node != zookeeper) {
        running.push((recipe.clone(), launch(recipe)?));
        looks.spawn(until_ready(recipe.clone()));
    }
    if let Some(recipe) = recipes.iter().find(|r| r.node == zookeeper) {
        running.push((recipe.clone(), launch(recipe)?));
        until_ready(recipe.clone()).await?;
    }
    for recipe in then {
        running.push((recipe.clone(), launch(recipe)?));
        looks.spawn(until_ready(recipe.clone()));
    }
    while let Some(ready) = looks.join_next().await {
        ready.map_err(|e| e.to_string())??;
    }
    Ok(())
}

fn launch(recipe: &Recipe) -> Measured<Child> {
    let argv: Vec<&String> = recipe
        .launch
        .argv
        .iter()
        .filter(|a| {
            !["-XX:SharedArchiveFile=", "-Xshare:", "-XX:Tier3", "-XX:Tier4"].iter().any(|ours| a.starts_with(ours))
        })
        .collect();
    let log = File::create(recipe.launch.dir.join("script.log")).map_err(|e| e.to_string())?;
    let second = log.try_clone().map_err(|e| e.to_string())?;
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).env_clear().envs(recipe.launch.env.iter().map(|(k, v)| (k, v)));
    command.current_dir(&recipe.launch.dir).stdin(Stdio::null()).stdout(log).stderr(second);
    command.spawn().map_err(|e| format!("{}: {e}", recipe.node))
}

async fn until_ready(recipe: Recipe) -> Measured<()> {
    let began = Instant::now();
    loop {
        let context = Context { env: recipe.launch.env.clone(), dir: recipe.launch.dir.clone(), ..Context::default() };
        match probe::attempt(&recipe.probe, &context).await {
            Verdict::Ready(_) => return Ok(()),
            Verdict::Degraded(why) | Verdict::NotReady { why, .. } if began.elapsed() > START_LIMIT => {
                return Err(format!("{} by script: {why}", recipe.node));
            }
            Verdict::Degraded(_) | Verdict::NotReady { .. } => tokio::time::sleep(recipe.probe.start_interval).await,
        }
    }
}

/// Brokers first, then the rest.
fn stop(mut running: Vec<(Recipe, Child)>) {
    running.sort_by_key(|(recipe, _)| recipe.after.is_empty());
    for dependents in [true, false] {
        let part = || running.iter().filter(|(r, _)| r.after.is_empty() != dependents);
        let pids: Vec<i32> = part().map(|(_, c)| i32::try_from(c.id()).unwrap_or(0)).collect();
        let ends = proc::Ends::of(&pids);
        for pid in &pids {
            proc::kill(*pid, Signal::SIGTERM);
        }
        if ends.wait(Duration::from_secs(60)).is_err() {
            for pid in pids {
                proc::kill(pid, Signal::SIGKILL);
            }
        }
    }
    for (_, mut child) in running {
        let _ = child.wait();
    }
}
