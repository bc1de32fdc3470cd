//! Reads a binlog as a replica does, from a place to its present end: what a change-data-capture client would see of one table.

use super::{Gtid, Mysql, driver_error};
use crate::{
    base::Timestamp,
    clients::{ClientError, error::bounded},
};
use futures_util::StreamExt;
use mysql_async::{
    BinlogStreamRequest, Row, Value,
    binlog::{events::EventData, row::BinlogRow, value::BinlogValue},
    prelude::Queryable,
};
use std::{fmt, io, path::Path, sync::Arc};

/// A place in a server's binlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinlogPlace {
    /// The file.
    pub file: String,
    /// Bytes into it.
    pub position: u64,
}

impl fmt::Display for BinlogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position)
    }
}

/// Columns of a row as text; none is NULL, or a column that is not in the image.
pub type Image = Vec<Option<String>>;

/// One changed row: an insert has no image before, a delete none after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// As it was.
    pub before: Option<Image>,
    /// As it is.
    pub after: Option<Image>,
}

/// What a stretch of the binlog holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The GTIDs of anybody's transactions, in order.
    pub gtids: Vec<Gtid>,
    /// Transactions that have none.
    pub anonymous: u64,
    /// Changes of the table that was asked for, in order.
    pub rows: Vec<RowChange>,
    /// The GTID of each of these changes' transaction; none: it has none.
    pub gtid_of_row: Vec<Option<Gtid>>,
}

/// Ids of replicas are 32 bits, and two with the same id throw each other out: a random one in the range of `0xCDC.....`.
fn replica_id() -> u32 {
    0xCDC0_0000 | (rand::random::<u32>() & 0x000F_FFFF)
}

/// Every binlog file begins with these four bytes (`BINLOG_MAGIC`, log_event.h); an encrypted one does not.
const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];

/// When the first event of a binlog file was written; none: it cannot be read here, or is encrypted. An event begins with its
/// time, seconds since 1970 in four little-endian bytes (log_event.h, common header).
pub async fn oldest_event(file: &Path) -> Option<Timestamp> {
    let file = file.to_owned();
    let read = move || -> io::Result<[u8; 8]> {
        let mut head = [0; 8];
        io::Read::read_exact(&mut std::fs::File::open(file)?, &mut head)?;
        Ok(head)
    };
    let head = tokio::task::spawn_blocking(read).await.ok()?.ok()?;
    let (magic, time) = head.split_at(4);
    let seconds = u32::from_le_bytes(time.try_into().ok()?);
    (magic == MAGIC && seconds > 0).then(|| Timestamp(i64::from(seconds) * 1_000))
}

impl Mysql {
    /// The binary logs, oldest first: name and size in bytes.
    pub async fn binlogs(&mut self) -> Result<Vec<(String, u64)>, ClientError> {
        let doing = format!("list the binary logs at {}", self.place);
        let rows: Vec<Row> = self.call(&doing, async |conn| conn.query("SHOW BINARY LOGS").await).await?;
        let named = |row: Row| Some((row.get::<String, _>(0)?, row.get::<u64, _>(1)?));
        let all: Option<Vec<_>> = rows.into_iter().map(named).collect();
        all.ok_or_else(|| ClientError::malformed(&doing, "a row of its answer has no name and size"))
    }

    /// The end of the server's binlog, which takes REPLICATION CLIENT.
    pub async fn binlog_place(&mut self) -> Result<BinlogPlace, ClientError> {
        let doing = format!("ask for the place in the binlog at {}", self.place);
        // the new words since 8.2, the only ones since 8.4
        let place = match self.place_by("SHOW BINARY LOG STATUS", &doing).await {
            Err(ClientError::Server { .. }) => self.place_by("SHOW MASTER STATUS", &doing).await?,
            other => other?,
        };
        place.ok_or_else(|| ClientError::malformed(&doing, "its answer has no row: the binlog is off"))
    }

    async fn place_by(&mut self, query: &str, doing: &str) -> Result<Option<BinlogPlace>, ClientError> {
        use mysql_async::{Row, prelude::Queryable};
        let row: Option<Row> = self.call(doing, async |conn| conn.query_first(query).await).await?;
        Ok(row.and_then(|row| Some(BinlogPlace { file: row.get(0)?, position: row.get(1)? })))
    }

    /// Reads from `from` to the end of the binlog, which takes REPLICATION SLAVE, and ends the connection.
    pub async fn read_binlog(self, from: &BinlogPlace, table: (&str, &str)) -> Result<Stretch, ClientError> {
        let doing = format!("read the binlog from {from} at {}", self.place);
        let (conn, limit) = (self.conn, self.limit);
        bounded(&doing, limit, async {
            let failed = |e| driver_error(&doing, e);
            let request = BinlogStreamRequest::new(replica_id())
                .with_non_blocking()
                .with_filename(from.file.as_bytes())
                .with_pos(from.position);
            let mut stream = conn.get_binlog_stream(request).await.map_err(failed)?;
            let mut stretch = Stretch::default();
            let mut now: Option<Gtid> = None;
            while let Some(event) = stream.next().await {
                let event = event.map_err(failed)?;
                let data = event.read_data().map_err(|e| ClientError::io(&doing, e))?;
                match data {
                    Some(EventData::GtidEvent(event)) => {
                        let mut gtid = Gtid::new(event.sid(), event.tag().map(|tag| tag.as_str()), event.gno());
                        if let Some(last) = stretch.gtids.last().filter(|last| last.source == gtid.source) {
                            gtid.source = Arc::clone(&last.source);
                        }
                        stretch.gtids.push(gtid.clone());
                        now = Some(gtid);
                    }
                    Some(EventData::AnonymousGtidEvent(_)) => {
                        stretch.anonymous += 1;
                        now = None;
                    }
                    Some(EventData::RowsEvent(rows)) => {
                        let Some(map) = stream.get_tme(rows.table_id()) else { continue };
                        if (map.database_name().as_ref(), map.table_name().as_ref()) != table {
                            continue;
                        }
                        for row in rows.rows(map) {
                            let (before, after) = row.map_err(|e| ClientError::io(&doing, e))?;
                            stretch.rows.push(RowChange { before: before.map(image), after: after.map(image) });
                            stretch.gtid_of_row.push(now.clone());
                        }
                    }
                    // of other kinds nothing is wanted
                    Some(_) | None => {}
                }
            }
            // What was read counts, also when the goodbye fails.
            let _ = stream.close().await;
            Ok(stretch)
        })
        .await
    }
}

fn image(row: BinlogRow) -> Image {
    // The row's own `unwrap` hands out its values; it panics only when one was taken before, and nobody takes one.
    row.unwrap().into_iter().map(text).collect()
}

fn text(value: BinlogValue<'_>) -> Option<String> {
    match Value::try_from(value).ok()? {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        number @ (Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Double(_)) => Some(number.as_sql(true)),
        moment @ (Value::Date(..) | Value::Time(..)) => Some(moment.as_sql(true)),
    }
}
