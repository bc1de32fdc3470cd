//! The ledger of a drill: which numbers were sent, acknowledged and read back, and what that comes to. Pure.
//!
//! Number N goes to partition N modulo their count, so within a partition numbers rise, and the order there is known.

use crate::base::{Moment, drill::Tally};

/// An acknowledgement that took longer is late: a hundred times what it takes on a cluster that works.
const LATE_MS: u64 = 1_000;

/// How many lost numbers are named.
const NAMED: usize = 10;

/// What became of one number so far. Times are milliseconds since the ledger was opened, plus one: nought is "not yet".
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    sent: u32,
    acknowledged: u32,
    given_up: bool,
}

impl Entry {
    fn is_under_way(&self) -> bool {
        self.acknowledged == 0 && !self.given_up
    }
}

/// Numbers from nought on.
#[derive(Debug)]
pub(super) struct Ledger {
    opened: Moment,
    partitions: u64,
    entries: Vec<Entry>,
    /// How many were neither acknowledged nor given up.
    under_way: usize,
    /// When each partition was acknowledged last.
    last: Vec<Option<Moment>>,
}

impl Ledger {
    /// An empty one, for so many partitions.
    pub(super) fn open(partitions: usize, now: Moment) -> Self {
        let partitions = partitions.max(1);
        Self {
            opened: now,
            partitions: u64::try_from(partitions).unwrap_or(1),
            entries: Vec::new(),
            under_way: 0,
            last: vec![None; partitions],
        }
    }

    fn since_opened(&self, at: Moment) -> u32 {
        u32::try_from(at.since(self.opened).as_millis()).unwrap_or(u32::MAX - 1).saturating_add(1)
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(number).ok()?)
    }

    /// The next number, sent now.
    pub(super) fn send(&mut self, at: Moment) -> u64 {
        let sent = self.since_opened(at);
        self.entries.push(Entry { sent, ..Entry::default() });
        self.under_way += 1;
        self.count() - 1
    }

    /// The numbers of a partition behind its first `handed` that wait for their client, in order.
    pub(super) fn due(&self, partition: usize, handed: u64) -> Vec<u64> {
        let first = handed * self.partitions + u64::try_from(partition).unwrap_or(0);
        let numbers = (first..self.count()).step_by(usize::try_from(self.partitions).unwrap_or(1));
        numbers.filter(|n| self.is_under_way(*n)).collect()
    }

    fn is_under_way(&self, number: u64) -> bool {
        let entry = usize::try_from(number).ok().and_then(|n| self.entries.get(n));
        entry.is_some_and(Entry::is_under_way)
    }

    /// How many were sent.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    /// Where a number goes.
    pub(super) fn partition_of(&self, number: u64) -> usize {
        usize::try_from(number % self.partitions).unwrap_or(0)
    }

    /// It was acknowledged.
    pub(super) fn acknowledge(&mut self, number: u64, at: Moment) {
        let since = self.since_opened(at);
        if let Some(entry) = self.entry(number) {
            let was_under_way = entry.is_under_way();
            entry.acknowledged = since;
            self.under_way -= usize::from(was_under_way);
            let partition = self.partition_of(number);
            self.last[partition] = self.last[partition].max(Some(at));
        }
    }

    /// Its client has given it up.
    pub(super) fn give_up(&mut self, number: u64) {
        if let Some(entry) = self.entry(number) {
            let was_under_way = entry.is_under_way();
            entry.given_up = true;
            self.under_way -= usize::from(was_under_way);
        }
    }

    /// Its client has stopped trying all that is under way; how many that are.
    pub(super) fn give_up_all(&mut self) -> u64 {
        let under_way = self.entries.iter_mut().filter(|e| e.is_under_way());
        let given_up = under_way.map(|entry| entry.given_up = true).count();
        self.under_way = 0;
        u64::try_from(given_up).unwrap_or(u64::MAX)
    }

    /// Every partition was acknowledged after `since`.
    pub(super) fn flows_since(&self, since: Moment) -> bool {
        self.last.iter().all(|last| last.is_some_and(|at| at > since))
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Judges it by what was read back: the numbers of each partition in the order they lie there; none: not a number of ours.
    pub(super) fn judge(&self, read: &[Vec<Option<u64>>], fault: Moment) -> Tally {
        self.judge_with(read, &[], fault)
    }

    /// The same where in each partition so many are there that were not read. Which ones nobody knows: of those that are missing only
    /// what is more than that is lost for certain, and is named from the lowest number on.
    pub(super) fn judge_with(&self, read: &[Vec<Option<u64>>], unread: &[u64], fault: Moment) -> Tally {
        let mut tally = Tally { sent: self.count(), ..Tally::default() };
        let mut times = vec![0u32; self.entries.len()];
        let mut missing = vec![Vec::new(); self.last.len()];
        let broken = self.since_opened(fault);
        for (partition, numbers) in read.iter().enumerate() {
            self.count_partition(partition, numbers, &mut times, &mut tally);
        }
        for ((number, entry), times) in (0u64..).zip(&self.entries).zip(times) {
            tally.given_up += u64::from(entry.given_up);
            let again = u64::from(times.saturating_sub(1));
            tally.duplicated += again;
            if entry.acknowledged == 0 {
                continue;
            }
            if entry.acknowledged <= broken {
                tally.duplicated_before += again;
            }
            tally.acknowledged += 1;
            let waited = u64::from(entry.acknowledged.saturating_sub(entry.sent));
            tally.late += u64::from(waited > LATE_MS);
            tally.slowest_ms = tally.slowest_ms.max(waited);
            if times == 0 {
                missing[self.partition_of(number)].push(number);
            }
        }
        for (numbers, unread) in missing.iter_mut().zip(unread.iter().copied().chain(std::iter::repeat(0))) {
            let there = numbers.len().min(usize::try_from(unread).unwrap_or(usize::MAX));
            numbers.truncate(numbers.len() - there);
            tally.unread += u64::try_from(there).unwrap_or(u64::MAX);
        }
        let mut lost = missing.concat();
        lost.sort_unstable();
        tally.lost = u64::try_from(lost.len()).unwrap_or(u64::MAX);
        lost.truncate(NAMED);
        tally.lost_numbers = lost;
        let (gap, began) = self.longest_gap(self.since_opened(fault));
        tally.longest_gap_ms = u64::from(gap);
        tally.longest_gap_at_ms = i64::from(began) - i64::from(self.since_opened(fault));
        tally
    }

    fn count_partition(&self, partition: usize, numbers: &[Option<u64>], times: &mut [u32], tally: &mut Tally) {
        let mut highest = None;
        for number in numbers {
            let place = number.filter(|n| self.partition_of(*n) == partition);
            let Some((number, times)) = place.and_then(|n| Some((n, times.get_mut(usize::try_from(n).ok()?)?))) else {
                tally.strange += 1;
                continue;
            };
            *times += 1;
            // A second copy is counted as that.
            if *times == 1 {
                tally.out_of_order += u64::from(highest.is_some_and(|h| number < h));
                highest = highest.max(Some(number));
            }
        }
    }

    /// The longest time without an acknowledgement in any partition that ended after `from`, until its last number was sent or
    /// acknowledged; and when it began. What was slow before anything was broken is nobody's gap.
    fn longest_gap(&self, from: u32) -> (u32, u32) {
        let mut longest = (0, 0);
        for partition in 0..self.partitions {
            let step = usize::try_from(self.partitions).unwrap_or(1);
            let of = || self.entries.iter().skip(usize::try_from(partition).unwrap_or(0)).step_by(step);
            let mut acknowledged: Vec<u32> = of().map(|e| e.acknowledged).filter(|at| *at > 0).collect();
            // Acknowledgements of different requests may come in another order.
            acknowledged.sort_unstable();
            acknowledged.extend(of().map(|e| e.sent).max());
            for pair in acknowledged.windows(2).filter(|pair| pair[1] > from) {
                longest = longest.max((pair[1].saturating_sub(pair[0]), pair[0]));
            }
        }
        longest
    }
}

/// Why a tally is a negative verdict, in words; empty: it is not. `what`: "record" or "row". So many may be given up: their client was
/// replaced on purpose.
pub(super) fn faults(what: &str, tally: &Tally, abandoned: u64) -> Vec<String> {
    let count = |n: u64| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let mut faults = Vec::new();
    if tally.lost > 0 {
        let named: Vec<String> = tally.lost_numbers.iter().map(u64::to_string).collect();
        let more = if tally.lost > u64::try_from(named.len()).unwrap_or(0) { ", …" } else { "" };
        faults.push(format!("{} acknowledged and lost: {}{more}", count(tally.lost), named.join(", ")));
    }
    if tally.unread > 0 {
        let ending = if tally.unread == 1 { "" } else { "s" };
        faults.push(format!("{} acknowledged {what}{ending} could not be read back", tally.unread));
    }
    for (n, words) in [
        (tally.duplicated, "there more than once"),
        (tally.out_of_order, "behind a later one"),
        (tally.strange, "that nobody of this drill has written"),
        (tally.given_up.saturating_sub(abandoned), "given up by the client"),
    ] {
        if n > 0 {
            faults.push(format!("{} {words}", count(n)));
        }
    }
    if tally.acknowledged == 0 {
        faults.push(format!("no {what} was acknowledged"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const OPENED: Moment = Moment(1_000_000);

    fn at(ms: u64) -> Moment {
        OPENED + Duration::from_millis(ms)
    }

    /// `count` numbers, one a millisecond, each acknowledged two milliseconds later.
    fn steady(partitions: usize, count: u64) -> Ledger {
        let mut ledger = Ledger::open(partitions, OPENED);
        for n in 0..count {
            assert_eq!(ledger.send(at(n)), n);
            ledger.acknowledge(n, at(n + 2));
        }
        ledger
    }

    /// Everything, as it would lie in the partitions.
    fn all(ledger: &Ledger) -> Vec<Vec<Option<u64>>> {
        let mut read = vec![Vec::new(); usize::try_from(ledger.partitions).unwrap()];
        for n in 0..ledger.count() {
            read[ledger.partition_of(n)].push(Some(n));
        }
        read
    }

    #[test]
    fn what_was_acknowledged_and_is_there_once_and_in_order_is_no_fault() {
        let ledger = steady(3, 30);
        let tally = ledger.judge(&all(&ledger), at(10));
        assert_eq!((tally.sent, tally.acknowledged, tally.longest_gap_ms), (30, 30, 3));
        assert_eq!(tally.slowest_ms, 2);
        assert!(faults("record", &tally, 0).is_empty(), "{tally:?}");
    }

    #[test]
    fn every_kind_of_fault_is_counted_as_itself() {
        let ledger = steady(2, 10);
        type Read = Vec<Vec<Option<u64>>>;
        let judged = |change: &dyn Fn(&mut Read)| {
            let mut read = all(&ledger);
            change(&mut read);
            faults("record", &ledger.judge(&read, at(0)), 0)
        };
        assert_eq!(judged(&|r| r[1].retain(|n| *n != Some(5))), ["1 record acknowledged and lost: 5"]);
        assert_eq!(judged(&|r| r[0].push(Some(2))), ["1 record there more than once"]);
        assert_eq!(judged(&|r| r[0].swap(1, 2)), ["1 record behind a later one"]);
        assert_eq!(judged(&|r| r[0].push(None)), ["1 record that nobody of this drill has written"]);
        assert_eq!(judged(&|r| r[0].push(Some(99))), ["1 record that nobody of this drill has written"]);
        assert_eq!(judged(&|r| r[0].push(Some(3))), ["1 record that nobody of this drill has written"], "of the other");
        assert_eq!(judged(&|r| r.clear()), ["10 records acknowledged and lost: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"]);
        assert_eq!(faults("row", &Ledger::open(1, OPENED).judge(&[], at(0)), 0), ["no row was acknowledged"]);
    }

    #[test]
    fn what_could_not_be_read_is_not_called_lost() {
        let ledger = steady(2, 10);
        let mut read = all(&ledger);
        read[0].truncate(2);
        let tally = ledger.judge_with(&read, &[3, 0], at(0));
        assert_eq!((tally.lost, tally.unread), (0, 3));
        assert_eq!(faults("record", &tally, 0), ["3 acknowledged records could not be read back"]);
        let tally = ledger.judge_with(&read, &[1, 7], at(0));
        assert_eq!(
            (tally.lost, tally.unread, tally.lost_numbers.as_slice()),
            (2, 1, &[4, 6][..]),
            "one of three can be there"
        );
        assert_eq!(
            faults("record", &tally, 0),
            ["2 records acknowledged and lost: 4, 6", "1 acknowledged record could not be read back"]
        );
        let tally = ledger.judge_with(&all(&ledger), &[3, 3], at(0));
        assert_eq!((tally.lost, tally.unread), (0, 0), "copies, or what was given up");
    }

    #[test]
    fn a_number_that_was_not_acknowledged_may_be_there_or_not() {
        let mut ledger = steady(1, 4);
        for _ in 0..2 {
            let n = ledger.send(at(4));
            ledger.give_up(n);
        }
        let read = vec![[0, 1, 2, 3, 5].map(Some).to_vec()];
        let tally = ledger.judge(&read, at(0));
        assert_eq!((tally.lost, tally.given_up, tally.strange, tally.out_of_order), (0, 2, 0, 0));
        assert_eq!(faults("record", &tally, 0), ["2 records given up by the client"]);
        assert_eq!(ledger.under_way(), 0);
    }

    #[test]
    fn due_is_what_was_not_handed_over_and_not_given_up() {
        let mut ledger = Ledger::open(3, OPENED);
        for n in 0..8 {
            ledger.send(at(n));
        }
        assert_eq!(ledger.due(1, 0), [1, 4, 7]);
        assert_eq!(ledger.due(2, 1), [5]);
        assert_eq!(ledger.due(0, 3), [] as [u64; 0], "0, 3 and 6 were handed over");
        ledger.give_up(4);
        ledger.give_up(4);
        ledger.acknowledge(4, at(9));
        assert_eq!((ledger.due(1, 1), ledger.under_way()), (vec![7], 7));
        assert_eq!(ledger.give_up_all(), 7);
        assert_eq!((ledger.due(1, 1), ledger.under_way()), (vec![], 0));
    }

    #[test]
    fn a_gap_is_that_of_one_partition_though_others_go_on() {
        let mut ledger = Ledger::open(2, OPENED);
        for n in 0..1_000u64 {
            let number = ledger.send(at(n));
            // partition 1 is without a leader from 200 to 700
            let back = if n % 2 == 1 && (200..700).contains(&n) { 700 } else { n + 2 };
            ledger.acknowledge(number, at(back));
        }
        let tally = ledger.judge(&all(&ledger), at(200));
        assert_eq!(tally.longest_gap_ms, 499, "199 was acknowledged at 201, the next at 700");
        assert_eq!(tally.longest_gap_at_ms, 1);
        assert_eq!((tally.late, tally.slowest_ms), (0, 499));
        let later = ledger.judge(&all(&ledger), at(701));
        assert_eq!((later.longest_gap_ms, later.longest_gap_at_ms), (3, -1), "it was over before the fault");
    }

    #[test]
    fn a_partition_that_is_never_acknowledged_again_has_a_gap_to_the_end() {
        let mut ledger = steady(1, 10);
        for n in 10..3_000 {
            ledger.send(at(n));
        }
        let tally = ledger.judge(&all(&ledger), at(10));
        assert_eq!(ledger.give_up_all(), 2_990);
        let abandoned = ledger.judge(&all(&ledger), at(10));
        assert_eq!(faults("record", &abandoned, 2_989), ["1 record given up by the client"]);
        assert!(faults("record", &abandoned, 2_990).is_empty(), "they may be there or not");
        let mut ledger = steady(1, 10);
        for n in 10..3_000 {
            ledger.send(at(n));
        }
        assert_eq!(tally.longest_gap_ms, 2_999 - 11);
        assert_eq!(ledger.under_way(), 2_990);
        assert!(ledger.flows_since(at(10)) && !ledger.flows_since(at(11)));
    }

    #[test]
    fn what_was_acknowledged_before_the_fault_and_is_there_twice_is_told_apart() {
        let mut ledger = Ledger::open(1, OPENED);
        for n in 0..4 {
            ledger.send(at(n));
        }
        ledger.acknowledge(0, at(5));
        ledger.acknowledge(1, at(20));
        let read = [0, 0, 1, 1, 2, 2].map(Some).to_vec();
        let tally = ledger.judge(&[read], at(10));
        assert_eq!((tally.duplicated, tally.duplicated_before), (3, 1));
    }

    proptest! {
        #[test]
        fn whatever_happens_lost_are_exactly_the_acknowledged_that_are_missing(
            partitions in 1usize..5,
            fates in prop::collection::vec((any::<bool>(), 0u32..3, 0u64..3_000), 0..200),
        ) {
            let mut ledger = Ledger::open(partitions, OPENED);
            let mut read = vec![Vec::new(); partitions];
            let (mut lost, mut twice) = (0u64, 0u64);
            for (acknowledged, copies, wait) in &fates {
                let n = ledger.send(at(ledger.count()));
                if *acknowledged {
                    ledger.acknowledge(n, at(n + wait));
                }
                lost += u64::from(*acknowledged && *copies == 0);
                twice += u64::from(*copies == 2);
                read[ledger.partition_of(n)].extend(std::iter::repeat_n(Some(n), *copies as usize));
            }
            let tally = ledger.judge(&read, at(0));
            prop_assert_eq!((tally.lost, tally.duplicated, tally.out_of_order, tally.strange), (lost, twice, 0, 0));
            prop_assert_eq!(tally.acknowledged, fates.iter().filter(|(a, _, _)| *a).count() as u64);
            prop_assert!(tally.longest_gap_ms <= 3_300);
        }

        #[test]
        fn anything_read_back_is_judged(read in prop::collection::vec(prop::collection::vec(any::<Option<u64>>(), 0..9), 0..5)) {
            let ledger = steady(3, 7);
            let tally = ledger.judge(&read, at(3));
            let places: usize = read.iter().map(Vec::len).sum();
            prop_assert!(tally.strange + tally.duplicated <= places as u64);
            prop_assert!(tally.lost <= 7);
        }
    }
}
