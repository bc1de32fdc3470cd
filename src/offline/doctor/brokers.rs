//! Settings that somebody gave brokers while they ran, as the daemon has seen them in ZooKeeper: they beat the file, for ever.

use super::{
    Site,
    check::{Check, Severity},
};

pub(super) fn judge(site: &Site) -> Vec<Check> {
    let Some(lines) = &site.set_by_others else { return Vec::new() };
    let found = if lines.is_empty() { "no other setting".to_owned() } else { lines.join(" · ") };
    let why = "what is set while a broker runs beats its file, also after every start";
    let row = Check::ok("broker settings", "those of the file", found, why);
    if lines.is_empty() {
        return vec![row];
    }
    let remedy = "`kafka-configs --bootstrap-server ADDRESS --entity-type brokers --entity-name ID (--entity-default for all) --alter \
                  --delete-config KEY` takes it back";
    vec![row.but(Severity::Warn, remedy)]
}

#[cfg(test)]
mod tests {
    use super::{super::tests::site, *};

    #[test]
    fn what_beats_a_file_is_a_warning_and_what_nobody_has_seen_no_row() {
        let mut site = site("[zookeeper]\n[kafka]\n");
        assert!(judge(&site).is_empty());
        site.set_by_others = Some(Vec::new());
        assert_eq!(judge(&site)[0].severity, Severity::Ok);
        site.set_by_others = Some(vec!["broker-2: message.max.bytes = 9 was set for this broker".into()]);
        let row = &judge(&site)[0];
        assert_eq!(row.severity, Severity::Warn);
        assert!(row.found.starts_with("broker-2: message.max.bytes = 9"), "{}", row.found);
    }
}
