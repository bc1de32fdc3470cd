//! A batch of one record, packed with zstd, sent to a broker as the protocol has it. A broker unpacks what it is sent, to look at
//! the records in it (3.5: LogValidator.scala). librdkafka is built without zstd here, so the batch is put together by hand.

use cdc_supervisor::sys::clock;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Sends it to the leader of a partition with `acks=all`, and returns the error code of the answer; 0: written.
pub fn send(leader: SocketAddr, topic: &str, partition: i32) -> i16 {
    let batch = batch(b"packed with zstd");
    let mut request = Vec::new();
    // Produce (0), version 7: the first that may carry zstd (KIP-110); no client id
    put(&mut request, &[&0_i16.to_be_bytes(), &7_i16.to_be_bytes(), &1_i32.to_be_bytes(), &(-1_i16).to_be_bytes()]);
    // no transaction, acks=all, 30 s
    put(&mut request, &[&(-1_i16).to_be_bytes(), &(-1_i16).to_be_bytes(), &30_000_i32.to_be_bytes()]);
    put(&mut request, &[&1_i32.to_be_bytes(), &length16(topic.as_bytes()), topic.as_bytes()]);
    put(&mut request, &[&1_i32.to_be_bytes(), &partition.to_be_bytes(), &length32(&batch), &batch]);
    let mut stream = TcpStream::connect(leader).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(&[&length32(&request)[..], &request].concat()).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(size)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    // correlation, number of topics, the topic's name, number of partitions, the partition, its error code
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

fn put(to: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| to.extend_from_slice(part));
}

fn length16(of: &[u8]) -> [u8; 2] {
    u16::try_from(of.len()).unwrap().to_be_bytes()
}

fn length32(of: &[u8]) -> [u8; 4] {
    u32::try_from(of.len()).unwrap().to_be_bytes()
}

/// A record batch of version 2 with one record without a key.
fn batch(value: &[u8]) -> Vec<u8> {
    let now = clock::wall().0.to_be_bytes();
    // Lengths of both are below 64: one byte each, doubled (zigzag). Attributes, time and offset are 0, a key of -1, no headers.
    let doubled = |n: usize| u8::try_from(n * 2).unwrap();
    let mut record = vec![0, 0, 0, 1, doubled(value.len())];
    record.extend_from_slice(value);
    record.push(0);
    record.insert(0, doubled(record.len()));
    let mut summed = Vec::new();
    // packed with zstd (4); the last offset's difference; first and last time
    put(&mut summed, &[&4_i16.to_be_bytes(), &0_i32.to_be_bytes(), &now, &now]);
    // no producer id, epoch and sequence; one record
    put(
        &mut summed,
        &[&(-1_i64).to_be_bytes(), &(-1_i16).to_be_bytes(), &(-1_i32).to_be_bytes(), &1_i32.to_be_bytes()],
    );
    put(&mut summed, &[&frame(&record)]);
    let mut rest = Vec::new();
    // the leader's epoch is not known; version 2
    put(&mut rest, &[&(-1_i32).to_be_bytes(), &[2], &crc32c(&summed).to_be_bytes(), &summed]);
    [&0_i64.to_be_bytes()[..], &length32(&rest), &rest].concat()
}

/// A frame of zstd with one block, stored as it is (RFC 8878, 3.1.1).
fn frame(content: &[u8]) -> Vec<u8> {
    let size = u8::try_from(content.len()).unwrap();
    // single segment, its size in one byte; the last block, raw
    let block = (u32::from(size) << 3 | 1).to_le_bytes();
    [&[0x28, 0xB5, 0x2F, 0xFD, 0x20, size][..], &block[..3], content].concat()
}

/// CRC-32C (RFC 3720, B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc)))
}

#[test]
fn the_checksum_is_the_one_that_brokers_expect() {
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
}
