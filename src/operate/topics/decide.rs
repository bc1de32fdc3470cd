//! What is to be done for a topic of the configuration, from what is wanted, what is there and what we once gave it. Pure.
//!
//! Only what can be taken back, or loses nothing, is a step: a topic is made, gets more partitions, gets its settings. Fewer
//! partitions, other copies and settings of somebody else's are told. Nothing here deletes.

use crate::{
    clients::kafka::{Alter, TopicSettings},
    config,
};
use std::collections::BTreeMap;

/// The setting whose loss costs records: a compacted topic that becomes one that is deleted from.
const CLEANUP: &str = "cleanup.policy";

/// A topic as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Copies of each partition, by its number.
    pub copies: Vec<usize>,
    /// Its settings.
    pub settings: TopicSettings,
}

impl Seen {
    /// How many partitions.
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.copies.len()).unwrap_or(u32::MAX)
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is not there.
    Create,
    /// It has fewer partitions.
    Grow {
        /// Than wanted.
        from: u32,
    },
    /// Settings, all in one request.
    Alter(BTreeMap<String, Alter>),
}

/// What a topic comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// In order.
    pub steps: Vec<Step>,
    /// What differs and no step mends, with what to do.
    pub told: Vec<String>,
    /// Worth knowing; no difference.
    pub notes: Vec<String>,
    /// What the steps would mend, in words.
    pub mends: Vec<String>,
}

impl Decision {
    /// Everything that differs.
    pub fn differences(&self) -> Vec<String> {
        self.mends.iter().chain(&self.told).cloned().collect()
    }
}

/// Decides. `ours`: the settings that we gave it last; `seen` is none when it is not there.
pub fn decide(wanted: &config::Topic, seen: Option<&Seen>, ours: &BTreeMap<String, String>) -> Decision {
    let mut decision = Decision::default();
    let Some(seen) = seen else {
        decision.steps.push(Step::Create);
        decision.mends.push("it is not there".into());
        return decision;
    };
    partitions(wanted, seen, &mut decision);
    copies(wanted, seen, &mut decision);
    settings(wanted, seen, ours, &mut decision);
    decision
}

fn partitions(wanted: &config::Topic, seen: &Seen, decision: &mut Decision) {
    let (from, to) = (seen.partitions(), wanted.partitions);
    if from < to {
        decision.steps.push(Step::Grow { from });
        decision.mends.push(format!("it has {}, the file says {to}", partitions_of(from)));
    } else if from > to {
        decision.told.push(format!(
            "it has {}, the file says {to}: Kafka takes none away; set partitions = {from}, or make another topic and copy",
            partitions_of(from)
        ));
    }
}

/// `1 partition`, `3 partitions`.
pub(super) fn partitions_of(count: u32) -> String {
    if count == 1 { "1 partition".into() } else { format!("{count} partitions") }
}

fn copies(wanted: &config::Topic, seen: &Seen, decision: &mut Decision) {
    let factor = usize::try_from(wanted.replication_factor).unwrap_or(usize::MAX);
    let other: Vec<usize> = (0..seen.copies.len()).filter(|nth| seen.copies[*nth] != factor).collect();
    let Some(first) = other.first() else { return };
    let which = match other.len() {
        n if n == seen.copies.len() => "its partitions have".to_owned(),
        1 => format!("partition {first} has"),
        n => format!("{n} of its partitions have"),
    };
    let count = seen.copies[*first];
    let copies = if count == 1 { "1 copy".to_owned() } else { format!("{count} copies") };
    decision.told.push(format!(
        "{which} {copies}, the file says {factor}: moving copies is left to you (kafka-reassign-partitions.sh), or set replication_factor = {count}"
    ));
}

fn settings(wanted: &config::Topic, seen: &Seen, ours: &BTreeMap<String, String>, decision: &mut Decision) {
    let mut changes = BTreeMap::new();
    for (name, value) in &wanted.settings {
        match seen.settings.own.get(name) {
            Some(own) if same(own, value) => continue,
            Some(own) => decision.mends.push(format!("{name} is {own}, the file says {value}")),
            // The same value by default today may be another one tomorrow.
            None => {
                let holds = seen.settings.all.get(name).map_or("unknown", String::as_str);
                decision.mends.push(format!("{name} is the brokers' own ({holds}), the file says {value}"));
            }
        }
        changes.insert(name.clone(), Alter::Set(value.clone()));
    }
    for (name, own) in seen.settings.own.iter().filter(|(name, _)| !wanted.settings.contains_key(*name)) {
        let given = ours.get(name).is_some_and(|given| same(given, own));
        if given && name == CLEANUP {
            decision.told.push(format!(
                "{name} is {own}, and is not in the file any more: it is left, as another one may delete records; say {name} in the file"
            ));
        } else if given {
            decision.mends.push(format!("{name} is {own}, and is not in the file any more"));
            changes.insert(name.clone(), Alter::Reset);
        } else {
            decision.notes.push(format!("{name} = {own} was set by somebody else and is left"));
        }
    }
    if !changes.is_empty() {
        decision.steps.push(Step::Alter(changes));
    }
}

/// The settings that a topic has from us when the steps are taken. What somebody else gave it, and the file says too, stays theirs:
/// a line that only describes it takes nothing away when it goes.
pub fn given(wanted: &config::Topic, decision: &Decision, ours: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut given = ours.clone();
    for step in &decision.steps {
        match step {
            Step::Create => given.clone_from(&wanted.settings),
            Step::Grow { .. } => {}
            Step::Alter(changes) => {
                for (name, change) in changes {
                    match change {
                        Alter::Set(value) => given.insert(name.clone(), value.clone()),
                        Alter::Reset => given.remove(name),
                    };
                }
            }
        }
    }
    given.retain(|name, _| wanted.settings.contains_key(name) || name == CLEANUP);
    given
}

/// Whether two spellings are one value: a broker says a ratio back as Java spells it.
fn same(one: &str, other: &str) -> bool {
    one == other
        || matches!((one.parse::<f64>(), other.parse::<f64>()), (Ok(a), Ok(b)) if a == b && one.parse::<i64>().is_err())
}

/// Whether a step may be taken now. Copies are placed on the brokers that are there, so one that is on its way is waited for; `live`
/// are those that the cluster lists, `expected` those that shall run.
pub fn may(step: &Step, wanted: &config::Topic, live: &[u32], expected: &[u32]) -> Result<(), String> {
    match step {
        Step::Alter(_) => return Ok(()),
        Step::Create | Step::Grow { .. } => {}
    }
    let missing: Vec<String> =
        expected.iter().filter(|id| !live.contains(id)).map(|id| format!("broker-{id}")).collect();
    if !missing.is_empty() {
        return Err(format!("waits for {}, so that it gets its share", missing.join(", ")));
    }
    let factor = usize::try_from(wanted.replication_factor).unwrap_or(usize::MAX);
    if live.len() < factor {
        return Err(format!(
            "waits for brokers: it wants {factor} copies, and {} are there or on their way",
            expected.len()
        ));
    }
    Ok(())
}

/// What a step that was taken has done, in words.
pub fn done(step: &Step, wanted: &config::Topic, seen: Option<&Seen>) -> Vec<String> {
    let (partitions, factor) = (wanted.partitions, wanted.replication_factor);
    match step {
        Step::Create => vec![format!("made with {} on {factor} brokers each", partitions_of(partitions))],
        Step::Grow { from } => {
            vec![format!("{from} -> {}: keys go to other partitions from now on", partitions_of(partitions))]
        }
        Step::Alter(changes) => {
            let own =
                |name: &str| seen.and_then(|s| s.settings.own.get(name)).map_or("the brokers' own", String::as_str);
            let line = |(name, change): (&String, &Alter)| match change {
                Alter::Set(value) => format!("{name} {} -> {value}", own(name)),
                Alter::Reset => format!("{name} {} -> the brokers' own", own(name)),
            };
            changes.iter().map(line).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Map = BTreeMap<String, String>;

    fn map(list: &[(&str, &str)]) -> Map {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn wanted(partitions: u32, factor: u32, settings: &[(&str, &str)]) -> config::Topic {
        config::Topic { name: "t".into(), partitions, replication_factor: factor, settings: map(settings) }
    }

    fn seen(copies: &[usize], own: &[(&str, &str)]) -> Seen {
        let all = [map(&[("retention.ms", "604800000")]), map(own)].into_iter().flatten().collect();
        Seen { copies: copies.to_vec(), settings: TopicSettings { own: map(own), all } }
    }

    #[test]
    fn a_topic_as_configured_needs_nothing() {
        let one = wanted(2, 3, &[("retention.ms", "5"), ("min.cleanable.dirty.ratio", "0.50")]);
        let is = seen(&[3, 3], &[("retention.ms", "5"), ("min.cleanable.dirty.ratio", "0.5")]);
        assert_eq!(decide(&one, Some(&is), &Map::new()), Decision::default());
    }

    #[test]
    fn one_that_is_missing_is_made() {
        let decision = decide(&wanted(6, 3, &[]), None, &Map::new());
        assert_eq!(
            (decision.steps.as_slice(), decision.differences()),
            (&[Step::Create][..], vec!["it is not there".into()])
        );
        assert_eq!(done(&Step::Create, &wanted(6, 3, &[]), None), ["made with 6 partitions on 3 brokers each"]);
    }

    #[test]
    fn partitions_are_added_and_never_taken_away() {
        let more = decide(&wanted(6, 3, &[]), Some(&seen(&[3, 3, 3], &[])), &Map::new());
        assert_eq!(
            (more.steps.as_slice(), more.mends.as_slice()),
            (&[Step::Grow { from: 3 }][..], &["it has 3 partitions, the file says 6".to_owned()][..])
        );
        let fewer = decide(&wanted(1, 3, &[]), Some(&seen(&[3, 3, 3], &[])), &Map::new());
        assert!(fewer.steps.is_empty());
        assert_eq!(
            fewer.told,
            [
                "it has 3 partitions, the file says 1: Kafka takes none away; set partitions = 3, or make another topic and copy"
            ]
        );
    }

    #[test]
    fn other_copies_are_told_with_what_to_do() {
        let told = |copies: &[usize]| decide(&wanted(2, 3, &[]), Some(&seen(copies, &[])), &Map::new()).told;
        assert_eq!(
            told(&[1, 1]),
            [
                "its partitions have 1 copy, the file says 3: moving copies is left to you (kafka-reassign-partitions.sh), or set replication_factor = 1"
            ]
        );
        assert!(told(&[3, 2])[0].starts_with("partition 1 has 2 copies"));
    }

    #[test]
    fn a_setting_is_put_into_force_and_only_what_we_gave_is_taken_back() {
        let is = seen(&[3], &[("retention.ms", "9"), ("segment.ms", "7"), ("flush.ms", "4")]);
        let ours = map(&[("segment.ms", "7"), ("flush.ms", "3")]);
        let decision = decide(&wanted(1, 3, &[("retention.ms", "5"), ("cleanup.policy", "compact")]), Some(&is), &ours);
        let changes = BTreeMap::from([
            ("cleanup.policy".to_owned(), Alter::Set("compact".into())),
            ("retention.ms".to_owned(), Alter::Set("5".into())),
            ("segment.ms".to_owned(), Alter::Reset),
        ]);
        assert_eq!(decision.steps, [Step::Alter(changes.clone())]);
        assert_eq!(decision.notes, ["flush.ms = 4 was set by somebody else and is left"], "it is not what we gave it");
        assert_eq!(
            decision.mends,
            [
                "cleanup.policy is the brokers' own (unknown), the file says compact",
                "retention.ms is 9, the file says 5",
                "segment.ms is 7, and is not in the file any more"
            ]
        );
        assert_eq!(
            done(&Step::Alter(changes), &wanted(1, 3, &[]), Some(&is)),
            ["cleanup.policy the brokers' own -> compact", "retention.ms 9 -> 5", "segment.ms 7 -> the brokers' own"]
        );
    }

    #[test]
    fn what_somebody_else_gave_stays_theirs_when_the_file_says_it_too_and_a_cleanup_policy_is_never_taken_back() {
        let theirs = seen(&[3], &[("cleanup.policy", "compact"), ("flush.ms", "4")]);
        let file = wanted(1, 3, &[("cleanup.policy", "compact"), ("flush.ms", "4"), ("segment.ms", "7")]);
        let first = decide(&file, Some(&theirs), &Map::new());
        let ours = given(&file, &first, &Map::new());
        assert_eq!(ours, map(&[("segment.ms", "7")]), "only what a step has set");
        let all = seen(&[3], &[("cleanup.policy", "compact"), ("flush.ms", "4"), ("segment.ms", "7")]);
        let again = decide(&file, Some(&all), &ours);
        assert_eq!((again.clone(), given(&file, &again, &ours)), (Decision::default(), ours.clone()));
        let none = wanted(1, 3, &[]);
        let gone = decide(&none, Some(&all), &ours);
        let back = BTreeMap::from([("segment.ms".to_owned(), Alter::Reset)]);
        assert_eq!(gone.steps, [Step::Alter(back)]);
        assert_eq!(given(&none, &gone, &ours), Map::new());
        // One that we gave.
        let file = wanted(1, 3, &[("cleanup.policy", "compact")]);
        let ours = given(&file, &decide(&file, None, &Map::new()), &Map::new());
        let gone = decide(&none, Some(&seen(&[3], &[("cleanup.policy", "compact")])), &ours);
        assert!(gone.steps.is_empty() && gone.told[0].contains("it is left"), "{gone:?}");
        assert_eq!(given(&none, &gone, &ours), ours, "and told as long as it is so");
    }

    #[test]
    fn copies_are_placed_when_every_broker_that_shall_run_is_there() {
        let topic = wanted(3, 2, &[]);
        assert!(may(&Step::Create, &topic, &[1, 2, 3], &[1, 2, 3]).is_ok());
        let why = may(&Step::Create, &topic, &[1, 2], &[1, 2, 3]).unwrap_err();
        assert_eq!(why, "waits for broker-3, so that it gets its share");
        assert!(may(&Step::Create, &topic, &[1, 2], &[1, 2]).is_ok(), "the third is stopped by order");
        let why = may(&Step::Grow { from: 1 }, &topic, &[1], &[1]).unwrap_err();
        assert_eq!(why, "waits for brokers: it wants 2 copies, and 1 are there or on their way");
        assert!(may(&Step::Alter(BTreeMap::new()), &topic, &[1], &[1, 2, 3]).is_ok(), "settings have no place");
    }

    fn any_settings() -> impl Strategy<Value = Map> {
        let names = proptest::sample::select(vec!["a", "b", "c", "d"]);
        let values = proptest::sample::select(vec!["1", "2", "0.5"]);
        proptest::collection::btree_map(names.prop_map(str::to_owned), values.prop_map(str::to_owned), 0..4)
    }

    fn any_topic() -> impl Strategy<Value = config::Topic> {
        (1u32..6, 1u32..4, any_settings()).prop_map(|(partitions, replication_factor, settings)| config::Topic {
            name: "t".into(),
            partitions,
            replication_factor,
            settings,
        })
    }

    fn any_seen() -> impl Strategy<Value = Option<Seen>> {
        let seen = (proptest::collection::vec(1usize..4, 1..6), any_settings(), any_settings()).prop_map(
            |(copies, own, defaults)| {
                let all = defaults.into_iter().chain(own.clone()).collect();
                Seen { copies, settings: TopicSettings { own, all } }
            },
        );
        proptest::option::of(seen)
    }

    /// What a cluster makes of a step.
    fn carried_out(seen: Option<Seen>, step: &Step, wanted: &config::Topic) -> Option<Seen> {
        let copies = usize::try_from(wanted.replication_factor).unwrap();
        let count = usize::try_from(wanted.partitions).unwrap();
        let mut seen = seen.unwrap_or_default();
        match step {
            Step::Create => {
                seen.copies = vec![copies; count];
                seen.settings.own = wanted.settings.clone();
            }
            Step::Grow { .. } => {
                let same = seen.copies[0];
                seen.copies.resize(count, same);
            }
            Step::Alter(changes) => {
                for (name, change) in changes {
                    match change {
                        Alter::Set(value) => drop(seen.settings.own.insert(name.clone(), value.clone())),
                        Alter::Reset => drop(seen.settings.own.remove(name)),
                    }
                }
            }
        }
        Some(seen)
    }

    proptest! {
        #[test]
        fn steps_mend_all_that_they_say_and_a_second_look_finds_nothing_to_do(
            wanted in any_topic(), before in any_seen(), ours in any_settings()
        ) {
            let decision = decide(&wanted, before.as_ref(), &ours);
            prop_assert_eq!(decision.steps.is_empty(), decision.mends.is_empty());
            let after = decision.steps.iter().fold(before.clone(), |seen, step| carried_out(seen, step, &wanted));
            let again = decide(&wanted, after.as_ref(), &wanted.settings);
            prop_assert!(again.steps.is_empty() && again.mends.is_empty(), "{:?}", again);
            // what is told stays told: no step has hidden it
            if before.is_some() {
                prop_assert_eq!(&again.told.is_empty(), &decision.told.is_empty());
            }
        }

        #[test]
        fn no_partition_and_no_foreign_setting_is_ever_lost(
            wanted in any_topic(), before in any_seen(), ours in any_settings()
        ) {
            let Some(was) = before.clone() else { return Ok(()) };
            let decision = decide(&wanted, before.as_ref(), &ours);
            let after = decision.steps.iter().fold(before, |seen, step| carried_out(seen, step, &wanted)).unwrap();
            prop_assert!(after.copies.starts_with(&was.copies));
            for (name, value) in &was.settings.own {
                let given = ours.get(name).is_some_and(|given| same(given, value));
                if !wanted.settings.contains_key(name) && !given {
                    prop_assert_eq!(after.settings.own.get(name), Some(value));
                }
            }
        }
    }
}
