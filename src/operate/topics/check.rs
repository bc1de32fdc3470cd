//! A topic of the configuration as `verify` sees it.

use super::{decide::partitions_of as partitions, look::Report};
use crate::{
    config,
    operate::verify::{Check, Wrong},
};

/// One check per topic.
pub fn checks(wanted: &[config::Topic], report: &Result<Report, String>) -> Vec<Check> {
    let one = |topic: &config::Topic| {
        let copies = topic.replication_factor;
        let what =
            format!("topic {} as configured: {} on {copies} brokers each", topic.name, partitions(topic.partitions));
        let found = match report {
            Err(why) => Some(why.clone()),
            Ok(report) => report.topics.iter().find(|t| t.name == topic.name).map_or_else(
                || Some("it was not looked at yet".into()),
                |seen| {
                    let wrong: Vec<String> =
                        seen.waits.iter().chain(&seen.differences).chain(&seen.lagging).cloned().collect();
                    (!wrong.is_empty()).then(|| wrong.join("; "))
                },
            ),
        };
        let settings: Vec<String> = topic.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let expected = match settings.as_slice() {
            [] => "as the file says, every replica in sync".to_owned(),
            some => format!("every replica in sync, {}", some.join(", ")),
        };
        Check { part: "kafka", what, wrong: found.map(|found| Wrong { expected, found }), note: None }
    };
    wanted.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::look::TopicReport, *};
    use std::collections::BTreeMap;

    #[test]
    fn a_topic_holds_when_nothing_differs_waits_or_lags() {
        let topic = config::Topic {
            name: "a".into(),
            partitions: 3,
            replication_factor: 3,
            settings: BTreeMap::from([("retention.ms".into(), "5".into())]),
        };
        let with = |seen: TopicReport| {
            Ok(Report { topics: vec![TopicReport { name: "a".into(), ..seen }], ..Report::default() })
        };
        let found = |report: &Result<Report, String>| {
            checks(std::slice::from_ref(&topic), report)[0].wrong.clone().map(|w| w.found)
        };
        assert_eq!(found(&with(TopicReport::default())), None);
        let lagging = TopicReport { lagging: vec!["a-1: broker 3 is not in sync".into()], ..TopicReport::default() };
        assert_eq!(found(&with(lagging)).as_deref(), Some("a-1: broker 3 is not in sync"));
        assert_eq!(found(&Err("no broker serves".into())).as_deref(), Some("no broker serves"));
        assert_eq!(found(&Ok(Report::default())).as_deref(), Some("it was not looked at yet"));
        let check = &checks(&[topic], &Err(String::new()))[0];
        assert_eq!(check.what, "topic a as configured: 3 partitions on 3 brokers each");
        assert_eq!(check.wrong.as_ref().unwrap().expected, "every replica in sync, retention.ms=5");
    }
}
