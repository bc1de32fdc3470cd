//! GTIDs and sets of them, as the server writes them (`UUID:1-5:7,UUID:TAG:1-3`). Pure.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// Of one transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gtid {
    /// The server's UUID, lower case, with the tag behind a colon where there is one. Shared: a binlog has one for a million.
    pub source: Arc<str>,
    /// Its number there.
    pub number: u64,
}

impl Gtid {
    /// From an event's parts: the 16 bytes of the UUID, the tag, the number.
    pub fn new(uuid: [u8; 16], tag: Option<&str>, number: u64) -> Self {
        let mut source = String::with_capacity(36);
        for (at, byte) in uuid.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                source.push('-');
            }
            source += &format!("{byte:02x}");
        }
        if let Some(tag) = tag {
            source.push(':');
            source += tag;
        }
        Self { source: source.into(), number }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.number)
    }
}

/// A set of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidSet(BTreeMap<String, Vec<(u64, u64)>>);

impl GtidSet {
    /// Reads one. What is no interval, no tag and no UUID is passed over: the server has written it.
    pub fn read(text: &str) -> Self {
        let mut set = Self::default();
        for member in text.split(',') {
            let mut parts = member.split(':').map(str::trim);
            let Some(uuid) = parts.next().filter(|uuid| !uuid.is_empty()) else { continue };
            let uuid = uuid.to_ascii_lowercase();
            let mut source = uuid.clone();
            for part in parts {
                match interval(part) {
                    Some(interval) => set.0.entry(source.clone()).or_default().push(interval),
                    // a tag begins with a letter or an underscore, and what follows is of it
                    None => source = format!("{uuid}:{part}"),
                }
            }
        }
        set
    }

    /// How many transactions it names.
    pub fn count(&self) -> u64 {
        let each = |(first, last): &(u64, u64)| last.saturating_sub(*first).saturating_add(1);
        self.0.values().flatten().map(each).fold(0, u64::saturating_add)
    }

    /// Whether this one is in it.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        let has = |(first, last): &(u64, u64)| (*first..=*last).contains(&gtid.number);
        self.0.get(&*gtid.source).is_some_and(|intervals| intervals.iter().any(has))
    }
}

fn interval(part: &str) -> Option<(u64, u64)> {
    match part.split_once('-') {
        Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
        None => part.parse().ok().map(|one| (one, one)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const BYTES: [u8; 16] =
        [0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62];

    #[test]
    fn transactions_of_a_set_are_counted_over_servers_gaps_and_tags() {
        for (set, count) in [
            (String::new(), 0),
            (format!("{UUID}:23"), 1),
            (format!("{UUID}:1-5:7:9-10"), 8),
            (format!("{UUID}:1-3,\n11111111-2222-3333-4444-555555555555:4"), 4),
            (format!("{UUID}:audit:1-2:other:5"), 3),
            (format!("{UUID}:1-18446744073709551615"), u64::MAX),
        ] {
            assert_eq!(GtidSet::read(&set).count(), count, "{set}");
        }
    }

    #[test]
    fn a_transaction_is_in_the_set_that_names_it_with_its_tag() {
        let set = GtidSet::read(&format!("{}:1-5:7,\n{UUID}:audit:2", UUID.to_uppercase()));
        for (tag, number, there) in
            [(None, 5, true), (None, 6, false), (None, 7, true), (Some("audit"), 2, true), (Some("audit"), 5, false)]
        {
            let gtid = Gtid::new(BYTES, tag, number);
            assert_eq!(set.contains(&gtid), there, "{gtid}");
        }
        assert_eq!(Gtid::new(BYTES, Some("audit"), 2).to_string(), format!("{UUID}:audit:2"));
    }
}
