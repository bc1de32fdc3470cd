//! A plain TCP connect, and the length-prefixed frames both ZooKeeper and Kafka speak.

use super::{ClientError, error::bounded};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// Connects to `address` within `limit`. A closed port is [`ClientError::Refused`].
pub async fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream, ClientError> {
    let doing = format!("connect to {address}");
    bounded(&doing, limit, async {
        let stream = TcpStream::connect(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::ConnectionRefused => ClientError::Refused { address: address.to_string(), source },
            _ => ClientError::io(&doing, source),
        })?;
        // Requests are one small write each; waiting to fill a packet only adds latency. A failure changes nothing else.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    })
    .await
}

/// Reads one frame: a four-byte length, then that many bytes, at most `max`.
pub(super) async fn read_frame(stream: &mut TcpStream, max: usize, doing: &str) -> Result<Vec<u8>, ClientError> {
    let length = stream.read_i32().await.map_err(|e| ClientError::io(doing, e))?;
    let size = match usize::try_from(length) {
        Ok(n) if n <= max => n,
        Ok(_) | Err(_) => {
            let what = format!("its answer announces {length} bytes, at most {max} are accepted");
            return Err(ClientError::malformed(doing, what));
        }
    };
    // Grows with what really comes: an announced length alone reserves nothing.
    let mut frame = Vec::new();
    let read = stream.take(size as u64).read_to_end(&mut frame).await.map_err(|e| ClientError::io(doing, e))?;
    if read < size { Err(ClientError::Closed { doing: doing.to_owned() }) } else { Ok(frame) }
}
