//! What an administrator does beside the running unit: needrestart, orders by several users, another target in which the unit is not.
//! `operator.sh` does it in one boot of a guest; here is one test per fact.

use super::{
    guest::{Guest, Size, booted},
    lines::stopped,
    node, script,
};
use serde_json::Value;
use std::sync::OnceLock;

fn operator() -> Result<&'static Guest, &'static str> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    booted(&GUEST, "operator", (1, Size::SMALL), &script("operator.sh"), |_| Ok(()))
}

/// A command of the guest ended with this code; what it said.
fn ended(guest: &Guest, name: &str, code: &str) -> String {
    let text = guest.saw(&format!("{name}.text"));
    assert_eq!(guest.saw(&format!("{name}.rc")), code, "{name}: {text}\n{}", guest.journal());
    text
}

/// Both nodes are the same processes in both looks.
fn ran_on(before: &Value, after: &Value) -> bool {
    ["calm", "second"].iter().all(|name| {
        let of = |status: &Value| node(status, name);
        of(before)["pid"].is_u64()
            && ["pid", "incarnation", "restarts"].iter().all(|key| of(before)[key] == of(after)[key])
    })
}

#[test]
fn everything_that_was_waited_for_beside_the_unit_came() {
    let guest = or_skip!(operator(), "everything_that_was_waited_for_beside_the_unit_came");
    assert_eq!(guest.saw("end"), "reached", "{}", guest.journal());
    assert_eq!(guest.saw("never"), "", "{}", guest.journal());
}

/// What ran while `needrestart` was asked is not what is installed any more: daemon, shim and node, and the library of two of them.
fn is_outdated(guest: &Guest, name: &str) {
    let runs = guest.saw(&format!("{name}.runs"));
    assert!(runs.lines().count() == 3 && runs.lines().all(|exe| exe.ends_with(" (deleted)")), "{name}: {runs}");
    let library = guest.saw(&format!("{name}.library"));
    assert!(library.lines().count() == 2 && library.lines().all(|n| n != "0"), "{name}: {library}");
}

#[test]
fn needrestart_restarts_every_node_without_our_rule() {
    let guest = or_skip!(operator(), "needrestart_restarts_every_node_without_our_rule");
    is_outdated(guest, "bare");
    let text = ended(guest, "bare.batch", "0");
    assert!(text.lines().any(|line| line == "NEEDRESTART-SVC: cdc-supervisor.service"), "{text}");
    let text = ended(guest, "bare.list", "0");
    let (_, list) = text.split_once("Services to be restarted:").unwrap_or_else(|| panic!("{text}"));
    assert!(list.contains("systemctl restart cdc-supervisor.service") && !text.contains("deferred"), "{text}");
    let text = ended(guest, "bare.restart", "0");
    assert_ne!(guest.saw("bare.main-before"), guest.saw("bare.main"), "{text}");
    assert!(!ran_on(&guest.json("bare-before"), &guest.json("bare-after")), "{text}");
}

#[test]
fn needrestart_restarts_nothing_of_ours_and_says_that_it_would() {
    let guest = or_skip!(operator(), "needrestart_restarts_nothing_of_ours_and_says_that_it_would");
    is_outdated(guest, "ruled");
    let text = ended(guest, "ruled.batch", "0");
    assert!(text.lines().any(|line| line == "NEEDRESTART-SVC: cdc-supervisor.service"), "{text}");
    for name in ["ruled.list", "ruled.restart"] {
        let text = ended(guest, name, "0");
        let (restarted, deferred) = text.split_once("deferred:").unwrap_or_else(|| panic!("{name}: {text}"));
        assert!(!restarted.contains("cdc-supervisor"), "{name}: {text}");
        assert!(deferred.contains("systemctl restart cdc-supervisor.service"), "{name}: {text}");
    }
    assert_eq!(guest.saw("ruled.main-before"), guest.saw("ruled.main"));
    assert_eq!(guest.saw("ruled.runs"), guest.saw("ruled.runs-on"), "what was replaced runs on");
    let (before, after) = (guest.json("ruled-before"), guest.json("ruled-after"));
    assert!(ran_on(&before, &after), "{before}\n{after}");
}

/// Every verb of a day's work, by who may: the unit's user with sudo, root, a member of the group.
fn works(guest: &Guest, who: &str, uid: usize) {
    let said = |verb: &str| ended(guest, &format!("{who}.{verb}"), "0");
    let has = |verb: &str, words: &[&str]| {
        let text = said(verb);
        words.iter().for_each(|word| assert!(text.contains(word), "{who}: {verb}: no {word:?} in\n{text}"));
    };
    has("status", &["calm", "second", "root /var/lib/cdc-supervisor"]);
    let status: Value = serde_json::from_str(&said("json")).unwrap_or_else(|e| panic!("{who}: {e}"));
    assert_eq!(node(&status, "second")["state"], "ready", "{status}");
    assert_eq!(said("logs").lines().count(), 3, "{who}: {}", said("logs"));
    assert!(said("events").lines().count() >= 3, "{who}: {}", said("events"));
    has("incidents", &["#1", "second", "SIGKILL"]);
    has("incident", &["#1", "second", "SIGKILL"]);
    has("stop", &["second"]);
    assert_eq!(guest.saw(&format!("{who}.stopped")), "down", "{who}");
    has("start", &["second"]);
    assert_eq!(guest.saw(&format!("{who}.started")), "ready", "{who}");
    let uids = guest.saw("uids");
    assert_eq!(
        Some(guest.saw(&format!("{who}.by")).as_str()),
        uids.lines().nth(uid),
        "{who}: the order tells whose it was"
    );
    has("plan", &["calm", "memory_max"]);
    // The group may give orders; a start is the owner's or root's. The unit's user is in neither of the groups that may read the journal.
    let doctor = ended(guest, &format!("{who}.doctor"), if who == "member" { "4" } else { "0" });
    assert!(!doctor.contains("not enforced"), "{who}: {doctor}");
    assert_eq!(doctor.contains("sudo -u cdc-supervisor"), who != "unit", "{who}: {doctor}");
    let journal = ended(guest, &format!("{who}.journal"), if who == "root" { "0" } else { "1" });
    let words = if who == "root" { "second: started" } else { "members of the groups adm and systemd-journal" };
    assert!(journal.contains(words), "{who}: {journal}");
    said("reload");
    let caps = guest.saw(&format!("{who}.cap"));
    let (is, wanted) = caps.split_once(' ').unwrap_or_default();
    assert_eq!(is, wanted, "{who}: {}", said("reload"));
}

#[test]
fn the_units_user_by_sudo_from_a_closed_home_may_everything() {
    let guest = or_skip!(operator(), "the_units_user_by_sudo_from_a_closed_home_may_everything");
    works(guest, "unit", 0);
}

#[test]
fn root_may_everything_and_so_may_a_member_of_the_group() {
    let guest = or_skip!(operator(), "root_may_everything_and_so_may_a_member_of_the_group");
    works(guest, "root", 1);
    works(guest, "member", 2);
}

#[test]
fn an_ordinary_user_is_refused_every_verb_in_words_and_changes_nothing() {
    let guest = or_skip!(operator(), "an_ordinary_user_is_refused_every_verb_in_words_and_changes_nothing");
    let verbs = [
        "status",
        "json",
        "logs",
        "events",
        "incidents",
        "incident",
        "stop",
        "start",
        "plan",
        "reload",
        "doctor",
        "down",
    ];
    for verb in verbs {
        let text = ended(guest, &format!("stranger.{verb}"), "3");
        for word in [
            "cannot read the configuration /etc/cdc-supervisor/supervisor.toml",
            "Permission denied",
            "sudo usermod -aG cdc-supervisor",
        ] {
            assert!(text.contains(word), "{verb}: {text}");
        }
    }
    // Whoever knows the root, and whoever brings a configuration that names it, comes no further.
    for (verbs, code, word) in [
        (&["status", "json", "stop", "start", "reload", "down"][..], "7", "join the group of the socket"),
        (&["logs", "journal", "events", "incidents", "incident"], "1", "join the owner's group"),
        (&["plan", "doctor"], "3", "sudo usermod -aG cdc-supervisor"),
    ] {
        for verb in verbs {
            let text = ended(guest, &format!("named.{verb}"), code);
            assert!(text.contains("Permission denied") && text.contains(word), "{verb}: {text}");
        }
    }
    for verb in verbs.iter().filter(|verb| **verb != "down") {
        let text = guest.saw(&format!("guessed.{verb}.text"));
        assert_ne!(guest.saw(&format!("guessed.{verb}.rc")), "0", "{verb}: {text}");
        assert!(
            ["Permission denied", "sudo -u cdc-supervisor"].iter().any(|word| text.contains(word)),
            "{verb}: {text}"
        );
    }
    let (before, after) = (guest.json("strangers-before"), guest.json("strangers-after"));
    assert!(ran_on(&before, &after), "{before}\n{after}");
}

/// Nodes were stopped in order by whom it was up to, and the usual target has them all again.
fn away_and_back(guest: &Guest, name: &str) {
    ended(guest, name, "0");
    assert_eq!(guest.saw(&format!("{name}.left")), "", "{name}: {}", guest.journal());
    assert!(guest.saw(&format!("{name}.session")).contains("No such file"), "{name}: the end of a stop in order");
    ended(guest, &format!("{name}-back"), "0");
    let status = guest.json(&format!("{name}-back"));
    for one in ["calm", "second"] {
        let of = node(&status, one);
        assert_eq!((&of["state"], &of["last_exit"]["cause"]), (&"ready".into(), &"stopped".into()), "{name}: {of}");
    }
}

#[test]
fn another_target_stops_the_nodes_in_order_and_the_usual_one_starts_them() {
    let guest = or_skip!(operator(), "another_target_stops_the_nodes_in_order_and_the_usual_one_starts_them");
    away_and_back(guest, "away");
    assert_eq!(guest.saw("away.state"), "inactive\ninactive");
}

#[test]
fn another_target_while_the_unit_has_failed_stops_the_nodes_that_run() {
    let guest = or_skip!(operator(), "another_target_while_the_unit_has_failed_stops_the_nodes_that_run");
    assert_eq!(guest.saw("failed-away.nodes"), "2");
    away_and_back(guest, "failed-away");
    assert_eq!(guest.saw("failed-away.state"), "failed\ninactive");
    stopped(guest, "failed-away", &["second", "calm"]);
}

#[test]
fn a_restart_of_the_failed_unit_or_of_the_one_that_stops_nodes_leaves_them_to_the_next_daemon() {
    let guest = or_skip!(
        operator(),
        "a_restart_of_the_failed_unit_or_of_the_one_that_stops_nodes_leaves_them_to_the_next_daemon"
    );
    let before = guest.saw("anew.before");
    assert_eq!(before.split(' ').count(), 2, "{before}");
    ended(guest, "anew.nodes", "0");
    assert_eq!(guest.saw("anew.between"), before, "{}", guest.journal());
    ended(guest, "anew", "0");
    assert_eq!(guest.saw("anew.after"), before, "{}", guest.journal());
}
