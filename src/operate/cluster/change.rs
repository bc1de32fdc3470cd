//! From two looks at the cluster to the events between them. Pure: one line per broker and per kind, whatever the number of
//! partitions.

use super::health::{Look, name, partitions, some};
use crate::base::{EventKind, EventLine, NodeName};
use std::collections::{BTreeMap, BTreeSet};

/// What happened between two looks.
pub fn events(before: &Look, after: &Look) -> Vec<EventLine> {
    let mut events = Vec::new();
    let (old, new) = (before.health(), after.health());
    if let Some(controller) = new.controller.filter(|_| new.controller != old.controller) {
        let was = old.controller.map_or_else(String::new, |id| format!(", it was broker {id}"));
        let text = format!("broker {controller} is the controller now{was}");
        events.push(EventLine::new(EventKind::ControllerChanged, text).node(&NodeName::broker(controller)));
    }
    events.extend(isr(before, after));
    let mut turned =
        |was: &[String], is: &[String], (kind, what): (EventKind, &str), (over, again): (EventKind, &str)| {
            let known: BTreeSet<&String> = was.iter().collect();
            let came: Vec<String> = is.iter().filter(|name| !known.contains(name)).cloned().collect();
            if !came.is_empty() {
                events.push(EventLine::new(kind, format!("{} {what}: {}", partitions(came.len()), some(&came))));
            } else if is.is_empty() && !was.is_empty() {
                events.push(EventLine::new(over, again));
            }
        };
    turned(
        &old.offline,
        &new.offline,
        (EventKind::PartitionsOffline, "without a leader, no write and no read"),
        (EventKind::PartitionsOnline, "every partition has a leader again"),
    );
    turned(
        &old.under_min,
        &new.under_min,
        (EventKind::UnderMinIsr, "below min.insync.replicas, writes with acks=all are refused"),
        (EventKind::MinIsrRestored, "every partition has min.insync.replicas in sync again"),
    );
    events
}

/// Who left and who entered the ISR of what, of partitions that are in both looks.
fn isr(before: &Look, after: &Look) -> Vec<EventLine> {
    let (mut left, mut entered): (BTreeMap<u32, Vec<String>>, BTreeMap<u32, Vec<String>>) = Default::default();
    let was: BTreeMap<(&str, u32), &[u32]> =
        before.view.partitions().map(|(topic, p)| ((topic, p.id), p.isr.as_slice())).collect();
    for (topic, partition) in after.view.partitions() {
        let Some(was) = was.get(&(topic, partition.id)) else { continue };
        for gone in was.iter().filter(|id| !partition.isr.contains(id)) {
            left.entry(*gone).or_default().push(name(topic, partition));
        }
        for come in partition.isr.iter().filter(|id| !was.contains(id)) {
            entered.entry(*come).or_default().push(name(topic, partition));
        }
    }
    let event = |kind, verb: &str, id: u32, names: &[String]| {
        let text = format!("{verb} the ISR of {}: {}", partitions(names.len()), some(names));
        EventLine::new(kind, text).node(&NodeName::broker(id))
    };
    let shrunk = left.iter().map(|(id, names)| event(EventKind::IsrShrunk, "left", *id, names));
    let expanded = entered.iter().map(|(id, names)| {
        let event = event(EventKind::IsrExpanded, "entered", *id, names);
        let replicated = after.view.replicated_by(*id);
        match replicated.out_of_sync {
            0 => EventLine { text: format!("{}; it is in every ISR now", event.text), ..event },
            missing => EventLine { text: format!("{}; {missing} to go", event.text), ..event },
        }
    });
    shrunk.chain(expanded).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::health::tests::{ALL, Row, look},
        *,
    };
    use proptest::prelude::*;

    fn told(before: &Look, after: &Look) -> Vec<(String, String)> {
        events(before, after).into_iter().map(|e| (e.kind, e.text)).collect()
    }

    fn line(kind: EventKind, text: &str) -> (String, String) {
        (kind.as_str().into(), text.into())
    }

    #[test]
    fn a_broker_that_dies_and_comes_back_is_one_line_each_way_whatever_it_holds() {
        let whole: Vec<Row<'_>> = vec![(ALL, ALL, Some(1)); 12];
        let short: Vec<Row<'_>> = vec![(ALL, &[2, 3], Some(2)); 12];
        let (whole, short) = (look(ALL, &whole), look(&[2, 3], &short));
        assert_eq!(
            told(&whole, &short),
            [
                line(EventKind::ControllerChanged, "broker 2 is the controller now, it was broker 1"),
                line(EventKind::IsrShrunk, "left the ISR of 12 partitions: t-0, t-1, t-2 and 9 more"),
            ]
        );
        let back =
            Look { view: crate::clients::kafka::ClusterView { controller: Some(2), ..whole.view.clone() }, ..whole };
        let expanded = "entered the ISR of 12 partitions: t-0, t-1, t-2 and 9 more; it is in every ISR now";
        assert_eq!(told(&short, &back), [line(EventKind::IsrExpanded, expanded)]);
    }

    #[test]
    fn half_of_a_return_says_what_is_missing() {
        let before = look(ALL, &[(ALL, &[1, 2], Some(1)), (ALL, &[1, 2], Some(1))]);
        let after = look(ALL, &[(ALL, ALL, Some(1)), (ALL, &[1, 2], Some(1))]);
        let text = "entered the ISR of 1 partition: t-0; 1 to go";
        assert_eq!(told(&before, &after), [line(EventKind::IsrExpanded, text)]);
    }

    #[test]
    fn what_nobody_leads_and_what_refuses_writes_is_told_once_and_its_end_too() {
        let whole = look(ALL, &[(ALL, ALL, Some(1)), (&[3], &[3], Some(3))]);
        let one_left = look(&[1], &[(ALL, &[1], Some(1)), (&[3], &[3], None)]);
        let lines = told(&whole, &one_left);
        let offline = "1 partition without a leader, no write and no read: t-1";
        assert!(lines.contains(&line(EventKind::PartitionsOffline, offline)), "{lines:?}");
        let under = "1 partition below min.insync.replicas, writes with acks=all are refused: t-0";
        assert!(lines.contains(&line(EventKind::UnderMinIsr, under)), "{lines:?}");
        assert_eq!(told(&one_left, &one_left), []);
        let lines = told(&one_left, &whole);
        assert!(lines.contains(&line(EventKind::PartitionsOnline, "every partition has a leader again")), "{lines:?}");
        // t-1 has one replica and a minimum of two: it is below it for as long as it is there.
        assert!(!lines.iter().any(|(kind, _)| kind == EventKind::MinIsrRestored.as_str()), "{lines:?}");
    }

    #[test]
    fn topics_that_come_and_go_are_no_events() {
        let (two, one) = (look(ALL, &[(ALL, ALL, Some(1)), (ALL, ALL, Some(2))]), look(ALL, &[(ALL, ALL, Some(1))]));
        assert_eq!((told(&two, &one), told(&one, &two)), (vec![], vec![]));
    }

    fn any_look() -> impl Strategy<Value = Look> {
        let subset = || proptest::sample::subsequence(vec![1u32, 2, 3], 0..=3);
        let partition = (subset(), subset(), proptest::option::of(1u32..=3));
        (subset(), proptest::collection::vec(partition, 0..6)).prop_map(|(alive, partitions)| {
            let partitions: Vec<Row<'_>> =
                partitions.iter().map(|(r, i, l)| (r.as_slice(), i.as_slice(), *l)).collect();
            look(&alive, &partitions)
        })
    }

    proptest! {
        #[test]
        fn nothing_happens_between_a_look_and_itself(look in any_look()) {
            prop_assert!(events(&look, &look).is_empty());
        }

        #[test]
        fn there_is_at_most_one_line_per_broker_and_kind(before in any_look(), after in any_look()) {
            let mut seen = BTreeSet::new();
            for event in events(&before, &after) {
                prop_assert!(seen.insert((event.node.clone(), event.kind.clone())), "{event:?} twice");
            }
        }
    }
}
