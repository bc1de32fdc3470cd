//! The unit this daemon runs in, as systemd has it: what a drop-in may have taken away, and what it keeps the configuration from.

use crate::{
    config::Plan,
    offline::unit::{self, Said, cut_off},
};
use std::sync::{Arc, Mutex, PoisonError};

/// What is asked for.
const PROPERTIES: &str = "KillMode,DelegateSubgroup,OOMPolicy,Restart";

/// What was found wrong with the unit, for its status.
#[derive(Clone, Debug, Default)]
pub(super) struct Complaint(Arc<Mutex<Option<String>>>);

impl Complaint {
    /// Asks systemd beside everything else; nobody waits for the answer. All of it is logged, the first is kept, behind what is
    /// `known` already.
    pub(super) fn ask(&self, plan: Plan, known: Option<String>) {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let found = complaints(&plan);
            for complaint in &found {
                tracing::warn!("{complaint}");
            }
            *this.0.lock().unwrap_or_else(PoisonError::into_inner) = known.or_else(|| found.into_iter().next());
        });
    }

    /// In words, with a remedy.
    pub(super) fn words(&self) -> Option<String> {
        // The value is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is wrong with the unit, in words with a remedy; empty when nothing is, or when nobody can be asked.
fn complaints(plan: &Plan) -> Vec<String> {
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(name) = unit::unit_of(&membership) else { return Vec::new() };
    let Some(said) = unit::properties(name, &format!("{PROPERTIES},{}", unit::FILTER)) else { return Vec::new() };
    let mut found = judge(name, &said);
    found.extend(cut_off(plan, name, &said));
    found
}

fn judge(unit: &str, said: &Said) -> Vec<String> {
    let value = |key: &str| said.get(key).map(String::as_str).unwrap_or_default();
    let mut complaints = Vec::new();
    let mut expect = |key: &str, wanted: &[&str], what: &str| {
        let is = value(key);
        if !wanted.contains(&is) {
            complaints.push(format!(
                "the unit says {key}={is}, not {}: {what} (`systemctl cat {unit}` shows where, `systemctl edit {unit}` mends it)",
                wanted[0]
            ));
        }
    };
    expect("KillMode", &["process"], "systemd kills every node when the daemon ends, also when it only crashed");
    expect(
        "DelegateSubgroup",
        &["supervisor"],
        "after a crash of the daemon systemd cannot start the next one beside live nodes (219/CGROUP)",
    );
    expect("OOMPolicy", &["continue"], "systemd ends everything when one node meets its memory cap");
    expect("Restart", &["on-failure", "always", "on-abnormal"], "a daemon that crashed does not come back");
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn the_unit_as_shipped_is_right_and_what_is_overruled_is_named_with_its_price() {
        let shipped = "KillMode=process\nDelegateSubgroup=supervisor\nOOMPolicy=continue\nRestart=on-failure\n";
        assert_eq!(judge("u.service", &said(shipped)), Vec::<String>::new());
        let edited = "KillMode=control-group\nDelegateSubgroup=\nOOMPolicy=stop\nRestart=no\n";
        let told = judge("u.service", &said(edited));
        assert_eq!(told.len(), 4, "{told:?}");
        for (words, line) in
            ["KillMode=control-group", "DelegateSubgroup=,", "OOMPolicy=stop", "Restart=no"].iter().zip(&told)
        {
            assert!(line.contains(words) && line.contains("systemctl edit u.service"), "{line}");
        }
    }
}
