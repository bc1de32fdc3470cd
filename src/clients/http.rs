//! `GET` over plain HTTP, for the status line only.
//!
//! Not reqwest: a probe must not follow redirects into a 200, must not wait for a body, and `localhost` must mean IPv4
//! (DESIGN.md, Binding); what is left of HTTP is one line out and one line in.

use super::{ClientError, error::bounded, tcp};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest status line read.
const STATUS_LINE_MAX: usize = 1024;

/// The parts of `http://host[:port][/path][?query]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    path: String,
}

/// Asks `url` and returns the status code. Redirects are not followed. The body is not read.
pub async fn get_status(url: &str, limit: Duration) -> Result<u16, ClientError> {
    let doing = format!("get {url}");
    let target = Target::parse(url).map_err(|what| ClientError::malformed(&doing, what))?;
    bounded(&doing, limit, async {
        let address = resolve(&target, &doing).await?;
        let mut stream = tcp::connect(address, limit).await?;
        stream.write_all(target.request().as_bytes()).await.map_err(|e| ClientError::io(&doing, e))?;
        let mut head = Vec::new();
        let mut block = [0; 256];
        while !head.contains(&b'\n') && head.len() < STATUS_LINE_MAX {
            match stream.read(&mut block).await.map_err(|e| ClientError::io(&doing, e))? {
                0 => break,
                n => head.extend_from_slice(&block[..n]),
            }
        }
        if head.is_empty() {
            return Err(ClientError::Closed { doing: doing.clone() });
        }
        status_of(&head).ok_or_else(|| {
            let line = String::from_utf8_lossy(&head);
            let line: String = line.lines().next().unwrap_or_default().chars().take(60).collect();
            ClientError::malformed(&doing, format!("its answer is not HTTP: {line:?}"))
        })
    })
    .await
}

impl Target {
    fn parse(url: &str) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => return Err(format!("only http is spoken here, not {scheme}")),
            None => return Err("it is not a URL; write http://host:port/path".into()),
        };
        if rest.bytes().any(|b| b.is_ascii_control() || b == b' ') {
            return Err("it holds a space or a control character".into());
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if authority.contains('@') {
            return Err("a user or password in it is not supported".into());
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
            Some((host, after)) => (host, after.strip_prefix(':')),
            None => authority.split_once(':').map_or((authority, None), |(h, p)| (h, Some(p))),
        };
        let port = match port {
            None => 80,
            Some(text) => match text.parse() {
                Ok(port @ 1..) => port,
                Ok(0) | Err(_) => return Err(format!("{text:?} is not a port")),
            },
        };
        if host.is_empty() {
            return Err("it names no host".into());
        }
        Ok(Self { host: host.to_owned(), port, path })
    }

    fn request(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!(
            "GET {} HTTP/1.1\r\nHost: {host}:{}\r\nUser-Agent: cdc-supervisor\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            self.path, self.port
        )
    }
}

async fn resolve(target: &Target, doing: &str) -> Result<SocketAddr, ClientError> {
    if let Ok(ip) = target.host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, target.port));
    }
    let found: Vec<SocketAddr> = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(|e| ClientError::Failed { doing: doing.to_owned(), source: Box::new(e) })?
        .collect();
    let first = found.iter().find(|a| a.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| ClientError::malformed(doing, format!("{} has no address", target.host)))
}

/// The code in `HTTP/1.1 204 No Content`.
fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.split(|b| *b == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|w| w.starts_with("HTTP/"))?;
    words.next().filter(|w| w.len() == 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_split_into_host_port_and_path() {
        let target = |host: &str, port, path: &str| Ok(Target { host: host.into(), port, path: path.into() });
        assert_eq!(Target::parse("http://127.0.0.1:8083/connectors"), target("127.0.0.1", 8083, "/connectors"));
        assert_eq!(Target::parse("HTTP://localhost"), target("localhost", 80, "/"));
        assert_eq!(Target::parse("http://h:1?a=b#c"), target("h", 1, "/?a=b"));
        assert_eq!(Target::parse("http://[::1]:9/x"), target("::1", 9, "/x"));
    }

    #[test]
    fn urls_we_cannot_ask_say_why() {
        for (url, why) in [
            ("https://h/", "only http"),
            ("h:80", "not a URL"),
            ("http://:80/", "no host"),
            ("http://h:0/", "not a port"),
            ("http://h:99999/", "not a port"),
            ("http://u:p@h/", "user or password"),
            ("http://h/a b", "a space"),
            ("http://h/\r\nX: y", "control character"),
        ] {
            let e = Target::parse(url).unwrap_err();
            assert!(e.contains(why), "{url}: {e}");
        }
    }

    #[test]
    fn a_status_line_gives_its_code() {
        assert_eq!(status_of(b"HTTP/1.1 204 No Content\r\nA: b\r\n"), Some(204));
        assert_eq!(status_of(b"HTTP/1.0 500\n"), Some(500));
        for garbage in
            [&b"SSH-2.0-x\r\n"[..], b"HTTP/1.1\r\n", b"HTTP/1.1 20x OK\r\n", b"HTTP/1.1 1000 X\r\n", b"\xff\xfe"]
        {
            assert_eq!(status_of(garbage), None);
        }
    }
}
