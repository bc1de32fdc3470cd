//! Drills: their names, which broker they take, and the report of one. The report's shape is a contract (README, "JSON").

use super::{ByteSize, NodeName, Timestamp};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The file system that `disk-full` fills, with the marks of `[disk]` on it: what three empty brokers, their logs and a filler need, and
/// little to fill. Between the mark and a full disk lie 96 MB with the ballast, a minute of the load at its usual rate.
pub struct SmallDisk;

impl SmallDisk {
    /// Its size.
    pub const SIZE: ByteSize = ByteSize::mib(256);
    /// `disk.low`.
    pub const LOW: ByteSize = ByteSize::mib(96);
    /// `disk.stop`.
    pub const STOP: ByteSize = ByteSize::mib(64);
    /// `disk.resume`.
    pub const RESUME: ByteSize = ByteSize::mib(80);
    /// `disk.ballast`.
    pub const BALLAST: ByteSize = ByteSize::mib(32);
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drill {
    /// SIGKILL to a broker.
    BrokerKill,
    /// SIGTERM to a broker.
    BrokerTerm,
    /// SIGSTOP to a broker, SIGCONT later.
    BrokerPause,
    /// Two brokers killed and kept down for a while.
    TwoBrokers,
    /// ZooKeeper stopped and started.
    ZookeeperRestart,
    /// ZooKeeper killed and kept down for a while.
    ZookeeperDown,
    /// SIGKILL to mysqld.
    MysqlKill,
    /// Everything stopped and started.
    ColdRestart,
    /// The file system is filled up, on a throw-away cluster.
    DiskFull,
    /// Another program takes the port of a broker that was killed, on a throw-away cluster.
    PortThief,
    /// ZooKeeper's data is gone and the brokers' is not, on a throw-away cluster.
    ClusterIdMismatch,
}

impl Drill {
    /// Every one.
    pub const ALL: [Drill; 11] = [
        Drill::BrokerKill,
        Drill::BrokerTerm,
        Drill::BrokerPause,
        Drill::TwoBrokers,
        Drill::ZookeeperRestart,
        Drill::ZookeeperDown,
        Drill::MysqlKill,
        Drill::ColdRestart,
        Drill::DiskFull,
        Drill::PortThief,
        Drill::ClusterIdMismatch,
    ];

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Drill::BrokerKill => "broker-kill",
            Drill::BrokerTerm => "broker-term",
            Drill::BrokerPause => "broker-pause",
            Drill::TwoBrokers => "two-brokers",
            Drill::ZookeeperRestart => "zookeeper-restart",
            Drill::ZookeeperDown => "zookeeper-down",
            Drill::MysqlKill => "mysql-kill",
            Drill::ColdRestart => "cold-restart",
            Drill::DiskFull => "disk-full",
            Drill::PortThief => "port-thief",
            Drill::ClusterIdMismatch => "cluster-id-mismatch",
        }
    }

    /// Made on a cluster of its own that is thrown away afterwards, and on no other: what it breaks may not be mended by what it
    /// shall prove.
    pub fn is_on_throw_away(self) -> bool {
        match self {
            Drill::DiskFull | Drill::PortThief | Drill::ClusterIdMismatch => true,
            Drill::BrokerKill
            | Drill::BrokerTerm
            | Drill::BrokerPause
            | Drill::TwoBrokers
            | Drill::ZookeeperRestart
            | Drill::ZookeeperDown
            | Drill::MysqlKill
            | Drill::ColdRestart => false,
        }
    }

    /// What clients of the stack meet while it lasts, with what it breaks kept broken for so long; none: next to nothing, and nobody
    /// has to agree.
    pub fn interrupts(self, lasts: Option<Duration>) -> Option<String> {
        // Begun seconds count.
        let seconds = lasts.or(self.lasts()).unwrap_or_default().as_millis().div_ceil(1_000);
        match self {
            Drill::BrokerKill | Drill::BrokerTerm | Drill::ZookeeperRestart => None,
            // Nobody else is on a throw-away cluster.
            Drill::DiskFull | Drill::PortThief | Drill::ClusterIdMismatch => None,
            Drill::BrokerPause => Some(format!(
                "what the paused broker leads stands still until its session expires or it goes on after {seconds} s; what a producer had sent there may wait longer than that"
            )),
            // Until one of them is back in sync: 5 to 25 s after both are started again, by how much there is to recover.
            Drill::TwoBrokers => Some(format!(
                "writes with acks=all are refused until one of the two is back: {} to {} s",
                seconds + 5,
                seconds + 25
            )),
            Drill::ZookeeperDown => Some(format!(
                "for {seconds} s no topic can be made, and a broker that dies meanwhile is not replaced as leader"
            )),
            Drill::MysqlKill => Some("MySQL is away for a few seconds, and its sessions end".to_owned()),
            Drill::ColdRestart => Some("everything is away for 10 to 30 s".to_owned()),
        }
    }

    /// How long what it breaks stays broken unless the order says otherwise; none: until the supervisor has mended it.
    pub fn lasts(self) -> Option<Duration> {
        match self {
            Drill::BrokerPause | Drill::TwoBrokers => Some(Duration::from_secs(10)),
            Drill::ZookeeperDown => Some(Duration::from_secs(60)),
            Drill::BrokerKill
            | Drill::BrokerTerm
            | Drill::ZookeeperRestart
            | Drill::MysqlKill
            | Drill::ColdRestart
            | Drill::DiskFull
            | Drill::PortThief
            | Drill::ClusterIdMismatch => None,
        }
    }

    /// The longest that can be ordered for it.
    pub const LASTS_MAX: Duration = Duration::from_secs(300);
}

impl fmt::Display for Drill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which broker a drill takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// The one that leads most partitions and is not the controller.
    #[default]
    Leader,
    /// The controller.
    Controller,
    /// A random one.
    Any,
}

impl Which {
    /// Every one.
    pub const ALL: [Which; 3] = [Which::Leader, Which::Controller, Which::Any];

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Which::Leader => "leader",
            Which::Controller => "controller",
            Which::Any => "any",
        }
    }
}

/// Records a second unless the order says otherwise.
pub const RATE: u32 = 500;
/// The bounds of what can be ordered: the writer is one thread, and every number is kept until it is judged.
pub const RATES: std::ops::RangeInclusive<u32> = 10..=10_000;

/// What a drill is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which drill.
    pub drill: Drill,
    /// Which broker, where it takes one.
    #[serde(default)]
    pub which: Which,
    /// How long what is broken stays broken, milliseconds; none: as the drill has it.
    #[serde(default)]
    pub lasts_ms: Option<u64>,
    /// Records a second.
    #[serde(default = "rate")]
    pub rate: u32,
    /// The drill's name once more, where it interrupts service.
    #[serde(default)]
    pub confirm: Option<String>,
    /// `disk-full` without the guard of `[disk]`: the disk that fills up faster than anybody can stop a broker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_guard: bool,
}

impl Plan {
    /// How long what is broken is to stay broken; none: until the supervisor has mended it.
    pub fn lasts(&self) -> Option<Duration> {
        self.lasts_ms.map(Duration::from_millis).or(self.drill.lasts())
    }

    /// What clients of the stack meet while it lasts; none: nobody has to agree.
    pub fn interrupts(&self) -> Option<String> {
        self.drill.interrupts(self.lasts())
    }
}

fn rate() -> u32 {
    RATE
}

/// What became of one drill: `state/drills/ID.NAME.json`, `drill NAME --json`. Keys are never missing; unknown is null.
///
/// Words are texts, so that what a later version writes can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// 1.
    pub schema: u32,
    /// Its number under this root, from 1.
    pub id: u64,
    /// A word of [`Drill`].
    pub drill: String,
    /// When it began.
    pub at: Timestamp,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// The version of the daemon that made it.
    pub version: String,
    /// What was broken.
    pub victims: Vec<NodeName>,
    /// A victim was the controller; null: none was a broker.
    pub controller: Option<bool>,
    /// For how long it was kept broken, milliseconds; null: until the supervisor had mended it.
    pub lasted_ms: Option<u64>,
    /// Records a second that were to be written; rows a second are a tenth of it, at most 100.
    pub rate: u32,
    /// `passed` or `failed`.
    pub verdict: String,
    /// Why it failed; empty: it did not.
    pub faults: Vec<String>,
    /// Of the records; null: there are no brokers.
    pub kafka: Option<Tally>,
    /// Of the rows; null: there is no MySQL server that the supervisor has set up.
    pub mysql: Option<Tally>,
    /// Of `disk-full`, whether nodes were to be stopped before the disk is full; null: another drill, or an older version wrote it.
    #[serde(default)]
    pub guard: Option<bool>,
    /// What happened when.
    pub timeline: TimeLine,
    /// It was made on a throw-away cluster; false also where an older version has written the report.
    #[serde(default)]
    pub throw_away: bool,
    /// What the supervisor said of the fault, one sentence each; empty: nothing was to be shown, or an older version wrote it.
    #[serde(default)]
    pub observed: Vec<String>,
    /// What the drill had made and could not remove, one sentence each, no part of the verdict; empty: nothing, or an older version
    /// wrote it.
    #[serde(default)]
    pub left: Vec<String>,
}

/// How many reports are kept. One is 2 kB.
pub const KEPT: usize = 200;

impl Report {
    /// What is written into its file.
    pub fn file(&self) -> Vec<u8> {
        // A struct of texts and numbers always becomes JSON.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// The verdict is not negative.
    pub fn passed(&self) -> bool {
        self.verdict == Self::PASSED
    }

    /// The word for a positive verdict.
    pub const PASSED: &'static str = "passed";
    /// The word for a negative one.
    pub const FAILED: &'static str = "failed";
}

/// What became of numbered records or rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Handed to the client.
    pub sent: u64,
    /// Acknowledged (a row: its commit returned).
    pub acknowledged: u64,
    /// Given up by the client. Some may have been written all the same.
    pub given_up: u64,
    /// Acknowledged and not there, also when everything was read a second time.
    pub lost: u64,
    /// Acknowledged, and reading stood still before they came: they may be there or not. Nought in reports of older versions, which
    /// counted them as lost.
    #[serde(default)]
    pub unread: u64,
    /// Acknowledged more than a second after they were sent.
    pub late: u64,
    /// There more than once.
    pub duplicated: u64,
    /// Of those what had been acknowledged before anything was broken.
    #[serde(skip)]
    pub duplicated_before: u64,
    /// Behind a later one of the same partition.
    pub out_of_order: u64,
    /// There and not ours, or never sent.
    pub strange: u64,
    /// The longest time without an acknowledgement in one partition, milliseconds.
    pub longest_gap_ms: u64,
    /// When that gap began, milliseconds since the fault; negative: before it.
    pub longest_gap_at_ms: i64,
    /// The longest wait of one for its acknowledgement, milliseconds.
    pub slowest_ms: u64,
    /// The first numbers that were lost, at most ten.
    pub lost_numbers: Vec<u64>,
}

/// What happened when, milliseconds since the fault; null: it did not, or there is no such thing in this drill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeLine {
    /// The supervisor has seen the process end; of several the last.
    pub death_seen: Option<u64>,
    /// The ZooKeeper session was closed; of several the last.
    pub session_closed: Option<u64>,
    /// The first partition of the victims had a new leader.
    pub first_new_leader: Option<u64>,
    /// Every one had.
    pub last_new_leader: Option<u64>,
    /// The new process was started; of several the last.
    pub process_up: Option<u64>,
    /// The brokers are in the cluster's list again.
    pub registered: Option<u64>,
    /// The nodes are ready again.
    pub ready: Option<u64>,
    /// Every replica of every partition was in sync again.
    pub isr_full: Option<u64>,
    /// Every partition was led by its preferred leader again.
    pub leaders_home: Option<u64>,
}

impl TimeLine {
    /// The marks in their usual order, with the words for people.
    pub fn marks(&self) -> [(&'static str, Option<u64>); 9] {
        [
            ("death seen", self.death_seen),
            ("session closed", self.session_closed),
            ("first new leader", self.first_new_leader),
            ("last new leader", self.last_new_leader),
            ("process up", self.process_up),
            ("registered", self.registered),
            ("ready", self.ready),
            ("every ISR full", self.isr_full),
            ("leaders home", self.leaders_home),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_wire() {
        for drill in Drill::ALL {
            assert_eq!(serde_json::to_string(&drill).unwrap(), format!("\"{drill}\""));
            assert!(drill.lasts().is_none_or(|d| d <= Drill::LASTS_MAX));
            assert!(!drill.is_on_throw_away() || drill.interrupts(None).is_none(), "nobody else is there: {drill}");
        }
        for which in Which::ALL {
            assert_eq!(serde_json::to_string(&which).unwrap(), format!("\"{}\"", which.as_str()));
        }
    }

    #[test]
    fn what_is_to_be_agreed_to_lasts_as_long_as_was_asked_for() {
        let asked = |drill: Drill, lasts_ms| {
            let plan = Plan { drill, which: Which::Leader, lasts_ms, rate: RATE, confirm: None, no_guard: false };
            plan.interrupts().unwrap()
        };
        assert!(asked(Drill::ZookeeperDown, None).starts_with("for 60 s no topic can be made"));
        assert!(asked(Drill::ZookeeperDown, Some(300_000)).starts_with("for 300 s no topic can be made"));
        assert!(asked(Drill::BrokerPause, None).contains("or it goes on after 10 s;"));
        assert!(asked(Drill::BrokerPause, Some(29_001)).contains("or it goes on after 30 s;"));
        assert!(asked(Drill::TwoBrokers, None).ends_with("is back: 15 to 35 s"), "as the README says");
        assert!(asked(Drill::TwoBrokers, Some(300_000)).ends_with("is back: 305 to 325 s"));
    }

    #[test]
    fn a_report_of_an_older_version_was_made_on_the_cluster_itself() {
        let text = r#"{"schema":1,"id":7,"drill":"broker-kill","at":"2026-01-02T03:04:05.006Z","took_ms":1,"version":"0.1.0","victims":[],
            "controller":null,"lasted_ms":null,"rate":500,"verdict":"passed","faults":[],"kafka":null,"mysql":null,
            "timeline":{"death_seen":null,"session_closed":null,"first_new_leader":null,"last_new_leader":null,"process_up":null,
            "registered":null,"ready":null,"isr_full":null,"leaders_home":null}}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert!(!report.throw_away && report.observed.is_empty() && report.left.is_empty());
        assert_eq!(serde_json::from_slice::<Report>(&report.file()).unwrap(), report);
    }

    #[test]
    fn a_plan_of_an_older_client_has_the_usual_rate() {
        let plan: Plan = serde_json::from_str(r#"{"drill":"broker-kill"}"#).unwrap();
        assert_eq!((plan.rate, plan.which, plan.confirm), (RATE, Which::Leader, None));
    }
}
