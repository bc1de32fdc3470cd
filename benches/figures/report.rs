//! What a figure is, and how all of them are printed: one table, or one JSON object per line.

use std::{fmt::Write as _, fs, time::Duration};

/// The result of a row: why it could not be measured, in words.
pub type Measured<T> = Result<T, String>;

/// One line of the table.
#[derive(Debug, Default)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// Of ours.
    pub ours: String,
    /// What it is compared with, in the same run.
    pub against: String,
    /// Ours through theirs; none: nothing to compare with.
    pub ratio: Option<f64>,
    /// What is to be reached.
    pub reach: String,
    /// Whether it was; none: cannot be said.
    pub reached: Option<bool>,
    /// How many rounds of each.
    pub rounds: usize,
    /// What else belongs to it.
    pub notes: Vec<String>,
}

impl Figure {
    /// A row that could not be measured.
    pub fn failed(what: &str, why: &str) -> Self {
        Self { what: what.to_owned(), ours: "not measured".into(), notes: vec![why.to_owned()], ..Self::default() }
    }

    /// A row that another program has measured, as it has written it down.
    pub fn read(line: &str) -> Measured<Self> {
        let row: serde_json::Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            what: text("what"),
            ours: text("ours"),
            against: text("against"),
            ratio: row["ratio"].as_f64(),
            reach: text("reach"),
            reached: row["reached"].as_bool(),
            rounds: row["rounds"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0),
            notes: row["notes"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|n| n.as_str().map(str::to_owned))
                .collect(),
        })
    }

    fn json(&self) -> String {
        serde_json::json!({
            "what": self.what, "ours": self.ours, "against": self.against, "ratio": self.ratio, "reach": self.reach,
            "reached": self.reached, "rounds": self.rounds, "notes": self.notes,
        })
        .to_string()
    }

    fn cells(&self) -> [String; 7] {
        let verdict = match self.reached {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        [
            self.what.clone(),
            self.ours.clone(),
            if self.against.is_empty() { "-".into() } else { self.against.clone() },
            self.ratio.map_or_else(|| "-".into(), |r| format!("{r:.2}")),
            self.reach.clone(),
            verdict.to_owned(),
            self.rounds.to_string(),
        ]
    }
}

/// Prints everything.
pub fn print(figures: &[Figure], machine: &str, json: bool) {
    if json {
        for figure in figures {
            println!("{}", figure.json());
        }
        return;
    }
    println!("\n{machine}\n");
    println!("{}", table(figures));
}

/// The figures as a table that reads as text and as Markdown, with notes below it.
fn table(figures: &[Figure]) -> String {
    let head = ["figure", "ours", "against", "ratio", "reach", "reached", "rounds"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(figures.iter().map(Figure::cells)).collect();
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text += "|\n";
        if n == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text += "|\n";
        }
    }
    let notes = figures.iter().flat_map(|f| f.notes.iter().map(move |n| format!("- {}: {n}", f.what)));
    let notes: Vec<String> = notes.collect();
    if !notes.is_empty() {
        let _ = write!(text, "\n{}", notes.join("\n"));
    }
    text
}

/// The machine and its state: cores, memory, kernel, distribution, load, date.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = read("/proc/meminfo");
    let kib: u64 = memory
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let os = read("/etc/os-release");
    let os = os.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("").trim_matches('"');
    let load: Vec<String> = read("/proc/loadavg").split_whitespace().take(3).map(str::to_owned).collect();
    let caps = match cdc_supervisor::sys::cgroup::detect() {
        Ok(_) => "caps enforced".to_owned(),
        Err(why) => format!("caps not enforced: {why}"),
    };
    format!(
        "{cores} cores, {} GB, Linux {}, {os}; load before {}; {} UTC\ncdc-supervisor {}; {caps}",
        kib >> 20,
        read("/proc/sys/kernel/osrelease").trim(),
        load.join(" "),
        jiff::Timestamp::from_millisecond(cdc_supervisor::sys::clock::wall().0)
            .map_or_else(|_| String::new(), |t| t.strftime("%Y-%m-%d %H:%M").to_string()),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The value below which `part` of all lie.
pub fn percentile(values: &[Duration], part: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = (part * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// The middle one.
pub fn median(values: &[Duration]) -> Duration {
    percentile(values, 0.5)
}

/// Milliseconds with as many places as a reader can use.
pub fn ms(d: Duration) -> String {
    let ms = d.as_secs_f64() * 1e3;
    match ms {
        m if m >= 10_000.0 => format!("{:.1} s", m / 1e3),
        m if m >= 100.0 => format!("{m:.0} ms"),
        m if m >= 10.0 => format!("{m:.1} ms"),
        m => format!("{m:.2} ms"),
    }
}

/// `p50 / p95`.
pub fn p50_p95(values: &[Duration]) -> String {
    format!("{} / {}", ms(median(values)), ms(percentile(values, 0.95)))
}

/// Ours through theirs.
pub fn ratio(ours: Duration, theirs: Duration) -> Option<f64> {
    (!theirs.is_zero()).then(|| ours.as_secs_f64() / theirs.as_secs_f64())
}
