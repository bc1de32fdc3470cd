//! Whether a throw-away cluster fits beside what is configured: its caps and its file system against what the ledger leaves.

use super::NotMade;
use crate::{
    base::ByteSize,
    config::{Ledger, Plan},
    sys::host,
};

/// Memory of the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    total: Option<ByteSize>,
    /// What can be given out now without swapping.
    available: Option<ByteSize>,
}

impl Host {
    pub(super) fn look() -> Self {
        Self { total: host::total_memory(), available: host::available_memory() }
    }
}

/// Refuses, with the numbers, what does not fit. The user's nodes count with their caps, whether they run or not; what other
/// programs have is in `available`. A host that does not tell refuses nothing.
pub(super) fn fits(own: &Plan, derived: &Plan, disk: ByteSize, host: Host) -> Result<(), NotMade> {
    let lines = Ledger::of(derived, ByteSize(0)).lines;
    // The floor of the operating system is in the user's own sum.
    let caps: Vec<_> = lines.iter().filter(|line| line.key != "host.os_floor").collect();
    let needs = ByteSize(caps.iter().map(|line| line.size.0).sum::<u64>().saturating_add(disk.0));
    let mut parts: Vec<String> = caps.iter().map(|line| format!("{} {}", line.what, line.size)).collect();
    if disk.0 > 0 {
        parts.push(format!("file system in memory {disk}"));
    }
    let parts = format!("it needs {needs}: {}", parts.join(", "));
    let refused = |why: String, hint: &str| {
        Err(NotMade::new(8, "there is no room in memory for a throw-away cluster", hint).because([parts.clone(), why]))
    };
    if let Some(total) = host.total {
        let ledger = Ledger::of(own, total);
        let left = ledger.left().unwrap_or(ByteSize(0));
        if left < needs {
            let (left, total, sum) = (left.rounded(), total.rounded(), ledger.sum.rounded());
            let why =
                format!("{left} are left of {total}: what is configured here has {sum} (`cdc-supervisor doctor`)");
            return refused(why, "lower memory_max of nodes or host.os_floor, or drill on another host");
        }
    }
    if let Some(available) = host.available.filter(|available| *available < needs) {
        let available = available.rounded();
        let why = format!("{available} can be had now without swapping (MemAvailable)");
        return refused(why, "end other programs meanwhile, or drill on another host");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::derive, *};
    use crate::{base::Port, config};
    use std::path::Path;

    fn plans() -> (Plan, Plan) {
        let source =
            config::Source { text: "", name: "supervisor.toml", root_override: None, default_root: "/own".into() };
        let own = config::load(&source).unwrap();
        let ports: Vec<Port> = (20_000..).take(7).map(Port).collect();
        let derived = derive::plan(&own, Path::new("/own/drill"), &ports, derive::disk(true)).unwrap();
        (own, derived)
    }

    fn host(total_mib: u64, available_mib: u64) -> Host {
        Host { total: Some(ByteSize::mib(total_mib)), available: Some(ByteSize::mib(available_mib)) }
    }

    #[test]
    fn what_the_ledger_leaves_must_hold_it_and_so_must_what_is_free_now() {
        let (own, derived) = plans();
        let sum = Ledger::of(&own, ByteSize(0)).sum.whole_mib();
        // zookeeper 160, three brokers of 384, supervisor 64, the file system
        let needs = 160 + 3 * 384 + 64 + 256;
        let disk = ByteSize::mib(256);
        assert_eq!(fits(&own, &derived, disk, host(sum + needs, needs)), Ok(()));
        let refused = fits(&own, &derived, disk, host(sum + needs - 1, needs)).unwrap_err();
        assert_eq!(refused.exit, 8);
        let text = refused.causes.join("; ");
        assert!(text.contains("it needs 1632M") && text.contains("broker-2 384M"), "{text}");
        assert!(text.contains("file system in memory 256M") && text.contains("1631M are left of"), "{text}");
        let refused = fits(&own, &derived, disk, host(sum + needs, needs - 1)).unwrap_err();
        assert!(refused.causes[1].contains("1631M can be had now"), "{refused:?}");
        assert_eq!(fits(&own, &derived, ByteSize(0), host(sum + needs - 256, needs - 256)), Ok(()));
        assert_eq!(fits(&own, &derived, disk, Host { total: None, available: None }), Ok(()));
    }

    #[test]
    fn the_minipc_of_the_mission_holds_it() {
        let (own, derived) = plans();
        assert_eq!(fits(&own, &derived, ByteSize::mib(256), host(15_700, 9_000)), Ok(()));
    }
}
