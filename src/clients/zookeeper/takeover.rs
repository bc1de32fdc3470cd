//! Ends somebody else's session: with `Session::set_data` all of ours that changes ZooKeeper. Whoever calls this holds the proof that
//! its owner is dead; an attempt alone already drops that session's live connection.
//!
//! Source: ZooKeeperServer.java at 3.6.4 and 3.8.3 (`generatePasswd`, `superSecret`, `reopenSession`). Tried against both.

use super::{
    jute::{self, Op},
    session::{ASKED_TIMEOUT_MS, FRAME_MAX},
};
use crate::clients::{ClientError, error::bounded, reader::Reader, tcp};
use std::{net::SocketAddr, time::Duration};
use tokio::io::AsyncWriteExt;

/// `ZooKeeperServer.superSecret`: a constant of the source, so a session's password follows from its id.
const SUPER_SECRET: i64 = 0xB341_5C00;

/// Length of a session's password, bytes.
const PASSWORD: usize = 16;

/// Our only request on that connection.
const XID: i32 = 1;

/// Closes session `id`: all its ephemeral nodes go with it. `limit` bounds the whole. An error means that it is not known to be
/// closed; one that expired meanwhile is an error too.
pub async fn close_session(address: SocketAddr, limit: Duration, id: i64) -> Result<(), ClientError> {
    let doing = format!("close session {id:#x} at {address}");
    bounded(&doing, limit, async {
        let mut stream = tcp::connect(address, limit).await?;
        // In one write: a caller that dies in between must not leave the session moved to a connection that stays open.
        let mut request = jute::connect_request(ASKED_TIMEOUT_MS, id, &password(id));
        request.extend(jute::bare_request(XID, Op::CloseSession));
        stream.write_all(&request).await.map_err(|e| ClientError::io(&doing, e))?;
        let frame = tcp::read_frame(&mut stream, FRAME_MAX, &doing).await?;
        let answer = Reader(&frame).connect_response().map_err(|what| ClientError::malformed(&doing, what))?;
        if answer.timeout_ms <= 0 || answer.session_id != id {
            return Err(ClientError::Server { doing: doing.clone(), code: -112, answer: jute::error_name(-112) });
        }
        match tcp::read_frame(&mut stream, FRAME_MAX, &doing).await {
            Ok(frame) => {
                let header = Reader(&frame).reply_header().map_err(|what| ClientError::malformed(&doing, what))?;
                match header.error {
                    0 => Ok(()),
                    code => Err(ClientError::Server { doing: doing.clone(), code, answer: jute::error_name(code) }),
                }
            }
            // The server may hang up before its answer is read; then the session is closed all the same.
            Err(ClientError::Closed { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    })
    .await
}

/// The password of a session as the server makes it: `new Random(id ^ superSecret).nextBytes(16)`.
fn password(id: i64) -> [u8; PASSWORD] {
    random_bytes(id ^ SUPER_SECRET)
}

/// `java.util.Random(seed).nextBytes`: a 48-bit linear congruential generator, its 32 bits given out lowest byte first (the
/// class's documentation fixes the algorithm).
fn random_bytes(seed: i64) -> [u8; PASSWORD] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (seed.cast_unsigned() ^ MULTIPLIER) & MASK;
    let mut bytes = [0; PASSWORD];
    for four in bytes.chunks_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        let word = (state >> 16).to_le_bytes();
        four.copy_from_slice(&word[..four.len()]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_javas() {
        // new Random(0).nextBytes(new byte[16]) on OpenJDK 17
        let expected = [0x60, 0xb4, 0x20, 0xbb, 0x38, 0x51, 0xd9, 0xd4, 0x7a, 0xcb, 0x93, 0x3d, 0xbe, 0x70, 0x39, 0x9b];
        assert_eq!(random_bytes(0), expected);
    }

    #[test]
    fn a_password_follows_from_the_session_alone() {
        assert_eq!(password(SUPER_SECRET), random_bytes(0));
        assert_ne!(password(0x1_0000_0000_0001), password(0x1_0000_0000_0002));
        // the highest bit of a session id is that of a server's id
        assert_eq!(password(i64::MIN), random_bytes(i64::MIN ^ SUPER_SECRET));
    }
}
