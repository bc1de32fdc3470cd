//! A tiny ZooKeeper client: the four-letter words and a read-only session. No watches, no writes.
//!
//! Wire format: ZooKeeper 3.6.4 and 3.8.3, `zookeeper.jute` (ConnectRequest, RequestHeader, ReplyHeader, Stat) and
//! `ZooDefs.OpCode`; both servers of our distributions speak it alike.

mod jute;
mod session;
mod words;

pub use jute::Stat;
pub use session::{Identity, Session};
pub use words::{Serving, four_letter, parse_srvr};
