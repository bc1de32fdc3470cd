//! Any program of the user's: the configuration says it all, this gives it a place.

use super::{Place, ServiceError, Site, restart, text};
use crate::{
    base::{
        NodeKind,
        recipe::{Launch, PortUse, Probe, ProbeKind, Recipe, Stop, WhileStarting},
    },
    config::{self, CommandProbeKind},
};
use std::{collections::BTreeMap, time::Duration};

/// The recipe of one command.
pub(super) fn recipe(site: &Site<'_>, command: &config::Command) -> Result<Recipe, ServiceError> {
    let node = command.name.clone();
    let place = Place::of(site.layout, &node, None);
    let tmp = text(&place.tmp, "")?;
    let dir = command.dir.clone().unwrap_or_else(|| place.data.clone());

    let mut env: BTreeMap<String, String> = BTreeMap::from([
        ("HOME".to_owned(), text(&place.data, "")?),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        // what systemd gives a service
        ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("TMPDIR".to_owned(), tmp),
    ]);
    env.extend(command.env.clone());

    Ok(Recipe {
        kind: NodeKind::Command,
        directories: place.directories_with_data(),
        files: Vec::new(),
        prepare: Vec::new(),
        launch: Launch {
            argv: command.argv.clone(),
            env: env.into_iter().collect(),
            dir,
            user: command.care.user.clone(),
            memory_max: Some(command.memory_max),
            heap: None,
            tasks_max: command.care.tasks_max,
            share: command.care.share,
            nofile: command.care.nofile,
            // no guess about a stranger's worth
            oom_score_adj: 0,
            notify: matches!(command.probe.kind, CommandProbeKind::Notify),
        },
        probe: probe(&command.probe),
        peers: Vec::new(),
        stop: Stop {
            while_starting: WhileStarting::Ask,
            signal: command.stop_signal,
            grace: command.care.grace,
            clean_codes: clean_codes(command.stop_signal),
        },
        after: command.after.clone(),
        ports: command
            .ports
            .iter()
            .enumerate()
            .map(|(i, address)| PortUse {
                name: "port".into(),
                address: *address,
                key: format!("command.{node}.ports[{i}]"),
            })
            .collect(),
        restart: restart(&command.care),
        log: command.care.log,
        node,
    })
}

/// Shells, JVMs and many others report death by the signal they were asked with as 128 + its number.
fn clean_codes(signal: i32) -> Vec<i32> {
    vec![128 + signal]
}

fn probe(probe: &config::CommandProbe) -> Probe {
    let kind = match &probe.kind {
        CommandProbeKind::None => ProbeKind::None,
        CommandProbeKind::Tcp(address) => ProbeKind::Tcp(*address),
        CommandProbeKind::Http(url) => ProbeKind::Http(url.clone()),
        CommandProbeKind::Exec(argv) => ProbeKind::Exec(argv.clone()),
        CommandProbeKind::Notify => ProbeKind::Notify,
    };
    // nothing is looked at again where running is all there is to see, or where the program speaks itself
    let ready_interval = match kind {
        ProbeKind::None | ProbeKind::Notify => Duration::ZERO,
        ProbeKind::Tcp(_)
        | ProbeKind::Http(_)
        | ProbeKind::Exec(_)
        | ProbeKind::Zookeeper(_)
        | ProbeKind::Broker { .. }
        | ProbeKind::Mysql { .. } => probe.interval,
    };
    Probe {
        kind,
        timeout: probe.timeout,
        // until it is ready somebody waits: look at least twice a second
        start_interval: probe.interval.min(Duration::from_millis(500)),
        ready_interval,
        failures: probe.failures,
        start_deadline: probe.start_deadline,
    }
}
