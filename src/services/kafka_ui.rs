//! The web page over the brokers: the vendor's Kafka UI, a Spring Boot jar (read at provectus v0.7.2 and kafbat v1.5.0).

use super::{FILE_HEAD, FROM_FILE, Place, ServiceError, Site, divide, jvm, restart, text};
use crate::{
    base::{
        NodeKind, NodeName,
        programs::{Absent, KafkaUiJar},
        recipe::{Launch, PortUse, PrepareStep, Probe, ProbeKind, Recipe, RenderedFile, Stop, WhileStarting},
    },
    config,
    render::Yaml,
};
use std::{net::SocketAddr, time::Duration};

/// SIGTERM closes the application context and ends the JVM with 128 + 15.
const CLEAN_CODES: [i32; 1] = [143];

/// What its JVM needs outside its heap. Not measured: its jar could not be had. Under Docker the whole took 184 MB with a heap of
/// at most 126 (mission); classes of Spring, Netty, Kafka's clients and a JSON stack make the metaspace several times a broker's.
pub(super) const NEEDS: jvm::Needs = jvm::Needs {
    metaspace: (128, 192),
    code_cache: (32, 64),
    direct: (16, 64),
    threads: 40,
    native: config::KAFKA_UI_NATIVE,
    heap_min: config::KAFKA_UI_HEAP_MIN,
};

/// The recipe of the one UI, which shows the brokers of `kafka`.
pub(super) fn recipe(site: &Site<'_>, ui: &config::KafkaUi, kafka: &config::Kafka) -> Result<Recipe, ServiceError> {
    let node = NodeName::kafka_ui();
    let place = Place::of(site.layout, &node, None);
    let limits = divide(&node, ui.memory_max, ui.heap, &NEEDS)?;
    let config_file = place.conf.join("application.yml");
    let (tmp, crash_dir) = (text(&place.tmp, "")?, site.crash_dir(&place, ui.care.user.as_deref())?);
    // It is optional: a jar that is not there is this node's failure and nobody else's.
    let absent = || Absent { why: "its jar was not looked for".into(), remedy: "cdc-supervisor fetch".into() };
    let found = site.programs.kafka_ui.clone().unwrap_or_else(|| Err(absent()));
    let (argv, prepare) = match &found {
        Ok(jar) => (argv(ui, jar, &limits, (&tmp, &crash_dir), &text(&config_file, ",")?)?, Vec::new()),
        Err(Absent { why, remedy }) => {
            let step = PrepareStep::NoProgram { why: format!("kafka-ui: {why}"), remedy: remedy.clone() };
            (vec!["/not-in-the-store/java".to_owned()], vec![step])
        }
    };
    let address = SocketAddr::new(ui.bind, ui.port.0);
    let prefix = ui.properties.get(CONTEXT_PATH).map_or("", |path| path.trim_end_matches('/'));
    let health = format!("http://{}{prefix}/actuator/health", ui.port.reached(ui.bind));

    Ok(Recipe {
        kind: NodeKind::KafkaUi,
        directories: place.directories(),
        // what a user passes through may hold what a page's visitor logs in with
        files: vec![RenderedFile { path: config_file, mode: 0o600, contents: settings(ui, kafka) }],
        prepare,
        launch: Launch {
            argv,
            env: jvm::environment(&tmp),
            dir: place.home,
            user: ui.care.user.clone(),
            memory_max: Some(ui.memory_max),
            heap: Some(limits.heap),
            tasks_max: ui.care.tasks_max,
            share: ui.care.share,
            nofile: ui.care.nofile,
            // the first to go when the host is out of memory: nothing depends on it
            oom_score_adj: 300,
            notify: false,
        },
        probe: Probe {
            // exposed without a login in both projects (application.yml: management.endpoints.web.exposure.include)
            kind: ProbeKind::Http(health),
            timeout: Duration::from_secs(3),
            start_interval: Duration::from_millis(250),
            ready_interval: Duration::from_secs(10),
            failures: 3,
            // Spring reads some 20,000 classes out of nested jars; on a busy machine that takes a minute
            start_deadline: Duration::from_secs(120),
        },
        stop: Stop {
            signal: 15,
            grace: ui.care.grace,
            clean_codes: CLEAN_CODES.to_vec(),
            while_starting: WhileStarting::Ask,
        },
        peers: Vec::new(),
        after: kafka.brokers.keys().map(|id| NodeName::broker(*id)).collect(),
        ports: vec![PortUse { name: "http".into(), address, key: "kafka_ui.port".into() }],
        restart: restart(&ui.care),
        log: ui.care.log,
        node,
    })
}

/// Puts everything of the page below a path, the actuator too (KafkaUiApplication's ContextPathCompositeHandler).
const CONTEXT_PATH: &str = "server.servlet.context-path";

/// `java … -jar`. No class-data archive: the classes lie in jars inside the jar and are defined by Spring's own loader, which an
/// archive does not hold (JEP 310 takes the class path of the JVM only); the runtime's own archive serves it as it is.
fn argv(
    ui: &config::KafkaUi,
    jar: &KafkaUiJar,
    limits: &jvm::Limits,
    (tmp, crash_dir): (&str, &str),
    config_file: &str,
) -> Result<Vec<String>, ServiceError> {
    let mut argv = vec![text(&jar.java.program, "")?];
    argv.extend(jvm::memory_flags(limits));
    argv.extend(jvm::common_flags(tmp, crash_dir));
    argv.push(jvm::gc_log(tmp));
    // its own manual asks for it: JMX metrics of brokers over TLS (development/building/without-docker.md)
    argv.extend(["--add-opens".into(), "java.rmi/javax.rmi.ssl=ALL-UNNAMED".into()]);
    argv.extend(ui.jvm_flags.iter().cloned());
    argv.push(format!("-Dspring.config.additional-location={}", jvm::file_url(config_file)));
    argv.extend(["-jar".into(), text(&jar.jar, "")?]);
    Ok(argv)
}

/// `application.yml`, over the one in the jar.
fn settings(ui: &config::KafkaUi, kafka: &config::Kafka) -> String {
    let mut y = Yaml::new(FILE_HEAD);
    y.set("server.address", ui.bind.to_string(), "");
    y.set("server.port", ui.port.to_string(), "");
    y.set("kafka.clusters[0].name", "cdc", "");
    // INTERNAL: on 127.0.0.1 whatever EXTERNAL is bound to or advertises
    let brokers: Vec<String> = kafka.brokers.values().map(|b| format!("127.0.0.1:{}", b.internal_port)).collect();
    y.set("kafka.clusters[0].bootstrapServers", brokers.join(","), "the INTERNAL listeners");
    y.set("kafka.clusters[0].readOnly", ui.read_only.to_string(), "");
    y.set("dynamic.config.enabled", "false", "this file is its configuration; the page cannot change it");
    y.set("logging.level.root", "INFO", "");
    y.set("logging.level.com.provectus", "INFO", "the jar's own default is DEBUG");
    y.set("logging.level.io.kafbat.ui", "INFO", "");
    for (key, value) in &ui.properties {
        y.set(key, value, FROM_FILE);
    }
    y.render()
}
