//! Makes class-data archives: a short training run of the real program, once per runtime, class path and main class.
//!
//! It runs twice, on the same data: an archive holds what the run used that wrote it, and every start but a node's first finds data. What
//! a start with logs, partitions and clients loads besides was 5 to 10 % of a broker's processor time until it was in sync (two runs in turns).
//!
//! Measured on two cores: ZooKeeper and three brokers ready in 2.8 s with archives instead of 5.9 s, and 20-25 %
//! less memory each. An archive is written by `-XX:ArchiveClassesAtExit` under a temporary name and renamed, so a start
//! sees a whole archive or none.

use crate::{
    base::{
        Moment,
        recipe::{ClassDataArchive, Training, TrainingJvm},
    },
    clients::{
        ClientError,
        kafka::Admin,
        zookeeper::{Serving, Session, four_letter, parse_srvr},
    },
    sys::{
        clock,
        command::{Cancel, Command, Running},
        error::SysError,
        fs, net,
    },
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Longest a training program may take until it answers. A slow machine needs 20 s for a broker (User-Mode Linux on one core).
const START: Duration = Duration::from_secs(90);

/// Longest it may take from SIGTERM to its end: the archive is dumped then (2.2 s measured).
const DUMP: Duration = Duration::from_secs(90);

/// Longest that it is used, and each call of a client.
const SERVE: Duration = Duration::from_secs(30);

/// Between two looks whether it answers.
const LOOK: Duration = Duration::from_millis(50);

/// The topic of a training broker.
const TOPIC: &str = "training";

/// One training at a time per archive: three brokers share one.
static UNDER_WAY: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());

/// Makes the archive when it is missing, in the cgroup that `group` makes; none: caps are not enforced. Blocking. The error says why
/// there is none; a start goes on without.
///
/// Its JVMs hold some 300 MB, which are the node's and not the supervisor's.
pub(super) fn ensure(
    archive: &ClassDataArchive,
    group: impl FnOnce() -> Result<Option<PathBuf>, SysError>,
    cancel: &Cancel,
) -> Result<(), String> {
    let turn = {
        let mut all = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(archive.file.clone()).or_default())
    };
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    if is_whole(&archive.file) {
        return Ok(());
    }
    fs::remove_optional(&archive.file).map_err(|e| format!("{e}: {}", e.source))?;
    let failed = failure_mark(&archive.file);
    if failed.exists() {
        return Err(format!("an earlier training failed (remove {} to try again)", failed.display()));
    }
    let directory = archive.file.parent().unwrap_or(Path::new("/"));
    fs::make_dir(directory, 0o755).map_err(|e| format!("{e}: {}", e.source))?;
    let name = archive.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let work = directory.join(format!(".training.{name}.{}", std::process::id()));
    fs::remove_dir_all_optional(&work).map_err(|e| format!("{e}: {}", e.source))?;
    fs::make_dir(&work, 0o700).map_err(|e| format!("{e}: {}", e.source))?;
    let group = group().map_err(|e| format!("{e}: {}", e.source))?;
    let began = clock::now();
    let result = train(&archive.training, &Room { work: &work, group: group.as_deref() }, cancel)
        .and_then(|made| publish(&made, &archive.file).map_err(|e| format!("cannot keep {}: {e}", made.display())));
    if let Err(why) = &result
        && !cancel.is_cancelled()
    {
        // Otherwise every start would try again and be slower for it.
        let _ = fs::write_atomic(&failed, why.as_bytes(), 0o644, fs::Durability::ProcessCrash);
    }
    if result.is_ok() {
        tracing::info!(archive = %archive.file.display(), took_ms = clock::now().since(began).as_millis(), "class-data archive made");
    }
    // A leftover is found by its name and removed by the next training.
    let _ = fs::remove_dir_all_optional(&work);
    result
}

/// Whether the archive is there with the size it was made with. A truncated one kills a JVM with SIGBUS, whatever flags it
/// is given (tried with Java 17: `-XX:+VerifySharedSpaces` does not help), so the size is looked at before every start.
fn is_whole(archive: &Path) -> bool {
    let wanted = std::fs::read_to_string(size_mark(archive)).ok().and_then(|text| text.trim().parse::<u64>().ok());
    std::fs::metadata(archive).is_ok_and(|meta| Some(meta.len()) == wanted)
}

/// Gives the archive its name once its bytes and its size are on disk.
fn publish(made: &Path, archive: &Path) -> std::io::Result<()> {
    let file = std::fs::File::open(made)?;
    file.sync_all()?;
    let size = file.metadata()?.len().to_string();
    fs::write_atomic(&size_mark(archive), size.as_bytes(), 0o644, fs::Durability::PowerLoss).map_err(|e| e.source)?;
    std::fs::rename(made, archive)?;
    fs::sync_parent(archive)
}

fn size_mark(archive: &Path) -> PathBuf {
    archive.with_extension("size")
}

fn failure_mark(archive: &Path) -> PathBuf {
    archive.with_extension("failed")
}

/// Where training programs run.
#[derive(Clone, Copy)]
struct Room<'a> {
    /// Their directory.
    work: &'a Path,
    /// Their cgroup; none: this process's.
    group: Option<&'a Path>,
}

fn train(training: &Training, room: &Room<'_>, cancel: &Cancel) -> Result<PathBuf, String> {
    let made = room.work.join("archive.jsa");
    match training {
        Training::Zookeeper(zookeeper) => {
            let start = |archive| TrainingRun::start(zookeeper, room, "zookeeper", None, archive);
            first_life(start(None), use_zookeeper, cancel)?;
            life(start(Some(&made)), use_zookeeper, cancel)?;
        }
        Training::Broker(broker, zookeeper) => {
            let mut behind = TrainingRun::start(zookeeper, room, "zookeeper", None, None)?;
            behind.await_answer(cancel)?;
            let start = |archive| TrainingRun::start(broker, room, "broker", Some(behind.address), archive);
            first_life(start(None), use_new_broker, cancel)?;
            life(start(Some(&made)), use_broker, cancel)?;
            // Dropped: killed; its data is thrown away anyway.
            drop(behind);
        }
    }
    match std::fs::metadata(&made) {
        Ok(meta) if meta.len() > 0 => Ok(made),
        _ => Err("the program ended without writing an archive".into()),
    }
}

/// From its start until it has ended on our word; in between it is used.
fn life<F: Future<Output = Result<(), ClientError>>>(
    run: Result<TrainingRun, String>,
    work: impl FnOnce(SocketAddr) -> F,
    cancel: &Cancel,
) -> Result<(), String> {
    let mut run = run?;
    run.await_answer(cancel)?;
    run.serve(work, cancel);
    run.end(cancel)
}

/// The life that leaves the data behind. Without it the archive is poorer, and serves all the same; only to be cancelled ends the training.
fn first_life<F: Future<Output = Result<(), ClientError>>>(
    run: Result<TrainingRun, String>,
    work: impl FnOnce(SocketAddr) -> F,
    cancel: &Cancel,
) -> Result<(), String> {
    match life(run, work, cancel) {
        Err(why) if cancel.is_cancelled() => Err(why),
        Err(why) => {
            tracing::info!("the second training run finds no data: {why}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// What the supervisor and a broker ask of a ZooKeeper at their start, and a write.
async fn use_zookeeper(address: SocketAddr) -> Result<(), ClientError> {
    // Its port is open before it serves, and a session that is asked for until then is closed at once (3.6.4, seen).
    let asked = clock::now();
    while parse_srvr(&four_letter(address, "srvr", SERVE).await?) == Serving::NotYet
        && clock::now().since(asked) < SERVE
    {
        tokio::time::sleep(LOOK).await;
    }
    let mut session = Session::connect(address, SERVE).await?;
    session.exists("/zookeeper").await?;
    session.set_data("/zookeeper", b"", -1).await?;
    session.close().await
}

/// Leaves a partition with a record behind.
async fn use_new_broker(address: SocketAddr) -> Result<(), ClientError> {
    Admin::new(&[address])?.create_topic(TOPIC, 1, 1, &[], SERVE).await?;
    use_broker(address).await
}

/// A record in and out.
async fn use_broker(address: SocketAddr) -> Result<(), ClientError> {
    let admin = Admin::new(&[address])?;
    admin.describe(SERVE).await?;
    admin.produce(TOPIC, Some(0), b"training", SERVE).await?;
    admin.consume_from(TOPIC, &[(0, 0)], 1, SERVE).await.map(drop)
}

struct TrainingRun {
    running: Option<Running>,
    address: SocketAddr,
    what: &'static str,
    began: Moment,
}

impl TrainingRun {
    fn start(
        jvm: &TrainingJvm,
        Room { work, group }: &Room<'_>,
        what: &'static str,
        zookeeper: Option<SocketAddr>,
        archive: Option<&Path>,
    ) -> Result<Self, String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port().map_err(|e| e.to_string())?));
        let second = net::free_port().map_err(|e| e.to_string())?;
        let data = work.join(format!("{what}-data"));
        let config = work.join(format!("{what}.properties"));
        fs::make_dir(&data, 0o700).map_err(|e| e.to_string())?;
        let properties = jvm
            .properties
            .replace("@PORT@", &address.port().to_string())
            .replace("@PORT2@", &second.to_string())
            .replace("@DATA@", &data.display().to_string())
            .replace("@ZOOKEEPER@", &zookeeper.map(|z| z.to_string()).unwrap_or_default());
        fs::write_atomic(&config, properties.as_bytes(), 0o600, fs::Durability::ProcessCrash)
            .map_err(|e| e.to_string())?;
        let mut argv = vec![jvm.java.first().cloned().unwrap_or_default()];
        if let Some(archive) = archive {
            argv.push(format!("-XX:ArchiveClassesAtExit={}", archive.display()));
        }
        argv.push(format!("-Djava.io.tmpdir={}", work.display()));
        argv.extend(jvm.java.iter().skip(1).cloned());
        argv.extend([jvm.main_class.clone(), config.display().to_string()]);
        let command = Command {
            argv,
            env: vec![("TMPDIR".into(), work.display().to_string())],
            dir: (*work).to_owned(),
            stdin: None,
        };
        let running = command.start_in(None, *group).map_err(|e| format!("{e}: {}", e.source))?;
        Ok(Self { running: Some(running), address, what, began: clock::now() })
    }

    /// Waits until the program listens: ZooKeeper and a broker open their port at the end of their start-up.
    fn await_answer(&mut self, cancel: &Cancel) -> Result<(), String> {
        let began = clock::now();
        loop {
            if TcpStream::connect_timeout(&self.address, Duration::from_millis(500)).is_ok() {
                return Ok(());
            }
            if cancel.is_cancelled() {
                return Err("cancelled".into());
            }
            if !self.running.as_mut().is_some_and(Running::is_running) {
                return Err(self.last_words(cancel));
            }
            if clock::now().since(began) > START {
                return Err(format!("the training {} did not answer within {} s", self.what, START.as_secs()));
            }
            thread::sleep(LOOK);
        }
    }

    /// Has it do some work as a client. One that cannot be used gives a poorer archive, which serves all the same.
    fn serve<F: Future<Output = Result<(), ClientError>>>(&self, work: impl FnOnce(SocketAddr) -> F, cancel: &Cancel) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let cancelled = async {
            while !cancel.is_cancelled() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let used = runtime.block_on(async {
            tokio::select! {
                used = tokio::time::timeout(SERVE, work(self.address)) => match used {
                    Ok(used) => used.err().map(|e| e.in_one_line()),
                    Err(_) => Some(format!("not done after {} s", SERVE.as_secs())),
                },
                () = cancelled => None,
            }
        });
        if let Some(why) = used {
            tracing::info!("the training {} was not used: {why}", self.what);
        }
    }

    /// Asks the program to stop and waits until it has written the archive.
    fn end(&mut self, cancel: &Cancel) -> Result<(), String> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.signal(Signal::SIGTERM);
        // The limit is one from its start.
        let limit = clock::now().since(self.began) + DUMP;
        running.wait(limit, cancel).map(drop).map_err(|e| format!("{e}: {}", e.source))
    }

    fn last_words(&mut self, cancel: &Cancel) -> String {
        let ended = self.running.take().map(|r| r.wait(START, cancel));
        match ended {
            Some(Ok(done)) => {
                format!("the training {} ended early ({}): {}", self.what, done.status.describe(), done.last_lines(2))
            }
            _ => format!("the training {} ended early", self.what),
        }
    }
}
