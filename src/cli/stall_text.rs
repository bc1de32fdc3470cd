//! The line of `status` about what held nodes up, against how long a ZooKeeper session lasts.

use crate::{
    base::{
        NodeName,
        stall::{HeldBy, Stalls, clock, is_long, words},
        units::human_duration,
    },
    control::wire::Node,
};

fn watched(nodes: &[Node]) -> impl Iterator<Item = (&NodeName, &Stalls)> {
    nodes.iter().filter_map(|node| Some((&node.name, node.stalls.as_ref()?)))
}

/// `stalls     longest 0.31 s (broker-2, collector, 14:02:11Z) of a session of 12.0 s`; none: no node has to do with sessions, or none was
/// looked at yet.
pub fn line(nodes: &[Node]) -> Option<String> {
    let seen = |(name, stalls): (&NodeName, &Stalls)| {
        let (held, length, at) = stalls.longest()?;
        // Of sessions of different lengths the one that is closest to its end.
        Some((length.as_secs_f64() / stalls.session().as_secs_f64().max(0.001), name.clone(), held, length, at))
    };
    let session = watched(nodes).map(|(_, stalls)| stalls.session()).min()?;
    let worst = watched(nodes).filter_map(seen).max_by(|a, b| a.0.total_cmp(&b.0));
    let mut text = match worst {
        Some((_, name, held, length, at)) => {
            let session = watched(nodes).find(|(n, _)| **n == name).map_or(session, |(_, stalls)| stalls.session());
            let session = human_duration(session);
            format!("longest {:.2} s ({name}, {held}, {}) of a session of {session}", length.as_secs_f64(), clock(at))
        }
        None => format!("none seen, of a session of {}", human_duration(session)),
    };
    let unknown = [
        (HeldBy::Collector, watched(nodes).all(|(_, stalls)| stalls.collector.is_none())),
        (HeldBy::Processor, watched(nodes).all(|(_, stalls)| stalls.processor.is_none())),
    ];
    for (held, _) in unknown.iter().filter(|(_, unknown)| *unknown) {
        text.push_str(match held {
            HeldBy::Collector => "; how long collectors take is not known",
            HeldBy::Processor => "; how long processors are waited for is not known",
        });
    }
    Some(format!("stalls     {text}"))
}

/// A line for each node that was held up for half of a session.
pub fn remarks(nodes: &[Node]) -> Vec<String> {
    let long = |(name, stalls): (&NodeName, &Stalls)| {
        let (held, length, at) = stalls.longest().filter(|(_, length, _)| is_long(*length, stalls.session()))?;
        Some(format!("{name}: {}", words(held, length, at, stalls.session())))
    };
    watched(nodes).filter_map(long).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Timestamp, stall::Stall},
        cli::samples::{NOW, stack},
    };

    fn stall(ms: f64) -> Option<Stall> {
        Some(Stall { longest_ms: ms, at: (ms > 0.0).then_some(NOW), since: Timestamp(0) })
    }

    fn of(session_ms: u64, collector: Option<Stall>, processor: Option<Stall>) -> Option<Stalls> {
        Some(Stalls { session_ms, collector, processor })
    }

    #[test]
    fn the_longest_stands_in_a_line_with_its_node_its_reason_and_what_it_is_measured_by() {
        let mut nodes = stack().nodes;
        assert_eq!(line(&nodes), None);
        nodes[0].stalls = of(12_000, stall(12.0), stall(0.0));
        nodes[1].stalls = of(12_000, stall(310.4), stall(200.0));
        nodes[2].stalls = of(12_000, None, stall(250.0));
        let text = "stalls     longest 0.31 s (broker-1, collector, 03:07:59Z) of a session of 12.0 s";
        assert_eq!(line(&nodes).as_deref(), Some(text));
        assert!(remarks(&nodes).is_empty());
        nodes[2].stalls = of(400, None, stall(250.0));
        let text = "stalls     longest 0.25 s (broker-2, no processor, 03:07:59Z) of a session of 0.4 s";
        assert_eq!(line(&nodes).as_deref(), Some(text));
        assert_eq!(
            remarks(&nodes),
            [
                "broker-2: was held up for 0.2 s for want of a processor, until 03:07:59Z: more than half of a ZooKeeper session, which \
              ends when nothing is heard for 0.4 s"
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_said_and_not_taken_for_nothing() {
        let mut nodes = stack().nodes;
        nodes[1].stalls = of(12_000, stall(0.0), stall(0.0));
        assert_eq!(line(&nodes).as_deref(), Some("stalls     none seen, of a session of 12.0 s"));
        nodes[1].stalls = of(12_000, stall(0.0), None);
        let unknown = "; how long processors are waited for is not known";
        assert_eq!(line(&nodes), Some(format!("stalls     none seen, of a session of 12.0 s{unknown}")));
    }
}
