//! The reports of drills on disk: one file each, numbered, bounded.

use crate::{
    base::{Layout, drill::Report},
    sys::{
        error::SysError,
        fs::{self, Durability},
    },
};

/// How many are kept. One is 2 kB.
const KEPT: usize = 200;

/// The number for the next one.
pub(super) fn next_id(layout: &Layout) -> Result<u64, SysError> {
    Ok(numbers(layout)?.into_iter().map(|(id, _)| id).max().unwrap_or(0) + 1)
}

/// Writes one so that it survives loss of power, and removes the oldest beyond the bound.
pub(super) fn keep(layout: &Layout, report: &Report) -> Result<(), SysError> {
    fs::make_dir(&layout.drills(), 0o750)?;
    // A struct of texts and numbers always becomes JSON.
    let mut text = serde_json::to_vec_pretty(report).unwrap_or_default();
    text.push(b'\n');
    let path = layout.drills().join(format!("{:06}.{}.json", report.id, report.drill));
    fs::write_atomic(&path, &text, 0o640, Durability::PowerLoss)?;
    let mut all = numbers(layout)?;
    all.sort_unstable();
    let too_many = all.len().saturating_sub(KEPT);
    for (_, name) in all.into_iter().take(too_many) {
        fs::remove_optional(&layout.drills().join(name))?;
    }
    Ok(())
}

/// Numbers and names of the files; others are passed over.
fn numbers(layout: &Layout) -> Result<Vec<(u64, String)>, SysError> {
    let names = fs::names_in(&layout.drills())?;
    Ok(names.into_iter().filter_map(|name| Some((number(&name)?, name))).collect())
}

/// `7` of `000007.broker-kill.json`.
fn number(name: &str) -> Option<u64> {
    let (id, rest) = name.split_once('.')?;
    let digits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
    (digits && rest.strip_suffix(".json")?.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        .then(|| id.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::drill::{Drill, TimeLine};

    fn report(id: u64) -> Report {
        Report {
            schema: 1,
            id,
            drill: Drill::BrokerKill.as_str().to_owned(),
            at: crate::base::Timestamp(0),
            took_ms: 1,
            version: "0".into(),
            victims: vec![],
            controller: None,
            lasted_ms: None,
            rate: 500,
            verdict: Report::PASSED.into(),
            faults: vec![],
            kafka: None,
            mysql: None,
            timeline: TimeLine::default(),
        }
    }

    #[test]
    fn the_oldest_go_and_numbers_are_never_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.state()).unwrap();
        assert_eq!(next_id(&layout).unwrap(), 1);
        let last = u64::try_from(KEPT).unwrap() + 5;
        for id in 1..=last {
            keep(&layout, &report(id)).unwrap();
        }
        std::fs::write(layout.drills().join("000999.x y.json"), "").unwrap();
        std::fs::write(layout.drills().join(".000998.broker-kill.json.1.tmp"), "").unwrap();
        let mut kept: Vec<u64> = numbers(&layout).unwrap().into_iter().map(|(id, _)| id).collect();
        kept.sort_unstable();
        assert_eq!((kept.len(), kept[0]), (KEPT, 6));
        assert_eq!(next_id(&layout).unwrap(), last + 1);
        let text = std::fs::read_to_string(layout.drills().join("000006.broker-kill.json")).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report(6));
    }
}
