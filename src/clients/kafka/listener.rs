//! What one listener of one broker says of the cluster.

use super::{ClusterView, Quiet, base_config, blocking, kafka_error};
use crate::clients::{ClientError, tcp};
use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
};
use std::{net::SocketAddr, time::Duration};

/// Asks the listener at `address`, and no other, for the cluster's metadata. A closed port is told at once and without a
/// client ([`ClientError::Refused`]).
pub async fn listener_metadata(address: SocketAddr, limit: Duration) -> Result<ClusterView, ClientError> {
    drop(tcp::connect(address, limit).await?);
    let doing = format!("ask the broker at {address} for metadata");
    let words = doing.clone();
    blocking(&words, move || {
        // A consumer without a group only looks: asking as a producer may create topics (facts/crates.md 2.6).
        let client = BaseConsumer::from_config_and_context(&base_config(&address.to_string()), Quiet)
            .map_err(|e| kafka_error(&doing, limit, e))?;
        let metadata = client.fetch_metadata(None, limit).map_err(|e| kafka_error(&doing, limit, e));
        // librdkafka's log lines wait in the client's queue until somebody polls it
        while client.poll(Duration::ZERO).is_some() {}
        Ok(ClusterView::from_metadata(&metadata?, Some(address.port())))
    })
    .await
}
