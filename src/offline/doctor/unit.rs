//! The installed unit against the configuration: whether it may write where the data lie, and whether listeners for other
//! machines get through.

use super::{
    Site,
    check::{Check, Severity},
};
use crate::offline::{
    unit::{self, Said},
    unit_paths,
};
use std::path::PathBuf;

/// What is seen of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// What systemd says of each of the units that is installed for this plan.
    units: Vec<(&'static str, Said)>,
    /// What of the plan lies elsewhere than below the system's root.
    outside: Vec<PathBuf>,
}

pub(super) fn look(site: &Site) -> Facts {
    if !unit::is_for(&site.plan) {
        return Facts::default();
    }
    let keys = format!("{},{}", unit_paths::KEYS, unit::FILTER);
    let loaded = |said: &Said| said.get("LoadState").is_some_and(|state| state == "loaded");
    let asked = unit::UNITS.into_iter().filter_map(|name| Some((name, unit::properties(name, &keys).filter(loaded)?)));
    Facts { units: asked.collect(), outside: unit_paths::outside(&site.plan) }
}

pub(super) fn judge(site: &Site, facts: &Facts) -> Vec<Check> {
    let mut rows = Vec::new();
    let Some((name, daemon)) = facts.units.first() else { return rows };
    if !facts.outside.is_empty() {
        let lacking: Vec<(&str, Vec<PathBuf>)> = facts
            .units
            .iter()
            .map(|(name, said)| (*name, unit_paths::lacking(&facts.outside, said)))
            .filter(|(_, paths)| !paths.is_empty())
            .collect();
        rows.push(paths(&facts.outside, &lacking));
    }
    if let Some(told) = unit::cut_off(&site.plan, name, daemon) {
        let (what, remedy) = told.split_once("; ").unwrap_or((&told, ""));
        let row = Check::ok(
            "clients elsewhere",
            "let in by the unit",
            what,
            "the unit's filter drops what comes from other machines, and they see a time-out",
        );
        rows.push(row.but(Severity::Warn, remedy));
    }
    rows
}

fn paths(outside: &[PathBuf], lacking: &[(&str, Vec<PathBuf>)]) -> Check {
    let words = |paths: &[PathBuf]| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
    let row = |found: String| {
        Check::ok(
            "paths of the unit",
            format!("it may write {}", words(outside)),
            found,
            "ProtectSystem=strict makes all but /var/lib/cdc-supervisor read-only for it",
        )
    };
    let Some((name, paths)) = lacking.first() else { return row("it may".into()) };
    let what = format!("{name} may not write {}", words(paths));
    row(what.clone()).fails(
        what,
        "`sudo cdc-supervisor unit-paths --write` makes the drop-ins; then `systemctl restart cdc-supervisor`",
    )
}

#[cfg(test)]
mod tests {
    use super::{super::tests::site, *};

    fn said(text: &str) -> Said {
        text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn a_unit_that_may_not_write_where_data_lie_or_lets_no_client_in_is_told() {
        let site = site("[mysql]\nbind = \"0.0.0.0\"");
        assert!(judge(&site, &Facts::default()).is_empty(), "no unit is installed");
        let shipped = "ProtectSystem=strict\nReadWritePaths=\nIPAddressDeny=::/0 0.0.0.0/0\nIPAddressAllow=127.0.0.0/8";
        let opened = shipped.replace("ReadWritePaths=", "ReadWritePaths=-/srv/sql");
        let facts = |second: &str| Facts {
            units: vec![(unit::UNITS[0], said(&opened)), (unit::UNITS[1], said(second))],
            outside: vec!["/srv/sql".into()],
        };
        let rows = judge(&site, &facts(shipped));
        assert_eq!(rows.iter().map(|r| r.severity).collect::<Vec<_>>(), [Severity::Fail, Severity::Warn], "{rows:#?}");
        assert!(rows[0].found.starts_with("cdc-supervisor-fetch.service may not write /srv/sql"), "{rows:#?}");
        assert!(rows[1].found.contains("mysql (0.0.0.0:3306) listens"), "{rows:#?}");
        assert!(rows[1].remedy.as_deref().unwrap().contains("IPAddressAllow="), "{rows:#?}");
        assert_eq!(judge(&site, &facts(&opened))[0].severity, Severity::Ok);
    }
}
