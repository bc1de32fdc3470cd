//! A plain TCP connect with words for what came of it.

use super::{ClientError, error::bounded};
use std::{io, net::SocketAddr, time::Duration};
use tokio::net::TcpStream;

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
