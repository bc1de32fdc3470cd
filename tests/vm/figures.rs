//! Figures that are measured in the guest: told to whoever watches, and, for the table of `dist/bench.sh --only guest`, written as
//! one object a line into the file that `CDC_VM_FIGURES` names. The keys are those of its other rows (benches/figures/report.rs).

use super::guest::tell;
use std::{fs::File, io::Write};

/// One row.
#[derive(Default)]
pub struct Figure {
    /// What was measured.
    pub what: &'static str,
    /// Of ours.
    pub ours: String,
    /// What it is compared with; empty: nothing.
    pub against: String,
    /// Ours through theirs.
    pub ratio: Option<f64>,
    /// What is to be reached.
    pub reach: &'static str,
    /// Whether it was.
    pub reached: Option<bool>,
    /// How many of each.
    pub rounds: u32,
    /// What else belongs to it; empty: nothing.
    pub note: String,
}

impl Figure {
    /// Tells it.
    pub fn show(&self) {
        let against = if self.against.is_empty() { String::new() } else { format!(" (against {})", self.against) };
        tell(&format!("figure: {}: {}{against}; {} rounds; {}", self.what, self.ours, self.rounds, self.note));
        let Some(file) = std::env::var_os("CDC_VM_FIGURES") else { return };
        let notes: Vec<&str> = Some(self.note.as_str()).filter(|note| !note.is_empty()).into_iter().collect();
        let row = serde_json::json!({
            "what": self.what, "ours": self.ours, "against": self.against, "ratio": self.ratio, "reach": self.reach,
            "reached": self.reached, "rounds": self.rounds, "notes": notes,
        });
        let mut file = File::options().create(true).append(true).open(file).unwrap();
        writeln!(file, "{row}").unwrap();
    }
}
