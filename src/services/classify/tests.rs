//! Ends of every kind, judged.

use super::*;
use crate::base::{Incarnation, Timestamp, recipe::WhileStarting};
use std::time::Duration;

const BROKER: NodeKind = NodeKind::Broker(2);

fn record(status: ExitStatus) -> ExitRecord {
    ExitRecord {
        incarnation: Incarnation(1),
        pid: 10,
        status,
        started_at: Timestamp(0),
        ended_at: Timestamp(1),
        cpu_ms: 0,
        peak_rss_bytes: 0,
        cgroup_peak_bytes: None,
        oom_kills: Some(0),
        oom_by: None,
        cgroup_cap_bytes: None,
        signals_sent: Vec::new(),
    }
}

fn sent(status: ExitStatus, signals: &[i32]) -> ExitRecord {
    ExitRecord { signals_sent: signals.to_vec(), ..record(status) }
}

fn jvm_stop() -> Stop {
    let while_starting = WhileStarting::Ask;
    Stop { signal: 15, grace: Duration::from_secs(60), clean_codes: vec![143], while_starting }
}

fn starting(lines: &str) -> Said<'_> {
    Said { lines, served: false, outlived: "" }
}

fn cause(kind: NodeKind, exit: &ExitRecord, lines: &str, asked: bool) -> Cause {
    let ended = classify(kind, exit, starting(lines), asked, &jvm_stop());
    assert_eq!(ended.failure.is_some(), ended.cause.is_terminal() && !asked, "{ended:?}");
    ended.cause
}

#[test]
fn what_we_asked_for_and_got_is_stopped() {
    for (kind, status) in [
        (BROKER, ExitStatus::Code(143)),
        (NodeKind::Zookeeper, ExitStatus::Code(143)),
        (NodeKind::Mysql, ExitStatus::Code(0)),
        (NodeKind::Command, ExitStatus::Signal(15)),
    ] {
        assert_eq!(cause(kind, &sent(status, &[15]), "", true), Cause::Stopped, "{kind:?} {status:?}");
    }
}

#[test]
fn a_broker_stopped_while_it_starts_halts_with_1_and_is_stopped() {
    // 3.5.2, SIGTERM between "Cluster ID" and "started"
    let lines = "2026-11-25T14:16:20.754Z ERROR [KafkaServer id=1] Fatal error during KafkaServer shutdown. (kafka.server.KafkaServer)\n\
                 java.lang.IllegalStateException: Kafka server is still starting up, cannot shut down!\n\
                 2026-11-25T14:16:20.769Z ERROR Halting Kafka. (kafka.Kafka$)";
    assert_eq!(cause(BROKER, &sent(ExitStatus::Code(1), &[15]), lines, true), Cause::Stopped);
    assert_eq!(cause(BROKER, &sent(ExitStatus::Code(1), &[15]), "", true), Cause::Crashed);
}

#[test]
fn a_stop_that_took_too_long_was_killed_by_us_and_not_by_somebody() {
    assert_eq!(cause(BROKER, &sent(ExitStatus::Signal(9), &[15, 9]), "", true), Cause::KilledAfterGrace);
    assert_eq!(cause(BROKER, &sent(ExitStatus::Signal(9), &[15]), "", true), Cause::KilledByOther);
}

#[test]
fn sigkill_has_four_causes() {
    let killed = ExitStatus::Signal(9);
    assert_eq!(cause(BROKER, &record(killed), "", false), Cause::KilledByOther);
    assert_eq!(cause(BROKER, &sent(killed, &[9]), "", false), Cause::KilledByOrder);
    let oom = ExitRecord { oom_kills: Some(1), ..record(killed) };
    assert_eq!(cause(BROKER, &oom, "", false), Cause::OutOfMemory);
    assert_eq!(cause(BROKER, &oom, "", true), Cause::OutOfMemory);
    let no_cgroup = ExitRecord { oom_kills: None, ..record(killed) };
    assert_eq!(cause(BROKER, &no_cgroup, "", false), Cause::KilledByOther);
}

#[test]
fn an_oom_count_of_a_child_does_not_explain_another_end() {
    let exit = ExitRecord { oom_kills: Some(1), ..record(ExitStatus::Code(1)) };
    assert_eq!(cause(NodeKind::Command, &exit, "", false), Cause::Crashed);
}

#[test]
fn a_signal_from_outside_is_told_from_an_ordered_one() {
    assert_eq!(cause(BROKER, &record(ExitStatus::Code(143)), "", false), Cause::KilledByOther);
    assert_eq!(cause(BROKER, &sent(ExitStatus::Code(143), &[15]), "", false), Cause::KilledByOrder);
    assert_eq!(cause(BROKER, &sent(ExitStatus::Code(130), &[2]), "", false), Cause::KilledByOrder);
    let lines = "[System] [MY-013172] [Server] Received SHUTDOWN from user <via user signal>. Shutting down mysqld";
    assert_eq!(cause(NodeKind::Mysql, &record(ExitStatus::Code(0)), lines, false), Cause::KilledByOther);
    assert_eq!(cause(NodeKind::Mysql, &sent(ExitStatus::Code(0), &[15]), lines, false), Cause::KilledByOrder);
    let lines = lines.replace("<via user signal>", "root");
    assert_eq!(cause(NodeKind::Mysql, &record(ExitStatus::Code(0)), &lines, false), Cause::Completed);
}

#[test]
fn a_commands_code_above_128_is_its_own_but_those_of_int_and_term() {
    for (code, signal) in [(130, 2), (143, 15)] {
        let status = ExitStatus::Code(code);
        assert_eq!(cause(NodeKind::Command, &record(status), "", false), Cause::KilledByOther, "{code}");
        assert_eq!(cause(NodeKind::Command, &sent(status, &[signal]), "", false), Cause::KilledByOrder, "{code}");
    }
    assert_eq!(cause(NodeKind::Command, &record(ExitStatus::Code(129)), "", false), Cause::Crashed);
    assert_eq!(cause(NodeKind::Command, &record(ExitStatus::Code(255)), "", false), Cause::Crashed);
}

#[test]
fn a_crash_of_the_jvm_is_no_kill() {
    assert_eq!(cause(BROKER, &record(ExitStatus::Signal(6)), "", false), Cause::Crashed);
    let ended =
        classify(BROKER, &record(ExitStatus::Signal(6)), starting("#  SIGBUS (0x7) at pc=0x0"), false, &jvm_stop());
    assert!(ended.note.unwrap().contains("class-data"));
}

#[test]
fn a_signal_that_follows_from_what_it_did_itself_is_no_kill_from_outside() {
    // PIPE, ALRM, VTALRM, PROF, IO
    for signal in [13, 14, 26, 27, 29] {
        let status = ExitStatus::Signal(signal);
        assert_eq!(cause(NodeKind::Command, &record(status), "", false), Cause::Crashed, "{signal}");
        let (meaning, remedy) = by_signal(status).unwrap();
        assert!(!meaning.is_empty() && !remedy.is_empty(), "{signal}");
        assert_eq!(cause(NodeKind::Command, &sent(status, &[signal]), "", false), Cause::KilledByOrder, "{signal}");
        let full = "OSError: [Errno 28] No space left on device";
        assert_eq!(cause(NodeKind::Command, &record(status), full, false), Cause::DiskFull, "its log is asked");
    }
    // HUP, INT, USR1
    for signal in [1, 2, 10] {
        assert_eq!(cause(NodeKind::Command, &record(ExitStatus::Signal(signal)), "", false), Cause::KilledByOther);
        assert_eq!(by_signal(ExitStatus::Signal(signal)), None);
    }
}

#[test]
fn a_full_java_heap_is_a_crash_with_its_reason_and_no_oom_kill() {
    let lines = "Terminating due to java.lang.OutOfMemoryError: Java heap space";
    let ended = classify(BROKER, &record(ExitStatus::Code(3)), starting(lines), false, &jvm_stop());
    assert_eq!((ended.cause, ended.failure), (Cause::Crashed, None));
    assert!(ended.note.unwrap().contains("raise heap"));
}

#[test]
fn what_only_a_start_ends_of_does_not_explain_the_end_of_a_run_that_has_served() {
    // 3.5.2, ZkAdminManager.createTopics: a client's request
    let lines = "2026-11-26T10:00:00.000Z INFO [Admin Manager on Broker 2]: Error processing create topic request\n\
                 org.apache.kafka.common.config.ConfigException: Invalid value abc for configuration retention.ms\n\
                 Terminating due to java.lang.OutOfMemoryError: Java heap space";
    let exit = record(ExitStatus::Code(3));
    let judged = |kind, exit: &ExitRecord, lines, served| {
        classify(kind, exit, Said { lines, served, outlived: "" }, false, &jvm_stop())
    };
    let ended = judged(BROKER, &exit, lines, true);
    assert_eq!((ended.cause, ended.failure), (Cause::Crashed, None));
    assert!(ended.note.unwrap().contains("raise heap"));
    let without_its_end = lines.rsplit_once('\n').unwrap().0;
    assert_eq!(judged(BROKER, &exit, without_its_end, true).cause, Cause::Crashed);
    assert_eq!(judged(BROKER, &exit, without_its_end, false).cause, Cause::BadOption);
    // what can happen to whoever serves still does
    let full = format!("{lines}\njava.io.IOException: No space left on device");
    assert_eq!(judged(BROKER, &exit, &full, true).cause, Cause::DiskFull);
    let code = record(ExitStatus::Code(4));
    assert_eq!(judged(NodeKind::Zookeeper, &code, "", true).cause, Cause::Crashed);
    assert_eq!(judged(NodeKind::Zookeeper, &code, "", false).cause, Cause::PortTaken);
}

#[test]
fn a_connect_that_was_warned_of_something_and_finds_no_brokers_is_started_again() {
    let end = "[2026-11-27 01:02:09,001] ERROR Stopping due to error (org.apache.kafka.connect.cli.AbstractConnectCli:100)\n\
               org.apache.kafka.connect.errors.ConnectException: Failed to connect to and describe Kafka cluster. Check worker's \
               broker connection and security properties.\n\tat org.apache.kafka.connect.runtime.WorkerConfig.lookup(WorkerConfig.java:1)";
    for warned in [
        "[2026-11-27 01:02:03,456] WARN could not scan it (org.apache.kafka.connect.runtime.isolation.PluginUtils:1)\n\
         java.nio.file.AccessDeniedException: /usr/share/java/x",
        "[2026-11-27 01:02:03,456] WARN no key: /etc/k.pem (Permission denied) (x.y.Z:1)",
        "[2026-11-27 01:02:03,456] WARN ignored (x.y.Z:1)\norg.apache.kafka.common.config.ConfigException: Unknown value abc",
    ] {
        let lines = format!("{warned}\n{end}");
        assert_eq!(cause(NodeKind::Command, &record(ExitStatus::Code(1)), &lines, false), Cause::Crashed, "{warned}");
    }
}

/// The layout is Kafka's own (config/connect-log4j.properties); `FileStreamSinkTask.start` and `WorkerTask.doRun`, 3.5.2.
const OF_A_TASK: &str = "[2026-11-27 01:02:03,456] ERROR [file-sink|task-0] WorkerSinkTask{id=file-sink-0} Task threw an uncaught and \
    unrecoverable exception. Task is being killed and will not recover until manually restarted (org.apache.kafka.connect.runtime.WorkerTask:208)\n\
    org.apache.kafka.connect.errors.ConnectException: Couldn't find or create file '/srv/out' for FileStreamSinkTask\n\
    \tat org.apache.kafka.connect.file.FileStreamSinkTask.start(FileStreamSinkTask.java:74)\n\
    Caused by: java.nio.file.AccessDeniedException: /srv/out\n\
    \tat java.base/sun.nio.fs.UnixException.translateToIOException(UnixException.java:90)";

fn ended_by_itself(kind: NodeKind, served: bool, outlived: &str, lines: &str) -> Ended {
    classify(kind, &record(ExitStatus::Code(1)), Said { lines, served, outlived }, false, &jvm_stop())
}

#[test]
fn what_a_connector_may_not_use_is_never_why_its_worker_ended() {
    let unread = "[2026-11-27 01:02:03,456] ERROR Could not get listing for plugin path: /opt/plugins. Ignoring. \
                  (org.apache.kafka.connect.runtime.isolation.PluginUtils:1)\n\
                  java.nio.file.AccessDeniedException: /opt/plugins\n\tat x.y.Z(Z.java:1)";
    let unstarted = "[2026-11-27 01:02:03,456] ERROR [full|worker] WorkerConnector{id=full} Error while starting connector \
                     (org.apache.kafka.connect.runtime.WorkerConnector:1)\n\
                     org.apache.kafka.connect.errors.ConnectException: java.io.IOException: No space left on device\n\tat x.y.Z(Z.java:1)";
    let worker = "[2026-11-27 01:02:09,001] ERROR [Worker clientId=connect-1, groupId=connect] Uncaught exception in herder work \
                  thread, exiting:  (org.apache.kafka.connect.runtime.distributed.DistributedHerder:1)\n\
                  org.apache.kafka.common.errors.TimeoutException: Timeout expired while fetching topic metadata";
    let heap = "Terminating due to java.lang.OutOfMemoryError: Java heap space";
    for said in [OF_A_TASK, unread, unstarted] {
        for end in ["", "[2026-11-27 01:02:09,001] INFO Kafka Connect stopping (x.y.Z:1)", worker, heap] {
            for served in [true, false] {
                let ended = ended_by_itself(NodeKind::Command, served, "", &format!("{said}\n{end}"));
                assert_eq!((ended.cause, ended.failure), (Cause::Crashed, None), "{said}\n{end}");
                assert!(end != heap || ended.note.is_some_and(|note| note.contains("raise heap")), "{said}");
            }
        }
    }
    // what the worker says of itself still counts
    let own = "[2026-11-27 01:02:09,001] ERROR Stopping due to error (org.apache.kafka.connect.cli.AbstractConnectCli:100)\n\
               java.nio.file.AccessDeniedException: /srv/offsets";
    let ended = ended_by_itself(NodeKind::Command, false, "", &format!("{OF_A_TASK}\n{own}"));
    assert_eq!(ended.cause, Cause::WrongOwner);
}

#[test]
fn an_error_that_a_command_has_outlived_while_it_served_is_not_what_it_ended_of() {
    let denied = "[2026-11-27 01:02:03,456] ERROR cannot write it (x.y.Z:1)\njava.nio.file.AccessDeniedException: /srv/out\n\tat x";
    let another = "[2026-11-27 01:02:09,001] ERROR no connection to the server (x.y.Z:1)\njava.io.EOFException";
    let thrown = "Exception in thread \"main\" java.lang.IllegalStateException: x";
    let crash = "#\n# A fatal error has been detected by the Java Runtime Environment:\n#";
    let cause = |served, outlived: &str, lines: &str| {
        let ended = ended_by_itself(NodeKind::Command, served, outlived, lines);
        assert_eq!(ended.failure.is_some(), ended.cause.is_terminal());
        ended.cause
    };
    for end in [another, thrown, crash] {
        assert_eq!(cause(true, "", &format!("{denied}\n{end}")), Cause::Crashed, "{end}");
        assert_eq!(
            cause(false, "", &format!("{denied}\n{end}")),
            Cause::WrongOwner,
            "the start of a program says it once"
        );
    }
    // Its last word is what it ended of, unless it has said the same before and gone on.
    let info = "[2026-11-27 01:02:10,001] INFO stops (x.y.Z:1)";
    assert_eq!(cause(true, another, &format!("{another}\n{denied}\n{info}")), Cause::WrongOwner);
    assert_eq!(cause(true, denied, &format!("{denied}\n{info}")), Cause::Crashed);
    assert_eq!(cause(false, denied, denied), Cause::WrongOwner);
    // A program that does not say how bad its lines are.
    let full = "dd: writing 'x': No space left on device";
    assert_eq!(cause(true, full, &format!("it goes on\n{full}\nit ends")), Cause::DiskFull);
}

#[test]
fn a_jvm_that_says_that_it_terminates_for_memory_ended_of_nothing_that_it_said_before() {
    let before = "2026-11-27T01:02:03.456Z ERROR Failed to load keystore (x.y.Z)\n\
                  java.io.FileNotFoundException: /etc/k.jks (Permission denied)\n\tat x\n";
    for kind in [BROKER, NodeKind::Zookeeper, NodeKind::KafkaUi, NodeKind::Command] {
        let lines = format!("{before}Terminating due to java.lang.OutOfMemoryError: Java heap space\n");
        for served in [true, false] {
            let ended = ended_by_itself(kind, served, "", &lines);
            assert_eq!((ended.cause, ended.failure), (Cause::Crashed, None), "{kind:?}");
            assert!(ended.note.unwrap().contains("raise heap"), "{kind:?}");
        }
    }
    // A broker that ends of its log directory says so behind it.
    let full = "ERROR Error while appending records\njava.io.IOException: No space left on device\n\
                ERROR Shutdown broker because all log dirs in /d have failed";
    assert_eq!(ended_by_itself(BROKER, true, full, full).cause, Cause::DiskFull);
}

#[test]
fn a_broker_that_meets_its_own_old_session_has_not_crashed() {
    let lines = "ERROR Error while creating ephemeral at /brokers/ids/2, node already exists and owner '0x1' does not match \
                 current session '0x2' (kafka.zk.KafkaZkClient$CheckedEphemeral)\nERROR Fatal error during KafkaServer startup.";
    assert_eq!(cause(BROKER, &record(ExitStatus::Code(1)), lines, false), Cause::OldSession);
}

#[test]
fn terminal_causes_come_with_what_and_remedy() {
    let cases = [
        (BROKER, 1, "The Cluster ID A doesn't match stored clusterId Some(B) in meta.properties", Cause::WrongIdentity),
        (
            BROKER,
            1,
            "org.apache.kafka.common.KafkaException: Socket server failed to bind to 127.0.0.1:9092: Address already in use.",
            Cause::PortTaken,
        ),
        (
            BROKER,
            1,
            "org.apache.kafka.common.config.ConfigException: Invalid value abc for configuration num.io.threads",
            Cause::BadOption,
        ),
        (NodeKind::Zookeeper, 2, "ERROR Invalid config, exiting abnormally", Cause::BadOption),
        (NodeKind::Zookeeper, 1, "java.net.BindException: Address already in use", Cause::PortTaken),
        (NodeKind::Zookeeper, 3, "ERROR Unable to access datadir, exiting abnormally", Cause::WrongOwner),
        (NodeKind::Mysql, 1, "[ERROR] [MY-000067] [Server] unknown variable 'nonsense=1'.", Cause::BadOption),
        (
            NodeKind::Mysql,
            1,
            "[ERROR] [MY-012592] [InnoDB] Operating system error number 28: No space left on device",
            Cause::DiskFull,
        ),
        (NodeKind::Mysql, 1, "Invalid MySQL server downgrade: Cannot downgrade from 90704 to 80046.", Cause::NewerData),
        (NodeKind::Command, 1, "OSError: [Errno 28] No space left on device", Cause::DiskFull),
    ];
    for (kind, code, line, wanted) in cases {
        let ended = classify(kind, &record(ExitStatus::Code(code)), starting(line), false, &jvm_stop());
        assert_eq!(ended.cause, wanted, "{line}");
        let failure = ended.failure.unwrap();
        assert!(failure.what.contains(line) && !failure.remedy.is_empty(), "{failure:?}");
    }
}

#[test]
fn zookeepers_codes_speak_when_its_lines_do_not() {
    let zookeeper = NodeKind::Zookeeper;
    for (code, wanted) in [
        (2, Cause::BadOption),
        // a JVM's own 3 (ExitOnOutOfMemoryError) would look the same
        (3, Cause::Crashed),
        (4, Cause::PortTaken),
        (10, Cause::Crashed),
        (12, Cause::Crashed),
        (14, Cause::PortTaken),
    ] {
        assert_eq!(cause(zookeeper, &record(ExitStatus::Code(code)), "", false), wanted, "{code}");
        assert_eq!(cause(BROKER, &record(ExitStatus::Code(code)), "", false), Cause::Crashed, "{code}");
    }
    let full = "java.io.IOException: No space left on device";
    assert_eq!(cause(zookeeper, &record(ExitStatus::Code(10)), full, false), Cause::DiskFull, "a line says more");
}

#[test]
fn a_full_disk_explains_an_end_that_nothing_else_does_and_no_other() {
    let may = |kind, status, lines: &str| {
        may_be_of_no_room(kind, &classify(kind, &record(status), starting(lines), false, &jvm_stop()))
    };
    let ended = ExitStatus::Code(1);
    for (kind, status, lines) in [
        (BROKER, ended, "the last line that the disk took"),
        (BROKER, ExitStatus::Signal(6), "#  SIGBUS (0x7) at pc=0x0"),
        (
            BROKER,
            ended,
            "java.lang.InternalError: a fault occurred in a recent unsafe memory access operation in compiled Java code",
        ),
        (NodeKind::Zookeeper, ExitStatus::Code(10), ""),
        (NodeKind::Mysql, ExitStatus::Code(2), ""),
    ] {
        assert!(may(kind, status, lines), "{kind:?} {status:?} {lines}");
    }
    for (kind, status, lines) in [
        (BROKER, ExitStatus::Code(3), "Terminating due to java.lang.OutOfMemoryError: Java heap space"),
        (BROKER, ended, "Socket server failed to bind to 127.0.0.1:9092: Address already in use."),
        (BROKER, ended, "java.io.IOException: No space left on device"),
        (BROKER, ExitStatus::Signal(9), ""),
        (NodeKind::Command, ended, ""),
        (NodeKind::KafkaUi, ended, ""),
    ] {
        assert!(!may(kind, status, lines), "{kind:?} {status:?} {lines}");
    }
    let crashed = classify(BROKER, &record(ended), starting(""), false, &jvm_stop());
    let full = of_no_room(&crashed, &record(ended), Path::new("/srv/b"));
    let failure = full.failure.unwrap();
    assert_eq!((full.cause, failure.cause), (Cause::DiskFull, Cause::DiskFull));
    assert!(
        failure.what.starts_with("the file system of /srv/b is full") && failure.what.ends_with("exit 1"),
        "{failure:?}"
    );
    assert!(failure.remedy.contains("free space"), "{failure:?}");
}

#[test]
fn mysqlds_codes_are_told_apart() {
    assert_eq!(cause(NodeKind::Mysql, &record(ExitStatus::Code(16)), "", false), Cause::Completed);
    for code in [1, 2, 3] {
        assert_eq!(cause(NodeKind::Mysql, &record(ExitStatus::Code(code)), "", false), Cause::Crashed);
    }
}

#[test]
fn an_old_fatal_line_does_not_colour_a_clean_end_or_a_kill() {
    let lines = "No space left on device";
    assert_eq!(cause(BROKER, &record(ExitStatus::Code(0)), lines, false), Cause::Completed);
    assert_eq!(cause(BROKER, &record(ExitStatus::Signal(9)), lines, false), Cause::KilledByOther);
    assert_eq!(cause(BROKER, &sent(ExitStatus::Code(143), &[15]), lines, true), Cause::Stopped);
}

#[test]
fn nobody_saw_it_is_unknown() {
    assert_eq!(cause(BROKER, &record(ExitStatus::Unknown), "", false), Cause::Unknown);
    assert_eq!(cause(BROKER, &record(ExitStatus::Unknown), "", true), Cause::Unknown);
}

#[test]
fn words_for_a_status_name_the_signal_behind_a_code() {
    assert_eq!(Ended::status_words(&record(ExitStatus::Code(143))), "exit 143 (SIGTERM)");
    assert_eq!(Ended::status_words(&record(ExitStatus::Code(1))), "exit 1");
    assert_eq!(Ended::status_words(&record(ExitStatus::Signal(9))), "SIGKILL");
}

#[test]
fn a_helper_that_fails_is_judged_by_its_words_and_tried_again_only_where_that_may_help() {
    let judged = |status, output: &str| {
        let ended = classify_helper(NodeKind::Mysql, status, output);
        (ended.cause, ended.failure)
    };
    let aborting = "[ERROR] [MY-013236] [Server] The designated data directory /m is unusable.\n[ERROR] [MY-010119] [Server] Aborting\n";
    let exit = ExitStatus::Code(1);
    for (words, cause) in [
        ("[ERROR] [MY-000067] [Server] unknown variable 'nonsense=1'.", Cause::BadOption),
        ("[ERROR] [MY-012640] [InnoDB] Error number 28 means 'No space left on device'", Cause::DiskFull),
        ("mysqld: error while loading shared libraries: libaio.so.1: cannot open", Cause::CouldNotStart),
        ("mysqld: Can't create directory '/m/' (OS errno 13 - Permission denied)", Cause::WrongOwner),
        ("[ERROR] [Server] Something that nobody knows", Cause::CouldNotStart),
    ] {
        let (found, failure) = judged(exit, &format!("{words}\n{aborting}"));
        assert_eq!((found, failure.unwrap().cause), (cause, cause), "{words}");
    }
    let (_, failure) = judged(exit, aborting);
    assert!(failure.unwrap().what.contains("The designated data directory /m is unusable"));
    // These may pass: a limit of the host, a crash, a kill from outside.
    let passes = |status, output| judged(status, output).1.is_none();
    assert!(passes(exit, "[ERROR] [InnoDB] Cannot initialize AIO sub-system"));
    assert!(passes(ExitStatus::Signal(11), "mysqld got signal 11"));
    assert!(passes(ExitStatus::Signal(9), "") && passes(ExitStatus::Signal(15), aborting));
    assert!(!passes(ExitStatus::Signal(7), "No space left on device"), "SIGBUS of a full disk");
}
