//! The memory ledger: all caps, the supervisor and the floor of the operating system against the host's memory.

use super::{ConfigError, ConfigErrors, Plan};
use crate::base::ByteSize;
use std::fmt;

/// The arithmetic, for `plan`, `status` and the refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// What is reckoned: nodes in order of start, then the supervisor, then the floor.
    pub lines: Vec<LedgerLine>,
    /// Their sum.
    pub sum: ByteSize,
    /// Memory of the host.
    pub host: ByteSize,
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerLine {
    /// `broker-1`, `supervisor`, `operating system`.
    pub what: String,
    /// How much.
    pub size: ByteSize,
    /// The key that sets it.
    pub key: String,
}

impl Ledger {
    /// Adds up a plan.
    pub fn of(plan: &Plan, host: ByteSize) -> Self {
        let mut lines: Vec<LedgerLine> = plan
            .nodes()
            .into_iter()
            .filter_map(|node| {
                let size = plan.node(&node)?.memory_max;
                let own = format!("{}.memory_max", Plan::node_key(&node));
                // A broker's cap may stand in [kafka] for all.
                let for_all = own.starts_with("kafka.brokers.") && plan.key_line(&own).is_none();
                let key = if for_all { "kafka.memory_max".to_owned() } else { own };
                Some(LedgerLine { what: node.to_string(), size, key })
            })
            .collect();
        let rest = [
            ("supervisor", plan.host.supervisor, "host.supervisor"),
            ("operating system", plan.host.os_floor, "host.os_floor"),
        ];
        lines.extend(rest.map(|(what, size, key)| LedgerLine { what: what.into(), size, key: key.into() }));
        let sum = ByteSize(lines.iter().fold(0u64, |sum, line| sum.saturating_add(line.size.0)));
        Self { lines, sum, host }
    }

    /// What no cap and no floor takes; none when the sum does not fit.
    pub fn left(&self) -> Option<ByteSize> {
        self.host.0.checked_sub(self.sum.0).map(ByteSize)
    }
}

impl fmt::Display for Ledger {
    /// One line each: name, size, key; then sum, host and difference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|line| line.what.len()).max().unwrap_or(0);
        for line in &self.lines {
            writeln!(f, "{:width$}  {:>7}  {}", line.what, line.size, line.key)?;
        }
        writeln!(f, "{:width$}  {:>7}", "sum", self.sum)?;
        writeln!(f, "{:width$}  {:>7}", "host", self.host)?;
        match self.left() {
            Some(left) => write!(f, "{:width$}  {left:>7}", "left"),
            None => write!(f, "{:width$}  {:>7}", "missing", ByteSize(self.sum.0.saturating_sub(self.host.0))),
        }
    }
}

/// Refuses a plan whose sum is more than `host_memory`; the error shows every line and names what to change.
pub fn check_ledger(plan: &Plan, host_memory: ByteSize) -> Result<Ledger, ConfigErrors> {
    let ledger = Ledger::of(plan, host_memory);
    if ledger.left().is_some() {
        return Ok(ledger);
    }
    let mut keys: Vec<&LedgerLine> = ledger.lines.iter().collect();
    keys.sort_by_key(|line| std::cmp::Reverse(line.size));
    let mut names: Vec<&str> = Vec::new();
    for line in keys {
        if !names.contains(&line.key.as_str()) && names.len() < 4 {
            names.push(&line.key);
        }
    }
    let over = ByteSize(ledger.sum.0.saturating_sub(host_memory.0));
    let message = format!(
        "the nodes do not fit into this host: caps, supervisor and operating system need {}, the host has {}\n{ledger}",
        ledger.sum, ledger.host
    );
    let hint = format!("lower the sum by {over}: {}; or set enabled = false for a node", names.join(", "));
    Err(ConfigErrors::new(plan.places.name(), "", vec![ConfigError::new("", message).hint(hint)]))
}
