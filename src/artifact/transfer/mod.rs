//! One download over HTTP: into a `.part` file that a later run goes on with, hashed while it comes.
//!
//! What an answer means is decided in `answer`, when to try again in `pace`; this file does it. Each download has a runtime
//! of its own on the caller's thread, so that a stalled peer is left at once when the caller asks to stop.

mod answer;
mod client;
mod fault;
mod follow;
mod pace;
mod part;

pub use client::Network;
pub use fault::TransferFault;
pub use follow::{Fill, Follower};
pub use pace::{Limiter, Timing};

use super::digest::Digests;
use crate::sys::{command::Cancel, error::SysError, host};
use answer::{Head, Judgement};
use client::{broken, failed};
use part::Part;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long nobody looks whether the caller wants to stop.
const TICK: Duration = Duration::from_millis(100);

/// Left free on the disk beside what a download needs.
const MARGIN: u64 = 64 << 20;

/// How often one download may begin anew because the server changed its file or its mind.
const RESTARTS: u32 = 3;

/// Bytes that make a try count as one that got on. Less, and a server that drips would be asked for ever.
const PROGRESS: u64 = 256 << 10;

/// What to download.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// From where.
    pub url: &'a str,
    /// The `.part` file; its state lies beside it.
    pub part: &'a Path,
    /// Its size, where it is known beforehand.
    pub size: Option<u64>,
    /// The most it may have.
    pub most: u64,
    /// What it begins with.
    pub magic: &'a [u8],
    /// Digests to compute, besides SHA-256.
    pub sha512: bool,
    /// See `sha512`.
    pub md5: bool,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The `.part` file, whole.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Its digests.
    pub digests: Digests,
    /// Whether some of it came in an earlier run or try.
    pub resumed: bool,
}

/// Hears how far a download is: bytes there, and bytes in all where the server says.
pub type Heard<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

/// How one exchange ended.
enum End {
    /// The file is whole.
    Whole,
    /// The connection ended before it.
    Short,
    /// The part is of no use.
    Restart(String),
    /// The server wants to be asked later.
    Later(TransferFault, Option<Duration>),
}

/// Downloads. `fill` is told of every byte in the file, for who reads it meanwhile.
pub fn download(
    network: &Network,
    want: &Want<'_>,
    fill: &Arc<Fill>,
    heard: Heard<'_>,
    cancel: &Cancel,
) -> Result<Received, TransferFault> {
    let outcome = (|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| SysError::new("make a runtime for a download", e))?;
        let outcome = runtime.block_on(run(network, want, fill, heard, cancel));
        // A look-up of a name that goes on is not waited for.
        runtime.shutdown_background();
        outcome
    })();
    fill.end(outcome.is_ok());
    outcome
}

async fn run(
    network: &Network,
    want: &Want<'_>,
    fill: &Arc<Fill>,
    heard: Heard<'_>,
    cancel: &Cancel,
) -> Result<Received, TransferFault> {
    let mut part = Part::open(want, fill)?;
    let resumed = part.len() > 0;
    let (mut tries, mut restarts) = (0, 0);
    while !part.is_whole() {
        let before = part.len();
        let outcome = exchange(network, want, &mut part, heard, cancel).await;
        if cancel.is_cancelled() {
            return Err(TransferFault::Cancelled);
        }
        let got_on = part.len() >= before.saturating_add(PROGRESS);
        let (fault, wait) = match outcome {
            Ok(End::Whole) => break,
            Ok(End::Restart(why)) => {
                restarts += 1;
                if restarts > RESTARTS {
                    return Err(TransferFault::Fickle { url: want.url.into(), why });
                }
                part.forget()?;
                continue;
            }
            Ok(End::Short) => (TransferFault::Cut { url: want.url.into(), got: part.len(), total: part.total() }, None),
            Ok(End::Later(fault, wait)) => (fault, wait),
            Err(fault) if fault.may_pass() => (fault, None),
            Err(fault) => return Err(fault),
        };
        tries = if got_on { 1 } else { tries + 1 };
        if tries >= fault.tries(&network.timing) {
            return Err(fault.after(tries));
        }
        // What is there cannot be gone on with when the server names no version of its file.
        if !part.can_go_on() {
            part.forget()?;
        }
        pause(wait.unwrap_or_else(|| network.timing.back_off(tries)), cancel).await?;
    }
    part.finish(want, resumed)
}

async fn pause(time: Duration, cancel: &Cancel) -> Result<(), TransferFault> {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if cancel.is_cancelled() {
            return Err(TransferFault::Cancelled);
        }
        tokio::time::sleep(left.min(TICK)).await;
    }
    Ok(())
}

/// One request and what comes of it.
async fn exchange(
    network: &Network,
    want: &Want<'_>,
    part: &mut Part,
    heard: Heard<'_>,
    cancel: &Cancel,
) -> Result<End, TransferFault> {
    let asked = part.asked();
    let stall = network.timing.stall;
    let request = network.get(want.url, &asked)?;
    let mut response = match patient(request, stall, cancel).await {
        Some(sent) => sent.map_err(|e| failed(want.url, e))?,
        None if cancel.is_cancelled() => return Err(TransferFault::Cancelled),
        None => return Err(TransferFault::Silent { url: want.url.into(), waited: stall }),
    };
    let head = Head::of(response.status().as_u16(), |name| {
        response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
    });
    match answer::judge(&asked, &head, want.size) {
        Judgement::Whole { total, validator } => {
            if total.is_some_and(|t| t > want.most) {
                return Err(TransferFault::TooLong { url: want.url.into(), most: want.most });
            }
            part.begin(want.url, total, validator)?;
        }
        Judgement::Rest { total } => part.learn(total),
        Judgement::Complete => return Ok(End::Whole),
        Judgement::Restart(why) => return Ok(End::Restart(why)),
        Judgement::Later { status, wait } => {
            let wait = wait.map(Duration::from_secs);
            let fault = TransferFault::Status { url: want.url.into(), status };
            if let Some(wait) = wait.filter(|w| *w > network.timing.longest_wait) {
                return Err(TransferFault::AskedToWait { url: want.url.into(), status, wait });
            }
            return Ok(End::Later(fault, wait));
        }
        Judgement::Refused(status) => return Err(TransferFault::Status { url: want.url.into(), status }),
        Judgement::NotTheFile(why) => return Err(TransferFault::NotTheFile { url: want.url.into(), why }),
    }
    room(want, part)?;
    let mut window = (Instant::now(), part.len());
    loop {
        let piece = match patient(response.chunk(), stall, cancel).await {
            Some(piece) => piece.map_err(|e| broken(want.url, e))?,
            None if cancel.is_cancelled() => return Err(TransferFault::Cancelled),
            None => return Err(TransferFault::Silent { url: want.url.into(), waited: stall }),
        };
        let Some(piece) = piece else { break };
        if part.len() < want.magic.len() as u64 {
            begins_right(want, part, &piece)?;
        }
        part.append(want, &piece)?;
        heard(part.len(), part.total().or(want.size));
        pause(network.limiter.take(piece.len() as u64), cancel).await?;
        if window.0.elapsed() >= stall {
            let came = part.len() - window.1;
            if came < network.timing.least(network.limiter.rate()) {
                return Err(TransferFault::Drips { url: want.url.into(), bytes: came, waited: stall });
            }
            window = (Instant::now(), part.len());
        }
    }
    // Without a length the end of the connection is the end of the file; the digest says whether it was.
    Ok(if part.total().is_none() || part.is_whole() { End::Whole } else { End::Short })
}

/// Waits for something of the network, not longer than `limit` and not past a wish to stop.
async fn patient<T>(what: impl Future<Output = T>, limit: Duration, cancel: &Cancel) -> Option<T> {
    let mut what = std::pin::pin!(what);
    let until = Instant::now() + limit;
    loop {
        let left = until.checked_duration_since(Instant::now()).filter(|_| !cancel.is_cancelled())?;
        if let Ok(done) = tokio::time::timeout(left.min(TICK), &mut what).await {
            return Some(done);
        }
    }
}

/// Refuses a file whose first bytes are another kind's: a page of a proxy, say. Looked at before anything is stored.
fn begins_right(want: &Want<'_>, part: &Part, piece: &[u8]) -> Result<(), TransferFault> {
    let at = usize::try_from(part.len()).unwrap_or(usize::MAX);
    let wanted = want.magic.get(at..).unwrap_or_default();
    if wanted.iter().zip(piece).all(|(w, p)| w == p) {
        return Ok(());
    }
    let shown: String = String::from_utf8_lossy(piece).chars().take(40).collect();
    let why = format!("it begins with {shown:?}, which is no archive of its kind");
    Err(TransferFault::NotTheFile { url: want.url.into(), why })
}

fn room(want: &Want<'_>, part: &Part) -> Result<(), TransferFault> {
    let Some(total) = part.total().or(want.size) else { return Ok(()) };
    let need = total.saturating_sub(part.len()).saturating_add(MARGIN);
    let free = host::free_space(want.part.parent().unwrap_or(Path::new("/")))?.0;
    if free < need {
        return Err(TransferFault::NoRoom { path: want.part.to_owned(), need, free });
    }
    Ok(())
}
