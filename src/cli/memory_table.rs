//! `status --memory`: what each node's memory is made of, against its cap, and where it goes; the supervisor's own part below.

use crate::{
    base::ByteSize,
    cli::table::size,
    control::wire::{Memory, OwnMemory, Status},
};

const HEADINGS: [&str; 10] =
    ["NODE", "CAP", "CURRENT", "ANON", "OF CAP", "FILE", "KERNEL", "PEAK", "TREND", "HOURS TO CAP"];

/// The table, without a line end at its end.
pub fn table(status: &Status) -> String {
    let mut rows: Vec<Vec<String>> = vec![HEADINGS.map(str::to_owned).to_vec()];
    for node in &status.nodes {
        rows.push(row(node.name.as_str(), &node.memory));
    }
    rows.push(row("sum", &sum(status)));
    let widths: Vec<usize> =
        (0..HEADINGS.len()).map(|at| rows.iter().map(|r| r[at].chars().count()).max().unwrap_or(0)).collect();
    let mut lines: Vec<String> = rows
        .iter()
        .map(|cells| {
            let cells = cells.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect();
    lines.push(String::new());
    lines.push(own(status.supervisor.memory.as_ref()));
    lines.join("\n")
}

fn row(name: &str, memory: &Memory) -> Vec<String> {
    let bytes = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), size);
    let of_cap = match (memory.anon_bytes, memory.cap_bytes) {
        (Some(anon), Some(cap @ 1..)) => format!("{} %", anon.saturating_mul(100) / cap),
        (None, _) | (_, None | Some(0)) => "-".to_owned(),
    };
    vec![
        name.to_owned(),
        bytes(memory.cap_bytes),
        bytes(memory.current_bytes),
        bytes(memory.anon_bytes),
        of_cap,
        bytes(memory.file_bytes),
        bytes(memory.kernel_bytes),
        bytes(memory.peak_bytes),
        memory.trend_bytes_per_hour.map_or_else(|| "-".to_owned(), per_hour),
        memory.hours_to_cap.map_or_else(|| "-".to_owned(), |h| if h < 1.0 { h.to_string() } else { format!("{h:.1}") }),
    ]
}

/// `+12M/h`, `-3M/h`, `0`: less than a MiB an hour is level.
fn per_hour(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    match bytes.unsigned_abs() >> 20 {
        0 => "0".to_owned(),
        mib => format!("{sign}{}/h", size(mib << 20)),
    }
}

/// What is known of all nodes together. Peaks of different times make no sum, and no trend either.
fn sum(status: &Status) -> Memory {
    let of = |part: fn(&Memory) -> Option<u64>| {
        let known: Vec<u64> = status.nodes.iter().filter_map(|n| part(&n.memory)).collect();
        (!known.is_empty()).then(|| known.iter().sum())
    };
    Memory {
        cap_bytes: of(|m| m.cap_bytes),
        current_bytes: of(|m| m.current_bytes),
        anon_bytes: of(|m| m.anon_bytes),
        file_bytes: of(|m| m.file_bytes),
        kernel_bytes: of(|m| m.kernel_bytes),
        ..Memory::default()
    }
}

/// `supervisor: daemon and 5 shims hold 12.4M (anon 9.1M + kernel 3.3M) in a group of their own; peak 18M with what ran once`.
///
/// `memory.peak` counts the programs that the daemon runs once, too, and cached files: `mysqld --initialize` alone makes it 290 MB
/// (measured in the guest of tests/vm; 45 MB after a start that had nothing to initialise).
fn own(memory: Option<&OwnMemory>) -> String {
    let Some(memory) = memory else { return "supervisor: what it holds itself is not known".to_owned() };
    let fine = |bytes: u64| format!("{:.1}M", mebibytes(bytes));
    let shims = memory.processes.saturating_sub(1);
    let who = format!("supervisor: daemon and {shims} shim{}", if shims == 1 { "" } else { "s" });
    let anon = memory.anon_bytes.unwrap_or(0);
    match memory.kernel_bytes {
        Some(kernel) => {
            let peak = memory
                .peak_bytes
                .map_or_else(String::new, |p| format!("; peak {} with what ran once", ByteSize(p).rounded()));
            let held = fine(anon + kernel);
            format!("{who} hold {held} (anon {} + kernel {}) in a group of their own{peak}", fine(anon), fine(kernel))
        }
        None => format!("{who} hold {} of anonymous memory (no group of their own to ask)", fine(anon)),
    }
}

#[allow(clippy::cast_precision_loss, reason = "one decimal for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1_u64 << 20) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::stack;

    #[test]
    fn the_table_has_every_part_and_what_is_not_known_is_a_dash() {
        let mut status = stack();
        let mib = |n: u64| Some(n << 20);
        for (node, n) in status.nodes.iter_mut().zip(1..) {
            let memory = &mut node.memory;
            (memory.anon_bytes, memory.file_bytes) = (mib(60 * n), mib(8));
            (memory.kernel_bytes, memory.peak_bytes) = (mib(3), mib(200));
        }
        let leaking = &mut status.nodes[3].memory;
        (leaking.trend_bytes_per_hour, leaking.hours_to_cap) = (Some(12 << 20), Some(44.0));
        status.nodes[2].memory.trend_bytes_per_hour = Some(-500_000);
        status.nodes[4].memory = Memory { cap_bytes: mib(1024), ..Memory::default() };
        status.supervisor.memory = Some(OwnMemory {
            current_bytes: mib(20),
            anon_bytes: Some(9_542_042),
            file_bytes: mib(4),
            kernel_bytes: Some(3_460_301),
            peak_bytes: mib(18),
            processes: 6,
        });
        let expected = "\
NODE        CAP  CURRENT  ANON  OF CAP  FILE  KERNEL  PEAK   TREND  HOURS TO CAP
zookeeper  384M      54M   60M    15 %    8M      3M  200M       -             -
broker-1   768M     131M  120M    15 %    8M      3M  200M       -             -
broker-2   768M     129M  180M    23 %    8M      3M  200M       0             -
broker-3   768M     128M  240M    31 %    8M      3M  200M  +12M/h          44.0
mysql        1G        -     -       -     -       -     -       -             -
sum        3.6G     442M  600M    16 %   32M     12M     -       -             -

supervisor: daemon and 5 shims hold 12.4M (anon 9.1M + kernel 3.3M) in a group of their own; peak 18M with what ran once";
        assert_eq!(table(&status), expected);
        status.supervisor.memory = None;
        assert!(table(&status).ends_with("is not known"));
    }
}
