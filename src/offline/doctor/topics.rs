//! Topics of the configuration, as the daemon has seen them last.

use super::{
    Site,
    check::{Check, Severity},
};
use crate::{base::topics::TopicRecord, sys::fs};

/// The daemon's record; none: it has made none yet.
pub(super) fn look(site: &Site) -> Result<Option<TopicRecord>, String> {
    let text = fs::read_optional(&site.layout.topics()).map_err(|e| e.source.to_string())?;
    text.map(|text| serde_json::from_str(&text).map_err(|e| e.to_string())).transpose()
}

pub(super) fn judge(site: &Site, record: &Result<Option<TopicRecord>, String>) -> Vec<Check> {
    let configured = site.plan.kafka.as_ref().map_or(0, |kafka| kafka.topics.len());
    if configured == 0 {
        return Vec::new();
    }
    let row = |found: String| {
        let required = if configured == 1 { "1 as configured".into() } else { format!("{configured} as configured") };
        Check::ok("Kafka topics", required, found, "what differs is told and left until somebody says so")
    };
    match record {
        Err(why) => vec![row(format!("the daemon's record cannot be read: {why}")).unknown()],
        Ok(None) => vec![row("not looked at yet: the daemon makes them when every broker is there".into())],
        Ok(Some(record)) if record.differences.is_empty() => vec![row("nothing differed at the last look".into())],
        Ok(Some(record)) => {
            let all: Vec<String> =
                record.differences.iter().map(|(name, what)| format!("{name}: {}", what.join("; "))).collect();
            let remedy = "`cdc-supervisor topics` shows each, `cdc-supervisor topics apply` mends what can be mended";
            vec![row(all.join(" · ")).but(Severity::Warn, remedy)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::site, *};

    #[test]
    fn a_difference_that_the_daemon_saw_is_a_warning_and_no_topics_are_no_row() {
        assert!(judge(&site("[zookeeper]\n[kafka]\n"), &Ok(None)).is_empty());
        let site = site("[zookeeper]\n[kafka]\n[[kafka.topic]]\nname = \"a\"\n");
        let mut record = TopicRecord::default();
        assert_eq!(judge(&site, &Ok(Some(record.clone())))[0].severity, Severity::Ok);
        record.differences.insert("a".into(), vec!["it is not there".into()]);
        let row = &judge(&site, &Ok(Some(record)))[0];
        assert_eq!(
            (row.severity, row.found.as_str(), row.required.as_str()),
            (Severity::Warn, "a: it is not there", "1 as configured")
        );
        assert_eq!(judge(&site, &Err("no".into()))[0].severity, Severity::Unknown);
    }
}
