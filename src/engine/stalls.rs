//! How long nodes that have to do with ZooKeeper sessions were held up: read in the rounds from what the collector has written and from
//! what the kernel has counted since the last one; the longest of the last hour is kept.

use crate::{
    base::{
        Moment, NodeKind, Timestamp,
        ids::ProcessId,
        recipe::Recipe,
        stall::{HeldBy, Stall, Stalls, is_long},
    },
    logs::stamp::line_time,
    services::{evidence, stalls},
    sys::{clock, grown::Grown, threads},
};
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

/// For how long a stall counts.
const COUNTS: Duration = Duration::from_secs(3_600);

/// What ends sooner than this after a longer one is not kept beside it: it would be the longest for so long only.
const APART: Duration = Duration::from_secs(60);

/// The longest of the last hour: those that are, or will be when the longer ones before them are too old. Pure.
#[derive(Debug, Default)]
struct Longest {
    /// Falling.
    kept: VecDeque<(Moment, Timestamp, Duration)>,
}

impl Longest {
    /// `moment` and `at` are its end, on both clocks.
    fn push(&mut self, moment: Moment, at: Timestamp, length: Duration) {
        while self.kept.back().is_some_and(|(_, _, last)| *last <= length) {
            self.kept.pop_back();
        }
        if self.kept.back().is_none_or(|(last, ..)| moment.since(*last) >= APART) {
            self.kept.push_back((moment, at, length));
        }
    }

    fn now(&mut self, now: Moment) -> Option<(Timestamp, Duration)> {
        while self.kept.front().is_some_and(|(moment, ..)| now.since(*moment) > COUNTS) {
            self.kept.pop_front();
        }
        self.kept.front().map(|(_, at, length)| (*at, *length))
    }

    fn stall(&mut self, now: Moment, since: Timestamp) -> Stall {
        let longest = self.now(now);
        // A tenth of a millisecond is more than enough.
        let tenths = longest.map_or(0, |(_, length)| u32::try_from(length.as_micros() / 100).unwrap_or(u32::MAX));
        Stall { longest_ms: f64::from(tenths) / 10.0, at: longest.map(|(at, _)| at), since }
    }
}

/// What is looked at in one run of one node.
#[derive(Clone, Debug)]
pub(super) struct About {
    process: ProcessId,
    started_at: Option<Timestamp>,
    session: Duration,
    threads: &'static [&'static str],
    collector: Option<PathBuf>,
}

impl About {
    /// None: it has nothing to do with sessions. `shortest`: of any broker's session.
    pub(super) fn of(
        recipe: &Recipe,
        process: &ProcessId,
        started_at: Option<Timestamp>,
        shortest: Option<Duration>,
    ) -> Option<Self> {
        let threads = stalls::threads(recipe.kind)?;
        let session = match recipe.kind {
            NodeKind::Broker(_) => stalls::session(recipe),
            NodeKind::Zookeeper | NodeKind::Mysql | NodeKind::KafkaUi | NodeKind::Command => shortest,
        };
        let collector = evidence::gc_log(recipe);
        Some(Self { process: process.clone(), started_at, session: session?, threads, collector })
    }
}

/// What was seen so far in one run of one node.
#[derive(Debug, Default)]
pub(super) struct Watched {
    log: Grown,
    collector: Longest,
    collector_since: Option<Timestamp>,
    /// What each thread had waited at the last look.
    waited: BTreeMap<i32, Duration>,
    processor: Longest,
    processor_since: Option<Timestamp>,
    /// The last one that was warned of.
    told: Option<(Moment, Duration)>,
}

/// What a look has found.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) stalls: Stalls,
    /// One to be warned of.
    pub(super) long: Option<(HeldBy, Duration, Timestamp)>,
}

impl Watched {
    /// Reads what has come. Blocks on small files.
    pub(super) fn look(&mut self, about: &About, now: Moment) -> Seen {
        let wall = clock::wall();
        let collector = self.read_collector(about, now, wall).map(|found| (HeldBy::Collector, found));
        let processor = self.read_processor(about, now, wall).map(|found| (HeldBy::Processor, found));
        let new = [collector, processor].into_iter().flatten().max_by_key(|(_, (length, _))| *length);
        let long = new.map(|(held, (length, at))| (held, length, at));
        let long = long.filter(|(_, length, _)| self.tells(*length, about.session, now));
        Seen {
            stalls: Stalls {
                session_ms: u64::try_from(about.session.as_millis()).unwrap_or(u64::MAX),
                collector: self.collector_since.map(|since| self.collector.stall(now, since)),
                processor: self.processor_since.map(|since| self.processor.stall(now, since)),
            },
            long,
        }
    }

    /// The longest pause that is new; none: none is, or this was the first look.
    fn read_collector(&mut self, about: &About, now: Moment, wall: Timestamp) -> Option<(Duration, Timestamp)> {
        let path = about.collector.as_ref()?;
        let mut older = path.clone().into_os_string();
        older.push(".0");
        let first = self.log.is_new();
        // Not there yet, or not to be read: it is not known how long the collector takes.
        let news = self.log.look(path, older.as_ref()).ok()?;
        let of_run = |at: &Timestamp| about.started_at.is_none_or(|started| *at >= started);
        let lines = || news.text.lines().filter_map(|line| Some((line, line_time(line.as_bytes()).filter(of_run)?)));
        if first {
            let begun = if news.more_before { None } else { about.started_at };
            self.collector_since = begun.or_else(|| lines().next().map(|(_, at)| at)).or(Some(wall));
        }
        let mut longest = None;
        for (length, at) in lines().filter_map(|(line, at)| Some((stalls::pause(line)?, at))) {
            let ago = Duration::from_millis(u64::try_from(wall.0.saturating_sub(at.0)).unwrap_or(0));
            self.collector.push(now - ago, at, length);
            longest = longest.max(Some((length, at)));
        }
        // What was there before was the last daemon's to tell.
        longest.filter(|_| !first)
    }

    /// How long the threads have waited for a processor since the last look; none: this was the first, or it is not told.
    fn read_processor(&mut self, about: &About, now: Moment, wall: Timestamp) -> Option<(Duration, Timestamp)> {
        let pid = about.process.pid;
        let known = self.waited.keys().map(|thread| Some((*thread, threads::waited(pid, *thread)?)));
        // A thread has gone: another session has another one.
        let read: Option<BTreeMap<i32, Duration>> =
            known.collect::<Option<_>>().filter(|read: &BTreeMap<_, _>| !read.is_empty());
        let read = read.unwrap_or_else(|| {
            let found = threads::named(pid, about.threads).into_iter();
            found.filter_map(|thread| Some((thread, threads::waited(pid, thread)?))).collect()
        });
        let longest = longest_wait(&self.waited, &read);
        self.waited = read;
        if self.waited.is_empty() {
            self.processor_since = None;
            return None;
        }
        self.processor_since.get_or_insert(wall);
        let longest = longest.filter(|length| !length.is_zero())?;
        self.processor.push(now, wall, longest);
        Some((longest, wall))
    }

    /// Whether this one is warned of: one that is long, and longer than what was warned of in the last hour.
    fn tells(&mut self, length: Duration, session: Duration, now: Moment) -> bool {
        let more = self.told.is_none_or(|(when, told)| length > told || now.since(when) > COUNTS);
        let tells = is_long(length, session) && more;
        if tells {
            self.told = Some((now, length));
        }
        tells
    }
}

/// What the one of the threads has waited that waited longest; none: none of them was there before.
fn longest_wait(before: &BTreeMap<i32, Duration>, after: &BTreeMap<i32, Duration>) -> Option<Duration> {
    after.iter().filter_map(|(thread, waited)| Some(waited.saturating_sub(*before.get(thread)?))).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Moment {
        Moment(10_000_000 + seconds * 1_000)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_longest_of_the_last_hour_gives_way_to_the_longest_after_it() {
        let mut longest = Longest::default();
        assert_eq!(longest.now(at(0)), None);
        for (second, millis) in [(0, 100), (70, 900), (80, 300), (200, 400), (300, 200), (310, 210)] {
            longest.push(at(second), Timestamp(i64::try_from(second).unwrap()), ms(millis));
        }
        assert_eq!(longest.now(at(310)), Some((Timestamp(70), ms(900))));
        assert_eq!(longest.now(at(3_670)), Some((Timestamp(70), ms(900))));
        assert_eq!(longest.now(at(3_671)), Some((Timestamp(200), ms(400))));
        assert_eq!(longest.now(at(3_801)), Some((Timestamp(310), ms(210))));
        assert_eq!(longest.now(at(3_911)), None);
    }

    proptest! {
        #[test]
        fn what_is_told_is_at_most_the_longest_and_at_least_what_is_not_older_than_all_kept(
            stalls in proptest::collection::vec((0_u64..7_200, 0_u64..5_000), 0..200),
        ) {
            let mut stalls = stalls;
            stalls.sort_unstable();
            let mut longest = Longest::default();
            for (nth, (second, millis)) in stalls.iter().enumerate() {
                longest.push(at(*second), Timestamp(0), ms(*millis));
                let told = longest.now(at(*second)).map(|(_, length)| length).unwrap();
                let within = |seconds: u64| stalls[..=nth].iter().filter(move |(s, _)| second - s <= seconds).map(|(_, m)| ms(*m)).max();
                prop_assert!(Some(told) <= within(3_600), "never one that is too old");
                // a minute is what a shorter one may be forgotten for
                prop_assert!(Some(told) >= within(3_540), "{told:?} of {:?}", &stalls[..=nth]);
                prop_assert!(longest.kept.len() <= 62);
            }
        }
    }

    #[test]
    fn a_wait_is_what_came_since_the_last_look_and_of_the_thread_that_waited_longest() {
        let of = |rows: &[(i32, u64)]| rows.iter().map(|(thread, millis)| (*thread, ms(*millis))).collect();
        assert_eq!(longest_wait(&of(&[]), &of(&[(7, 500)])), None, "nobody knows when it waited");
        assert_eq!(longest_wait(&of(&[(7, 500), (8, 100)]), &of(&[(7, 510), (8, 400)])), Some(ms(300)));
        assert_eq!(longest_wait(&of(&[(7, 500)]), &of(&[(8, 400)])), None);
    }

    #[test]
    fn half_of_a_session_is_warned_of_once_and_again_when_it_gets_worse() {
        let mut watched = Watched::default();
        let mut tells = |millis, second| watched.tells(ms(millis), ms(12_000), at(second));
        assert!(!tells(5_999, 0));
        assert!(tells(6_000, 10) && !tells(6_000, 20) && !tells(5_000, 30));
        assert!(tells(7_000, 40) && !tells(6_500, 3_640));
        assert!(tells(6_500, 3_641), "an hour later it is news again");
    }

    /// A look at this process as if it were a broker.
    fn about(log: &std::path::Path, started_at: Timestamp) -> About {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = ProcessId { pid, start_ticks: 1, boot_id: "b".into() };
        let collector = Some(log.to_owned());
        About { process, started_at: Some(started_at), session: ms(1_000), threads: &["no-such-thread"], collector }
    }

    fn line(at: Timestamp, pause: &str) -> String {
        format!(
            "[{}] GC(1) Pause Young (Allocation Failure) 17M->16M(61M) {pause}\n",
            at.to_string().replace('Z', "+0000")
        )
    }

    #[test]
    fn pauses_of_the_run_count_also_those_before_the_first_look_and_only_later_ones_are_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("gc.log");
        let (now, wall) = (clock::now(), clock::wall());
        let ago = |seconds: i64| Timestamp(wall.0 - seconds * 1_000);
        let about = about(&log, ago(600));
        let mut watched = Watched::default();
        let seen = watched.look(&about, now);
        assert!(seen.stalls.collector.is_none() && seen.stalls.processor.is_none(), "nothing can be read yet");
        std::fs::write(&log, line(ago(700), "9000.0ms") + &line(ago(500), "700.25ms")).unwrap();
        let seen = watched.look(&about, now);
        let found = Stall { longest_ms: 700.2, at: Some(ago(500)), since: ago(600) };
        assert_eq!((seen.stalls.collector, seen.long), (Some(found.clone()), None));
        std::fs::write(&log, line(ago(700), "9000.0ms") + &line(ago(500), "700.25ms") + &line(ago(1), "499.0ms"))
            .unwrap();
        let seen = watched.look(&about, now);
        assert_eq!((seen.stalls.collector, seen.long), (Some(found), None), "less than half of a session");
        let mut text = std::fs::read_to_string(&log).unwrap();
        text.push_str(&line(ago(0), "800.0ms"));
        std::fs::write(&log, text).unwrap();
        let seen = watched.look(&about, now);
        assert_eq!(seen.stalls.collector.unwrap().longest_ms, 800.0);
        assert_eq!(seen.long, Some((HeldBy::Collector, ms(800), ago(0))));
        assert_eq!(watched.look(&about, now).long, None);
    }
}
