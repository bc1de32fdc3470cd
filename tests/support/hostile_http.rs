//! An HTTP server with bad habits, on loopback: a thread per connection, std only, and rustls where TLS is asked for.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What was asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Number of this request, from 0.
    pub number: usize,
    /// Its path, or for a proxy the whole address.
    pub path: String,
    /// `Range`, as the first byte.
    pub from: Option<u64>,
    /// `If-Range`.
    pub if_range: Option<String>,
    /// Every header line.
    pub headers: Vec<String>,
}

/// What is answered. The body is sent up to `cut`, `step` bytes at a time with a pause between.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Arc<Vec<u8>>,
    /// Where in the body to begin.
    pub at: usize,
    /// `Content-Length`; none: the end of the connection is the end of the body.
    pub length: Option<u64>,
    /// The connection is cut after this many bytes of the body.
    pub cut: Option<usize>,
    /// The connection is cut after this many bytes of the head.
    pub head_cut: Option<usize>,
    /// The bytes go out in such steps, with such pauses.
    pub drip: Option<(usize, Duration)>,
    /// After the last byte nothing happens for this long.
    pub hang: Option<Duration>,
}

impl Answer {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Arc::default(),
            at: 0,
            length: Some(0),
            cut: None,
            head_cut: None,
            drip: None,
            hang: None,
        }
    }

    /// The whole of a body.
    pub fn whole(body: &Arc<Vec<u8>>) -> Self {
        Self { body: Arc::clone(body), length: Some(body.len() as u64), ..Self::status(200) }
    }

    /// What a good server answers to `asked`, for a file with this entity tag.
    pub fn file(body: &Arc<Vec<u8>>, etag: &str, asked: &Asked) -> Self {
        let whole = Self::whole(body).header("ETag", etag);
        let same = asked.if_range.as_deref().is_none_or(|tag| tag == etag && tag.starts_with('"'));
        match asked.from {
            Some(from) if same && from >= body.len() as u64 => {
                Self::status(416).header("Content-Range", &format!("bytes */{}", body.len()))
            }
            Some(from) if same => whole.rest(from),
            _ => whole,
        }
    }

    /// The bytes from `from`, as 206.
    pub fn rest(mut self, from: u64) -> Self {
        let total = self.body.len() as u64;
        self.status = 206;
        self.at = usize::try_from(from).unwrap();
        self.length = Some(total - from);
        self.header("Content-Range", &format!("bytes {from}-{}/{total}", total - 1))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }
}

/// The server. It ends with the test.
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Answers as `answer` says.
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(None, answer)
    }

    /// The same over TLS.
    pub fn tls(config: ServerConfig, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(Some(Arc::new(config)), answer)
    }

    fn with(tls: Option<Arc<ServerConfig>>, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        let server = Self {
            address,
            scheme: if tls.is_some() { "https" } else { "http" },
            seen: Arc::default(),
            stop: Arc::default(),
        };
        let (seen, stop) = (Arc::clone(&server.seen), Arc::clone(&server.stop));
        let (answer, count) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let (seen, answer, tls) = (Arc::clone(&seen), Arc::clone(&answer), tls.clone());
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let talk = |stream: &mut dyn ReadWrite| {
                        let Some(mut asked) = read(stream) else { return };
                        asked.number = count.fetch_add(1, Ordering::AcqRel);
                        let answer = answer(&asked);
                        seen.lock().unwrap().push(asked);
                        // A client that has gone away is part of many tests.
                        let _ = write(stream, &answer);
                    };
                    match tls {
                        None => talk(&mut { stream }),
                        Some(config) => {
                            let Ok(session) = ServerConnection::new(config) else { return };
                            let mut stream = StreamOwned::new(session, stream);
                            talk(&mut stream);
                            stream.conn.send_close_notify();
                            let _ = stream.flush();
                        }
                    }
                });
            }
        });
        server
    }

    /// `http://127.0.0.1:PORT/PATH`; over TLS `https://localhost:PORT/PATH`.
    pub fn url(&self, path: &str) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}/{path}", self.scheme, self.address.port())
    }

    /// What was asked so far.
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn read(stream: &mut dyn ReadWrite) -> Option<Asked> {
    let mut asked = Asked::default();
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line).ok().filter(|n| *n > 0)?;
    asked.path = line.split_whitespace().nth(1)?.to_owned();
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Some(asked);
        }
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "range" => asked.from = value.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok(),
                "if-range" => asked.if_range = Some(value.to_owned()),
                _ => {}
            }
        }
        asked.headers.push(line.to_owned());
    }
}

fn write(stream: &mut dyn ReadWrite, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", answer.status);
    if let Some(length) = answer.length {
        head += &format!("Content-Length: {length}\r\n");
    }
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    if let Some(bytes) = answer.head_cut {
        return stream.write_all(&head.as_bytes()[..bytes]).and_then(|()| stream.flush());
    }
    stream.write_all(head.as_bytes())?;
    let body = answer.body.get(answer.at..).unwrap_or_default();
    let body = &body[..answer.cut.unwrap_or(body.len()).min(body.len())];
    match answer.drip {
        None => stream.write_all(body)?,
        Some((step, pause)) => {
            for piece in body.chunks(step) {
                stream.write_all(piece)?;
                stream.flush()?;
                thread::sleep(pause);
            }
        }
    }
    stream.flush()?;
    if let Some(time) = answer.hang {
        thread::sleep(time);
    }
    Ok(())
}

/// A certificate authority of the test's own, and a server certificate for `localhost` that it has signed.
pub struct Authority {
    /// The authority's certificate, PEM.
    pub pem: String,
    pub config: ServerConfig,
}

impl Authority {
    pub fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a test");
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&own, &issuer).unwrap();
        let secret = rustls::pki_types::PrivateKeyDer::Pkcs8(own.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], secret)
            .unwrap();
        Self { pem: ca.pem(), config }
    }
}
