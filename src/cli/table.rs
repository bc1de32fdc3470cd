//! The table of nodes, and the lines below it that say what is not as it should be.

use super::printer::Paint;
use crate::{
    base::{ByteSize, Cause, NodeName, Timestamp, units::human_duration},
    control::wire::{CutShort, LastExit, Node, Status},
};
use std::{fmt::Write as _, time::Duration};

/// The last column stands there only when some node has an incident on record.
const HEADINGS: [&str; COLUMNS] = ["NODE", "STATE", "UP", "RESTARTS", "MEMORY", "OF CAP", "PORTS", "INCIDENT"];
const COLUMNS: usize = 8;

/// Which columns are pushed to the right: those with numbers to compare.
const RIGHT: [bool; COLUMNS] = [false, false, false, true, true, false, false, false];

/// The column whose sum stands in the last line.
const MEMORY: usize = 4;

/// The table, without a line end at its end. `host` is the memory of the host, when it is known.
pub fn nodes(status: &Status, now: Timestamp, host: Option<ByteSize>, paint: Paint) -> String {
    let rows: Vec<[String; COLUMNS]> = status.nodes.iter().map(|node| row(node, now)).collect();
    let shown = if status.nodes.iter().any(|n| n.incident.is_some()) { COLUMNS } else { COLUMNS - 1 };
    let sum_of = |part: fn(&Node) -> Option<u64>| status.nodes.iter().filter_map(part).sum::<u64>();
    let used = sum_of(|n| n.memory.current_bytes);
    let caps = sum_of(|n| n.memory.cap_bytes);
    let used = megabytes(used);

    let mut widths = HEADINGS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths[MEMORY] = widths[MEMORY].max(used.len());

    let mut out = String::new();
    line(&mut out, &HEADINGS.map(str::to_owned)[..shown], &widths, |_, padded| paint.heading(padded));
    for cells in &rows {
        line(&mut out, &cells[..shown], &widths, |column, padded| {
            if column == 1 { paint.state(&cells[1], padded) } else { padded.to_owned() }
        });
    }
    let before: usize = widths[..MEMORY].iter().map(|w| w + 2).sum();
    let _ = write!(out, "{:before$}{used:>width$}  of {} caps", "sum", size(caps), width = widths[MEMORY]);
    match host.map(|host| host.0.checked_sub(caps)) {
        Some(Some(left)) => {
            let _ = write!(out, "; {} stay for the rest of the host", size(left));
        }
        Some(None) => out.push_str("; that is more than the host has"),
        None => {}
    }
    out
}

fn line(out: &mut String, cells: &[String], widths: &[usize; COLUMNS], paint: impl Fn(usize, &str) -> String) {
    let last = cells.len() - 1;
    for (column, cell) in cells.iter().enumerate() {
        let width = widths[column];
        let padded = match (RIGHT[column], column == last) {
            (true, _) => format!("{cell:>width$}"),
            (false, true) => cell.clone(),
            (false, false) => format!("{cell:<width$}"),
        };
        out.push_str(&paint(column, &padded));
        out.push_str(if column == last { "" } else { "  " });
    }
    // a last cell without a word leaves the padding of those before it
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

fn row(node: &Node, now: Timestamp) -> [String; COLUMNS] {
    let unknown = || "-".to_owned();
    let up = up(now, node.ready_since, node.up_ms).unwrap_or_else(unknown);
    let memory = node.memory.current_bytes.map_or_else(unknown, megabytes);
    let of_cap = match (node.memory.current_bytes, node.memory.cap_bytes) {
        (Some(used), Some(cap @ 1..)) => format!("{:>2} % of {}", used.saturating_mul(100) / cap, ByteSize(cap)),
        (None, Some(cap)) => format!("   - of {}", ByteSize(cap)),
        (_, None | Some(0)) => "no cap".to_owned(),
    };
    let ports: Vec<String> = node.ports.iter().map(|p| p.port.to_string()).collect();
    let incident = node.incident.map_or_else(String::new, |id| format!("#{id}"));
    let restarts = node.restarts.to_string();
    [node.name.to_string(), node.state.clone(), up, restarts, memory, of_cap, ports.join(" "), incident]
}

/// In the detail of a node that runs by other settings than the applied ones (a reload that was cut short).
const OTHER_SETTINGS: &str = "runs with other settings";

/// In the detail of a node whose cgroup does not hold what it should.
const LIMITS: &str = "its limits do not hold";

/// From which part of its cap on a node's own memory is worth a word, per cent: where the daemon warns (README, "Memory").
const MEMORY_HIGH: u64 = 85;

/// `its own memory (anon) is 661M, 86 % of its cap of 768M; as it grows, there in 9 h`; none: far from it.
fn memory_words(node: &Node) -> Option<String> {
    let (anon, cap) = (node.memory.anon_bytes?, node.memory.cap_bytes.filter(|cap| *cap > 0)?);
    let per_cent = anon.saturating_mul(100) / cap;
    let close = per_cent >= MEMORY_HIGH || node.memory.hours_to_cap.is_some_and(|hours| hours <= 24.0);
    let when = node.memory.hours_to_cap.map_or_else(String::new, |hours| format!("; as it grows, there in {hours} h"));
    close.then(|| format!("its own memory (anon) is {}, {per_cent} % of its cap of {}{when}", size(anon), size(cap)))
}

/// What is not as it should be, one line per node, and why caps are not enforced.
pub fn remarks(status: &Status, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for node in &status.nodes {
        let settled = match node.state.as_str() {
            "ready" => true,
            "down" => node.wanted == "down",
            _ => false,
        };
        let mut parts = Vec::new();
        let said = [OTHER_SETTINGS, LIMITS].iter().any(|words| node.detail.contains(words));
        if (!settled || said) && !node.detail.is_empty() {
            parts.push(node.detail.clone());
        }
        parts.extend(memory_words(node));
        if let Some(exit) = node.last_exit.as_ref().filter(|_| node.restarts > 0 || !settled) {
            let incident = node.incident.map_or_else(String::new, |id| format!(", incident #{id}"));
            parts.push(format!("{}{incident}", exit_words(exit, now)));
        }
        if !parts.is_empty() {
            lines.push(format!("{}: {}", node.name, parts.join("; ")));
        }
    }
    lines.extend(caps_remark(status));
    lines
}

/// What a roll has left that was cut short, and who does it.
pub fn cut_short(left: &CutShort) -> String {
    let rest: Vec<&str> = left.not_restarted.iter().map(NodeName::as_str).collect();
    let step = if left.step.is_empty() { String::new() } else { format!(" ({})", left.step) };
    let detail =
        |before: &str| left.resume_detail.as_ref().map_or_else(String::new, |detail| format!("{before}{detail}"));
    let next = match left.resume.as_deref() {
        Some("waits") => format!("this daemon finishes it{}", detail(": ")),
        Some("runs") => format!("this daemon finishes it now{}", detail(": ")),
        _ => format!("`cdc-supervisor roll {}` does the rest{}", rest.join(" "), detail("; ")),
    };
    format!(
        "{}, begun at {}, was cut short with its daemon{step}; not restarted: {}; {next}",
        left.operation,
        left.begun_at,
        rest.join(", "),
    )
}

/// That caps are not enforced, and why; none when they are.
pub fn caps_remark(status: &Status) -> Option<String> {
    let caps = &status.supervisor.caps;
    let why = caps.why.as_deref().unwrap_or("the reason is not known");
    (!caps.enforced).then(|| format!("caps are not enforced: {why}"))
}

/// `last exit SIGKILL (killed-by-other) 3m05s ago`.
fn exit_words(exit: &LastExit, now: Timestamp) -> String {
    let ago = up_for(now, exit.at);
    match (&exit.signal, exit.code) {
        (Some(signal), _) => format!("last exit {signal} ({}) {ago} ago", exit.cause),
        (None, Some(code)) => format!("last exit code {code} ({}) {ago} ago", exit.cause),
        (None, None) if exit.cause == Cause::Unknown => format!("its last exit {ago} ago was seen by nobody"),
        (None, None) if matches!(exit.cause, Cause::CouldNotStart | Cause::Crashed) => {
            format!("its last start {ago} ago came to no run ({})", exit.cause)
        }
        // a run whose shim was lost: nobody heard its code
        (None, None) => format!("last exit unknown ({}) {ago} ago", exit.cause),
    }
}

/// `4s`, `3m05s`, `2h10m`, `4d03h`.
pub fn up_for(now: Timestamp, since: Timestamp) -> String {
    passed(u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0))
}

/// How long something has been up: as its daemon counts, or by the wall clock where that does not tell.
pub fn up(now: Timestamp, since: Option<Timestamp>, up_ms: Option<u64>) -> Option<String> {
    since.map(|since| up_ms.map_or_else(|| up_for(now, since), passed))
}

fn passed(ms: u64) -> String {
    let passed = Duration::from_millis(ms);
    if passed.as_secs() < 60 { format!("{}s", passed.as_secs()) } else { human_duration(passed) }
}

/// `54 MB`: whole mebibytes, as caps are counted.
fn megabytes(bytes: u64) -> String {
    format!("{} MB", ByteSize(bytes).whole_mib())
}

/// `3.6G`: from a gibibyte on with at most one decimal, below in whole mebibytes, and `5K` where that would be none of them.
pub fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if (1..1 << 20).contains(&bytes) {
        return format!("{}K", bytes.div_ceil(1 << 10));
    }
    if bytes < GIB {
        return format!("{}M", bytes >> 20);
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(GIB) / 2) / u128::from(GIB);
    if tenths % 10 == 0 { format!("{}G", tenths / 10) } else { format!("{}.{}G", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::{NOW, node, stack};

    const PLAIN: Paint = Paint { on: false };

    #[test]
    fn the_table_of_a_ready_stack_is_the_one_of_the_design() {
        let host = ByteSize(16_541_000_000);
        let expected = "\
NODE       STATE  UP   RESTARTS  MEMORY  OF CAP        PORTS
zookeeper  ready  4s          0   54 MB  14 % of 384M  2181
broker-1   ready  2s          0  131 MB  17 % of 768M  29092 9092
broker-2   ready  2s          0  129 MB  16 % of 768M  29093 9093
broker-3   ready  2s          0  128 MB  16 % of 768M  29094 9094
mysql      ready  12s         0  297 MB  29 % of 1G    3306
sum                              739 MB  of 3.6G caps; 11.8G stay for the rest of the host";
        assert_eq!(nodes(&stack(), NOW, Some(host), PLAIN), expected);
        assert!(remarks(&stack(), NOW).is_empty());
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_what_is_wrong_has_a_line() {
        let mut status = stack();
        status.nodes.truncate(1);
        let mut broker = node("broker-2", "broker", 0, 0, 768, &[("INTERNAL", 29093)]);
        broker.state = "waiting".into();
        broker.detail = "starts again in 3.0 s, third pause".into();
        broker.memory.current_bytes = None;
        broker.restarts = 2;
        broker.incident = Some(7);
        broker.last_exit = Some(LastExit {
            code: None,
            signal: Some("SIGKILL".into()),
            cause: Cause::KilledByOther,
            at: Timestamp(NOW.0 - 185_000),
            oom_by: None,
        });
        let mut tool = node("a-tool-with-a-long-name", "command", 0, 3, 0, &[]);
        tool.state = "down".into();
        tool.wanted = "down".into();
        tool.memory.cap_bytes = None;
        status.nodes.extend([broker, tool]);
        status.supervisor.caps = crate::control::wire::Caps { enforced: false, why: Some("no cgroup v2".into()) };
        let expected = "\
NODE                     STATE    UP  RESTARTS  MEMORY  OF CAP        PORTS  INCIDENT
zookeeper                ready    4s         0   54 MB  14 % of 384M  2181
broker-2                 waiting  -          2       -     - of 768M  29093  #7
a-tool-with-a-long-name  down     -          0    3 MB  no cap
sum                                              57 MB  of 1.1G caps";
        assert_eq!(nodes(&status, NOW, None, PLAIN), expected);
        assert_eq!(
            remarks(&status, NOW),
            [
                "broker-2: starts again in 3.0 s, third pause; last exit SIGKILL (killed-by-other) 3m05s ago, incident #7",
                "caps are not enforced: no cgroup v2"
            ]
        );
    }

    #[test]
    fn an_end_that_nobody_saw_and_a_start_that_came_to_no_run_are_told_as_that() {
        let words = |cause| {
            let exit = LastExit { code: None, signal: None, cause, at: Timestamp(NOW.0 - 4_000), oom_by: None };
            exit_words(&exit, NOW)
        };
        assert_eq!(words(Cause::Unknown), "its last exit 4s ago was seen by nobody");
        assert_eq!(words(Cause::CouldNotStart), "its last start 4s ago came to no run (could-not-start)");
        assert_eq!(words(Cause::Crashed), "its last start 4s ago came to no run (crashed)");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let painted = nodes(&stack(), NOW, None, Paint { on: true });
        assert!(painted.contains("\u{1b}["));
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), nodes(&stack(), NOW, None, PLAIN));
    }

    #[test]
    fn memory_close_to_the_cap_has_a_line() {
        let mut status = stack();
        status.nodes[1].memory.anon_bytes = Some(661 << 20);
        status.nodes[2].memory.anon_bytes = Some(300 << 20);
        status.nodes[2].memory.hours_to_cap = Some(9.5);
        status.nodes[3].memory.hours_to_cap = Some(90.0);
        assert_eq!(
            remarks(&status, NOW),
            [
                "broker-1: its own memory (anon) is 661M, 86 % of its cap of 768M",
                "broker-2: its own memory (anon) is 300M, 39 % of its cap of 768M; as it grows, there in 9.5 h"
            ]
        );
    }

    #[test]
    fn what_a_roll_has_left_is_told_with_who_does_it() {
        let left = CutShort {
            operation: "roll broker-1, broker-2".into(),
            begun_at: NOW,
            step: "broker-1: restarts".into(),
            not_restarted: vec![NodeName::broker(2)],
            resume: None,
            resume_detail: None,
        };
        let told = |resume: Option<&str>, detail: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            cut_short(&CutShort { resume: owned(resume), resume_detail: owned(detail), ..left.clone() })
        };
        let begins = "roll broker-1, broker-2, begun at 2025-11-23T03:07:59.042Z, was cut short with its daemon (broker-1: restarts); not \
                      restarted: broker-2; ";
        for (resume, detail, ends) in [
            (None, None, "`cdc-supervisor roll broker-2` does the rest"),
            (Some("left"), Some("why"), "`cdc-supervisor roll broker-2` does the rest; why"),
            (Some("waits"), Some("broker-1 is starting"), "this daemon finishes it: broker-1 is starting"),
            (Some("runs"), None, "this daemon finishes it now"),
        ] {
            assert_eq!(told(resume, detail), format!("{begins}{ends}"));
        }
    }

    #[test]
    fn caps_beyond_the_host_are_said() {
        let text = nodes(&stack(), NOW, Some(ByteSize::gib(2)), PLAIN);
        assert!(text.ends_with("of 3.6G caps; that is more than the host has"), "{text}");
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [(3_712 << 20, "3.6G"), (4 << 30, "4G"), (768 << 20, "768M"), (5_000, "5K"), (0, "0M")] {
            assert_eq!(size(bytes), text);
        }
    }
}
