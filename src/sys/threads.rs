//! Threads of another process: which have a certain name, and how long one has waited for a processor so far.

use std::{fs, time::Duration};

/// What the kernel keeps of a thread's name, bytes (`TASK_COMM_LEN` less the end, proc_pid_comm(5)).
const NAME: usize = 15;

/// The threads of `pid` whose names begin with one of `names`; empty: there is none, or they cannot be seen.
pub fn named(pid: i32, names: &[&str]) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let threads = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    threads
        .filter(|thread| {
            // One that has ended meanwhile has no name.
            let name = fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm")).unwrap_or_default();
            names.iter().any(|begins| begins_with(name.trim_end_matches('\n'), begins))
        })
        .collect()
}

/// Whether the name that the kernel has of a thread is that of one whose full name begins so. HotSpot cuts a long name off behind 15
/// bytes (17.0.15, seen); a JVM that keeps its first seven and its last six with two dots between them is understood, too.
fn begins_with(kept: &str, begins: &str) -> bool {
    let first = |n: usize| begins.get(..n.min(begins.len())).unwrap_or(begins);
    let middle = || kept.len() == NAME && kept.get(7..9) == Some("..") && kept.get(..7) == Some(first(7));
    kept.starts_with(first(NAME)) || middle()
}

/// How long a thread has waited for a processor since it was made, being able to run: the second field of `schedstat`, nanoseconds
/// (Documentation/scheduler/sched-stats.rst). A wait counts when it is over. Not waiting: asleep, stopped by a signal, waiting for a disk.
/// None: there is no such thread, or the kernel does not count (CONFIG_SCHED_INFO).
pub fn waited(pid: i32, thread: i32) -> Option<Duration> {
    parse(&fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?)
}

fn parse(schedstat: &str) -> Option<Duration> {
    schedstat.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_known_by_the_beginning_of_its_name_however_it_was_cut() {
        assert!(begins_with("main-SendThread", "main-SendThread("));
        assert!(begins_with("main-Se..:2181)", "main-SendThread("));
        assert!(begins_with("SessionTracker", "SessionTracker"));
        assert!(!begins_with("main-EventThrea", "main-SendThread(") && !begins_with("main", "main-SendThread("));
        assert!(!begins_with("", "SessionTracker"));
    }

    #[test]
    fn the_wait_is_the_second_of_the_three_numbers() {
        assert_eq!(parse("294789 42313 2\n"), Some(Duration::from_nanos(42_313)));
        assert_eq!(parse("0 0 0\n"), Some(Duration::ZERO));
        for text in ["", "12", "a b c"] {
            assert_eq!(parse(text), None);
        }
    }

    #[test]
    fn a_thread_of_this_process_is_found_by_its_name() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let made = std::thread::Builder::new().name("told-by-its-name-at-last".into());
        let thread = made.spawn(move || told.recv()).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        while named(own, &["told-by-its-name"]).is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(named(own, &["told-by-its-name"]).len(), 1);
        assert!(named(own, &["nobody-is-called-so"]).is_empty());
        drop(tell);
        let _ = thread.join();
    }
}
