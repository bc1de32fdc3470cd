//! How full a file system is and what follows from it. Pure: sizes in, a level and what to do out.
//!
//! All levels are reckoned with the ballast whole: room that it has given up counts as taken, so a stop that is paid from it does
//! not look like room to start again.

use crate::{base::NodeKind, config, sys::room::Held};

/// What is kept free of a file system, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// The ballast that is there, or that was given up; 0: none.
    pub ballast: u64,
    /// Told below this.
    pub low: u64,
    /// Brokers are stopped below this.
    pub stop: u64,
    /// And started again from here on.
    pub resume: u64,
}

impl Levels {
    /// Those of a file system of this size.
    pub fn of(disk: &config::Disk, total: u64) -> Self {
        let config::Marks { ballast, low, stop, resume } = disk.marks(total);
        Self { ballast, low, stop, resume }
    }

    /// The same with the ballast that counts: one that is there takes its room by itself, one that was given up is missed, and one that
    /// was never made (the file system or its owner does not let it be) is no room that anybody counts on.
    #[must_use]
    pub fn counting(self, held: Held) -> Self {
        let ballast = match held {
            Held::Nothing => 0,
            Held::Given => self.ballast,
            Held::Bytes(bytes) => bytes,
        };
        Self { ballast, ..self }
    }

    /// Below so many bytes that are really free, what must not meet a full disk and does not fill it is stopped too.
    pub fn last(&self) -> u64 {
        if self.ballast > 0 { self.ballast / 2 } else { self.stop / 4 }
    }
}

/// A file system now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes that can be written.
    pub free: u64,
    /// Bytes of the ballast; 0: it is not there.
    pub ballast: u64,
}

impl Seen {
    /// What would be free with the ballast whole.
    pub fn room(&self, levels: &Levels) -> u64 {
        self.free.saturating_sub(levels.ballast.saturating_sub(self.ballast))
    }
}

/// How full it is, the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is room.
    #[default]
    Fine,
    /// It is told.
    Low,
    /// Brokers are held down: they are what fills it.
    Stop,
    /// ZooKeeper and mysqld as well: even what the ballast gave goes.
    Last,
}

impl Level {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Fine => "fine",
            Level::Low => "low",
            Level::Stop => "stop",
            Level::Last => "last",
        }
    }

    /// Whether a node that has its data there is held down.
    pub fn holds(self, kind: NodeKind) -> bool {
        match kind {
            NodeKind::Broker(_) => self >= Level::Stop,
            NodeKind::Zookeeper | NodeKind::Mysql => self == Level::Last,
            NodeKind::KafkaUi | NodeKind::Command => false,
        }
    }
}

/// The level after `was`. What was stopped is started again well above where it was stopped.
pub fn judge(levels: &Levels, seen: Seen, was: Level) -> Level {
    let room = seen.room(levels);
    // While there is a ballast to be given up, it comes first.
    let starved = seen.ballast == 0 && seen.free < levels.last();
    let held = room < levels.stop || (was >= Level::Stop && room < levels.resume);
    if held {
        let still = was == Level::Last && room < levels.stop && seen.free < levels.last().saturating_mul(2);
        return if starved || still { Level::Last } else { Level::Stop };
    }
    // An eighth above the mark, so that it is not told again and again at it.
    let low = room < levels.low || (was >= Level::Low && room < levels.low + levels.low / 8);
    if low { Level::Low } else { Level::Fine }
}

/// What is to be done with the ballast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballast {
    /// Nothing.
    Leave,
    /// It is made, of this size.
    Make(u64),
    /// Its room goes, so that a clean stop has some.
    GiveUp,
    /// It is removed: it is not wanted any more, or of another size.
    Remove,
}

/// Decides on it. `wanted` is its size as configured, 0 for none.
pub fn ballast(levels: &Levels, wanted: u64, seen: Seen, level: Level) -> Ballast {
    let has = seen.ballast > 0;
    // With it no broker would have to stop.
    let fits = seen.free.saturating_add(seen.ballast).saturating_sub(wanted) >= levels.resume;
    match level {
        Level::Stop | Level::Last if has => Ballast::GiveUp,
        Level::Stop | Level::Last => Ballast::Leave,
        Level::Fine | Level::Low if has && (wanted < seen.ballast || (wanted > seen.ballast && fits)) => {
            Ballast::Remove
        }
        Level::Fine | Level::Low if !has && wanted > 0 && fits => Ballast::Make(wanted),
        Level::Fine | Level::Low => Ballast::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ByteSize;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn levels() -> Levels {
        Levels { ballast: 256 * MIB, low: 2 * GIB, stop: 512 * MIB, resume: GIB }
    }

    fn seen(free_mib: u64, ballast_mib: u64) -> Seen {
        Seen { free: free_mib * MIB, ballast: ballast_mib * MIB }
    }

    #[test]
    fn levels_follow_the_size_of_the_file_system_and_what_the_file_says_holds() {
        let by_itself = config::Disk::default();
        assert_eq!(Levels::of(&by_itself, 500 * GIB), levels());
        let small = Levels::of(&by_itself, 8 * GIB);
        assert_eq!((small.ballast, small.stop, small.resume), (0, 256 * MIB, 512 * MIB), "{small:?}");
        let said = config::Disk { ballast: Some(ByteSize::mib(64)), stop: Some(ByteSize::mib(200)), ..by_itself };
        let said = Levels::of(&said, 600 * MIB);
        assert_eq!((said.ballast, said.stop), (64 * MIB, 200 * MIB));
        assert!(said.resume > said.stop && said.low >= said.stop, "{said:?}");
        let only_resume = config::Disk { resume: Some(ByteSize::mib(100)), ..by_itself };
        assert!(Levels::of(&only_resume, 500 * GIB).stop < 100 * MIB);
    }

    #[test]
    fn a_disk_that_fills_up_goes_through_every_level_and_back_well_above_each() {
        let l = levels();
        assert_eq!(judge(&l, seen(2_048, 256), Level::Fine), Level::Fine);
        assert_eq!(judge(&l, seen(2_047, 256), Level::Fine), Level::Low);
        assert_eq!(judge(&l, seen(2_100, 256), Level::Low), Level::Low, "not at the mark again");
        assert_eq!(judge(&l, seen(2_400, 256), Level::Low), Level::Fine);
        assert_eq!(judge(&l, seen(512, 256), Level::Low), Level::Low);
        assert_eq!(judge(&l, seen(511, 256), Level::Low), Level::Stop);
        // The ballast is given up: what is free now is not room.
        assert_eq!(judge(&l, seen(511 + 256, 0), Level::Stop), Level::Stop);
        assert_eq!(judge(&l, seen(127, 0), Level::Stop), Level::Last);
        assert_eq!(judge(&l, seen(200, 0), Level::Last), Level::Last);
        assert_eq!(judge(&l, seen(300, 0), Level::Last), Level::Stop);
        assert_eq!(judge(&l, seen(1_024 + 255, 0), Level::Stop), Level::Stop);
        assert_eq!(judge(&l, seen(1_024 + 256, 0), Level::Stop), Level::Low, "as much as the ballast needs besides");
        // Filled at one go: the ballast first.
        assert_eq!(judge(&l, seen(0, 256), Level::Fine), Level::Stop);
    }

    #[test]
    fn the_ballast_is_given_up_for_a_stop_and_made_when_there_is_room() {
        let l = levels();
        let ballast = |seen, level| super::ballast(&l, 256 * MIB, seen, level);
        assert_eq!(ballast(seen(400, 256), Level::Stop), Ballast::GiveUp);
        assert_eq!(ballast(seen(700, 0), Level::Stop), Ballast::Leave);
        assert_eq!(ballast(seen(1_200, 0), Level::Low), Ballast::Leave, "it would be given up at once");
        assert_eq!(ballast(seen(1_280, 0), Level::Low), Ballast::Make(256 * MIB));
        assert_eq!(ballast(seen(9_000, 256), Level::Fine), Ballast::Leave);
        let wanting = |wanted: u64, seen| super::ballast(&l, wanted * MIB, seen, Level::Fine);
        assert_eq!(wanting(0, seen(9_000, 256)), Ballast::Remove, "switched off");
        assert_eq!(wanting(0, seen(9_000, 0)), Ballast::Leave);
        assert_eq!(wanting(2_048, seen(9_000, 256)), Ballast::Remove, "it is made larger");
        assert_eq!(wanting(2_048, seen(2_500, 256)), Ballast::Leave, "the smaller one is better than none");
        assert_eq!(wanting(64, seen(2_500, 256)), Ballast::Remove);
    }

    #[test]
    fn a_ballast_that_was_never_made_is_nobodys_room_and_one_that_was_given_up_is_missed() {
        let l = levels();
        let level = |held, free, was| judge(&l.counting(held), seen(free, 0), was);
        // A new daemon beside running brokers, with 700M free.
        assert_eq!(level(Held::Nothing, 700, Level::Fine), Level::Low);
        assert_eq!(level(Held::Given, 700, Level::Stop), Level::Stop);
        assert_eq!(level(Held::Nothing, 511, Level::Low), Level::Stop, "the mark that is configured");
        assert_eq!(level(Held::Nothing, 1_024, Level::Stop), Level::Low);
    }

    #[test]
    fn brokers_go_first_and_what_does_not_fill_the_disk_last() {
        assert!(Level::Stop.holds(NodeKind::Broker(1)) && !Level::Stop.holds(NodeKind::Mysql));
        assert!(Level::Last.holds(NodeKind::Mysql) && Level::Last.holds(NodeKind::Zookeeper));
        assert!(!Level::Last.holds(NodeKind::Command) && !Level::Low.holds(NodeKind::Broker(1)));
    }

    fn any_levels() -> impl Strategy<Value = Levels> {
        (0u64..600, 1u64..600, 1u64..600, 0u64..900).prop_map(|(ballast, stop, above, low)| Levels {
            ballast: ballast * MIB,
            stop: stop * MIB,
            resume: (stop + above) * MIB,
            low: (stop + low) * MIB,
        })
    }

    fn any_level() -> impl Strategy<Value = Level> {
        proptest::sample::select(vec![Level::Fine, Level::Low, Level::Stop, Level::Last])
    }

    proptest! {
        #[test]
        fn brokers_never_run_below_the_mark_and_are_never_held_with_room(
            l in any_levels(), free in 0u64..4_000, has in any::<bool>(), was in any_level()
        ) {
            let seen = Seen { free: free * MIB, ballast: if has { l.ballast } else { 0 } };
            let level = judge(&l, seen, was);
            let room = seen.room(&l);
            prop_assert!(room >= l.stop || level.holds(NodeKind::Broker(1)));
            prop_assert!(room < l.resume || !level.holds(NodeKind::Broker(1)));
        }

        #[test]
        fn a_disk_that_does_not_change_settles_and_never_stops_and_starts_in_turns(
            l in any_levels(), free in 0u64..4_000, was_made in 0u64..3, was in any_level()
        ) {
            // Nothing, whole, or of another size than is wanted now.
            let made = [0, l.ballast, l.ballast / 2][usize::try_from(was_made).unwrap()];
            let mut now = Seen { free: free * MIB, ballast: made };
            let mut held = if made > 0 { Held::Bytes(made) } else { Held::Nothing };
            let mut level = was;
            let mut stopped = Vec::new();
            for _ in 0..8 {
                let counting = l.counting(held);
                level = judge(&counting, now, level);
                match ballast(&counting, l.ballast, now, level) {
                    Ballast::Leave => {}
                    Ballast::Make(bytes) => {
                        prop_assert!(now.free >= bytes, "there is room for it");
                        now = Seen { free: now.free - bytes, ballast: bytes };
                        held = Held::Bytes(bytes);
                    }
                    Ballast::GiveUp => {
                        now = Seen { free: now.free + now.ballast, ballast: 0 };
                        held = Held::Given;
                    }
                    Ballast::Remove => {
                        now = Seen { free: now.free + now.ballast, ballast: 0 };
                        held = Held::Nothing;
                    }
                }
                stopped.push(level.holds(NodeKind::Broker(1)));
            }
            let turns = stopped.windows(2).filter(|pair| pair[0] != pair[1]).count();
            prop_assert!(turns == 0, "{:?}", stopped);
        }

        #[test]
        fn a_ballast_that_is_made_never_stops_anybody(
            l in any_levels(), free in 0u64..4_000, given in any::<bool>(), was in any_level()
        ) {
            let seen = Seen { free: free * MIB, ballast: 0 };
            let counting = l.counting(if given { Held::Given } else { Held::Nothing });
            let level = judge(&counting, seen, was);
            if let Ballast::Make(bytes) = ballast(&counting, l.ballast, seen, level) {
                let after = Seen { free: seen.free - bytes, ballast: bytes };
                prop_assert!(judge(&l.counting(Held::Bytes(bytes)), after, level) <= Level::Low);
            }
        }
    }
}
