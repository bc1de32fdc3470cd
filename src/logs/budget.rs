//! What is to be done with the rotated files of all nodes: which to compress, which to remove. Pure.

use super::names::{Rotated, Stamp};
use crate::base::Timestamp;
use std::time::Duration;

/// The bounds of all logs of a root (`[logs]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of all log files together.
    pub total: u64,
    /// Rotated files whose last line is older than this go; none: age does not matter.
    pub max_age: Option<Duration>,
    /// Whether rotated files are compressed.
    pub compress: bool,
}

/// One rotated file, in one or both of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldFile {
    /// Its name, uncompressed.
    pub name: Rotated,
    /// Bytes of the uncompressed form, while it is there.
    pub plain: Option<u64>,
    /// Bytes of the compressed form, once it is there.
    pub packed: Option<u64>,
    /// When it was written last.
    pub changed: Timestamp,
    /// Compressing it has failed: not again before the next round.
    pub failed: bool,
}

impl OldFile {
    fn bytes(&self) -> u64 {
        self.plain.unwrap_or(0).saturating_add(self.packed.unwrap_or(0))
    }
}

/// The log of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLog {
    /// Bytes of the file that is written to.
    pub current: u64,
    /// The rotated files, oldest first.
    pub old: Vec<OldFile>,
    /// How many rotated files are kept; none: as many as the other bounds allow.
    pub keep: Option<usize>,
}

impl NodeLog {
    fn bytes(&self) -> u64 {
        self.old.iter().fold(self.current, |sum, file| sum.saturating_add(file.bytes()))
    }
}

/// Why a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// More than `keep` of its node.
    Keep,
    /// Older than `max_age`.
    Age,
    /// More than `total` of all nodes.
    Total,
}

/// One thing to do. `log` is the place of the log in the list that was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Compress a file, or finish what was begun.
    Compress {
        /// Whose.
        log: usize,
        /// Which.
        name: Rotated,
    },
    /// Remove a file in both its forms.
    Remove {
        /// Whose.
        log: usize,
        /// Which.
        stamp: Stamp,
        /// Why.
        why: Why,
    },
}

/// What to do now, in this order. Ask again when it is done, and behind every file that was compressed: more may have come.
///
/// Files are compressed before any is removed for the sake of the total, because nobody knows before how much that spares. But a node
/// may write faster than files are compressed, so some go at once when the total cannot be met by compressing, and when the logs are
/// above it by more than a file each.
///
/// The newest rotated file of a log stays as it is. It is the one people look at, and the one a writer may still have open
/// after a rotation that failed halfway.
pub fn plan(logs: &[NodeLog], budget: &Budget, now: Timestamp) -> Vec<Chore> {
    let mut chores = Vec::new();
    let oldest_allowed = budget.max_age.and_then(|age| i64::try_from(age.as_millis()).ok()).map(|age| now.0 - age);
    let mut left: Vec<(usize, NodeLog)> = logs.iter().cloned().enumerate().collect();
    for (log, node) in &mut left {
        let surplus = node.keep.map_or(0, |keep| node.old.len().saturating_sub(keep));
        let mut at = 0;
        node.old.retain(|file| {
            at += 1;
            let why = if at <= surplus {
                Why::Keep
            } else if oldest_allowed.is_some_and(|allowed| file.changed.0 < allowed) {
                Why::Age
            } else {
                return true;
            };
            chores.push(Chore::Remove { log: *log, stamp: file.name.stamp, why });
            false
        });
    }
    let to_compress = |left: &[(usize, NodeLog)]| -> Vec<(usize, Rotated)> {
        let settled = left
            .iter()
            .filter(|_| budget.compress)
            .flat_map(|(log, node)| node.old[..node.old.len().saturating_sub(1)].iter().map(move |file| (*log, file)));
        let plain = settled.filter(|(_, file)| file.plain.is_some() && !file.failed);
        plain.map(|(log, file)| (log, file.name.as_packed(false))).collect()
    };
    let compressible = to_compress(&left);
    if compressible.is_empty() {
        chores.extend(over_total(&mut left, budget.total));
        return chores;
    }
    // as if compressing left nothing of them
    let mut at_best = left.clone();
    for (log, node) in &mut at_best {
        let shrinks = |file: &OldFile| compressible.contains(&(*log, file.name.as_packed(false)));
        node.old.iter_mut().filter(|file| shrinks(file)).for_each(|file| file.plain = None);
    }
    let hopeless = over_total(&mut at_best, budget.total);
    for (log, node) in &mut left {
        node.old.retain(|file| !hopeless.iter().any(|chore| chore.removes(*log, file.name.stamp)));
    }
    chores.extend(hopeless);
    // a log within its share is not what grows: 200 quiet ones need no room for 200 files
    let share = budget.total / (left.len() as u64).max(1);
    let big = left.iter().filter(|(_, node)| node.bytes() > share);
    let a_file_each = big.filter_map(|(_, node)| node.old.iter().map(OldFile::bytes).max());
    let bound = a_file_each.fold(budget.total, u64::saturating_add);
    chores.extend(over_total(&mut left, bound));
    chores.extend(to_compress(&left).into_iter().map(|(log, name)| Chore::Compress { log, name }));
    chores
}

impl Chore {
    fn removes(&self, of: usize, file: Stamp) -> bool {
        match self {
            Chore::Remove { log, stamp, .. } => *log == of && *stamp == file,
            Chore::Compress { .. } => false,
        }
    }
}

/// The oldest files go first, and only those of logs that take more than their share of the total: a node that floods its
/// log does not push out what the quiet ones have to say.
fn over_total(logs: &mut [(usize, NodeLog)], total: u64) -> Vec<Chore> {
    let mut chores = Vec::new();
    let share = total / (logs.len() as u64).max(1);
    let mut sum = logs.iter().fold(0u64, |sum, (_, log)| sum.saturating_add(log.bytes()));
    while sum > total {
        let oldest = |big: bool| {
            let candidates = logs.iter().enumerate().filter(move |(_, (_, log))| !big || log.bytes() > share);
            candidates.filter_map(|(at, (_, log))| Some((log.old.first()?.name.stamp, at))).min()
        };
        // Only files that are written to are left: nothing more can go.
        let Some((stamp, at)) = oldest(true).or_else(|| oldest(false)) else { break };
        let (log, node) = &mut logs[at];
        sum = sum.saturating_sub(node.old.remove(0).bytes());
        chores.push(Chore::Remove { log: *log, stamp, why: Why::Total });
    }
    chores
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn old(millis: u64, plain: Option<u64>, packed: Option<u64>) -> OldFile {
        let name = Rotated { stamp: Stamp { millis, number: 0 }, end: None, packed: false };
        OldFile { name, plain, packed, changed: Timestamp(i64::try_from(millis).unwrap()), failed: false }
    }

    fn log(current: u64, old: Vec<OldFile>) -> NodeLog {
        NodeLog { current, old, keep: None }
    }

    fn removed(chores: &[Chore]) -> Vec<(usize, u64, Why)> {
        let what = |c: &Chore| match c {
            Chore::Remove { log, stamp, why } => Some((*log, stamp.millis, *why)),
            Chore::Compress { .. } => None,
        };
        chores.iter().filter_map(what).collect()
    }

    fn budget(total: u64) -> Budget {
        Budget { total, max_age: None, compress: false }
    }

    #[test]
    fn rotated_files_are_compressed_but_the_newest_and_before_any_goes_for_the_total() {
        let logs = [log(
            5,
            vec![old(1, None, Some(10)), old(2, Some(100), None), old(3, Some(100), Some(9)), old(4, Some(100), None)],
        )];
        let budget = Budget { compress: true, ..budget(250) };
        let chores = plan(&logs, &budget, NOW);
        let names: Vec<_> = logs[0].old[1..3].iter().map(|f| Chore::Compress { log: 0, name: f.name }).collect();
        assert_eq!(chores, names);
        let mut failed = logs;
        failed[0].old.iter_mut().for_each(|f| f.failed = true);
        let oldest = [(0, 1, Why::Total), (0, 2, Why::Total)];
        assert_eq!(removed(&plan(&failed, &budget, NOW)), oldest, "what cannot be compressed does not stop the rest");
    }

    #[test]
    fn what_compressing_cannot_spare_goes_before_it() {
        let old = vec![old(1, None, Some(90)), old(2, None, Some(90)), old(3, Some(100), None), old(4, Some(50), None)];
        let logs = [log(50, old)];
        let budget = Budget { compress: true, ..budget(200) };
        let chores = plan(&logs, &budget, NOW);
        assert_eq!(removed(&chores), [(0, 1, Why::Total)], "{chores:?}");
        assert_eq!(chores.len(), 2, "{chores:?}");
    }

    #[test]
    fn the_total_holds_while_a_node_writes_faster_than_its_files_are_compressed() {
        let budget = Budget { compress: true, ..budget(5_000) };
        let mut logs = [log(100, Vec::new()), log(100, vec![old(1, Some(100), None)])];
        for step in 0..500u64 {
            logs[0].old.extend((0..4).map(|n| old(10 + step * 4 + n, Some(100), None)));
            let chores = plan(&logs, &budget, NOW);
            let first = chores.iter().position(|c| matches!(c, Chore::Compress { .. }));
            for chore in chores.into_iter().take(first.map_or(usize::MAX, |at| at + 1)) {
                match chore {
                    Chore::Remove { log, stamp, .. } => logs[log].old.retain(|file| file.name.stamp != stamp),
                    Chore::Compress { log, name } => {
                        let file = logs[log].old.iter_mut().find(|f| f.name.stamp == name.stamp).unwrap();
                        (file.plain, file.packed) = (None, Some(10));
                    }
                }
            }
            let sum: u64 = logs.iter().map(NodeLog::bytes).sum();
            assert!(
                sum <= 5_000 + 100,
                "{sum} after {step} steps: a file of the one that floods, none of the quiet one"
            );
        }
        assert_eq!(logs[1].old.len(), 1, "the quiet one keeps its file");
    }

    #[test]
    fn the_oldest_goes_first_and_a_flooding_node_pays_itself() {
        let flood: Vec<OldFile> = (100..110).map(|t| old(t, Some(100), None)).collect();
        let logs = [log(10, vec![old(1, Some(100), None)]), log(10, flood)];
        assert_eq!(removed(&plan(&logs, &budget(1_000), NOW)), [(1, 100, Why::Total), (1, 101, Why::Total)]);
        assert_eq!(removed(&plan(&logs, &budget(u64::MAX), NOW)), []);
        // equals share: the oldest of all goes
        let equal =
            [log(0, vec![old(5, Some(50), None)]), log(0, vec![old(3, Some(50), None), old(9, Some(50), None)])];
        assert_eq!(removed(&plan(&equal, &budget(100), NOW)), [(1, 3, Why::Total)]);
    }

    #[test]
    fn age_and_keep_count_both_forms_and_hold_whatever_the_total() {
        let day = 86_400_000;
        let at = |days: u64| u64::try_from(NOW.0).unwrap() - days * day;
        let mut node = log(
            0,
            vec![
                old(at(9), None, Some(1)),
                old(at(8), None, Some(1)),
                old(at(3), Some(1), Some(1)),
                old(at(1), Some(1), None),
            ],
        );
        let week = Budget { max_age: Some(Duration::from_secs(7 * 86_400)), ..budget(u64::MAX) };
        assert_eq!(removed(&plan(&[node.clone()], &week, NOW)), [(0, at(9), Why::Age), (0, at(8), Why::Age)]);
        node.keep = Some(3);
        assert_eq!(removed(&plan(&[node.clone()], &week, NOW)), [(0, at(9), Why::Keep), (0, at(8), Why::Age)]);
        node.keep = Some(0);
        assert_eq!(plan(&[node], &Budget { compress: true, ..budget(0) }, NOW).len(), 4);
    }

    #[test]
    fn files_that_are_written_to_stay_even_when_they_are_too_much() {
        assert_eq!(plan(&[log(1 << 40, vec![]), log(1 << 40, vec![])], &budget(10), NOW), []);
        assert_eq!(plan(&[], &budget(0), NOW), []);
    }

    proptest! {
        #[test]
        fn the_total_holds_afterwards_and_no_small_log_loses_a_file_while_a_big_one_has_any(
            logs in prop::collection::vec((0u64..50, prop::collection::vec((0u64..1_000, 1u64..100), 0..8)), 1..6),
            total in 0u64..2_000,
        ) {
            let logs: Vec<NodeLog> = logs.into_iter().map(|(current, mut files)| {
                files.sort_unstable();
                log(current, files.into_iter().map(|(at, size)| old(at, Some(size), None)).collect())
            }).collect();
            let mut after = logs.clone();
            for chore in plan(&logs, &budget(total), NOW) {
                let Chore::Remove { log, stamp, .. } = chore else { panic!() };
                let share = total / logs.len() as u64;
                let small = after[log].bytes() <= share;
                prop_assert!(!small || after.iter().all(|l| l.bytes() <= share || l.old.is_empty()));
                prop_assert_eq!(after[log].old.remove(0).name.stamp, stamp, "the oldest of its log");
            }
            let sum: u64 = after.iter().map(NodeLog::bytes).sum();
            prop_assert!(sum <= total || after.iter().all(|l| l.old.is_empty()));
        }
    }
}
