//! What to change after a death: the settings by name and the number to set. Pure.

use crate::base::{ByteSize, Cause, NodeKind, NodeName, units::human_duration};
use std::time::Duration;

/// What is known of a death, as far as advice depends on it.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Whose.
    pub node: &'a NodeName,
    /// Its kind.
    pub kind: NodeKind,
    /// Why.
    pub cause: Cause,
    /// Its cap.
    pub cap: Option<ByteSize>,
    /// The Java heap inside the cap.
    pub heap: Option<ByteSize>,
    /// The highest its cgroup counted.
    pub peak: Option<ByteSize>,
    /// Its anonymous memory when it was last looked at.
    pub anon: Option<ByteSize>,
    /// Which limit on memory was met: a word of `base::incident::LIMITS`.
    pub limit: Option<&'a str>,
    /// Out-of-memory kills of this node at this cap on record, this one counted.
    pub times: u32,
    /// The cap that was in force at its end, where it was not `cap`.
    pub in_force: Option<ByteSize>,
    /// The time it has to stop.
    pub grace: Duration,
    /// What the fault that was found, or the known line of its log, says to do.
    pub remedy: Option<&'a str>,
    /// The kernel's counters were there to ask.
    pub counted: bool,
    /// The machine was started anew since.
    pub rebooted: bool,
}

/// What to do; none: nothing. And how much it needs somebody: a word of `base::incident::VERDICTS`.
pub fn advise(facts: &Facts<'_>) -> (Option<String>, &'static str) {
    let node = facts.node;
    match facts.cause {
        Cause::OutOfMemory => match another_cap(facts) {
            Some(text) => (Some(text), "explained"),
            None => (Some(raise_the_cap(facts)), "act"),
        },
        Cause::CouldNotStart
        | Cause::WrongIdentity
        | Cause::BadOption
        | Cause::PortTaken
        | Cause::DiskFull
        | Cause::WrongOwner
        | Cause::NewerData => {
            let general = || format!("mend what its last lines tell, then `cdc-supervisor start {node}`");
            (Some(facts.remedy.map_or_else(general, str::to_owned)), "act")
        }
        Cause::Crashed => match facts.remedy {
            Some(remedy) if facts.limit == Some("java-heap") => (Some(raise_the_heap(facts, remedy)), "act"),
            Some(remedy) => (Some(remedy.to_owned()), "act"),
            None => {
                (Some(format!("nothing known was written; read on with `cdc-supervisor logs {node}`")), "unexplained")
            }
        },
        Cause::KilledAfterGrace => {
            let (key, grace) = (key(facts, "grace"), whole_seconds(facts.grace));
            let longer = whole_seconds((facts.grace * 2).max(Duration::from_secs(10)));
            (
                Some(format!("if it was still getting on, give it longer: {key} = \"{longer}\" (it had {grace})")),
                "explained",
            )
        }
        Cause::KilledByOther if facts.counted => {
            (Some("somebody else on this machine sent that signal; nothing to change here".into()), "explained")
        }
        Cause::KilledByOther => {
            let words =
                "somebody else sent that signal; if nobody did it by hand, ask the kernel: journalctl -k --grep oom";
            (Some(words.into()), "explained")
        }
        Cause::Unknown if facts.rebooted => {
            (Some("the machine was started anew; nothing to change here".into()), "explained")
        }
        Cause::Unknown => (
            Some(
                "its shim and the daemon ended with it, so nobody saw how: a session, container or control group that was \
                 ended as a whole, kill -9 of all of them, or the machine out of memory (journalctl -k --grep oom)"
                    .into(),
            ),
            "unexplained",
        ),
        Cause::ShimLost => (Some("somebody killed cdc-shim; nothing to change here".into()), "explained"),
        Cause::Completed => (
            Some(format!("if it is meant to end by itself, set {} = \"on-failure\"", key(facts, "restart"))),
            "explained",
        ),
        Cause::Stopped | Cause::KilledByOrder | Cause::OldSession => (None, "explained"),
    }
}

/// The cap that was met was none of the configuration.
fn another_cap(facts: &Facts<'_>) -> Option<String> {
    let (in_force, cap) = (facts.in_force.filter(|_| facts.limit == Some("cap"))?, facts.cap?);
    Some(format!(
        "its memory.max was {in_force} then, not {cap}: somebody had written it, or a reload was on its way. Nothing to raise; the \
         limits of every node are looked at every 30 s and put right (`cdc-supervisor events {}` says when)",
        facts.node
    ))
}

fn raise_the_cap(facts: &Facts<'_>) -> String {
    let machine = "the machine was out of memory, not this node: give its programs less, or the machine more \
                   (`cdc-supervisor status --memory` shows what each node holds, `plan` what their caps add up to)";
    let cap = match (facts.limit, facts.cap) {
        (Some("host"), _) | (_, None) => return machine.into(),
        (Some("group-above"), Some(_)) => {
            return "a group above it has a limit that is lower than what its nodes may take: raise or remove MemoryMax= \
                    (systemctl show -p MemoryMax cdc-supervisor.service, and its slice)"
                .into();
        }
        (_, Some(cap)) => cap,
    };
    let mut had = Vec::new();
    if let Some(heap) = facts.heap {
        had.push(format!("heap {heap}"));
    }
    if let Some(anon) = facts.anon.filter(|_| facts.heap.is_some()) {
        had.push(format!("anon {}", anon.rounded()));
    }
    had.push(format!("peak {}", facts.peak.unwrap_or(cap)));
    let key = key(facts, "memory_max");
    // What a sixth more did not cure before needs more than that.
    let wanted = if facts.times >= 3 { raised(raised(cap)) } else { raised(cap) };
    let mut text = format!("{}: set {key} = \"{wanted}\"", had.join(", "));
    match facts.heap {
        // What a JVM needs beside its heap is a quarter of the cap and more (services::jvm).
        Some(heap) if heap.0.saturating_mul(4) > cap.0.saturating_mul(3) => {
            text.push_str(&format!(
                ", or lower {}: beside a heap of {heap} a cap of {cap} leaves too little",
                self::key(facts, "heap")
            ));
        }
        Some(_) | None => {}
    }
    text
}

/// The heap was full: it and the cap by the same step, so that what is beside the heap keeps its room.
fn raise_the_heap(facts: &Facts<'_>, remedy: &str) -> String {
    let (Some(heap), Some(cap)) = (facts.heap, facts.cap) else { return remedy.to_owned() };
    let wanted = raised(heap);
    let cap = ByteSize::mib((cap.0 + (wanted.0 - heap.0)).div_ceil(1 << 20).div_ceil(32) * 32);
    format!(
        "the heap of {heap} was full, the cap of the kernel was not met: set {} = \"{wanted}\" and {} = \"{cap}\"",
        key(facts, "heap"),
        key(facts, "memory_max")
    )
}

/// A cap that is a sixth higher, rounded up to a step a person would choose: 768M gives 896M, 1G gives 1280M.
pub fn raised(cap: ByteSize) -> ByteSize {
    let mib = cap.0.div_ceil(1 << 20);
    let step = match mib {
        0..256 => 16,
        256..512 => 32,
        512..1_024 => 64,
        1_024..4_096 => 128,
        _ => 256,
    };
    ByteSize::mib((mib * 7).div_ceil(6).div_ceil(step) * step)
}

/// The key of a node's setting in `supervisor.toml`.
pub fn key(facts: &Facts<'_>, setting: &str) -> String {
    match facts.kind {
        NodeKind::Zookeeper => format!("zookeeper.{setting}"),
        NodeKind::Broker(id) => format!("kafka.brokers.{id}.{setting}"),
        NodeKind::Mysql => format!("mysql.{setting}"),
        NodeKind::KafkaUi => format!("kafka_ui.{setting}"),
        NodeKind::Command => format!("command.{}.{setting}", facts.node),
    }
}

/// As `supervisor.toml` takes it where that is whole seconds.
fn whole_seconds(d: Duration) -> String {
    if d.subsec_nanos() == 0 { format!("{}s", d.as_secs()) } else { human_duration(d) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(node: &NodeName, kind: NodeKind, cause: Cause) -> Facts<'_> {
        Facts {
            node,
            kind,
            cause,
            cap: Some(ByteSize::mib(768)),
            heap: Some(ByteSize::mib(384)),
            peak: Some(ByteSize::mib(768)),
            anon: None,
            limit: None,
            times: 1,
            in_force: None,
            grace: Duration::from_secs(60),
            remedy: None,
            counted: true,
            rebooted: false,
        }
    }

    #[test]
    fn out_of_memory_names_heap_peak_key_and_number() {
        let node = NodeName::broker(2);
        let (text, verdict) = advise(&facts(&node, NodeKind::Broker(2), Cause::OutOfMemory));
        assert_eq!(text.unwrap(), "heap 384M, peak 768M: set kafka.brokers.2.memory_max = \"896M\"");
        assert_eq!(verdict, "act");
        let tight = Facts { heap: Some(ByteSize::mib(640)), ..facts(&node, NodeKind::Broker(2), Cause::OutOfMemory) };
        assert!(advise(&tight).0.unwrap().contains("or lower kafka.brokers.2.heap"));
        let seen = Facts {
            anon: Some(ByteSize(741 << 20)),
            times: 3,
            ..facts(&node, NodeKind::Broker(2), Cause::OutOfMemory)
        };
        assert_eq!(
            advise(&seen).0.unwrap(),
            "heap 384M, anon 741M, peak 768M: set kafka.brokers.2.memory_max = \"1088M\"",
            "the third time by two steps"
        );
        let by_hand = Facts {
            in_force: Some(ByteSize::mib(256)),
            limit: Some("cap"),
            times: 3,
            ..facts(&node, NodeKind::Broker(2), Cause::OutOfMemory)
        };
        let (text, verdict) = advise(&by_hand);
        let text = text.unwrap();
        assert_eq!(verdict, "explained");
        assert!(text.starts_with("its memory.max was 256M then, not 768M") && !text.contains("memory_max ="), "{text}");
    }

    #[test]
    fn a_full_machine_a_full_group_above_and_a_full_heap_have_advice_of_their_own() {
        let node = NodeName::broker(2);
        let of = |cause, limit, remedy| {
            let facts = Facts { limit: Some(limit), remedy, ..facts(&node, NodeKind::Broker(2), cause) };
            let (text, verdict) = advise(&facts);
            assert_eq!(verdict, "act");
            text.unwrap()
        };
        assert!(of(Cause::OutOfMemory, "host", None).starts_with("the machine was out of memory"));
        assert!(of(Cause::OutOfMemory, "group-above", None).contains("MemoryMax="));
        assert_eq!(
            of(Cause::Crashed, "java-heap", Some("raise heap")),
            "the heap of 384M was full, the cap of the kernel was not met: \
             set kafka.brokers.2.heap = \"448M\" and kafka.brokers.2.memory_max = \"832M\""
        );
        assert_eq!(of(Cause::Crashed, "java-direct", Some("raise it")), "raise it");
    }

    #[test]
    fn raised_caps_are_round() {
        for (cap, wanted) in
            [("768M", "896M"), ("1G", "1280M"), ("384M", "448M"), ("64M", "80M"), ("4G", "4864M"), ("1M", "16M")]
        {
            assert_eq!(raised(ByteSize::parse(cap).unwrap()).to_string(), wanted);
        }
    }

    #[test]
    fn every_cause_has_a_verdict_and_what_cannot_be_cured_has_a_remedy() {
        let node = NodeName::mysql();
        for cause in Cause::ALL {
            let (text, verdict) = advise(&facts(&node, NodeKind::Mysql, cause));
            assert!(crate::base::incident::VERDICTS.contains(&verdict));
            assert!(verdict == "explained" || text.is_some(), "{cause}");
            assert_eq!(cause.is_terminal(), verdict == "act" && cause != Cause::OutOfMemory, "{cause}");
        }
        let known = Facts { remedy: Some("free it"), ..facts(&node, NodeKind::Mysql, Cause::Crashed) };
        assert_eq!(advise(&known), (Some("free it".into()), "act"));
    }
}
