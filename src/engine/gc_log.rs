//! What a JVM's garbage collector did last before its end, from the file that its command line names.

use crate::{
    base::{Cause, Timestamp, recipe::Recipe},
    logs::stamp::line_time,
    services::evidence,
    sys::fs,
};

/// How many are told.
const TOLD: usize = 4;

/// The last collections of the run that began at `started_at`, newest last; none where memory is not what it died of. To be
/// read before the next start, which puts another file there. Reads at most two small files.
pub(super) fn last(recipe: &Recipe, cause: Cause, started_at: Timestamp) -> Vec<String> {
    let Some(newer) = evidence::gc_log(recipe).filter(|_| matches!(cause, Cause::OutOfMemory | Cause::Crashed)) else {
        return Vec::new();
    };
    let mut older = newer.clone().into_os_string();
    older.push(".0");
    // The node's own files, perhaps another user's: what is no plain file is passed over.
    let read = |file: &std::path::Path| fs::read_plain_lossy_optional(file).ok().flatten().unwrap_or_default();
    newest(&[read(older.as_ref()), read(&newer)], started_at)
}

fn newest(files: &[String], since: Timestamp) -> Vec<String> {
    let lines = files.iter().flat_map(|text| text.lines());
    let of_run = |line: &&str| line.contains(" GC(") && line_time(line.as_bytes()).is_some_and(|at| at >= since);
    let lines: Vec<&str> = lines.filter(of_run).collect();
    lines[lines.len().saturating_sub(TOLD)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_collections_of_the_run_are_told_over_both_files() {
        let line = |second: u32| {
            format!("[2026-11-26T07:00:{second:02}.000+0000] GC({second}) Pause Young (x) 3M->1M(9M) 1.0ms\n")
        };
        let older: String = (1..5).map(line).collect();
        let newer = format!("[2026-11-26T07:00:05.500+0000] Using Serial\n{}half a line", line(6));
        let of = |at: &str| newest(&[older.clone(), newer.clone()], Timestamp::parse(at).unwrap());
        let numbers = |lines: Vec<String>| -> Vec<String> {
            lines.iter().map(|l| l.split(['(', ')']).nth(1).unwrap().to_owned()).collect()
        };
        assert_eq!(numbers(of("2026-11-26T06:00:00Z")), ["2", "3", "4", "6"]);
        assert_eq!(numbers(of("2026-11-26T07:00:04Z")), ["4", "6"], "earlier ones are of an earlier run");
        assert!(of("2026-11-26T07:01:00Z").is_empty());
    }
}
