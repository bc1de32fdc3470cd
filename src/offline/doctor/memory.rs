//! Memory: caps against what the host has, and how the kernel treats those who use it.

use super::{
    Site,
    check::{Check, Severity, size},
    fix::Fix,
};
use crate::{
    base::{ByteSize, NodeKind},
    config::{Ledger, Plan},
    sys::{host, kernel},
};
use std::path::Path;

/// What is seen of it; none where the kernel does not tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    total: Option<ByteSize>,
    available: Option<ByteSize>,
    swap: Option<ByteSize>,
    swappiness: Option<u64>,
    overcommit: Option<u64>,
    commit_limit: Option<ByteSize>,
    committed: Option<ByteSize>,
    huge_pages: Option<String>,
    panic_on_oom: Option<u64>,
    kill_allocating: Option<u64>,
    systemd_oomd: bool,
}

pub(super) fn look() -> Facts {
    let pages = kernel::read("/sys/kernel/mm/transparent_hugepage/enabled");
    Facts {
        total: host::total_memory(),
        available: host::available_memory(),
        swap: host::memory_line("SwapTotal"),
        swappiness: kernel::setting("vm.swappiness"),
        overcommit: kernel::setting("vm.overcommit_memory"),
        commit_limit: host::memory_line("CommitLimit"),
        committed: host::memory_line("Committed_AS"),
        huge_pages: pages.as_deref().and_then(kernel::chosen).map(str::to_owned),
        panic_on_oom: kernel::setting("vm.panic_on_oom"),
        kill_allocating: kernel::setting("vm.oom_kill_allocating_task"),
        // its socket directory is there while it runs
        systemd_oomd: Path::new("/run/systemd/oom").is_dir(),
    }
}

/// Every row. The first is that of the ledger, which a start judges by itself: it is an error of the configuration.
pub(super) fn judge_all(site: &Site, facts: &Facts) -> Vec<Check> {
    let mut rows = judge(site, facts);
    rows.insert(0, ledger(&site.plan, facts.total));
    rows
}

/// What else memory can be short of.
pub(super) fn judge(site: &Site, facts: &Facts) -> Vec<Check> {
    vec![
        free(site, facts.available),
        overcommit(site, facts),
        swap(site, facts),
        huge_pages(facts.huge_pages.as_deref()),
        out_of_memory(facts),
    ]
}

pub(super) fn ledger(plan: &Plan, total: Option<ByteSize>) -> Check {
    let ledger = Ledger::of(plan, total.unwrap_or_default());
    let (supervisor, floor) = (plan.host.supervisor, plan.host.os_floor);
    let caps = ledger.sum.0.saturating_sub(supervisor.0).saturating_sub(floor.0);
    let required = format!("{}: {} of caps, {supervisor} supervisor, {floor} system", size(ledger.sum.0), size(caps));
    let row = |found: String| {
        Check::ok("memory", required, found, "a host that swaps its own pages out explains nothing any more")
    };
    let Some(total) = total else { return row("/proc/meminfo does not tell".into()).unknown() };
    let row = row(format!("{} in all", size(total.0)));
    match ledger.left() {
        Some(_) => row,
        None => {
            let over = ledger.sum.0.saturating_sub(total.0).div_ceil(1 << 20);
            row.fails(
                format!(
                    "the nodes do not fit into this host: caps, supervisor and system need {}, the host has {}",
                    size(ledger.sum.0),
                    size(total.0)
                ),
                format!("lower memory_max of nodes or host.os_floor by {over}M, or set enabled = false for a node"),
            )
        }
    }
}

/// The stack takes a fifth of its caps when it has just started (775 MB of 3.6 GB, measured): with less than a quarter free it
/// cannot even come up.
fn free(site: &Site, available: Option<ByteSize>) -> Check {
    let starting = || site.to_start().filter_map(|node| site.plan.node(node));
    let caps: u64 = starting().map(|n| n.memory_max.0).sum();
    let least: u64 = starting().filter(|n| n.kind != NodeKind::Command).map(|n| n.memory_max.0 / 4).sum();
    let row = |found: String| {
        Check::ok(
            "free memory",
            format!("{} for the nodes to start", size(caps)),
            found,
            "a cap is a promise: the memory should be there when a node grows into it",
        )
    };
    let Some(available) = available else { return row("/proc/meminfo does not tell".into()).unknown() };
    let row = row(format!("{} available", size(available.0)));
    if available.0 < least {
        let problem = format!(
            "only {} of memory are available, and the nodes need {} to come up",
            size(available.0),
            size(least)
        );
        row.fails(problem, "stop other programs (`ps --sort=-rss -eo rss,pid,user,args | head` shows the largest)")
    } else if available.0 < caps {
        row.but(Severity::Warn, "stop other programs, or lower memory_max of nodes")
    } else {
        row
    }
}

/// In mode 2 the kernel refuses memory beyond a limit, whether it is touched or not, and a JVM reserves far more than it
/// touches (Documentation/mm/overcommit-accounting.rst).
fn overcommit(site: &Site, facts: &Facts) -> Check {
    let row = |found: String| {
        Check::ok(
            "overcommit",
            "vm.overcommit_memory 0 or 1",
            found,
            "with 2 the kernel refuses memory that JVMs and mysqld reserve and never touch",
        )
    };
    let Some(mode) = facts.overcommit else { return row("not readable".into()).unknown() };
    if mode != 2 {
        return row(mode.to_string());
    }
    let caps: u64 = site.to_start().filter_map(|n| site.plan.node(n)).map(|n| n.memory_max.0).sum();
    let left = match (facts.commit_limit, facts.committed) {
        (Some(limit), Some(used)) => limit.0.saturating_sub(used.0),
        (None, _) | (_, None) => 0,
    };
    let row = row(format!("2, {} may still be reserved", size(left)));
    let row = row.fixed_by(Fix::sysctl("overcommit", "vm.overcommit_memory", mode.to_string(), "0"));
    let remedy = "sysctl -w vm.overcommit_memory=0, and the same in /etc/sysctl.d/";
    if left < caps {
        let problem = format!(
            "vm.overcommit_memory is 2 and only {} may still be reserved, the caps are {}",
            size(left),
            size(caps)
        );
        row.fails(problem, remedy)
    } else {
        row.but(Severity::Warn, remedy)
    }
}

/// A capped node never swaps (`memory.swap.max` is 0). Without caps the kernel may swap out a heap, and a collection then
/// reads it all back.
fn swap(site: &Site, facts: &Facts) -> Check {
    let why = "a swapped-out heap makes pauses of seconds, and ZooKeeper ends sessions of brokers that pause";
    let row = |found: String| Check::ok("swap", "off, or vm.swappiness at most 1", found, why);
    let (Some(swap), Some(swappiness)) = (facts.swap, facts.swappiness) else {
        return row("not readable".into()).unknown();
    };
    if swap.0 == 0 {
        return row(format!("off (swappiness {swappiness})"));
    }
    let row = row(format!("{}, swappiness {swappiness}", size(swap.0)));
    if swappiness <= 1 {
        return row;
    }
    let remedy = "sysctl -w vm.swappiness=1, and the same in /etc/sysctl.d/; or swapoff -a";
    let severity = if site.starter.caps.is_ok() { Severity::Info } else { Severity::Warn };
    row.but(severity, remedy).fixed_by(Fix::sysctl("swappiness", "vm.swappiness", swappiness.to_string(), "1"))
}

fn huge_pages(chosen: Option<&str>) -> Check {
    let why = "with always, idle memory of JVMs and mysqld grows in steps of 2 MB, and compaction stalls them";
    let row = |found: &str| Check::ok("transparent huge pages", "madvise or never", found, why);
    match chosen {
        None => row("no such setting here"),
        Some(word @ "always") => row(word)
            .but(
                Severity::Warn,
                "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled; for every boot transparent_hugepage=madvise on the kernel's command line",
            )
            .fixed_by(Fix::huge_pages(word)),
        Some(word) => row(word),
    }
}

fn out_of_memory(facts: &Facts) -> Check {
    let why = "when memory runs out, the kernel should end one node, which is started again and explained";
    let row = |found: String| Check::ok("out-of-memory policy", "the kernel kills one node, not more", found, why);
    let mut found = Vec::new();
    let mut remedies = Vec::new();
    if facts.panic_on_oom.is_some_and(|v| v != 0) {
        found.push("the kernel panics (vm.panic_on_oom)");
        remedies.push("sysctl -w vm.panic_on_oom=0");
    }
    if facts.kill_allocating.is_some_and(|v| v != 0) {
        found.push("whoever asks is killed (vm.oom_kill_allocating_task)");
        remedies.push("sysctl -w vm.oom_kill_allocating_task=0");
    }
    if !remedies.is_empty() {
        return row(found.join(", ")).but(Severity::Warn, remedies.join("; "));
    }
    if facts.systemd_oomd {
        return row("systemd-oomd runs: it may kill a whole slice under memory pressure".into())
            .but(Severity::Info, "nothing, unless nodes are killed by it (`oomctl` shows what it watches)");
    }
    row("the kernel's default".into())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::site, *};

    const GIB: u64 = 1 << 30;

    fn named<'a>(checks: &'a [Check], name: &str) -> &'a Check {
        checks.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no row {name}"))
    }

    fn healthy() -> Facts {
        Facts {
            total: Some(ByteSize(16 * GIB)),
            available: Some(ByteSize(12 * GIB)),
            swap: Some(ByteSize(0)),
            swappiness: Some(60),
            overcommit: Some(0),
            commit_limit: Some(ByteSize(8 * GIB)),
            committed: Some(ByteSize(GIB)),
            huge_pages: Some("madvise".into()),
            panic_on_oom: Some(0),
            kill_allocating: Some(0),
            systemd_oomd: false,
        }
    }

    #[test]
    fn a_mini_pc_with_its_defaults_is_fine() {
        let site = site("");
        let checks = judge_all(&site, &healthy());
        assert!(checks.iter().all(|c| c.severity == Severity::Ok), "{checks:#?}");
        assert_eq!(named(&checks, "memory").required, "5.6G: 3.6G of caps, 64M supervisor, 2G system");
        assert_eq!(named(&checks, "memory").found, "16G in all");
    }

    #[test]
    fn what_does_not_fit_fails_with_the_arithmetic() {
        let site = site("");
        let facts = Facts { total: Some(ByteSize(4 * GIB)), available: Some(ByteSize(700 << 20)), ..healthy() };
        let checks = judge_all(&site, &facts);
        let memory = named(&checks, "memory");
        assert_eq!((memory.severity, memory.stops_start), (Severity::Fail, true));
        assert_eq!(
            memory.problem.as_deref(),
            Some("the nodes do not fit into this host: caps, supervisor and system need 5.6G, the host has 4G")
        );
        assert!(memory.remedy.as_deref().unwrap().contains("by 1728M"), "{memory:?}");
        let free = named(&checks, "free memory");
        assert_eq!(free.severity, Severity::Fail);
        assert!(free.problem.as_deref().unwrap().contains("928M"), "a quarter of 3712M: {free:?}");
    }

    #[test]
    fn little_free_memory_is_a_warning_while_the_nodes_can_come_up() {
        let facts = Facts { available: Some(ByteSize(2 * GIB)), ..healthy() };
        assert_eq!(named(&judge_all(&site(""), &facts), "free memory").severity, Severity::Warn);
        let command = site("[command.a]\nargv = [\"/x\"]\nmemory_max = \"4G\"");
        let facts = Facts { available: Some(ByteSize(1 << 20)), ..healthy() };
        assert_eq!(
            named(&judge_all(&command, &facts), "free memory").severity,
            Severity::Warn,
            "nobody knows what it needs"
        );
    }

    #[test]
    fn nodes_that_run_already_need_nothing_more() {
        let mut site = site("");
        site.living = site.plan.nodes();
        let facts = Facts { available: Some(ByteSize(1 << 20)), ..healthy() };
        assert_eq!(named(&judge_all(&site, &facts), "free memory").severity, Severity::Ok);
    }

    #[test]
    fn strict_overcommit_fails_only_when_the_caps_do_not_fit() {
        let facts = Facts { overcommit: Some(2), ..healthy() };
        assert_eq!(named(&judge_all(&site(""), &facts), "overcommit").severity, Severity::Warn);
        let facts = Facts { committed: Some(ByteSize(6 * GIB)), ..facts };
        let checks = judge_all(&site(""), &facts);
        let row = named(&checks, "overcommit");
        assert_eq!((row.severity, row.found.as_str()), (Severity::Fail, "2, 2G may still be reserved"));
    }

    #[test]
    fn swap_warns_unless_caps_keep_nodes_out_of_it() {
        let facts = Facts { swap: Some(ByteSize(8 * GIB)), ..healthy() };
        let mut site = site("");
        assert_eq!(named(&judge_all(&site, &facts), "swap").severity, Severity::Warn);
        assert_eq!(named(&judge_all(&site, &facts), "swap").found, "8G, swappiness 60");
        site.starter.caps = Ok(());
        assert_eq!(named(&judge_all(&site, &facts), "swap").severity, Severity::Info);
        let facts = Facts { swappiness: Some(1), ..facts };
        assert_eq!(named(&judge_all(&site, &facts), "swap").severity, Severity::Ok);
    }

    #[test]
    fn settings_of_the_host_that_bite_are_named() {
        let facts = Facts {
            huge_pages: Some("always".into()),
            panic_on_oom: Some(1),
            kill_allocating: Some(1),
            systemd_oomd: true,
            ..healthy()
        };
        let checks = judge_all(&site(""), &facts);
        assert_eq!(named(&checks, "transparent huge pages").severity, Severity::Warn);
        let policy = named(&checks, "out-of-memory policy");
        assert!(policy.severity == Severity::Warn && policy.remedy.as_deref().unwrap().contains("panic_on_oom=0"));
        let checks = judge_all(&site(""), &Facts { systemd_oomd: true, ..healthy() });
        assert_eq!(named(&checks, "out-of-memory policy").severity, Severity::Info);
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_no_failure() {
        let checks = judge_all(&site(""), &Facts::default());
        assert!(checks.iter().all(|c| c.severity >= Severity::Unknown), "{checks:#?}");
        assert_eq!(checks.iter().filter(|c| c.severity == Severity::Unknown).count(), 4);
    }
}
