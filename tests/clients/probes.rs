//! Probes: one attempt, one verdict with its reason, never longer than its time.

use crate::fake;
use cdc_supervisor::{
    base::{
        Verdict,
        recipe::{Probe, ProbeKind},
    },
    probe::{Context, attempt},
};
use std::time::{Duration, Instant};

fn probe(kind: ProbeKind, timeout: Duration) -> Probe {
    Probe {
        kind,
        timeout,
        start_interval: Duration::ZERO,
        ready_interval: Duration::ZERO,
        failures: 3,
        start_deadline: Duration::ZERO,
    }
}

async fn look(kind: ProbeKind) -> Verdict {
    look_with(kind, &Context { dir: "/".into(), ..Context::default() }).await
}

async fn look_with(kind: ProbeKind, context: &Context) -> Verdict {
    attempt(&probe(kind, Duration::from_secs(20)), context).await
}

async fn look_shortly(kind: ProbeKind) -> Verdict {
    let before = Instant::now();
    let verdict =
        attempt(&probe(kind, Duration::from_millis(200)), &Context { dir: "/".into(), ..Context::default() }).await;
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    verdict
}

fn why(verdict: Verdict) -> String {
    match verdict {
        Verdict::NotReady { why, .. } => why,
        Verdict::Ready(text) | Verdict::Degraded(text) => panic!("not NotReady: {text}"),
    }
}

fn sh(script: &str) -> ProbeKind {
    ProbeKind::Exec(vec!["/bin/sh".into(), "-c".into(), script.into()])
}

#[tokio::test]
async fn a_port_is_ready_when_it_takes_connections() {
    let server = fake::silent().await;
    assert!(matches!(look(ProbeKind::Tcp(server.address)).await, Verdict::Ready(_)));
    let address = fake::closed_port().await;
    assert_eq!(
        why(look(ProbeKind::Tcp(address)).await),
        format!("port {} refuses connections: still starting", address.port())
    );
    assert!(matches!(look(ProbeKind::None).await, Verdict::Ready(_)));
}

#[tokio::test]
async fn http_is_ready_on_2xx_only() {
    let url = |server: &fake::Fake| format!("http://localhost:{}/health", server.address.port());
    let server = fake::says("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(look(ProbeKind::Http(url(&server))).await, Verdict::Ready(format!("{} answers 204", url(&server))));
    for code in [302, 404, 500] {
        let server = fake::says(format!("HTTP/1.1 {code} X\r\nLocation: /\r\n\r\n")).await;
        assert_eq!(why(look(ProbeKind::Http(url(&server))).await), format!("{} answers {code}", url(&server)));
    }
    let server = fake::says("SSH-2.0-OpenSSH_9.6\r\n").await;
    assert!(
        why(look(ProbeKind::Http(url(&server))).await).ends_with("its answer is not HTTP: \"SSH-2.0-OpenSSH_9.6\"")
    );
    let server = fake::says("").await;
    assert!(why(look(ProbeKind::Http(url(&server))).await).ends_with("the server closed the connection"));
    let server = fake::stalls_after_a_byte().await;
    assert!(why(look_shortly(ProbeKind::Http(url(&server))).await).contains("no answer within 0.2 s"));
    assert!(why(look(ProbeKind::Http("https://localhost/".into())).await).contains("only http"));
}

#[tokio::test]
async fn a_command_is_ready_when_it_ends_with_0_and_else_its_last_words_are_the_reason() {
    assert!(matches!(look(sh("exit 0")).await, Verdict::Ready(_)));
    assert_eq!(why(look(sh("echo one; echo warming up >&2; exit 3")).await), "/bin/sh: exit 3: warming up");
    assert_eq!(why(look(sh("kill -9 $$")).await), "/bin/sh: SIGKILL");
    assert!(
        why(look(ProbeKind::Exec(vec!["/nonexistent/tool".into()])).await)
            .starts_with("cannot run /nonexistent/tool: ")
    );
    assert_eq!(why(look_shortly(sh("sleep 1000")).await), "cannot run /bin/sh: not done within 0.2 s, killed");
}

#[tokio::test]
async fn a_command_sees_the_nodes_environment_and_directory_only() {
    let context = Context { env: vec![("A".into(), "1".into())], dir: "/usr".into(), ..Context::default() };
    let verdict = look_with(sh("[ \"$A\" = 1 ] && [ -z \"$HOME\" ] && [ \"$(pwd)\" = /usr ]"), &context).await;
    assert!(matches!(verdict, Verdict::Ready(_)), "{verdict:?}");
}

#[tokio::test]
async fn a_node_that_talks_is_ready_when_it_says_so() {
    let context = |ready, status: &str| Context { notified: Some((ready, status.into())), ..Context::default() };
    assert_eq!(why(look(ProbeKind::Notify).await), "it has not said READY=1");
    assert!(matches!(look_with(ProbeKind::Notify, &context(true, "")).await, Verdict::Ready(_)));
    assert_eq!(
        look_with(ProbeKind::Notify, &context(false, "InnoDB initialization")).await,
        Verdict::NotReady { why: "InnoDB initialization".into(), progress: Some("InnoDB initialization".into()) }
    );
}

#[tokio::test]
async fn zookeeper_is_ready_when_it_names_its_mode() {
    let server = fake::says("Zookeeper version: 3.6.4\nMode: standalone\nNode count: 5\n").await;
    assert_eq!(look(ProbeKind::Zookeeper(server.address)).await, Verdict::Ready("Mode: standalone".into()));
    let server = fake::says("This ZooKeeper instance is not currently serving requests\n").await;
    assert!(why(look(ProbeKind::Zookeeper(server.address)).await).contains("does not serve yet"));
    let server = fake::says("220 smtp\r\n").await;
    assert!(why(look(ProbeKind::Zookeeper(server.address)).await).contains("no ZooKeeper"));
    let server = fake::silent().await;
    assert!(why(look_shortly(ProbeKind::Zookeeper(server.address)).await).contains("no answer within 0.2 s"));
}

#[tokio::test]
async fn a_broker_that_starts_shows_its_logs_progress() {
    let (internal, external) = (fake::closed_port().await, fake::closed_port().await);
    let progress = "recovered 12 of 150 logs".to_owned();
    let context = Context { last_log_progress: Some(progress.clone()), ..Context::default() };
    let verdict = look_with(ProbeKind::Broker { id: 1, internal, external }, &context).await;
    assert_eq!(
        verdict,
        Verdict::NotReady {
            why: format!("port {} refuses connections: still starting ({progress})", internal.port()),
            progress: Some(progress)
        }
    );
}

#[tokio::test]
async fn a_broker_is_ready_on_both_listeners_or_not_at_all() {
    let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
    let internal: std::net::SocketAddr = cluster.bootstrap_servers().parse().unwrap();
    let both = look(ProbeKind::Broker { id: 1, internal, external: internal }).await;
    assert!(matches!(&both, Verdict::Ready(_)), "{both:?}");
    let external = fake::closed_port().await;
    assert_eq!(
        why(look(ProbeKind::Broker { id: 1, internal, external }).await),
        format!(
            "answers on INTERNAL {} but not on EXTERNAL {}: it refuses connections",
            internal.port(),
            external.port()
        )
    );
    let wrong = why(look(ProbeKind::Broker { id: 2, internal, external: internal }).await);
    assert_eq!(wrong, format!("port {} belongs to broker 1, not to broker 2", internal.port()));
}

#[tokio::test]
async fn a_broker_without_a_registration_is_looked_up_in_zookeeper() {
    // Metadata that lists nobody: throttle 0, no brokers, null cluster id, controller -1, no topics.
    let body = [&1i32.to_be_bytes()[..], &[0; 8], &[0xff; 6], &[0; 4]].concat();
    let frame = [&i32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
    let broker = fake::says(frame).await;
    let zookeeper = fake::closed_port().await;
    let kind = || ProbeKind::Broker { id: 1, internal: broker.address, external: broker.address };
    let port = broker.address.port();
    assert_eq!(
        why(look(kind()).await),
        format!("answers on {port}, but has not heard of the cluster yet (registered in ZooKeeper: not asked)")
    );
    let context = Context { zookeeper: Some(zookeeper), ..Context::default() };
    assert_eq!(
        why(look_with(kind(), &context).await),
        format!(
            "answers on {port}, but has not heard of the cluster yet (registered in ZooKeeper: unknown, {zookeeper} \
             refuses connections)"
        )
    );
}

#[tokio::test]
async fn mysql_is_not_asked_before_it_says_ready() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("mysql-root");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let kind = || ProbeKind::Mysql { socket: dir.path().join("mysqld.sock"), root_password: secret.clone() };
    let context = Context { notified: Some((false, "InnoDB crash recovery".into())), ..Context::default() };
    assert_eq!(why(look_with(kind(), &context).await), "InnoDB crash recovery");
    let context = Context { notified: Some((true, String::new())), ..Context::default() };
    let words = why(look_with(kind(), &context).await);
    assert!(words.contains("mysqld.sock refuses connections: still starting"), "{words}");

    // something listens on the socket but is no MySQL, and something that never says a word
    let listener = tokio::net::UnixListener::bind(dir.path().join("mysqld.sock")).unwrap();
    let server = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let words = why(look_shortly(kind()).await);
    assert!(words.contains("no answer within 0.2 s") && !words.contains("s3cret"), "{words}");
    server.abort();
}
