//! A ZooKeeper for tests: it has one node of a broker, `/brokers/ids/N`, tells about it what the test says, and has its sessions closed.
//! Others that the test gives it are there, too.

use crate::base::Timestamp;
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// When the broker's node was made.
pub(crate) const CREATED: Timestamp = Timestamp(2_000);

/// The transaction that made it.
pub(crate) const MADE_BY: i64 = 5;

/// Where the broker says that it listens.
pub(crate) const ENDPOINT: &str = "INTERNAL://127.0.0.1:29093";

/// The session that the server gives to whoever only looks.
const LOOKER: i64 = 7;

/// What it does with somebody who takes a session over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takeover {
    /// Lets him, and closes it when he says so.
    Closes,
    /// The session is not there any more.
    Expired,
    /// Lets him, and says that it does not close it.
    Refuses,
}

#[derive(Clone, Debug)]
pub(crate) struct FakeZookeeper {
    pub(crate) address: SocketAddr,
    /// Who is registered, one look after the other; the last one stays.
    registered: Arc<Mutex<VecDeque<Option<i64>>>>,
    closed: Arc<Mutex<Vec<i64>>>,
    /// Sessions that it made anew.
    made: Arc<AtomicUsize>,
    takeover: Takeover,
    /// Where whoever is registered says that he listens.
    endpoint: Arc<Mutex<String>>,
    /// What else it has.
    nodes: Arc<Mutex<BTreeMap<String, String>>>,
}

impl FakeZookeeper {
    pub(crate) async fn start(registered: &[Option<i64>], takeover: Takeover) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            registered: Arc::new(Mutex::new(registered.iter().copied().collect())),
            closed: Arc::default(),
            made: Arc::default(),
            takeover,
            endpoint: Arc::new(Mutex::new(ENDPOINT.to_owned())),
            nodes: Arc::default(),
        };
        let server = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        this
    }

    /// The sessions that others had it close, or tried to.
    pub(crate) fn taken_over(&self) -> Vec<i64> {
        self.closed.lock().unwrap().clone()
    }

    /// How many sessions it made anew.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// Whoever is registered says from now on that he listens there.
    pub(crate) fn is_at(&self, endpoint: &str) {
        endpoint.clone_into(&mut self.endpoint.lock().unwrap());
    }

    /// From now on it has this node with these data.
    pub(crate) fn has(&self, path: &str, data: &str) {
        self.nodes.lock().unwrap().insert(path.to_owned(), data.to_owned());
    }

    /// The data of a node that is no broker's.
    fn other(&self, path: &str) -> Option<String> {
        self.nodes.lock().unwrap().get(path).cloned()
    }

    fn children(&self, path: &str) -> Vec<String> {
        let nodes = self.nodes.lock().unwrap();
        nodes.keys().filter_map(|node| node.strip_prefix(path)?.strip_prefix('/')).map(str::to_owned).collect()
    }

    fn look(&self) -> Option<i64> {
        let mut registered = self.registered.lock().unwrap();
        let next = registered.front().copied().flatten();
        if registered.len() > 1 {
            registered.pop_front();
        }
        next
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let hello = read(&mut stream).await?;
        let asked = i64::from_be_bytes(hello[16..24].try_into().unwrap());
        let theirs = asked != 0;
        if theirs {
            self.closed.lock().unwrap().push(asked);
        } else {
            self.made.fetch_add(1, Ordering::Relaxed);
        }
        let granted = !theirs || self.takeover != Takeover::Expired;
        let (timeout, id) = match (theirs, granted) {
            (false, _) => (4_000i32, LOOKER),
            (true, true) => (4_000, asked),
            (true, false) => (0, 0),
        };
        let parts =
            [&0i32.to_be_bytes()[..], &timeout.to_be_bytes(), &id.to_be_bytes(), &16i32.to_be_bytes(), &[3; 17]];
        write(&mut stream, &parts.concat()).await?;
        if !granted {
            return None;
        }
        loop {
            let request = read(&mut stream).await?;
            let word = |at: usize| i32::from_be_bytes(request[at..at + 4].try_into().unwrap());
            let (xid, op) = (word(0), word(4));
            let reply = |error: i32, body: &[u8]| {
                [&xid.to_be_bytes()[..], &9i64.to_be_bytes(), &error.to_be_bytes(), body].concat()
            };
            let text = |text: &str| [&i32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
            // A path is the first thing behind the head of all that look.
            let path = match op {
                3 | 4 | 8 => String::from_utf8_lossy(&request[12..12 + usize::try_from(word(8)).unwrap()]).into_owned(),
                _ => String::new(),
            };
            let answer = match op {
                3 => match self.look() {
                    Some(owner) => reply(0, &stat(owner)),
                    None => reply(-101, &[]),
                },
                4 if !path.starts_with("/brokers/ids/") => match self.other(&path) {
                    Some(data) => reply(0, &[text(&data), stat(0)].concat()),
                    None => reply(-101, &[]),
                },
                8 => {
                    let names = self.children(&path);
                    let count = i32::try_from(names.len()).unwrap().to_be_bytes().to_vec();
                    reply(0, &[vec![count], names.iter().map(|name| text(name)).collect()].concat().concat())
                }
                4 => match self.look() {
                    Some(owner) => {
                        let data = format!(r#"{{"version":5,"endpoints":["{}"]}}"#, self.endpoint.lock().unwrap());
                        reply(0, &[text(&data), stat(owner)].concat())
                    }
                    None => reply(-101, &[]),
                },
                -11 if theirs && self.takeover == Takeover::Refuses => reply(-4, &[]),
                -11 => {
                    if theirs {
                        self.registered.lock().unwrap().retain(|owner| *owner != Some(asked));
                    }
                    reply(0, &[])
                }
                _ => reply(-6, &[]),
            };
            write(&mut stream, &answer).await?;
            if op == -11 {
                return None;
            }
        }
    }
}

fn stat(owner: i64) -> Vec<u8> {
    let numbers = [MADE_BY, 6, CREATED.0, CREATED.0].map(i64::to_be_bytes).concat();
    let versions = [0i32; 3].map(i32::to_be_bytes).concat();
    [&numbers[..], &versions, &owner.to_be_bytes(), &[0; 8], &1i64.to_be_bytes()].concat()
}

async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

async fn write(stream: &mut TcpStream, frame: &[u8]) -> Option<()> {
    let length = i32::try_from(frame.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, frame].concat()).await.ok()
}
