//! What would break, for people: per node the four lists, what would be waited for, and the sum.

use super::printer::Paint;
use crate::control::wire::cluster::{Impact, Outlook};
use anstyle::AnsiColor;

/// The whole text. `roll`: it is about restarting them all, in this order.
pub fn text(outlook: &Outlook, roll: bool, paint: Paint) -> String {
    let mut lines = Vec::new();
    for (nth, node) in (1..).zip(&outlook.nodes) {
        let number = if roll { format!("{nth}  ") } else { String::new() };
        let (word, colour) = if node.safe { ("safe", AnsiColor::Green) } else { ("not safe", AnsiColor::Red) };
        lines.push(format!(
            "{number}{}  {} now",
            paint.heading(node.node.as_str()),
            paint.with(colour.on_default(), word)
        ));
        lines.extend(one(node).into_iter().map(|line| format!("   {line}")));
    }
    lines.push(String::new());
    lines.push(ending(outlook, roll));
    lines.join("\n")
}

fn one(node: &Impact) -> Vec<String> {
    let mut lines = Vec::new();
    let is_broker = node.node.as_str().starts_with("broker-");
    if is_broker {
        let more = &node.unnamed;
        for (what, list, more) in [
            ("goes offline", &node.goes_offline, more.goes_offline),
            ("refuses acks=all", &node.refuses_acks_all, more.refuses_acks_all),
            ("unreadable", &node.unreadable, more.unreadable),
            ("may lose acks=1", &node.may_lose_acks_1, more.may_lose_acks_1),
        ] {
            lines.push(format!("{what:<17} {}", named(list, more)));
        }
        if !node.never_safe.is_empty() {
            lines.push(format!("{:<17} {}", "never safe", named(&node.never_safe, more.never_safe)));
        }
        lines.push(format!("{:<17} {}", "waits for", node.waits_for.as_deref().unwrap_or("nothing")));
    }
    lines.extend(node.notes.iter().cloned());
    lines
}

/// One node in one line: what breaks, by count and by the first names, and what is waited for.
pub fn brief(node: &Impact) -> String {
    const SHOWN: usize = 3;
    let more = &node.unnamed;
    let lists = [
        ("goes offline", &node.goes_offline, more.goes_offline),
        ("refuses acks=all", &node.refuses_acks_all, more.refuses_acks_all),
        ("unreadable", &node.unreadable, more.unreadable),
        ("may lose acks=1", &node.may_lose_acks_1, more.may_lose_acks_1),
    ];
    let mut words: Vec<String> = lists
        .iter()
        .filter(|(_, list, _)| !list.is_empty())
        .map(|(what, list, more)| {
            let shown = &list[..list.len().min(SHOWN)];
            format!("{what}: {}", named(shown, list.len() - shown.len() + more))
        })
        .collect();
    if words.is_empty() {
        words.push("nothing".into());
    }
    words.extend(node.waits_for.as_ref().map(|why| format!("waits for: {why}")));
    words.join("; ")
}

/// All of them that came: it is what is asked for.
fn named(list: &[String], more: usize) -> String {
    match (list.len(), more) {
        (0, 0) => "none".into(),
        (1, 0) => list[0].clone(),
        (n, 0) => format!("{n} partitions: {}", list.join(", ")),
        (n, more) => format!("{} partitions: {}, and {more} more", n + more, list.join(", ")),
    }
}

fn ending(outlook: &Outlook, roll: bool) -> String {
    let never = outlook.nodes.iter().any(|n| !n.never_safe.is_empty());
    match (roll, outlook.safe, never) {
        (false, true, _) => "nothing breaks".into(),
        (false, false, _) => "that is why not".into(),
        (true, _, true) => {
            "partitions have too few replicas: a roll is refused unless --accept-unavailable is given; nothing was touched".into()
        }
        (true, true, false) => "each is looked at again before its turn; nothing was touched".into(),
        (true, false, false) => "a roll would wait until that is over; nothing was touched".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{NodeName, Timestamp},
        control::wire::cluster::Unnamed,
    };

    fn node(name: NodeName) -> Impact {
        Impact {
            node: name,
            safe: true,
            goes_offline: vec![],
            refuses_acks_all: vec![],
            unreadable: vec![],
            may_lose_acks_1: vec![],
            never_safe: vec![],
            waits_for: None,
            notes: vec![],
            unnamed: Unnamed::default(),
        }
    }

    fn outlook(safe: bool, nodes: Vec<Impact>) -> Outlook {
        Outlook { schema: 1, at: Timestamp(0), safe, nodes }
    }

    #[test]
    fn the_four_lists_stand_there_also_when_they_are_empty() {
        let controller = Impact { notes: vec!["it is the controller".into()], ..node(NodeName::broker(1)) };
        let expected = "\
1  broker-2  safe now
   goes offline      none
   refuses acks=all  none
   unreadable        none
   may lose acks=1   none
   waits for         nothing
2  broker-1  safe now
   goes offline      none
   refuses acks=all  none
   unreadable        none
   may lose acks=1   none
   waits for         nothing
   it is the controller

each is looked at again before its turn; nothing was touched";
        let all = outlook(true, vec![node(NodeName::broker(2)), controller]);
        assert_eq!(text(&all, true, Paint { on: false }), expected);
    }

    #[test]
    fn in_one_line_stand_the_first_names_and_the_count() {
        assert_eq!(brief(&node(NodeName::broker(1))), "nothing");
        let full = Impact {
            goes_offline: vec!["a-0".into()],
            refuses_acks_all: (0..5).map(|n| format!("b-{n}")).collect(),
            unnamed: Unnamed { refuses_acks_all: 7, ..Unnamed::default() },
            waits_for: Some("b-0: broker 3 is not in sync".into()),
            ..node(NodeName::broker(1))
        };
        let words = "goes offline: a-0; refuses acks=all: 12 partitions: b-0, b-1, b-2, and 9 more; \
                     waits for: b-0: broker 3 is not in sync";
        assert_eq!(brief(&full), words);
    }

    #[test]
    fn what_breaks_is_named_whole() {
        let broker = Impact {
            safe: false,
            goes_offline: vec!["a-0".into(), "a-1".into()],
            refuses_acks_all: vec!["b-0".into()],
            never_safe: vec!["a-0".into(), "a-1".into()],
            waits_for: Some("b-0: broker 3 is not in sync".into()),
            ..node(NodeName::broker(1))
        };
        let expected = "\
broker-1  not safe now
   goes offline      2 partitions: a-0, a-1
   refuses acks=all  b-0
   unreadable        none
   may lose acks=1   none
   never safe        2 partitions: a-0, a-1
   waits for         b-0: broker 3 is not in sync

that is why not";
        let one = outlook(false, vec![broker]);
        assert_eq!(text(&one, false, Paint { on: false }), expected);
        assert!(text(&one, true, Paint { on: false }).contains("--accept-unavailable"));
        let mut cut = one;
        cut.nodes[0].unnamed.goes_offline = 998;
        let words = text(&cut, false, Paint { on: false });
        assert!(words.contains("goes offline      1000 partitions: a-0, a-1, and 998 more\n"), "{words}");
    }

    #[test]
    fn a_node_that_is_no_broker_has_notes_only() {
        let ui = Impact { notes: vec!["only the page is away".into()], ..node(NodeName::kafka_ui()) };
        let expected = "kafka-ui  safe now\n   only the page is away\n\nnothing breaks";
        assert_eq!(text(&outlook(true, vec![ui]), false, Paint { on: false }), expected);
    }
}
