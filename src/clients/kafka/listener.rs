//! What one listener of one broker says of the cluster: a Metadata request over a connection of our own.
//!
//! Not librdkafka, for four reasons. It resolves names with AI_ADDRCONFIG, and glibc then refuses even `127.0.0.1` on a
//! host without another IPv4 address (cable out, empty network namespace), so a broker would count as dead when the
//! network is (librdkafka 2.12.1 `rd_getaddrinfo`, glibc `getaddrinfo`). It picks any connected broker, and this question
//! is about one. Its wrapper does not show the controller. And a client costs threads and milliseconds for each look.

use super::{ClusterView, wire};
use crate::clients::{ClientError, error::bounded, tcp};
use std::{net::SocketAddr, time::Duration};
use tokio::io::AsyncWriteExt;

/// Longest answer accepted: some 60 bytes a partition, so room for a hundred thousand.
const FRAME_MAX: usize = 8 << 20;

/// The number of the one request that a connection carries.
pub(super) const CORRELATION: i32 = 1;

/// Asks the listener at `address`, and no other, for the cluster's metadata. A closed port is [`ClientError::Refused`].
pub async fn listener_metadata(address: SocketAddr, limit: Duration) -> Result<ClusterView, ClientError> {
    let doing = format!("ask the broker at {address} for metadata");
    let request = wire::metadata_request(CORRELATION);
    exchange(address, limit, &doing, &request, |frame| wire::read_metadata(frame, CORRELATION, address.port())).await
}

/// One connection, one request, one answer.
pub(super) async fn exchange<T>(
    address: SocketAddr,
    limit: Duration,
    doing: &str,
    request: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, ClientError> {
    bounded(doing, limit, async {
        let mut stream = tcp::connect(address, limit).await?;
        stream.write_all(request).await.map_err(|e| ClientError::io(doing, e))?;
        let frame = tcp::read_frame(&mut stream, FRAME_MAX, doing).await?;
        read(&frame).map_err(|what| ClientError::malformed(doing, what))
    })
    .await
}
