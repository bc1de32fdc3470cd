//! A daemon that fetches nothing itself, as the unit's: nodes whose programs are missing wait for somebody else's fetch.

use crate::{
    archives::{self, List},
    hostile_http::{Answer, Server},
    sources::{Place, says},
    support::{VERB_LIMIT, node::free_port, node::program, node_of, until},
};
use std::{fs, os::unix::fs::PermissionsExt};

/// A Java that says who it is, trains nothing, and answers as the ZooKeeper that it is told to be.
fn java(at: &Place, port: u16) -> String {
    let home = at.root.file("java");
    for dir in ["bin", "lib/server"] {
        fs::create_dir_all(format!("{home}/{dir}")).unwrap();
    }
    for file in ["lib/modules", "lib/server/libjvm.so"] {
        fs::write(format!("{home}/{file}"), "").unwrap();
    }
    let said = format!("java.home = {home}\\njava.specification.version = 17\\njava.runtime.version = 17.0.1+1\\n");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in\n*' -version '*) printf '{said}' >&2 ;;\n*/.training.*) exit 1 ;;\n\
         *QuorumPeerMain*) exec {} zookeeper={port} ;;\n*) exit 1 ;;\nesac\n",
        program().display()
    );
    let file = format!("{home}/bin/java");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    home
}

#[test]
fn nodes_wait_for_their_programs_and_start_by_themselves_when_somebody_has_fetched_them() {
    let body = archives::kafka("apache-kafka", 1);
    let served = body.clone();
    let server = Server::start(move |asked| Answer::file(&served, "\"a\"", asked));
    let at = Place::new();
    at.list(&List::of("apache-3.5.2", "apache-kafka", &body, &[&server.url("kafka.tgz")]));
    let port = free_port();
    let (java, list, calm) = (java(&at, port), at.root.file("list.toml"), program().display().to_string());
    at.root.configure_raw(&format!(
        "[artifacts]\nlist = \"{list}\"\nsources = [\"vendor\"]\njava_home = \"{java}\"\n\
         [zookeeper]\nclient_port = {port}\n[command.calm]\nargv = [\"{calm}\"]\nmemory_max = \"16M\"\n"
    ));
    at.root.expect_log("kafka in the store: ");
    let run = at.root.spawn(&["run", "--no-fetch"]);
    at.root.await_daemon_node("calm");
    let failed = |what: &str| {
        until(VERB_LIMIT, what, || {
            let status = at.root.status();
            let (zookeeper, calm) = (node_of(&status, "zookeeper"), node_of(&status, "calm"));
            let there = zookeeper["state"] == "failed" && calm["state"] == "ready";
            if there { Ok((zookeeper["detail"].to_string(), calm["pid"].clone())) } else { Err(status.to_string()) }
        })
    };
    let (detail, calm) = failed("zookeeper to be refused its start, and calm to run");
    assert!(detail.contains("kafka in the store: "), "{detail}");
    assert!(server.seen().is_empty(), "the daemon has asked nobody");
    // A change of the configuration is refused in the same way, and nothing is fetched for it.
    let refused = at.root.fails(5, &["reload"]);
    says(&refused, "`systemctl reload cdc-supervisor` fetches what is missing first");
    says(&at.root.fails(5, &["fetch", "--look"]), "not all programs are in the store");
    assert!(server.seen().is_empty());

    at.root.ok(&["fetch"]);
    at.root.ok(&["fetch", "--look"]);
    until(VERB_LIMIT, "zookeeper to start by itself", || {
        let status = at.root.status();
        if node_of(&status, "zookeeper")["state"] == "ready" { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(node_of(&at.root.status(), "calm")["pid"], calm, "nobody else noticed");
    let events = at.root.ok(&["events", "--json"]).stdout;
    assert!(events.contains("the programs of zookeeper are there now"), "{events}");
    at.root.ok(&["reload"]);
    at.root.down();
    assert_eq!(run.wait(VERB_LIMIT).code, Some(0));
}
