//! What another configuration says of topics: nothing of it needs a restart.

use crate::config::Topic;

/// A topic of which the two say something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicChange {
    /// Its name.
    pub name: String,
    /// `create`, `change` or `keep` (it left the file).
    pub does: &'static str,
    /// What, one clause each.
    pub what: Vec<String>,
}

/// The differences, by name.
pub fn topics(before: &[Topic], wanted: &[Topic]) -> Vec<TopicChange> {
    let of = |list: &[Topic], name: &str| list.iter().find(|t| t.name == name).cloned();
    let mut changes: Vec<TopicChange> = wanted
        .iter()
        .filter_map(|new| match of(before, &new.name) {
            None => Some(TopicChange { name: new.name.clone(), does: "create", what: vec![whole(new)] }),
            Some(old) if old == *new => None,
            Some(old) => Some(TopicChange { name: new.name.clone(), does: "change", what: one(&old, new) }),
        })
        .collect();
    let gone = before.iter().filter(|old| of(wanted, &old.name).is_none());
    changes.extend(gone.map(|old| TopicChange {
        name: old.name.clone(),
        does: "keep",
        what: vec![format!(
            "it leaves the file and is kept; `cdc-supervisor topics remove {0} --confirm {0}` deletes it",
            old.name
        )],
    }));
    changes.sort_by(|a, b| a.name.cmp(&b.name));
    changes
}

fn whole(topic: &Topic) -> String {
    let settings: Vec<String> = topic.settings.iter().map(|(k, v)| format!(", {k}={v}")).collect();
    let word = if topic.partitions == 1 { "partition" } else { "partitions" };
    format!("{} {word} on {} brokers each{}", topic.partitions, topic.replication_factor, settings.concat())
}

fn one(old: &Topic, new: &Topic) -> Vec<String> {
    let mut what = Vec::new();
    if old.partitions < new.partitions {
        what.push(format!(
            "partitions: {} -> {}, keys go to other partitions from then on",
            old.partitions, new.partitions
        ));
    } else if old.partitions > new.partitions {
        what.push(format!(
            "partitions: {} -> {}, which Kafka never does: it is only told",
            old.partitions, new.partitions
        ));
    }
    if old.replication_factor != new.replication_factor {
        what.push(format!(
            "replication_factor: {} -> {}, which is only compared: moving copies is left to you",
            old.replication_factor, new.replication_factor
        ));
    }
    let keys: std::collections::BTreeSet<&String> = old.settings.keys().chain(new.settings.keys()).collect();
    for key in keys {
        let (from, to) = (old.settings.get(key), new.settings.get(key));
        if from != to {
            let word = |value: Option<&String>| value.map_or("the brokers' own", String::as_str).to_owned();
            what.push(format!("{key}: {} -> {}", word(from), word(to)));
        }
    }
    what
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, partitions: u32, settings: &[(&str, &str)]) -> Topic {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Topic { name: name.into(), partitions, replication_factor: 3, settings }
    }

    #[test]
    fn what_comes_changes_and_goes_is_told_by_name() {
        let before = [topic("b", 3, &[("retention.ms", "1")]), topic("c", 3, &[]), topic("same", 1, &[])];
        let wanted =
            [topic("a", 6, &[("flush.ms", "9")]), topic("b", 6, &[("segment.ms", "2")]), topic("same", 1, &[])];
        let changes = topics(&before, &wanted);
        let told: Vec<(&str, &str, Vec<&str>)> =
            changes.iter().map(|c| (c.name.as_str(), c.does, c.what.iter().map(String::as_str).collect())).collect();
        assert_eq!(told[0], ("a", "create", vec!["6 partitions on 3 brokers each, flush.ms=9"]));
        assert_eq!(
            told[1],
            (
                "b",
                "change",
                vec![
                    "partitions: 3 -> 6, keys go to other partitions from then on",
                    "retention.ms: 1 -> the brokers' own",
                    "segment.ms: the brokers' own -> 2"
                ]
            )
        );
        assert_eq!((told[2].0, told[2].1), ("c", "keep"));
        assert_eq!(told.len(), 3);
        assert!(topics(&wanted, &wanted).is_empty());
    }
}
