//! Whether the ZooKeeper session of a dead broker may be closed by us. Pure: what was seen goes in, yes or the reason why not comes
//! out. A wrong attempt harms a broker that lives, so every doubt is a no.

use crate::base::{Timestamp, printable::printable};
use std::collections::BTreeSet;

/// The end of the run whose session it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEnded {
    /// When its process was started; none: not on record.
    pub started: Option<Timestamp>,
    /// When its end was seen.
    pub ended: Timestamp,
}

/// Who is registered as the broker, as ZooKeeper tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The session that holds `/brokers/ids/ID`.
    pub session: i64,
    /// When the node was made, on ZooKeeper's clock, which is this machine's.
    pub created: Timestamp,
    /// The transaction that made it: no other node has the same, and its maker is told it.
    pub transaction: i64,
}

/// Everything that is looked at.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The end on record of the broker's last run; none: none of its runs is known to have ended.
    pub end: Option<RunEnded>,
    /// Since that run began nobody has set the wall clock; false also where that cannot be told.
    pub steady_clock: bool,
    /// Something holds the node's lock: a process of its tree lives.
    pub lives: bool,
    /// The session that was seen to be this run's while it lived.
    pub recorded: Option<i64>,
    /// Who is registered now.
    pub seen: Registered,
    /// The run has written into its log that it made this very node.
    pub own_word: bool,
    /// Where it says that it listens, if that is not where this broker does; none: exactly there.
    pub elsewhere: Option<&'a str>,
    /// Who listens on a port the broker advertises; none: nobody.
    pub listener: Option<&'a str>,
    /// Why the ZooKeeper that answered is not the one this supervisor runs; none: it is.
    pub strange_zookeeper: Option<&'a str>,
}

/// Says why the session must be left alone; nothing: it is that of a dead process of ours.
///
/// That the registered endpoints are ours proves nothing: any broker on any machine can register `localhost`. Others prove that it is
/// somebody else, also when he took the name while ours still ran: our session had expired, or was not there yet. With our endpoints he
/// is told from ours by the broker's own word: it writes down the transaction of each of its registrations.
pub fn reason_not_to(facts: &Facts<'_>) -> Option<String> {
    if facts.lives {
        return Some("a process of the broker still lives".into());
    }
    let Some(end) = facts.end else {
        return Some("the end of the broker's last run is not on record".into());
    };
    if let Some(why) = facts.strange_zookeeper {
        return Some(format!("the ZooKeeper that answers is not the supervisor's own: {why}"));
    }
    if let Some(who) = facts.listener {
        return Some(format!("{who} listens on a port of the broker"));
    }
    if facts.recorded == Some(facts.seen.session) {
        return None;
    }
    if let Some(there) = facts.elsewhere {
        return Some(format!(
            "it is registered at {there}, where this broker does not listen: somebody else holds its name"
        ));
    }
    match end.started {
        // A time that the clock has shown twice, or that it has skipped, is within the run and is not.
        Some(_) if !facts.steady_clock => Some(
            "it is not the session that was recorded for the broker's last run, and when it was made proves nothing: the clock may have been set since that run began"
                .into(),
        ),
        Some(started) if started <= facts.seen.created && facts.seen.created <= end.ended => {
            (!facts.own_word).then(|| {
                "it is not the session that was recorded for the broker's last run, and that run's log knows nothing of this registration: \
                 somebody else may hold its name"
                    .into()
            })
        }
        Some(started) => Some(format!(
            "it was registered at {}, and the broker's last run lasted from {started} to {}: somebody else holds its name",
            facts.seen.created, end.ended
        )),
        None => Some("it is not the session that was recorded for the broker's last run".into()),
    }
}

/// The transactions of the registrations that a broker has written down, oldest first (`KafkaZkClient.registerBroker`, 3.5 to 3.9:
/// "Registered broker 1 at path /brokers/ids/1 with addresses: …, czxid (broker epoch): 25").
pub fn registrations(log: &str, broker: u32) -> Vec<i64> {
    let begins = format!("Registered broker {broker} at path /brokers/ids/{broker} with addresses: ");
    let told = |line: &str| {
        let (_, rest) = line.split_once(&begins)?;
        let (_, transaction) = rest.rsplit_once(", czxid (broker epoch): ")?;
        transaction.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    log.lines().filter_map(told).collect()
}

/// Where the registration `data` of a broker says that it listens; none: it does not tell.
pub fn registered_at(data: &[u8]) -> Option<Vec<String>> {
    let said: serde_json::Value = serde_json::from_slice(data).ok()?;
    let texts: Vec<String> =
        said["endpoints"].as_array()?.iter().filter_map(|e| e.as_str().map(str::to_owned)).collect();
    (!texts.is_empty()).then_some(texts)
}

/// Where the registration `data` says that its broker listens, when that is not exactly `ours`.
pub fn elsewhere(ours: &[String], data: &[u8]) -> Option<String> {
    let Some(theirs) = registered_at(data) else { return Some("an address that cannot be read".into()) };
    let sorted = |texts: &[String]| texts.iter().cloned().collect::<BTreeSet<_>>();
    (sorted(&theirs) != sorted(ours)).then(|| printable(&theirs.join(", "), 200))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: i64 = 0x1_0000_0001;
    const RUN: RunEnded = RunEnded { started: Some(Timestamp(1_000)), ended: Timestamp(9_000) };

    fn seen(session: i64, created: i64) -> Registered {
        Registered { session, created: Timestamp(created), transaction: 25 }
    }

    fn proven() -> Facts<'static> {
        Facts {
            end: Some(RUN),
            steady_clock: true,
            lives: false,
            recorded: Some(OURS),
            seen: seen(OURS, 2_000),
            own_word: true,
            elsewhere: None,
            listener: None,
            strange_zookeeper: None,
        }
    }

    fn refused(facts: &Facts<'_>, part: &str) {
        let why = reason_not_to(facts).unwrap_or_else(|| panic!("not refused: {facts:?}"));
        assert!(why.contains(part), "{why}");
    }

    #[test]
    fn the_session_of_a_run_that_has_ended_is_closed() {
        assert_eq!(reason_not_to(&proven()), None);
    }

    #[test]
    fn a_session_made_within_the_run_is_closed_though_another_was_recorded() {
        // it expired while the broker was stopped, and the broker registered again
        assert_eq!(reason_not_to(&Facts { recorded: Some(7), ..proven() }), None);
        assert_eq!(reason_not_to(&Facts { recorded: None, ..proven() }), None);
        for edge in [1_000, 9_000] {
            let seen = seen(OURS, edge);
            assert_eq!(reason_not_to(&Facts { recorded: None, seen, ..proven() }), None, "{edge}");
        }
    }

    #[test]
    fn somebody_else_with_our_own_endpoints_is_told_from_ours_by_the_brokers_own_word() {
        for recorded in [None, Some(7)] {
            refused(&Facts { recorded, own_word: false, ..proven() }, "knows nothing of this registration");
        }
        assert_eq!(reason_not_to(&Facts { own_word: false, ..proven() }), None, "it was recorded while it ran");
        let theirs = seen(7, 9_001);
        refused(&Facts { seen: theirs, ..proven() }, "somebody else holds its name");
    }

    #[test]
    fn the_brokers_own_word_is_read_from_its_log_and_nobody_elses_is() {
        let log = include_str!("../../tests/golden/logs/broker.log");
        assert_eq!((registrations(log, 1), registrations(log, 2)), (vec![25], vec![]));
        let line = |id: &str, end: &str| {
            format!(
                "2026-11-26T21:29:29.538Z INFO Registered broker {id} at path /brokers/ids/{id} with addresses: EXTERNAL://localhost:9092{end}\n"
            )
        };
        let told = ", czxid (broker epoch): ";
        let log = [
            line("1", &format!("{told}25")),
            line("1", &format!("{told}4611686018427387904 (kafka.zk.KafkaZkClient)")),
        ];
        assert_eq!(registrations(&log.concat(), 1), [25, 4_611_686_018_427_387_904]);
        for other in [line("11", &format!("{told}3")), line("1", told), line("1", ""), line("1", &format!("{told}x3"))]
        {
            assert_eq!(registrations(&other, 1), [] as [i64; 0], "{other}");
        }
    }

    #[test]
    fn the_recorded_session_is_closed_whatever_the_clocks_say() {
        let seen = seen(OURS, 77_000);
        assert_eq!(reason_not_to(&Facts { seen, ..proven() }), None, "the clock was set");
        let end = Some(RunEnded { started: None, ..RUN });
        assert_eq!(
            reason_not_to(&Facts { end, seen, ..proven() }),
            None,
            "the machine lost power: only the record tells"
        );
    }

    #[test]
    fn where_the_clock_was_set_only_the_recorded_session_is_closed() {
        // Set back an hour after the broker's end: who registers now was there while it ran, by the clock.
        let theirs = seen(7, 2_000);
        refused(&Facts { seen: theirs, steady_clock: false, ..proven() }, "the clock may have been set");
        // And where it was wrong while it ran, the run lasted into tomorrow.
        let tomorrow = Some(RunEnded { ended: Timestamp(90_000_000), ..RUN });
        let later = seen(7, 10_000);
        refused(&Facts { end: tomorrow, seen: later, steady_clock: false, ..proven() }, "the clock may have been set");
        assert_eq!(reason_not_to(&Facts { steady_clock: false, ..proven() }), None, "whose it is was written down");
    }

    #[test]
    fn a_broker_that_lives_is_never_fenced() {
        refused(&Facts { lives: true, ..proven() }, "still lives");
    }

    #[test]
    fn without_an_end_on_record_nothing_is_closed() {
        refused(&Facts { end: None, ..proven() }, "not on record");
    }

    #[test]
    fn somebody_else_who_took_the_name_before_or_after_is_left_alone() {
        for created in [999, 9_001] {
            let seen = seen(7, created);
            refused(&Facts { seen, ..proven() }, "somebody else");
        }
        let end = Some(RunEnded { started: None, ..RUN });
        refused(&Facts { end, recorded: None, ..proven() }, "not the session that was recorded");
        refused(&Facts { end, recorded: Some(7), ..proven() }, "not the session that was recorded");
    }

    #[test]
    fn somebody_else_who_took_the_name_while_ours_still_ran_is_left_alone() {
        let elsewhere = Some("INTERNAL://127.0.0.1:39999");
        for recorded in [None, Some(7)] {
            refused(
                &Facts { elsewhere, recorded, ..proven() },
                "at INTERNAL://127.0.0.1:39999, where this broker does not",
            );
        }
        // the configuration has other ports since: what was seen of the run itself is enough
        assert_eq!(reason_not_to(&Facts { elsewhere, ..proven() }), None);
    }

    #[test]
    fn endpoints_are_read_in_any_order_and_nothing_else_is_taken_for_them() {
        let ours = ["INTERNAL://127.0.0.1:29093".to_owned(), "EXTERNAL://localhost:9093".to_owned()];
        let there = |data: &str| elsewhere(&ours, data.as_bytes());
        assert_eq!(
            there(r#"{"version":5,"endpoints":["EXTERNAL://localhost:9093","INTERNAL://127.0.0.1:29093"]}"#),
            None
        );
        assert_eq!(there(r#"{"endpoints":["EXTERNAL://localhost:9093"]}"#).unwrap(), "EXTERNAL://localhost:9093");
        let one_more = r#"{"endpoints":["EXTERNAL://localhost:9093","INTERNAL://127.0.0.1:29093","X://a:1"]}"#;
        assert!(there(one_more).unwrap().ends_with("X://a:1"));
        for unreadable in
            ["", "{}", r#"{"endpoints":[]}"#, r#"{"endpoints":[1]}"#, r#"{"host":"localhost","port":9093}"#]
        {
            assert_eq!(there(unreadable).unwrap(), "an address that cannot be read", "{unreadable}");
        }
    }

    #[test]
    fn a_listener_on_its_ports_is_somebody_who_may_be_the_broker() {
        refused(&Facts { listener: Some("java (pid 7)"), ..proven() }, "java (pid 7) listens");
    }

    #[test]
    fn another_zookeeper_is_never_written_to() {
        refused(&Facts { strange_zookeeper: Some("pid 7 listens there"), ..proven() }, "pid 7 listens there");
    }
}
