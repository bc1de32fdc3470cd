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

#[cfg(test)]
mod tests {
    use super::*;

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
