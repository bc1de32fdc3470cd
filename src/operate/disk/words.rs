//! What is told of a file system that runs full, and of one that has room again. Pure.

use crate::{
    base::{ByteSize, EventKind, NodeName},
    engine::disk::{Found, Level},
};

/// The event of a change of level. `stopped`: the nodes that are held down and would run otherwise.
pub(super) fn words(found: &Found, was: Level, takers: &[String], stopped: &[NodeName]) -> (EventKind, String) {
    let mount = found.mount.display();
    let free = ByteSize(found.seen.free).rounded();
    let size = |bytes: u64| ByteSize(bytes).rounded();
    let (low, stop, resume) = (size(found.levels.low), size(found.levels.stop), size(found.resume()));
    let by = if takers.is_empty() { String::new() } else { format!("; most is taken by {}", takers.join(", ")) };
    let names: Vec<&str> = stopped.iter().map(NodeName::as_str).collect();
    match found.level {
        Level::Stop | Level::Last if found.level > was && names.is_empty() => {
            (EventKind::DiskStop, format!("{free} free on {mount}: nothing starts there until {resume} are free{by}"))
        }
        Level::Stop | Level::Last if found.level > was => (
            EventKind::DiskStop,
            format!(
                "{free} free on {mount}: {} stopped before it is full, and started again by themselves when {resume} are free{by}",
                names.join(", ")
            ),
        ),
        Level::Low if was < Level::Low => (
            EventKind::DiskLow,
            format!("{free} free on {mount}, less than {low}: brokers are stopped below {stop}{by}"),
        ),
        Level::Stop | Level::Last => (
            EventKind::DiskEased,
            format!("{free} free on {mount}: what is no broker starts again, brokers when {resume} are free"),
        ),
        Level::Low => {
            (EventKind::DiskEased, format!("{free} free on {mount} again: what was stopped for it starts again"))
        }
        Level::Fine => (EventKind::DiskEased, format!("{free} free on {mount} again")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::found, *};

    #[test]
    fn a_change_is_told_with_sizes_names_and_who_takes_the_room() {
        let takers = ["data of broker-1 9G (/srv/b1)".to_owned()];
        let (kind, text) = words(&found(1_900, Level::Low), Level::Fine, &takers, &[]);
        assert_eq!(kind, EventKind::DiskLow);
        assert_eq!(
            text,
            "1900M free on /srv, less than 2G: brokers are stopped below 512M; most is taken by data of broker-1 9G (/srv/b1)"
        );
        let (kind, text) = words(&found(500, Level::Stop), Level::Low, &[], &[NodeName::broker(1)]);
        assert_eq!(kind, EventKind::DiskStop);
        assert_eq!(
            text,
            "500M free on /srv: broker-1 stopped before it is full, and started again by themselves when 1280M are free"
        );
        let (_, text) = words(&found(500, Level::Stop), Level::Low, &[], &[]);
        assert_eq!(text, "500M free on /srv: nothing starts there until 1280M are free");
        let (kind, text) = words(&found(300, Level::Stop), Level::Last, &[], &[]);
        assert_eq!(
            (kind, text.as_str()),
            (EventKind::DiskEased, "300M free on /srv: what is no broker starts again, brokers when 1280M are free")
        );
        let (kind, text) = words(&found(1_900, Level::Low), Level::Stop, &[], &[]);
        assert_eq!(
            (kind, text.as_str()),
            (EventKind::DiskEased, "1900M free on /srv again: what was stopped for it starts again")
        );
        let (kind, _) = words(&found(9_000, Level::Fine), Level::Low, &[], &[]);
        assert_eq!(kind, EventKind::DiskEased);
    }

    #[test]
    fn a_held_node_says_what_it_waits_for_in_words_that_stay() {
        let one = found(500, Level::Stop);
        assert_eq!(
            one.why_held(),
            "stopped: disk space: less than 512M were free on /srv; it starts again by itself when 1280M are free; `cdc-supervisor status` shows what takes the room"
        );
    }
}
