//! `dist/install.sh` that is cut short under a real systemd: killed in the middle of upgrades beside a daemon and nodes that run, and without
//! power in the middle of a first installation and of an upgrade (`cut.sh`). Before each of its commands, without a guest: `installer.rs`.

use super::{
    guest::{self, Size},
    node,
    packed::{self, LATER},
    script,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

const NOW: &str = env!("CARGO_PKG_VERSION");
/// Where an upgrade was killed, and which version each of these is one to.
const ROUNDS: [(&str, &str); 6] =
    [("unbegun", LATER), ("shim", NOW), ("programs", LATER), ("files", NOW), ("unasked", LATER), ("over", NOW)];

struct Cut(PathBuf);

impl Cut {
    fn saw(&self, name: &str) -> String {
        fs::read_to_string(self.0.join("seen").join(name)).unwrap_or_default().trim_end().to_owned()
    }

    fn json(&self, name: &str) -> Value {
        let text = self.saw(&format!("{name}.json"));
        serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{name}: {e}\n{text}{}", self.saw(&format!("{name}.err"))))
    }

    /// The same processes in both looks.
    fn ran_on(&self, before: &str, after: &str) {
        let (before, after) = (self.json(before), self.json(after));
        for name in ["calm", "second"] {
            assert_eq!(node(&after, name)["state"], "ready", "{after}");
            assert_eq!(node(&before, name)["pid"], node(&after, name)["pid"], "{name}: {after}");
        }
    }

    /// The run behind a cut: it went well, and nothing is half or left over.
    fn is_whole(&self, run: &str, left: &str) {
        assert_eq!(
            (self.saw(&format!("{run}.rc")), self.saw(&format!("{left}.left"))),
            ("0".into(), String::new()),
            "{run}: {}",
            self.saw(&format!("{run}.text"))
        );
    }
}

fn cut() -> Result<&'static Cut, &'static str> {
    static CUT: OnceLock<Result<Cut, String>> = OnceLock::new();
    let cut = CUT.get_or_init(run).as_ref().map_err(String::as_str)?;
    assert_eq!(
        (cut.saw("end"), cut.saw("never")),
        ("reached".into(), String::new()),
        "{}{}",
        cut.saw("broken"),
        cut.saw("steps")
    );
    Ok(cut)
}

fn run() -> Result<Cut, String> {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
    // a boot with six upgrades in it, beside other guests
    let size = Size(Size::SMALL.0, Duration::from_secs(900));
    let prepared = guest::prepare(("cut", size, 3), &script("cut.sh"), |share| {
        packed::tree(share, &dist)?;
        packed::later(share, &dist)?;
        packed::differ(&share.join("packed/later"))
    })?;
    for boot in 1..=3 {
        if let Err(why) = one_boot(&prepared, size, boot) {
            let _ = fs::write(prepared.share.join("seen/broken"), format!("boot {boot}: {why}\n"));
            break;
        }
    }
    prepared.throw_away();
    Ok(Cut(prepared.share))
}

/// Boots, and cuts the power where `install.sh` waits for it; the last boot ends by itself.
fn one_boot(prepared: &guest::Prepared, size: Size, boot: u32) -> Result<(), String> {
    let mut running = prepared.start(size, boot, "console")?;
    let began = Instant::now();
    while began.elapsed() < size.1 {
        if prepared.share.join(format!("seen/reached-{boot}")).exists() {
            return running.cut();
        }
        if running.has_ended()? {
            return if boot == 3 { Ok(()) } else { Err("ended by itself".into()) };
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err("did not end in time".into())
}

#[test]
fn a_first_installation_that_loses_its_power_is_made_whole_by_the_next_run() {
    let cut = or_skip!(cut(), "a_first_installation_that_loses_its_power_is_made_whole_by_the_next_run");
    assert!(cut.saw("reached-1").starts_with("mv "), "{}", cut.saw("reached-1"));
    assert_eq!(cut.saw("half.state"), "inactive", "half a unit was started at the boot: {}", cut.saw("half.enabled"));
    cut.is_whole("half", "half");
    assert_eq!((cut.saw("half.then"), cut.saw("start.rc")), ("enabled".into(), "0".into()), "{}", cut.saw("half.text"));
}

#[test]
fn an_upgrade_that_is_killed_leaves_old_or_new_at_work_and_the_next_run_finishes_it() {
    let cut = or_skip!(cut(), "an_upgrade_that_is_killed_leaves_old_or_new_at_work_and_the_next_run_finishes_it");
    for (round, version) in ROUNDS {
        assert_eq!(cut.saw(&format!("{round}.rc")), "137", "{round}: {}", cut.saw(&format!("{round}.text")));
        cut.ran_on(&format!("{round}-before"), &format!("{round}-next"));
        cut.is_whole(&format!("{round}-again"), round);
        cut.ran_on(&format!("{round}-before"), &format!("{round}-again"));
        assert_eq!(cut.json(&format!("{round}-again"))["supervisor"]["version"], version, "{round}");
    }
}

#[test]
fn after_an_upgrade_that_loses_its_power_the_stack_comes_back_and_the_next_run_finishes_it() {
    let cut =
        or_skip!(cut(), "after_an_upgrade_that_loses_its_power_the_stack_comes_back_and_the_next_run_finishes_it");
    assert!(cut.saw("reached-2").starts_with("mv "), "{}", cut.saw("reached-2"));
    // the old program beside the new shim
    assert_eq!(cut.saw("came.version"), format!("cdc-supervisor {NOW}"));
    cut.is_whole("came-again", "came");
    cut.ran_on("came", "came-again");
    assert_eq!(cut.json("came-again")["supervisor"]["version"], LATER);
}
