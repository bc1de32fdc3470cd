//! The settings of one broker: what holds, what would hold without what was set while it ran, and the change of single ones while it
//! runs. Always asked of the broker itself.

use super::configs::{self, Alter, Asked, Described, Resource, Source};
use crate::clients::ClientError;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// A setting of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerSetting {
    /// In force, as the broker has read it; none: it has none, or it is secret.
    pub value: Option<String>,
    /// Set for this broker while it ran, under this very name, as it was written.
    pub dynamic: Option<String>,
    /// The same for all brokers.
    pub cluster_wide: Option<String>,
    /// Kafka's own.
    pub default: Option<String>,
}

impl BrokerSetting {
    fn of(described: Described) -> (String, Self) {
        let Described { name, value, synonyms, .. } = described;
        let from =
            |source| synonyms.iter().find(|(n, _, s)| *n == name && *s == source).and_then(|(_, v, _)| v.clone());
        let setting = Self {
            dynamic: from(Source::DynamicBroker),
            cluster_wide: from(Source::DynamicDefault),
            default: from(Source::Default),
            value,
        };
        (name, setting)
    }
}

/// The settings of broker `id`, which listens at `address`; `keys`: only these, none: all.
pub async fn broker_settings(
    address: SocketAddr,
    id: u32,
    keys: Option<Vec<&str>>,
    limit: Duration,
) -> Result<BTreeMap<String, BrokerSetting>, ClientError> {
    let doing = format!("read the settings of broker {id} at {address}");
    let asked = Asked { resources: vec![Resource::Broker(id)], keys, synonyms: true };
    match configs::describe(address, &asked, &doing, limit).await?.into_iter().next() {
        Some((_, Ok(described))) => Ok(described.into_iter().map(BrokerSetting::of).collect()),
        Some((_, Err(refusal))) => Err(refusal.of(doing)),
        None => Err(ClientError::malformed(&doing, "its answer names no broker")),
    }
}

/// Gives broker `id` these settings, and no other, all or none; it keeps them in ZooKeeper and takes them a moment later.
/// `only_validate`: says what would come of it and changes nothing.
pub async fn set_on_broker(
    address: SocketAddr,
    id: u32,
    settings: &BTreeMap<String, String>,
    only_validate: bool,
    limit: Duration,
) -> Result<(), ClientError> {
    let doing = format!("change settings of broker {id}");
    let changes = settings.iter().map(|(key, value)| (key.clone(), Alter::Set(value.clone()))).collect();
    configs::alter(address, Resource::Broker(id), &changes, only_validate, &doing, limit).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_name_of_the_same_setting_has_is_not_its_own() {
        let synonym = |name: &str, value: &str, source| (name.to_owned(), Some(value.to_owned()), source);
        let (name, setting) = BrokerSetting::of(Described {
            name: "log.retention.hours".into(),
            value: Some("72".into()),
            source: Source::Static,
            synonyms: vec![
                synonym("log.retention.ms", "5", Source::DynamicBroker),
                synonym("log.retention.hours", "72", Source::Static),
                synonym("log.retention.hours", "168", Source::Default),
            ],
        });
        let default = Some("168".to_owned());
        let expected = BrokerSetting { value: Some("72".into()), default, ..BrokerSetting::default() };
        assert_eq!((name.as_str(), setting), ("log.retention.hours", expected));
    }
}
