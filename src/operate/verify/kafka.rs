//! Every EXTERNAL listener from a client's point of view: it starts from that listener alone and goes where it is sent.

use super::Checks;
use crate::{
    clients::kafka::{Admin, Record},
    operate::prove::KafkaTargets,
};
use std::{net::SocketAddr, time::Duration};

/// The owner's test topic; `prove` has made it.
const TOPIC: &str = "test-phase1";

/// Bound of the write, and of the read.
const LIMIT: Duration = Duration::from_secs(15);

pub(super) async fn look(targets: &KafkaTargets, checks: &mut Checks, report: &mut (dyn FnMut(String) + Send)) {
    for address in &targets.external {
        report(format!("writing and reading through port {}", address.port()));
        let what = format!("a client of port {} alone writes and reads a record", address.port());
        match round_trip(*address).await {
            Ok(()) => checks.holds(what),
            Err(found) => checks.wrong(what, "the record back", found),
        }
    }
}

/// The client learns from that listener whom to ask: what the brokers advertise is followed, as by any client.
async fn round_trip(address: SocketAddr) -> Result<(), String> {
    let client = Admin::new(&[address]).map_err(|e| e.in_one_line())?;
    let payload = format!("cdc-supervisor verify {} {:032x}", address.port(), rand::random::<u128>()).into_bytes();
    let written = client.produce(TOPIC, None, &payload, LIMIT).await.map_err(|e| e.in_one_line())?;
    let read = client.consume_from(TOPIC, &[written], 1, LIMIT).await.map_err(|e| e.in_one_line())?;
    let (partition, offset) = written;
    match read.first() {
        Some(record) if *record == (Record { partition, offset, payload }) => Ok(()),
        Some(_) => Err(format!("another record at {TOPIC}-{partition}, offset {offset}")),
        None => Err(format!("nothing at {TOPIC}-{partition}, offset {offset}, within {} s", LIMIT.as_secs())),
    }
}
