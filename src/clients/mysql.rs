//! One MySQL connection: connect, run statements, look at variables, grants and row counts.
//!
//! A single connection without a pool. No error ever holds a password.

mod binlog;
mod gtid;

pub use binlog::{BinlogPlace, Image, RowChange, Stretch, oldest_event};
pub use gtid::{Gtid, GtidSet};

use super::{ClientError, error::bounded};
use crate::sys::{self, net};
use mysql_async::{Conn, OptsBuilder, prelude::Queryable};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Largest packet we take or send. Asked for outright: else the driver spends a query on the server's own value.
const PACKET_MAX: usize = 16 << 20;

/// The driver's idea of the server's `wait_timeout`, seconds, given for the same reason. Only its pool would use it.
const WAIT_TIMEOUT_S: usize = 28_800;

/// `ER_PARSE_ERROR`: its text quotes the statement from the error on, secrets and all.
const PARSE_ERROR: u16 = 1064;

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its unix socket.
    Socket(PathBuf),
    /// This address of this host. Of no other: the driver takes the server's RSA key on trust, and what goes to an address of one's own
    /// never leaves the host.
    Here(SocketAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "{}", path.display()),
            Place::Here(address) => address.fmt(f),
        }
    }
}

/// An open connection. Calls are made one after the other, each bounded by the limit given at the connect.
pub struct Mysql {
    conn: Conn,
    place: Place,
    limit: Duration,
    /// A call is under way or was given up half-way: the next packet need not be an answer's start.
    unusable: bool,
}

impl fmt::Debug for Mysql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mysql({})", self.place)
    }
}

impl Mysql {
    /// Logs in. `limit` bounds this and later each call.
    pub async fn connect(
        place: &Place,
        user: &str,
        password: Option<&str>,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let doing = format!("log in to MySQL at {place} as {user}");
        let options = OptsBuilder::default()
            .user(Some(user))
            .pass(password)
            .prefer_socket(false)
            .max_allowed_packet(Some(PACKET_MAX))
            .wait_timeout(Some(WAIT_TIMEOUT_S));
        let options = match place {
            Place::Socket(path) => options.socket(Some(path.to_string_lossy())),
            Place::Here(address) => {
                is_here(&doing, *address)?;
                options.ip_or_hostname(address.ip().to_string()).tcp_port(address.port())
            }
        };
        bounded(&doing, limit, async {
            let conn = Conn::new(options).await.map_err(|e| connect_error(&doing, place, e))?;
            Ok(Self { conn, place: place.clone(), limit, unusable: false })
        })
        .await
    }

    /// `SELECT 1`.
    pub async fn ping(&mut self) -> Result<(), ClientError> {
        let doing = format!("run SELECT 1 at {}", self.place);
        self.call(&doing, async |conn| conn.query_drop("SELECT 1").await).await
    }

    /// Runs statements one after the other and stops at the first that fails. The error names the statement's first words
    /// and never quotes a literal of it.
    pub async fn run(&mut self, statements: &[String]) -> Result<(), ClientError> {
        for statement in statements {
            let doing = format!("run {} … at {}", first_words(statement), self.place);
            self.call(&doing, async |conn| conn.query_drop(statement.as_str()).await)
                .await
                .map_err(|e| without_literals(e, statement))?;
        }
        Ok(())
    }

    /// Global system variables by name; one that the server does not have is missing from the answer.
    pub async fn variables(&mut self, names: &[&str]) -> Result<BTreeMap<String, String>, ClientError> {
        let doing = format!("read variables {} at {}", names.join(", "), self.place);
        let wanted: Vec<String> = names.iter().map(|n| quoted(n)).collect();
        let query = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", wanted.join(", "));
        let rows: Vec<(String, String)> = self.call(&doing, async |conn| conn.query(query).await).await?;
        Ok(rows.into_iter().collect())
    }

    /// What `SHOW GRANTS` says of an account, read into privileges.
    pub async fn grants(&mut self, user: &str, host: &str) -> Result<Vec<Grant>, ClientError> {
        let doing = format!("read the grants of '{user}'@'{host}' at {}", self.place);
        let query = format!("SHOW GRANTS FOR {}@{}", quoted(user), quoted(host));
        let lines: Vec<String> = self.call(&doing, async |conn| conn.query(query).await).await?;
        Ok(lines.iter().map(|line| Grant::read(line)).collect())
    }

    /// The first column of every row that a query gives, as text.
    pub async fn texts(&mut self, query: &str) -> Result<Vec<String>, ClientError> {
        let doing = format!("run {} … at {}", first_words(query), self.place);
        self.call(&doing, async |conn| conn.query(query).await).await
    }

    /// Rows in a table.
    pub async fn count(&mut self, database: &str, table: &str) -> Result<u64, ClientError> {
        let doing = format!("count the rows of {database}.{table} at {}", self.place);
        let query = format!("SELECT COUNT(*) FROM {}.{}", identifier(database), identifier(table));
        let count: Option<u64> = self.call(&doing, async |conn| conn.query_first(query).await).await?;
        count.ok_or_else(|| ClientError::malformed(&doing, "its answer has no row"))
    }

    /// Says good-bye. A server that is gone already is as good.
    pub async fn close(self) {
        // bounded, and nothing can be done about a failure
        let _ = tokio::time::timeout(self.limit, self.conn.disconnect()).await;
    }

    async fn call<T>(
        &mut self,
        doing: &str,
        work: impl AsyncFnOnce(&mut Conn) -> mysql_async::Result<T>,
    ) -> Result<T, ClientError> {
        if self.unusable {
            return Err(ClientError::malformed(doing, "an earlier call on this connection was not answered"));
        }
        self.unusable = true;
        let conn = &mut self.conn;
        let result = bounded(doing, self.limit, async { work(conn).await.map_err(|e| driver_error(doing, e)) }).await;
        self.unusable = !matches!(result, Ok(_) | Err(ClientError::Server { .. }));
        result
    }
}

/// Runs the statements that set up a new server, as root over its socket, then closes. `password_before` is root's
/// password until now: none after `--initialize-insecure`. `limit` bounds the login and each statement.
pub async fn provision(
    socket: &Path,
    password_before: Option<&str>,
    statements: &[String],
    limit: Duration,
) -> Result<(), ClientError> {
    let place = Place::Socket(socket.to_owned());
    let mut mysql = Mysql::connect(&place, "root", password_before, limit).await?;
    let result = mysql.run(statements).await;
    mysql.close().await;
    result
}

/// The first line of a password file. An error when there is none or it is empty.
pub async fn read_password(path: &Path) -> Result<String, ClientError> {
    let doing = format!("read the password in {}", path.display());
    let file = path.to_owned();
    // a panic inside is impossible; a runtime that ends cancels the task, and the caller with it
    let read = tokio::task::spawn_blocking(move || sys::fs::read_optional(&file))
        .await
        .map_err(|e| ClientError::Failed { doing: doing.clone(), source: Box::new(e) })?
        .map_err(|e| ClientError::Failed { doing: doing.clone(), source: Box::new(e.source) })?;
    match read.as_deref().and_then(|text| text.lines().next()) {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        Some(_) => Err(ClientError::malformed(&doing, "its first line is empty")),
        None if read.is_some() => Err(ClientError::malformed(&doing, "the file is empty")),
        None => Err(ClientError::malformed(&doing, "there is no such file")),
    }
}

/// One line of `SHOW GRANTS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Privileges, upper case, as the server names them; a role's line holds the role.
    pub privileges: BTreeSet<String>,
    /// What they hold on (`*.*`); none for a role.
    pub on: Option<String>,
    /// `WITH GRANT OPTION`.
    pub grantable: bool,
}

impl Grant {
    /// Reads ``GRANT SELECT, RELOAD ON *.* TO `debezium`@`%` WITH GRANT OPTION``. Column lists stay part of their privilege.
    pub fn read(line: &str) -> Self {
        let text = line.trim().strip_prefix("GRANT ").unwrap_or(line.trim());
        let (before_to, after_to) = text.rsplit_once(" TO ").unwrap_or((text, ""));
        let (privileges, on) = match before_to.rsplit_once(" ON ") {
            Some((privileges, on)) => (privileges, Some(on.trim().to_owned())),
            None => (before_to, None),
        };
        let mut depth = 0u32;
        let privileges = privileges
            .split(|c: char| {
                depth = match c {
                    '(' => depth + 1,
                    ')' => depth.saturating_sub(1),
                    _ => depth,
                };
                c == ',' && depth == 0
            })
            .map(|p| p.trim().to_ascii_uppercase())
            .filter(|p| !p.is_empty())
            .collect();
        Self { privileges, on, grantable: after_to.contains("WITH GRANT OPTION") }
    }
}

/// Refuses an address that is not one of this host. One that the host has lost, with its lease or its interface, may be another host's by
/// now.
fn is_here(doing: &str, address: SocketAddr) -> Result<(), ClientError> {
    let why = match net::is_own(address.ip()) {
        Ok(true) => return Ok(()),
        Ok(false) => format!("{address} is not an address of this host"),
        Err(e) => format!("whether {address} is an address of this host is not known: {e}"),
    };
    Err(ClientError::Failed { doing: doing.to_owned(), source: why.into() })
}

fn connect_error(doing: &str, place: &Place, error: mysql_async::Error) -> ClientError {
    use mysql_async::{Error, IoError};
    match error {
        // ENOENT: mysqld has not made its socket yet; ECONNREFUSED: it left one behind
        Error::Io(IoError::Io(source))
            if matches!(source.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) =>
        {
            ClientError::Refused { address: place.to_string(), source }
        }
        other => driver_error(doing, other),
    }
}

fn driver_error(doing: &str, error: mysql_async::Error) -> ClientError {
    use mysql_async::{DriverError, Error, IoError};
    match error {
        Error::Server(e) if e.code == PARSE_ERROR => ClientError::Server {
            doing: doing.to_owned(),
            code: i32::from(e.code),
            answer: format!("syntax error ({})", e.code),
        },
        Error::Server(e) => ClientError::Server {
            doing: doing.to_owned(),
            code: i32::from(e.code),
            answer: format!("{} ({})", e.message, e.code),
        },
        Error::Io(IoError::Io(e)) => ClientError::io(doing, e),
        Error::Driver(DriverError::ConnectionClosed) => ClientError::Closed { doing: doing.to_owned() },
        other => ClientError::Failed { doing: doing.to_owned(), source: Box::new(other) },
    }
}

/// Takes the statement's own literals out of what the server said of it.
fn without_literals(error: ClientError, statement: &str) -> ClientError {
    match error {
        ClientError::Server { doing, code, mut answer } => {
            // odd pieces between quotes are the literals; short ones (`%`) tell nothing and are all over other words
            for literal in statement.split('\'').skip(1).step_by(2).filter(|l| l.len() >= 4) {
                answer = answer.replace(literal, "…");
            }
            ClientError::Server { doing, code, answer }
        }
        other => other,
    }
}

/// `CREATE TABLE orders`: at most three words, none of them a literal.
fn first_words(statement: &str) -> String {
    let plain = |w: &&str| w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.`*".contains(&b));
    let words: Vec<&str> = statement.split_whitespace().take_while(plain).take(3).collect();
    if words.is_empty() { "a statement".into() } else { words.join(" ") }
}

/// A string literal. Correct without NO_BACKSLASH_ESCAPES, which no server of ours sets.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn a_grant_line_reads_into_privileges_place_and_option() {
        let g = Grant::read(
            "GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `debezium`@`%`",
        );
        assert_eq!(
            g.privileges,
            set(&["SELECT", "RELOAD", "SHOW DATABASES", "REPLICATION SLAVE", "REPLICATION CLIENT"])
        );
        assert_eq!((g.on.as_deref(), g.grantable), (Some("*.*"), false));
        let g = Grant::read("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION");
        assert!(g.grantable && g.privileges.contains("ALL PRIVILEGES"));
        let g = Grant::read("GRANT SELECT (`a`, `b`), INSERT ON `trading`.`orders` TO `x`@`%`");
        assert_eq!(g.privileges, set(&["SELECT (`A`, `B`)", "INSERT"]));
        let g = Grant::read("GRANT `reader`@`%` TO `x`@`%`");
        assert_eq!((g.on, g.privileges), (None, set(&["`READER`@`%`"])));
    }

    #[test]
    fn a_statement_is_named_by_its_first_words_only() {
        assert_eq!(first_words("CREATE TABLE trading.orders (id INT)"), "CREATE TABLE trading.orders");
        assert_eq!(first_words("ALTER USER 'root'@'localhost' IDENTIFIED BY 's3cret'"), "ALTER USER");
        assert_eq!(first_words("SET @p='s3cret'"), "SET");
        assert_eq!(first_words("  "), "a statement");
    }

    #[test]
    fn what_the_server_says_never_repeats_a_literal() {
        let error = |answer: &str| ClientError::Server { doing: "run".into(), code: 1, answer: answer.into() };
        let statement = "ALTER USER 'root'@'localhost' IDENTIFIED BY 's3cret'";
        let e = without_literals(error("Bad value 's3cret' for root"), statement).to_string();
        assert!(!e.contains("s3cret"), "{e}");
        let parse = mysql_async::ServerError {
            code: PARSE_ERROR,
            message: "You have an error near 'IDENTIFIED BY 's3cret'".into(),
            state: "42000".into(),
        };
        let e = driver_error("run ALTER USER …", mysql_async::Error::Server(parse)).in_one_line();
        assert_eq!(e, "cannot run ALTER USER …: the server answered syntax error (1064)");
    }

    #[test]
    fn names_and_literals_are_quoted() {
        assert_eq!(quoted("o'b\\x"), "'o''b\\\\x'");
        assert_eq!(identifier("a`b"), "`a``b`");
    }

    #[tokio::test]
    async fn a_missing_socket_is_refused_and_named() {
        let place = Place::Socket("/nonexistent/mysqld.sock".into());
        let e = Mysql::connect(&place, "root", Some("s3cret"), Duration::from_secs(5)).await.unwrap_err();
        assert!(e.is_refused());
        assert_eq!(e.to_string(), "/nonexistent/mysqld.sock refuses connections");
    }

    #[tokio::test]
    async fn no_password_goes_to_an_address_that_this_host_does_not_have() {
        // TEST-NET-1 (RFC 5737) is nobody's
        let place = Place::Here("192.0.2.1:3306".parse().unwrap());
        let e = Mysql::connect(&place, "debezium", Some("s3cret"), Duration::from_secs(60)).await.unwrap_err();
        let said = e.in_one_line();
        assert!(said.contains("192.0.2.1:3306 is not an address of this host"), "{said}");
        let closed = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
        let e = Mysql::connect(&Place::Here(closed), "root", None, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!((e.is_refused(), e.to_string()), (true, format!("{closed} refuses connections")));
    }

    #[tokio::test]
    async fn a_password_is_the_first_line_and_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p");
        assert!(read_password(&file).await.unwrap_err().to_string().ends_with("there is no such file"));
        std::fs::write(&file, "").unwrap();
        assert!(read_password(&file).await.unwrap_err().to_string().ends_with("the file is empty"));
        std::fs::write(&file, "s3cret\n").unwrap();
        assert_eq!(read_password(&file).await.unwrap(), "s3cret");
    }
}
