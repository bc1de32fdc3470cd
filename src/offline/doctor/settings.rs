//! Settings that the file passes through to Kafka and ZooKeeper, by their names.

use super::{
    Site,
    check::{Check, Severity},
};
use crate::config::UnknownSetting;

pub(super) fn judge(site: &Site) -> Vec<Check> {
    let plan = &site.plan;
    let brokers = plan.kafka.iter().flat_map(|kafka| kafka.brokers.values()).map(|broker| &broker.properties);
    let given = plan.zookeeper.iter().map(|zookeeper| &zookeeper.properties).chain(brokers);
    if given.map(std::collections::BTreeMap::len).sum::<usize>() == 0 {
        return Vec::new();
    }
    let unknown = plan.unknown_settings();
    let row = |found: String| {
        Check::ok(
            "names of settings",
            "names that Kafka 3.5 to 3.9 and ZooKeeper 3.6 to 3.8 have",
            found,
            "Kafka and ZooKeeper start with any name, and one that they do not know does nothing",
        )
    };
    let words = |one: &UnknownSetting| {
        let advice = one.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
        format!("{} ({}){advice}", one.name, plan.place(&one.key))
    };
    let (brought, doubtful): (Vec<&UnknownSetting>, Vec<&UnknownSetting>) =
        unknown.iter().partition(|one| one.plugin().is_some());
    if !doubtful.is_empty() {
        let all: Vec<String> = doubtful.into_iter().map(words).collect();
        let remedy = "mend the names, then `cdc-supervisor plan`; or take the lines out";
        return vec![row(all.join(" · ")).but(Severity::Warn, remedy)];
    }
    match brought.first().and_then(|first| first.plugin()) {
        None => vec![row("all are known".into())],
        Some(chosen) => {
            let names: Vec<&str> = brought.iter().map(|one| one.name.as_str()).collect();
            let remedy = format!("nothing, when what {chosen} names reads them");
            vec![row(format!("unknown, and perhaps a plugin's: {}", names.join(", "))).but(Severity::Info, remedy)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::site, *};

    #[test]
    fn a_name_that_nobody_knows_is_a_warning_with_its_line_and_the_nearest_one() {
        assert!(judge(&site("")).is_empty(), "nothing is passed through");
        let row =
            |properties: &str| judge(&site(&format!("[zookeeper]\n[kafka.properties]\n{properties}\n"))).remove(0);
        assert_eq!(row("num.io.threads = 8").severity, Severity::Ok);
        let found = row("num.io.thread = 8\nbanana = 1");
        assert_eq!(
            (found.severity, found.found.as_str()),
            (
                Severity::Warn,
                "num.io.thread (supervisor.toml line 3): did you mean num.io.threads? · banana (supervisor.toml line 4)"
            )
        );
        let found = row("metric.reporters = \"org.example.Reporter\"\nexample.url = \"http://h\"");
        assert_eq!(
            (found.severity, found.found.as_str(), found.remedy.as_deref()),
            (
                Severity::Info,
                "unknown, and perhaps a plugin's: example.url",
                Some("nothing, when what metric.reporters names reads them")
            )
        );
    }
}
