//! The daemon's own log in systemd's journal: one entry per line, with its priority and its fields (`NODE=`, `INCARNATION=`).
//!
//! Protocol: systemd's "Native Journal Protocol". Spoken here and not through a library, because its socket must never hold a
//! thread of ours up: while the journal takes nothing, lines are counted instead, and the count is told when it takes again.

use std::{
    env,
    fmt::{self, Write as _},
    fs::File,
    io,
    os::{
        fd::AsFd,
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// What entries are found by (`journalctl -t`).
pub const IDENTIFIER: &str = "cdc-supervisor";

/// The field with the root that this daemon serves.
pub const ROOT_FIELD: &str = "CDC_ROOT";

/// Longest message, bytes: far below what a datagram takes (net.core.wmem_max).
const MESSAGE_MAX: usize = 48 << 10;

/// The root, once it is known.
static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// From now on every entry names this root: several daemons may run on one machine.
pub fn serve(root: &Path) {
    // The first one holds; a daemon serves one root.
    let _ = ROOT.set(root.to_owned());
}

/// The way to the journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    lost: AtomicU64,
}

impl Journal {
    /// The journal, when standard error goes to it anyway: systemd says so in `JOURNAL_STREAM` (systemd.exec(5)), device and
    /// inode of the stream, which whoever redirects standard error makes untrue.
    pub fn of_this_process() -> Option<Self> {
        let stream = env::var("JOURNAL_STREAM").ok()?;
        let own = File::from(io::stderr().as_fd().try_clone_to_owned().ok()?).metadata().ok()?;
        (stream == format!("{}:{}", own.dev(), own.ino())).then(|| Self::at(Path::new(SOCKET)).ok()).flatten()
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, lost: AtomicU64::new(0) })
    }

    fn send(&self, entry: &Entry) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let words = format!("{lost} lines of this log were lost while the journal took none");
            if self.socket.send(&Entry::new(Level::WARN, "").with("MESSAGE", &words).0).is_err() {
                self.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
        if self.socket.send(&entry.0).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        // One entry per line: of one with many, `systemctl status` shows a person on a terminal only the first few.
        for line in fields.message().lines() {
            let mut entry = Entry::new(*meta.level(), meta.target()).with("MESSAGE", line);
            for (name, value) in &fields.others {
                entry = entry.with(&journal_name(name), value);
            }
            self.send(&entry);
        }
    }
}

/// One entry as it goes over the socket.
struct Entry(Vec<u8>);

impl Entry {
    fn new(level: Level, target: &str) -> Self {
        // syslog(3): 3 error, 4 warning, 6 informational, 7 debug.
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let mut entry = Self(Vec::new()).with("PRIORITY", priority).with("SYSLOG_IDENTIFIER", IDENTIFIER);
        if !target.is_empty() {
            entry = entry.with("TARGET", target);
        }
        match ROOT.get() {
            Some(root) => entry.with(ROOT_FIELD, &root.to_string_lossy()),
            None => entry,
        }
    }

    /// A value of one line as `NAME=value`; one of more with its length in front.
    fn with(mut self, name: &str, value: &str) -> Self {
        let value = &value[..value.floor_char_boundary(MESSAGE_MAX)];
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
        self
    }
}

/// The name of a field in the journal: capitals, digits and underscores, not beginning with an underscore, at most 64 bytes.
/// `pid` would be read as the daemon's own.
fn journal_name(name: &str) -> String {
    let name = if name == "pid" { "node_pid" } else { name };
    let good = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.trim_start_matches('_').chars().take(64).map(good).collect()
}

/// What an event says.
#[derive(Default)]
struct Fields {
    text: String,
    others: Vec<(String, String)>,
}

impl Fields {
    /// For people, who see the message alone: the node in front, the other fields behind it.
    fn message(&self) -> String {
        let mut message = String::new();
        for (_, value) in self.others.iter().filter(|(name, _)| name == "node") {
            // writing into a String cannot fail
            let _ = write!(message, "{value}: ");
        }
        message.push_str(&self.text);
        for (name, value) in self.others.iter().filter(|(name, _)| name != "node") {
            let _ = write!(message, " {name}={value}");
        }
        message
    }

    fn take(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.text = value;
        } else {
            self.others.push((field.name().to_owned(), value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    fn said(what: impl FnOnce()) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        journal.set_nonblocking(true).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Journal::at(&path).unwrap()), what);
        let mut said = Vec::new();
        let mut block = [0u8; 1 << 16];
        while let Ok(n) = journal.recv(&mut block) {
            said.push(String::from_utf8_lossy(&block[..n]).into_owned());
        }
        said
    }

    #[test]
    fn an_entry_has_priority_node_and_incarnation_and_reads_as_a_sentence() {
        let node = crate::base::NodeName::mysql();
        let said = said(|| {
            tracing::info!(node = %node, incarnation = 3_u64, pid = 17, "started");
            tracing::warn!("caps are not enforced");
            tracing::error!("first\nsecond");
        });
        let has = |at: usize, line: &str| said[at].lines().any(|l| l == line);
        for line in [
            "PRIORITY=6",
            "SYSLOG_IDENTIFIER=cdc-supervisor",
            "NODE=mysql",
            "INCARNATION=3",
            "NODE_PID=17",
            "MESSAGE=mysql: started incarnation=3 pid=17",
        ] {
            assert!(has(0, line), "{line}: {said:?}");
        }
        assert!(has(1, "PRIORITY=4") && has(1, "MESSAGE=caps are not enforced"));
        assert!(has(2, "MESSAGE=first") && has(3, "MESSAGE=second") && has(3, "PRIORITY=3"), "a line each");
    }

    #[test]
    fn a_value_of_several_lines_has_its_length_in_front() {
        let entry = Entry::new(Level::ERROR, "").with("MESSAGE", "a\nb");
        let mut tail = b"MESSAGE\n".to_vec();
        tail.extend_from_slice(&3_u64.to_le_bytes());
        tail.extend_from_slice(b"a\nb\n");
        assert!(entry.0.ends_with(&tail));
        assert_eq!(journal_name("_my-Field"), "MY_FIELD");
    }

    #[test]
    fn a_journal_that_takes_nothing_holds_nobody_up_and_what_was_lost_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let other_end = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path).unwrap();
        let line = Entry::new(Level::INFO, "").with("MESSAGE", &"x".repeat(40_000));
        // More than any queue of a socket holds.
        for _ in 0..2_000 {
            journal.send(&line);
        }
        let lost = journal.lost.load(Ordering::Relaxed);
        assert!(lost > 0);
        let mut block = [0u8; 1 << 16];
        other_end.set_nonblocking(true).unwrap();
        while other_end.recv(&mut block).is_ok() {}
        journal.send(&line);
        let n = other_end.recv(&mut block).unwrap();
        assert!(String::from_utf8_lossy(&block[..n]).contains(&format!("{lost} lines of this log were lost")));
    }
}
