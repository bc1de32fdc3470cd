//! A tiny ZooKeeper client: the four-letter words, a session that looks and can set the data of a node, and the end of a dead owner's
//! session. No watches, no other writes.
//!
//! Wire format: ZooKeeper 3.6.4 and 3.8.3, `zookeeper.jute` (ConnectRequest, RequestHeader, ReplyHeader, Stat) and
//! `ZooDefs.OpCode`; both servers of our distributions speak it alike.

mod jute;
mod session;
mod takeover;
mod words;

pub use jute::Stat;
pub use session::{Identity, Session};
pub use takeover::close_session;
pub use words::{Counters, Serving, four_letter, parse_mntr, parse_srvr};
