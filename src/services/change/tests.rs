//! The table: a change of the file, and what comes of it.

use super::*;
use crate::{
    base::recipe::PrepareStep,
    services::{Inputs, recipes, tests::programs},
};

const STACK: &str = "[zookeeper]\n[kafka]\n[mysql]\n";

fn side(text: &str) -> Side {
    let source = config::Source { text, name: "supervisor.toml", root_override: None, default_root: "/srv/cdc".into() };
    let plan = config::load(&source).unwrap_or_else(|e| panic!("{e}"));
    let (programs, layout) = (programs(), plan.layout());
    let made = recipes(&Inputs { plan: &plan, programs: &programs, layout: &layout, cores: 4, running_as_root: false })
        .unwrap();
    Side::of(&plan, made)
}

fn all(side: &Side, life: Life) -> BTreeMap<NodeName, Present> {
    side.recipes
        .iter()
        .map(|r| (r.node.clone(), Present { life, with: With::Applied, cut_short: Vec::new() }))
        .collect()
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn decided(old: &str, new: &str) -> ReloadPlan {
    let (old, new) = (side(old), side(new));
    let data = old.data.keys().cloned().collect();
    decide(Some(&old), &new, &all(&old, Life::Runs), &data)
}

/// `node does gate` of every step, in order.
fn steps(plan: &ReloadPlan) -> Vec<String> {
    let gate = |gate| match gate {
        Gate::None => "",
        Gate::BrokersReady => " brokers-ready",
        Gate::InSync => " in-sync",
        Gate::NoReplicas => " no-replicas",
    };
    plan.steps.iter().map(|s| format!("{} {}{}", s.node, s.does.as_str(), gate(s.gate))).collect()
}

fn command(name: &str, more: &str) -> String {
    format!("[command.{name}]\nargv = [\"/bin/sleep\", \"9\"]\n{more}\n")
}

#[test]
fn keys_of_a_yaml_file_are_named_like_those_of_properties() {
    let of = |contents: &str| crate::base::launched::LaunchedFile {
        path: "/r/application.yml".into(),
        mode: 0o600,
        contents: contents.into(),
    };
    let from = of("# head\n\"a.b\": \"1\"\n\"x=y\": \"1\"\n");
    let to = of("\"a.b\": \"2\"\n\"x=y\": \"1\"\n\"c[0]\": \"a: b\"\n");
    assert_eq!(changed_keys(&from, &to), "a.b, c[0]");
}

#[test]
fn what_each_change_leads_to() {
    let brokers = ["broker-1 restart in-sync", "broker-2 restart in-sync", "broker-3 restart in-sync"];
    let live = ["broker-1 live", "broker-2 live", "broker-3 live"];
    let with_zookeeper = [&["zookeeper restart brokers-ready"][..], &brokers[..]].concat();
    let a = || command("a", "");
    let table: Vec<(&str, String, String, &[&str])> = vec![
        ("nothing", STACK.into(), STACK.into(), &[]),
        ("spelling", a(), command("a", "memory_max = \"262144K\"\n# words"), &[]),
        (
            "a property of all brokers",
            STACK.into(),
            format!("{STACK}[kafka.properties]\nreplica.lag.time.max.ms = 5000\n"),
            &brokers,
        ),
        (
            "one that Kafka takes while it runs",
            STACK.into(),
            format!("{STACK}[kafka.properties]\nnum.io.threads = 8\nlog.retention.minutes = 9\n"),
            &live,
        ),
        (
            "more threads than it takes while it runs",
            STACK.into(),
            format!("{STACK}[kafka.properties]\nnum.io.threads = 9\n"),
            &brokers,
        ),
        (
            "both kinds",
            STACK.into(),
            format!("{STACK}[kafka.properties]\nnum.io.threads = 8\nreplica.lag.time.max.ms = 5000\n"),
            &brokers,
        ),
        (
            "what an acknowledged record survives",
            STACK.into(),
            "[zookeeper]\n[kafka]\ndurability = \"power-cut\"\n[mysql]\n".into(),
            &live,
        ),
        (
            "a property of one",
            STACK.into(),
            format!(
                "{STACK}[kafka.brokers.1]\n[kafka.brokers.2.properties]\n\"num.partitions\" = 8\n[kafka.brokers.3]\n"
            ),
            &["broker-2 restart in-sync"],
        ),
        (
            "our own default written out: only a comment",
            STACK.into(),
            format!("{STACK}[kafka.properties]\nnum.io.threads = 4\n"),
            &["broker-1 live", "broker-2 live", "broker-3 live"],
        ),
        (
            "the tick: ZooKeeper's file",
            STACK.into(),
            STACK.replace("[zookeeper]\n", "[zookeeper]\ntick = \"1s\"\n"),
            &["zookeeper restart brokers-ready", "broker-1 live", "broker-2 live", "broker-3 live"],
        ),
        (
            "ZooKeeper's port: everybody's file",
            STACK.into(),
            STACK.replace("[zookeeper]\n", "[zookeeper]\nclient_port = 2182\n"),
            &with_zookeeper,
        ),
        (
            "a JVM's cap: its limits are arguments",
            STACK.into(),
            STACK.replace("[zookeeper]\n", "[zookeeper]\nheap = \"256M\"\nmemory_max = \"400M\"\n"),
            &["zookeeper restart brokers-ready"],
        ),
        (
            "an option of MySQL",
            STACK.into(),
            format!("{STACK}[mysql.options]\nmax_connections = 50\n"),
            &["mysql restart"],
        ),
        ("MySQL's cap", STACK.into(), STACK.replace("[mysql]\n", "[mysql]\nmemory_max = \"1200M\"\n"), &["mysql live"]),
        ("a command's cap", a(), command("a", "memory_max = \"64M\""), &["a live"]),
        (
            "its limits and times",
            a(),
            command(
                "a",
                "tasks_max = 99\ngrace = \"3s\"\nhealthy_after = \"2s\"\nrestart = \"never\"\nstop_signal = \"INT\"\nmemory_high = \"9M\"\nmemory_low = \"8M\"\ncpu_weight = 7\nio_weight = 6",
            ),
            &["a live"],
        ),
        ("its probe", a(), command("a", "[command.a.probe]\ntcp = \"127.0.0.1:9\""), &["a live"]),
        ("its log", a(), command("a", "[command.a.log]\nkeep = 2"), &["a live"]),
        ("its environment", a(), command("a", "env = { A = \"1\" }"), &["a restart"]),
        ("its descriptors", a(), command("a", "nofile = 99"), &["a restart"]),
        ("its directory", a(), command("a", "dir = \"/tmp\""), &["a restart"]),
        ("its user", a(), command("a", "user = \"nobody\""), &["a restart"]),
        ("that it notifies", a(), command("a", "[command.a.probe]\nnotify = true"), &["a restart"]),
        ("a new one", a(), a() + &command("b", "after = [\"a\"]"), &["b start"]),
        ("one that goes", a() + &command("b", "after = [\"a\"]"), a(), &["b stop"]),
        (
            "all that go, what comes after others first",
            a() + &command("b", "after = [\"a\"]") + &command("c", ""),
            command("c", ""),
            &["b stop", "a stop"],
        ),
        (
            "a disabled one goes",
            a() + &command("c", ""),
            command("a", "enabled = false") + &command("c", ""),
            &["a stop"],
        ),
        ("a dependency", a() + &command("b", ""), a() + &command("b", "after = [\"a\"]"), &["b live"]),
        (
            "starts before what applies live, stops last",
            a() + &command("b", "") + &command("d", ""),
            command("a", "grace = \"2s\"") + &command("b", "env = { A = \"1\" }") + &command("c", ""),
            &["b restart", "c start", "a live", "d stop"],
        ),
    ];
    for (what, old, new, wanted) in table {
        let plan = decided(&old, &new);
        assert_eq!(steps(&plan), wanted, "{what}: {plan:#?}");
        assert_eq!(plan.refusals, [], "{what}");
        assert!(plan.nodes.iter().all(|n| !n.why.is_empty()), "{what}: a reason for each");
    }
}

#[test]
fn without_an_applied_plan_everything_is_new() {
    let plan = decide(None, &side(STACK), &BTreeMap::new(), &BTreeSet::new());
    assert_eq!(steps(&plan), ["zookeeper start", "broker-1 start", "broker-2 start", "broker-3 start", "mysql start"]);
    assert!(plan.nodes.iter().all(|n| n.why == ["it is new"]));
}

#[test]
fn a_node_that_does_not_run_is_only_restarted_when_it_is_trying_to() {
    let (old, new) = (side(&command("a", "")), side(&command("a", "env = { A = \"1\" }")));
    for (life, wanted) in [(Life::Runs, "a restart"), (Life::Trying, "a restart"), (Life::Rests, "a keep")] {
        let plan = decide(Some(&old), &new, &all(&old, life), &BTreeSet::new());
        assert_eq!(steps(&plan), [wanted]);
    }
}

#[test]
fn what_runs_counts_and_not_what_is_applied() {
    let (applied, other) = (side(&command("a", "")), side(&command("a", "env = { A = \"1\" }")));
    let runs_with =
        |with: With| BTreeMap::from([(name("a"), Present { life: Life::Runs, with, cut_short: Vec::new() })]);
    let of_other = || runs_with(With::This(Box::new(other.recipes[0].launched())));
    // A reload was interrupted when `a` had its new settings already: the second one has nothing left to restart.
    let plan = decide(Some(&applied), &other, &of_other(), &BTreeSet::new());
    assert_eq!(steps(&plan), ["a live"]);
    assert!(plan.nodes[0].runs_with_other);
    // The file was changed back meanwhile: it must restart although file and applied plan are the same.
    let plan = decide(Some(&applied), &applied, &of_other(), &BTreeSet::new());
    assert_eq!(steps(&plan), ["a restart"]);
    assert!(plan.nodes[0].why.iter().any(|w| w.contains("other settings")), "{plan:?}");
    let plan = decide(Some(&applied), &applied, &runs_with(With::Unknown), &BTreeSet::new());
    assert_eq!(steps(&plan), ["a restart"]);
    let plan = decide(Some(&applied), &applied, &runs_with(With::Applied), &BTreeSet::new());
    assert!(plan.is_empty());
}

#[test]
fn a_setting_says_when_it_takes_effect() {
    let new = command("a", "memory_max = \"64M\"\n[command.a.log]\nkeep = 2");
    let plan = decided(&command("a", ""), &new);
    let when = |plan: &ReloadPlan| -> Vec<(String, When)> {
        plan.nodes[0].settings.iter().map(|s| (s.key.clone(), s.when)).collect()
    };
    assert_eq!(when(&plan), [("memory_max".into(), When::Live), ("log.keep".into(), When::NextStart)]);
    assert_eq!((plan.nodes[0].settings[0].from.as_str(), plan.nodes[0].settings[0].to.as_str()), ("256M", "64M"));
    let plan = decided(&command("a", ""), &new.replace("memory_max", "nofile = 99\nmemory_max"));
    assert_eq!(when(&plan), [("memory_max".into(), When::Restart), ("log.keep".into(), When::Restart)]);
    let plan = decided(STACK, &STACK.replace("[mysql]\n", "[mysql]\ndatabase = \"other\"\n"));
    assert_eq!(steps(&plan), ["mysql live"]);
    assert_eq!(when(&plan), [("provisioning".into(), When::EmptyData)]);
}

#[test]
fn a_node_that_frees_a_port_goes_before_the_one_that_takes_it() {
    let on = |name: &str, port: u16, more: &str| command(name, &format!("ports = [\"127.0.0.1:{port}\"]\n{more}"));
    let plan = decided(&on("a", 7001, ""), &on("b", 7001, ""));
    assert_eq!(steps(&plan), ["a stop", "b start"]);
    // `a` moves away before `b` comes: fine. The other way round there is no order that works.
    let plan = decided(
        &(on("a", 7001, "") + &on("b", 7002, "")),
        &(on("a", 7003, "nofile = 99") + &on("b", 7001, "nofile = 99")),
    );
    assert_eq!((steps(&plan), plan.refusals), (vec!["a restart".into(), "b restart".into()], vec![]));
    let plan = decided(
        &(on("a", 7001, "") + &on("b", 7002, "")),
        &(on("a", 7002, "nofile = 99") + &on("b", 7001, "nofile = 99")),
    );
    assert!(plan.refusals[0].what.contains("a would take port 7002, which b holds"), "{:?}", plan.refusals);
    let swapped = format!(
        "{STACK}[kafka.brokers.1]\nexternal_port = 9093\n[kafka.brokers.2]\nexternal_port = 9092\n[kafka.brokers.3]\n"
    );
    assert_eq!(decided(STACK, &swapped).refusals.len(), 2);
}

#[test]
fn a_broker_that_goes_must_hold_no_replica_and_a_whole_cluster_goes_brokers_first() {
    let two = format!("{STACK}[kafka.brokers.1]\n[kafka.brokers.2]\n");
    let plan = decided(STACK, &two);
    // With two brokers other defaults hold: those that stay are restarted, too.
    assert_eq!(steps(&plan).last().unwrap(), "broker-3 stop no-replicas");
    let plan = decided(STACK, "[mysql]\n");
    assert_eq!(steps(&plan), ["broker-3 stop", "broker-2 stop", "broker-1 stop", "zookeeper stop"]);
}

#[test]
fn what_is_refused_says_why_and_what_to_do() {
    let moved = STACK.replace("[mysql]\n", "[mysql]\ndata_dir = \"/data/mysql\"\n");
    let plan = decided(STACK, &moved);
    assert!(plan.refusals[0].what.contains("/srv/cdc/nodes/mysql/data"), "{:?}", plan.refusals);
    assert!(plan.refusals[0].hint.contains("move "));
    let (old, new) = (side(STACK), side(&moved));
    let plan = decide(Some(&old), &new, &all(&old, Life::Runs), &BTreeSet::new());
    assert_eq!(plan.refusals, [], "nothing would be left behind");

    let plan = decided(STACK, &format!("root = \"/elsewhere\"\n{STACK}"));
    assert!(plan.refusals[0].what.contains("from /srv/cdc to /elsewhere"));

    let mut orphans = side(STACK);
    orphans.recipes.retain(|r| r.kind != NodeKind::Zookeeper);
    let plan = decide(Some(&old), &orphans, &all(&old, Life::Runs), &BTreeSet::new());
    assert!(plan.refusals[0].what.contains("broker-1 would be left without ZooKeeper"));
}

/// The stack with another release of Kafka, as it is started and as it writes.
fn with_kafka(version: &str, protocol: &str) -> Side {
    let mut side = side(STACK);
    for recipe in side.recipes.iter_mut().filter(|r| is_broker(r)) {
        recipe.launch.argv.push(format!("-Dof={version}/{protocol}"));
        for step in &mut recipe.prepare {
            if let PrepareStep::DataVersion(written) = step {
                (written.version, written.protocol) = (version.into(), Some(protocol.into()));
            }
        }
    }
    side
}

#[test]
fn brokers_of_two_releases_at_once_speak_what_both_know_or_are_refused() {
    let refusals = |(from, spoke), (to, speaks), rest: &[u32]| {
        let (old, new) = (with_kafka(from, spoke), with_kafka(to, speaks));
        let mut now = all(&old, Life::Runs);
        for id in rest {
            now.get_mut(&NodeName::broker(*id)).unwrap().life = Life::Rests;
        }
        let plan = decide(Some(&old), &new, &now, &old.data.keys().cloned().collect());
        assert_eq!(plan.steps.iter().filter(|s| s.does == Does::Restart).count(), 3 - rest.len());
        plan.refusals
    };
    let refused = refusals(("3.5.2", "3.5"), ("3.9.2", "3.9"), &[]);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(
        refused[0].what,
        "broker-1 would speak inter.broker.protocol.version 3.9 (Kafka 3.9.2) to broker-2, which runs Kafka 3.5.2 and does not know it"
    );
    assert!(
        refused[0].hint.contains("`\"inter.broker.protocol.version\" = \"3.5\"` under [kafka.properties]"),
        "{refused:?}"
    );
    // the two passes
    assert_eq!(refusals(("3.5.2", "3.5"), ("3.9.2", "3.5-IV2"), &[]), []);
    assert_eq!(refusals(("3.9.2", "3.5-IV2"), ("3.9.2", "3.9"), &[]), []);
    // a patch release, another's build of the same release
    assert_eq!(refusals(("3.5.1", "3.5"), ("3.5.2", "3.5"), &[]), []);
    assert_eq!(
        refusals(("7.10.0", "7.10"), ("7.9.9", "7.9"), &[]),
        [],
        "numbers are no decimals; what data allow is asked elsewhere"
    );
    // never two at once
    assert_eq!(refusals(("3.5.2", "3.5"), ("3.9.2", "3.9"), &[1, 3]), []);
    assert_eq!(refusals(("3.5.2", "3.5"), ("3.9.2", "3.9"), &[3]).len(), 1);
}

#[test]
fn of_the_brokers_the_sick_go_first_and_the_controller_last() {
    let left = [1, 2, 3].map(NodeName::broker);
    let next = |left: &[NodeName], sick: &[u32], controller: u32| {
        let sick: Vec<NodeName> = sick.iter().map(|id| NodeName::broker(*id)).collect();
        next_broker(left, |n| !sick.contains(n), Some(&NodeName::broker(controller))).cloned()
    };
    assert_eq!(next(&left, &[], 1), Some(NodeName::broker(2)));
    assert_eq!(next(&left, &[3], 1), Some(NodeName::broker(3)));
    assert_eq!(next(&left, &[1, 3], 1), Some(NodeName::broker(1)), "a sick controller serves nobody");
    assert_eq!(next(&left[..1], &[], 1), Some(NodeName::broker(1)));
    assert_eq!(next(&left, &[], 9), Some(NodeName::broker(1)));
    assert_eq!(next(&[], &[], 1), None);
}

#[test]
fn no_secret_is_in_any_difference() {
    let old = format!(
        "{STACK}[kafka.properties]\n\"ssl.key.password\" = \"sesame-1\"\n[mysql.options]\nssl_passphrase = \"sesame-2\"\n{}",
        command("a", "env = { DB = \"sesame-3\" }")
    );
    let new = old
        .replace("sesame", "open")
        .replace("\"9\"", "\"--db-password\", \"open-4\", \"--token=open-5\", \"mysql://u:open-6@h/x\"");
    let plan = decided(&old, &new);
    let shown = format!("{plan:?}");
    assert!(!shown.contains("sesame") && !shown.contains("open-"), "{shown}");
    assert!(shown.contains("+ssl.key.password=(hidden, another)"), "that it differs is said: {shown}");
    let a = plan.node(&name("a")).unwrap();
    assert_eq!(a.env, ["~DB (another value, not shown)"]);
    assert_eq!(a.argv, ["-9", "+--db-password", "+(hidden)", "+--token=(hidden)", "+mysql://(hidden)@h/x"]);
}

#[test]
fn a_difference_names_the_keys_and_shows_the_lines() {
    let plan = decided(STACK, &format!("{STACK}[kafka.properties]\nnum.io.threads = 9\n"));
    let change = plan.node(&name("broker-1")).unwrap();
    let too_far = "num.io.threads from 4 to 9 is more than double, which a broker takes at its start only";
    assert_eq!(change.why, ["server.properties: num.io.threads", too_far]);
    assert_eq!(change.dynamic, None);
    let plan = decided(STACK, &format!("{STACK}[kafka.properties]\nnum.io.threads = 8\n"));
    let change = plan.node(&name("broker-1")).unwrap();
    assert_eq!(change.why, ["num.io.threads"]);
    let diff = &change.files[0].diff;
    assert!(diff.starts_with("--- /srv/cdc/nodes/broker-1/conf/server.properties\n+++ "), "{diff}");
    assert!(diff.contains("\n-num.io.threads=4\n") && diff.contains("\n+num.io.threads=8\n"), "{diff}");
    assert!(diff.lines().count() < 20, "only what is near: {diff}");
}

#[test]
fn a_broker_that_does_not_run_and_one_of_which_nothing_is_known_are_given_nothing() {
    let (old, new) = (side(STACK), side(&format!("{STACK}[kafka.properties]\nnum.io.threads = 8\n")));
    let change = |life, with| {
        let now = BTreeMap::from([(name("broker-1"), Present { life, with, cut_short: Vec::new() })]);
        let plan = decide(Some(&old), &new, &now, &BTreeSet::new());
        let node = plan.node(&name("broker-1")).unwrap();
        (node.does, node.dynamic.is_some())
    };
    assert_eq!(change(Life::Runs, With::Applied), (Does::Live, true));
    assert_eq!(change(Life::Runs, With::Unknown), (Does::Restart, false));
    assert_eq!(change(Life::Trying, With::Applied), (Does::Restart, false));
    assert_eq!(change(Life::Rests, With::Applied), (Does::Keep, false));
}

#[test]
fn settings_of_a_reload_that_was_cut_short_are_set_again_though_no_file_differs() {
    let stack = side(STACK);
    let one = |cut_short: &[&str], wanted: &Side| {
        let cut_short = cut_short.iter().map(|key| (*key).to_owned()).collect();
        let here = Present { life: Life::Runs, with: With::Applied, cut_short };
        let now = BTreeMap::from([(name("broker-1"), here)]);
        decide(Some(&stack), wanted, &now, &BTreeSet::new()).node(&name("broker-1")).cloned()
    };
    assert_eq!(one(&[], &stack), None);
    let change = one(&["num.io.threads", "log.retention.ms", "of.a.later.version"], &stack).unwrap();
    assert_eq!((change.does, change.why), (Does::Live, vec!["num.io.threads, log.retention.ms".to_owned()]));
    let dynamic = change.dynamic.unwrap();
    let keys: Vec<&str> = dynamic.to.iter().map(|put| put.key).collect();
    assert_eq!((keys, dynamic.to == dynamic.back), (vec!["num.io.threads", "log.retention.ms"], true));
    // beside another change, once each
    let wanted = side(&format!("{STACK}[kafka.properties]\nnum.io.threads = 8\n"));
    let dynamic = one(&["num.io.threads", "max.connections"], &wanted).unwrap().dynamic.unwrap();
    let keys: Vec<&str> = dynamic.to.iter().map(|put| put.key).collect();
    assert_eq!(keys, ["num.io.threads", "max.connections"]);
    // a restart begins with the file anyway
    let wanted = side(&format!("{STACK}[kafka.properties]\nnum.partitions = 8\n"));
    assert_eq!(one(&["max.connections"], &wanted).unwrap().dynamic, None);
}
