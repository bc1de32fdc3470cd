//! Loss of power: the guest with the real stack is killed without warning right behind its installation, while producers and SQL
//! writers run, and in the middle of a drill, and booted again on the same disk. One series of boots (`power.sh`), one test per fact.
//! How often while they run: `CDC_POWER_CUTS`; 2, in the long form 20.
//!
//! The guest's death loses what its page cache had not written. What it gave to its disk is kept: the host's cache is the
//! disk. So a flush that was never asked for shows, and a disk that lies about flushes does not.

mod inside;
mod zstd;

use super::{
    guest::{self, Size},
    packed, script, support,
};
use inside::{CACHED, KINDS, SYNCED};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// Acknowledgements of every kind before the power is cut, at least.
const LEAST: usize = 150;
/// Of one boot until its writers have got so far, on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(600);
const SIZE: Size = Size::stack(BOOT_LIMIT);

/// Every number, or every number of one boot.
type Numbers = BTreeSet<u64>;

/// A series of cuts.
struct Cuts {
    seen: PathBuf,
    cuts: u32,
    /// Per boot and kind: what was acknowledged before the power went.
    acknowledged: Vec<[Numbers; 3]>,
    /// Why it ended early.
    broken: Option<String>,
}

fn wanted() -> u32 {
    let long = std::env::var_os("CDC_TEST_LONG").is_some();
    std::env::var("CDC_POWER_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(if long { 20 } else { 2 })
}

fn cuts() -> Result<&'static Cuts, &'static str> {
    static CUTS: OnceLock<Result<Cuts, String>> = OnceLock::new();
    let cuts = CUTS.get_or_init(run).as_ref().map_err(String::as_str)?;
    if let Some(why) = &cuts.broken {
        panic!("{why}\n{}\n{}", cuts.saw("steps"), cuts.saw("journal"));
    }
    Ok(cuts)
}

fn run() -> Result<Cuts, String> {
    let store = std::env::var("CDC_TEST_STORE").map_err(|_| "CDC_TEST_STORE names no filled store".to_owned())?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
    let prepared = guest::prepare(("power", SIZE, wanted() + 3), &script("power.sh"), |share| {
        packed::products(share, &dist, &store)?;
        fs::write(share.join("cuts"), wanted().to_string())?;
        guest::put_program(share, &own, "inside")
    })?;
    let mut cuts = Cuts { seen: prepared.share.join("seen"), cuts: wanted(), acknowledged: Vec::new(), broken: None };
    for boot in 0..=cuts.last() {
        let goes = match boot {
            0 => Goes::At("installed"),
            _ if boot <= cuts.cuts => Goes::WhileTheyWrite,
            _ if boot == cuts.drill() => Goes::At("drilling"),
            _ => Goes::Never,
        };
        match one_boot(&prepared, boot, goes) {
            Ok(_) if boot == 0 => continue,
            Ok(acknowledged) => cuts.acknowledged.push(acknowledged),
            Err(why) => {
                cuts.broken = Some(format!("boot {boot}: {why}"));
                break;
            }
        }
        cuts.tell(boot);
    }
    prepared.throw_away();
    Ok(cuts)
}

/// When the power goes in a boot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// As soon as the guest has left this.
    At(&'static str),
    /// When so much was acknowledged.
    WhileTheyWrite,
    /// It ends by itself.
    Never,
}

/// Boots once, and cuts the power; what was acknowledged to writers by then.
fn one_boot(prepared: &guest::Prepared, boot: u32, goes: Goes) -> Result<[Numbers; 3], String> {
    let console = format!("console-{boot}");
    let mut running = prepared.start(SIZE, boot, &console)?;
    let told = || acknowledged(&fs::read(prepared.share.join(&console)).unwrap_or_default());
    let began = Instant::now();
    loop {
        let ended = running.has_ended()?;
        let broken = fs::read_to_string(prepared.share.join(format!("seen/broken-{boot}"))).ok();
        if broken.is_some() || (goes != Goes::Never && ended) || began.elapsed() > BOOT_LIMIT {
            return Err(broken.unwrap_or_else(|| format!("nothing after {} s", began.elapsed().as_secs())));
        }
        match goes {
            Goes::Never if ended => return Ok(Default::default()),
            Goes::At(seen) if prepared.share.join("seen").join(seen).exists() => {
                running.cut()?;
                return Ok(Default::default());
            }
            Goes::WhileTheyWrite if told().iter().all(|numbers| numbers.len() >= LEAST) => {
                // At another moment of the brokers' and mysqld's work each time.
                thread::sleep(Duration::from_millis(u64::from(boot) * 7_919 % 2_500));
                running.cut()?;
                return Ok(told());
            }
            Goes::Never | Goes::At(_) | Goes::WhileTheyWrite => {}
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// What the console tells. A line that something else was printed into counts as not acknowledged.
fn acknowledged(console: &[u8]) -> [Numbers; 3] {
    let pattern = regex::bytes::Regex::new(r"(?m)^@([A-Z])([0-9]+);\r?$").unwrap();
    let mut all: [Numbers; 3] = Default::default();
    for found in pattern.captures_iter(console) {
        let place = KINDS.iter().position(|(letter, _)| found[1] == [*letter as u8]);
        if let Some(place) = place {
            all[place].extend(std::str::from_utf8(&found[2]).unwrap().parse::<u64>());
        }
    }
    all
}

impl Cuts {
    /// The boot whose power goes in the middle of a drill.
    fn drill(&self) -> u32 {
        self.cuts + 1
    }

    /// The last one, behind that.
    fn last(&self) -> u32 {
        self.cuts + 2
    }

    fn saw(&self, name: &str) -> String {
        fs::read_to_string(self.seen.join(name)).unwrap_or_default().trim_end().to_owned()
    }

    fn have(&self, boot: u32, kind: &str) -> Vec<u64> {
        self.saw(&format!("have-{boot}-{kind}")).lines().filter_map(|n| n.parse().ok()).collect()
    }

    /// Of what was acknowledged in boot `of`, what the next boot did not find; and how much was acknowledged.
    fn lost(&self, of: u32, kind: usize) -> (Vec<u64>, usize) {
        let have: Numbers = self.have(of + 1, KINDS[kind].1).into_iter().collect();
        let acknowledged = &self.acknowledged[of as usize - 1][kind];
        (acknowledged.difference(&have).copied().collect(), acknowledged.len())
    }

    /// What the event log told in a boot until every node was ready: kind, node, start of that node, text.
    fn came_back(&self, boot: u32) -> Vec<(String, String, u64, String)> {
        let text = self.saw(&format!("came-back-{boot}"));
        let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of = |event: Value| {
            let start = event["incarnation"].as_u64().unwrap_or_default();
            (word(&event, "kind"), word(&event, "node"), start, word(&event, "text"))
        };
        events.map(of).collect()
    }

    /// How far the drill was when the power went: what was killed under its load.
    fn drilled(&self) -> String {
        let record: Value = serde_json::from_str(&self.saw("drill.record")).unwrap();
        record["step"].as_str().unwrap().to_owned()
    }

    /// What a boot found, for whoever watches.
    fn tell(&self, boot: u32) {
        let ready = self.saw(&format!("uptime-{boot}"));
        let found = if boot == 1 {
            "an empty disk".to_owned()
        } else {
            let told: Vec<String> = (0..KINDS.len())
                .map(|kind| {
                    let (lost, of) = self.lost(boot - 1, kind);
                    format!("{} {} of {of} acknowledged lost", KINDS[kind].1, lost.len())
                })
                .collect();
            format!("power cut {}: {}", boot - 1, told.join(", "))
        };
        guest::tell(&format!("{found}; every node ready {ready} s after the kernel began"));
    }
}

#[test]
fn after_every_loss_of_power_the_whole_stack_comes_back_by_itself() {
    let cuts = or_skip!(cuts(), "after_every_loss_of_power_the_whole_stack_comes_back_by_itself");
    assert_eq!((cuts.saw("end"), cuts.saw("never")), ("reached".into(), String::new()));
    for boot in 1..=cuts.last() {
        let status: Value = serde_json::from_str(&cuts.saw(&format!("ready-{boot}.json"))).unwrap();
        for name in ["zookeeper", "broker-1", "broker-2", "broker-3", "mysql"] {
            let node = support::node_of(&status, name);
            assert_eq!((&node["state"], &node["restarts"]), (&"ready".into(), &0.into()), "boot {boot}: {node}");
        }
    }
}

#[test]
fn what_was_installed_is_there_when_the_power_goes_right_behind_it() {
    let cuts = or_skip!(cuts(), "what_was_installed_is_there_when_the_power_goes_right_behind_it");
    assert_eq!(cuts.saw("installed"), "0 0 0", "{}{}", cuts.saw("install.text"), cuts.saw("install-again.text"));
    // The same once more compares every file of the tree, and every program of the bundle, with what is there.
    let again = cuts.saw("again.text");
    assert_eq!(cuts.saw("again.rc"), "0", "{again}");
    assert!(again.contains("is installed already"), "{again}");
    assert_eq!(cuts.saw("again.enabled"), "enabled");
}

#[test]
fn sessions_of_brokers_that_the_power_took_are_closed_before_their_next_start() {
    let cuts = or_skip!(cuts(), "sessions_of_brokers_that_the_power_took_are_closed_before_their_next_start");
    for boot in 1..=cuts.last() {
        let events = cuts.came_back(boot);
        assert!(!events.iter().any(|(.., text)| text.contains("old session")), "boot {boot} waited: {events:?}");
        for broker in ["broker-1", "broker-2", "broker-3"] {
            let of = |wanted: &str| {
                let is = |(_, event): &(usize, &(String, String, u64, String))| event.0 == wanted && event.1 == broker;
                events.iter().enumerate().filter(is).map(|(at, event)| (at, event.2)).collect::<Vec<_>>()
            };
            // That of a broker which the drill had killed may have been closed already, and it may have had no other by then.
            let is_victim = boot == cuts.last() && cuts.drilled().ends_with(broker);
            match (&of("fenced")[..], &of("started")[..]) {
                ([], [_]) if boot == 1 || is_victim => {}
                ([(fenced, last)], [(started, next)]) if boot > 1 && fenced < started && last + 1 == *next => {}
                _ => panic!("boot {boot}: {broker}: {events:?}"),
            }
        }
    }
}

#[test]
fn after_a_loss_of_power_zookeeper_and_every_broker_name_the_cluster_of_before() {
    let cuts = or_skip!(cuts(), "after_a_loss_of_power_zookeeper_and_every_broker_name_the_cluster_of_before");
    let first = cuts.saw("zookeeper-cluster-1");
    let (id, written) = first.split_once('\n').unwrap_or_default();
    assert!(!id.is_empty() && written.parse::<i64>().is_ok(), "{first}");
    for boot in 1..=cuts.last() {
        assert_eq!(cuts.saw(&format!("zookeeper-cluster-{boot}")), first, "boot {boot}: what ZooKeeper says");
        assert_eq!(
            cuts.saw(&format!("cluster-{boot}")),
            [id; 3].join("\n"),
            "boot {boot}: meta.properties of the brokers"
        );
    }
}

#[test]
fn no_acknowledged_row_is_lost_with_the_power() {
    let cuts = or_skip!(cuts(), "no_acknowledged_row_is_lost_with_the_power");
    for boot in 1..=cuts.cuts {
        let (lost, of) = cuts.lost(boot, 2);
        assert!(lost.is_empty() && of >= LEAST, "cut {boot}: {} of {of} rows: {lost:?}", lost.len());
    }
    let last: Numbers = cuts.have(cuts.last(), "mysql").into_iter().collect();
    assert!(cuts.acknowledged.iter().all(|boot| boot[2].is_subset(&last)), "a later cut took an earlier boot's rows");
}

#[test]
fn with_durability_power_cut_no_acknowledged_record_is_lost_with_the_power() {
    let cuts = or_skip!(cuts(), "with_durability_power_cut_no_acknowledged_record_is_lost_with_the_power");
    for boot in 1..=cuts.cuts {
        let (lost, of) = cuts.lost(boot, 0);
        assert!(lost.is_empty() && of >= LEAST, "cut {boot}: {} of {of} records: {lost:?}", lost.len());
    }
    let last = cuts.have(cuts.last(), SYNCED);
    let set: Numbers = last.iter().copied().collect();
    assert!(cuts.acknowledged.iter().all(|boot| boot[0].is_subset(&set)), "a later cut took an earlier boot's records");
    assert_eq!(set.len(), last.len(), "an idempotent producer's records came twice");
}

#[test]
fn what_was_only_in_the_page_cache_is_gone_and_that_shows_that_the_power_was_cut() {
    let cuts = or_skip!(cuts(), "what_was_only_in_the_page_cache_is_gone_and_that_shows_that_the_power_was_cut");
    // Were nothing lost here, the guest's death would be no loss of power and the tests above would prove nothing.
    let lost: usize = (1..=cuts.cuts).map(|boot| cuts.lost(boot, 1).0.len()).sum();
    assert!(lost > 0, "nothing of {CACHED} was lost in {} cuts", cuts.cuts);
}

#[test]
fn a_drill_that_lost_its_power_is_undone_with_the_next_boot_and_nothing_of_the_users_is_touched() {
    let cuts = or_skip!(
        cuts(),
        "a_drill_that_lost_its_power_is_undone_with_the_next_boot_and_nothing_of_the_users_is_touched"
    );
    let (boot, next) = (cuts.drill(), cuts.last());
    // A drill breaks nothing before its load flows.
    assert!(cuts.drilled().starts_with("SIGKILL to broker-"), "{}", cuts.saw("drill.record"));
    let told = cuts.saw("drill.told");
    for words in
        ["drill broker-kill, begun at", "was cut short with its daemon", "removed its topics", "removed its table"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(cuts.saw("drill.left"), "", "records of it");
    assert_eq!(cuts.saw(&format!("drill-traces-{next}")), "", "topics or a table of it");
    for kind in [SYNCED, "mysql"] {
        let [before, after] = [boot, next].map(|boot| cuts.have(boot, kind).into_iter().collect::<Numbers>());
        assert!(!before.is_empty() && before == after, "{kind}: {} before, {} after", before.len(), after.len());
    }
    let again: Value = serde_json::from_str(&cuts.saw("drill-again.json"))
        .unwrap_or_else(|e| panic!("{e}: {}{}", cuts.saw("drill-again.json"), cuts.saw("drill-again.err")));
    assert_eq!((cuts.saw("drill-again.rc"), &again["verdict"]), ("0".into(), &"passed".into()), "{again:#}");
    assert_eq!(cuts.saw(&format!("drill-again-traces-{next}")), "");
}

#[test]
fn after_a_kill_9_of_the_daemon_mysqld_sorts_on_disk_and_brokers_unpack_zstd() {
    let cuts = or_skip!(cuts(), "after_a_kill_9_of_the_daemon_mysqld_sorts_on_disk_and_brokers_unpack_zstd");
    assert_eq!(cuts.saw("after.pids"), cuts.saw("after.pids.then"), "a node was replaced");
    let passes = cuts.saw("after.merge-passes");
    assert!(passes.parse::<u64>().is_ok_and(|n| n > 0), "the sort did not go to the disk: {passes}");
    // Leader and error code of each partition's batch; the library comes out of a jar into the node's own directory.
    assert_eq!(cuts.saw("after.zstd"), "1 0\n2 0\n3 0");
    assert_eq!((cuts.saw("zstd.before"), cuts.saw("zstd.then")), ("0".into(), "3".into()));
    assert_eq!(cuts.saw("stop.rc"), "0");
}
