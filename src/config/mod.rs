//! Text of `supervisor.toml` to a checked plan.

mod canonical;
mod error;
mod ledger;
mod places;
mod plan;

pub use error::{ConfigError, ConfigErrors};
pub use ledger::{Ledger, LedgerLine, check_ledger};
pub use plan::{
    Artifacts, Broker, Care, Command, CommandProbe, CommandProbeKind, Distribution, Host, Kafka, Mysql, NodeView, Plan,
    SourceKind, Zookeeper,
};
