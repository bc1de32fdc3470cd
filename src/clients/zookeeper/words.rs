//! Four-letter words: one word in, text out, connection closed.

use crate::clients::{ClientError, error::bounded, tcp};
use std::{net::SocketAddr, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest answer we keep. `srvr` is some 200 bytes, `mntr` some 6 KiB.
const ANSWER_MAX: u64 = 64 << 10;

/// Asks `word` (`srvr` is the only one every ZooKeeper allows by default: FourLetterCommands.java). An answer past
/// 64 KiB is cut; an empty one is [`ClientError::Closed`].
pub async fn four_letter(address: SocketAddr, word: &str, limit: Duration) -> Result<String, ClientError> {
    let doing = format!("ask ZooKeeper at {address} for {word:?}");
    bounded(&doing, limit, async {
        let mut stream = tcp::connect(address, limit).await?;
        stream.write_all(word.as_bytes()).await.map_err(|e| ClientError::io(&doing, e))?;
        let mut answer = Vec::new();
        match stream.take(ANSWER_MAX).read_to_end(&mut answer).await {
            // A reset after the text is how a busy server's close can look; the text is what was asked for.
            Err(e) if answer.is_empty() => return Err(ClientError::io(&doing, e)),
            Ok(_) | Err(_) => {}
        }
        if answer.is_empty() {
            return Err(ClientError::Closed { doing: doing.clone() });
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    })
    .await
}

/// What an answer to `srvr` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It serves, in this mode (`standalone`).
    Yes {
        /// The word after `Mode:`.
        mode: String,
    },
    /// The port is open, its data are still being loaded.
    NotYet,
    /// The word is not in `4lw.commands.whitelist`.
    WordDisabled,
    /// Something else answers there. Holds the first line.
    NotZookeeper(String),
}

/// Reads an answer to `srvr` (`FourLetterCommands`, `StatCommand`, `AbstractFourLetterCommand.ZK_NOT_SERVING`).
pub fn parse_srvr(text: &str) -> Serving {
    if let Some(mode) = text.lines().find_map(|line| line.strip_prefix("Mode:")) {
        Serving::Yes { mode: mode.trim().to_owned() }
    } else if text.contains("not currently serving requests") {
        Serving::NotYet
    } else if text.contains("not in the whitelist") {
        Serving::WordDisabled
    } else {
        Serving::NotZookeeper(text.lines().next().unwrap_or_default().chars().take(80).collect())
    }
}

/// What an answer to `mntr` counts. None: the line is missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// `standalone`, `leader`, `follower`.
    pub mode: Option<String>,
    /// Of requests since the server started, milliseconds.
    pub latency_avg_ms: Option<f64>,
    /// The longest of them.
    pub latency_max_ms: Option<u64>,
    /// Requests that are queued now.
    pub outstanding: Option<u64>,
    /// Open connections, that of the question among them.
    pub connections: Option<u64>,
    /// Sessions.
    pub sessions: Option<u64>,
}

/// Reads an answer to `mntr`: one `zk_NAME TAB VALUE` a line (`MonitorCommand`, 3.6 and 3.8). Other lines are passed over.
pub fn parse_mntr(text: &str) -> Counters {
    let mut counters = Counters::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once('\t')) {
        let whole = || value.trim().split('.').next()?.parse::<u64>().ok();
        match name {
            "zk_server_state" => counters.mode = Some(value.trim().chars().take(20).collect()),
            "zk_avg_latency" => counters.latency_avg_ms = value.trim().parse().ok().filter(|v: &f64| v.is_finite()),
            "zk_max_latency" => counters.latency_max_ms = whole(),
            "zk_outstanding_requests" => counters.outstanding = whole(),
            "zk_num_alive_connections" => counters.connections = whole(),
            "zk_global_sessions" => counters.sessions = whole(),
            _ => {}
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mntr_counts_and_lines_that_are_missing_are_unknown() {
        let text = "zk_version\t3.6.4--d65253d, built on 12/18/2022 18:10 GMT\nzk_server_state\tstandalone\n\
                    zk_avg_latency\t0.4517\nzk_max_latency\t12\nzk_outstanding_requests\t0\n\
                    zk_num_alive_connections\t4\nzk_global_sessions\t3\nzk_cnt_x\tNaN\n";
        let expected = Counters {
            mode: Some("standalone".into()),
            latency_avg_ms: Some(0.4517),
            latency_max_ms: Some(12),
            outstanding: Some(0),
            connections: Some(4),
            sessions: Some(3),
        };
        assert_eq!(parse_mntr(text), expected);
        assert_eq!(parse_mntr("mntr is not executed because it is not in the whitelist.\n"), Counters::default());
        assert_eq!(parse_mntr("zk_max_latency\t-1\nzk_avg_latency\tNaN\n"), Counters::default());
    }

    #[test]
    fn srvr_tells_serving_from_loading_and_from_strangers() {
        let text = "Zookeeper version: 3.6.4--d65253dcf68e9097c6e95a126463fd5fdeb4521c, built on 12/18/2022 18:10 GMT\n\
                    Latency min/avg/max: 0/0.0/0\nReceived: 1\nSent: 0\nConnections: 1\nOutstanding: 0\nZxid: 0x0\n\
                    Mode: standalone\nNode count: 5\n";
        assert_eq!(parse_srvr(text), Serving::Yes { mode: "standalone".into() });
        assert_eq!(parse_srvr("This ZooKeeper instance is not currently serving requests\n"), Serving::NotYet);
        assert_eq!(parse_srvr("srvr is not executed because it is not in the whitelist.\n"), Serving::WordDisabled);
        assert_eq!(parse_srvr("SSH-2.0-OpenSSH_9.6\r\n"), Serving::NotZookeeper("SSH-2.0-OpenSSH_9.6".into()));
        assert_eq!(parse_srvr(""), Serving::NotZookeeper(String::new()));
    }
}
