//! What a cluster says of itself, as plain data, and the questions asked of it. Pure.

/// A broker as it advertises itself on the listener that was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broker {
    /// `broker.id`.
    pub id: u32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
}

/// A partition and where it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub id: u32,
    /// The broker that leads it; none: nobody does.
    pub leader: Option<u32>,
    /// The brokers it is assigned to, the preferred leader first.
    pub replicas: Vec<u32>,
    /// Those of them that are in sync.
    pub isr: Vec<u32>,
}

impl Partition {
    /// Replicas that are not in sync, in order of assignment.
    pub fn lagging(&self) -> Vec<u32> {
        self.replicas.iter().copied().filter(|id| !self.isr.contains(id)).collect()
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What the broker said instead of describing it.
    pub error: Option<String>,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
}

/// One broker's answer to a metadata request for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// The brokers it knows to be alive, by id.
    pub brokers: Vec<Broker>,
    /// The broker that answered: the one that advertises the port that was asked. None when no broker of the list does
    /// (it is not registered).
    pub answering: Option<u32>,
    /// The broker it believes to be the controller; none: it knows none.
    pub controller: Option<u32>,
    /// `/cluster/id`.
    pub cluster_id: Option<String>,
    /// All topics, internal ones too, by name.
    pub topics: Vec<Topic>,
}

impl ClusterView {
    /// The ids of the live brokers, ascending.
    pub fn broker_ids(&self) -> Vec<u32> {
        self.brokers.iter().map(|b| b.id).collect()
    }

    /// The topic of this name, if it is there.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|t| t.name == name)
    }

    /// Every partition with the name of its topic.
    pub fn partitions(&self) -> impl Iterator<Item = (&str, &Partition)> {
        self.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t.name.as_str(), p)))
    }

    /// How many partitions this broker replicates, and of how many of them it is missing from the ISR.
    pub fn replicated_by(&self, id: u32) -> Replicated {
        let mut found = Replicated::default();
        for (_, partition) in self.partitions().filter(|(_, p)| p.replicas.contains(&id)) {
            found.partitions += 1;
            found.out_of_sync += usize::from(!partition.isr.contains(&id));
            found.leaderless += usize::from(partition.leader.is_none());
        }
        found
    }

    /// Partitions that are not as they should be, in words: `orders-2: no leader`, `orders-1: broker 3 is not in sync`.
    pub fn troubles(&self) -> Vec<String> {
        let topics = self.topics.iter().filter_map(|t| Some(format!("{}: {}", t.name, t.error.as_ref()?)));
        let partitions = self.partitions().filter_map(|(topic, p)| {
            let lagging = p.lagging();
            match (p.leader, lagging.as_slice()) {
                (None, _) => Some(format!("{topic}-{}: no leader", p.id)),
                (Some(_), []) => None,
                (Some(_), [one]) => Some(format!("{topic}-{}: broker {one} is not in sync", p.id)),
                (Some(_), many) => Some(format!("{topic}-{}: brokers {} are not in sync", p.id, list(many))),
            }
        });
        topics.chain(partitions).collect()
    }
}

/// A broker's share in the cluster's replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicated {
    /// Partitions assigned to it.
    pub partitions: usize,
    /// Those of them whose ISR it is missing from.
    pub out_of_sync: usize,
    /// Those of them that nobody leads.
    pub leaderless: usize,
}

/// `1, 2 and 3`.
pub fn list(ids: &[u32]) -> String {
    match ids {
        [] => "none".into(),
        [one] => one.to_string(),
        [head @ .., last] => {
            let head: Vec<String> = head.iter().map(u32::to_string).collect();
            format!("{} and {last}", head.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(id: u32, leader: Option<u32>, isr: &[u32]) -> Partition {
        Partition { id, leader, replicas: vec![1, 2, 3], isr: isr.to_vec() }
    }

    fn view(partitions: Vec<Partition>) -> ClusterView {
        ClusterView { topics: vec![Topic { name: "orders".into(), error: None, partitions }], ..ClusterView::default() }
    }

    #[test]
    fn a_broker_is_counted_out_of_sync_only_where_it_holds_a_replica() {
        let mut v = view(vec![partition(0, Some(1), &[1, 2]), partition(1, Some(2), &[1, 2, 3])]);
        v.topics[0].partitions.push(Partition { id: 2, leader: Some(1), replicas: vec![1, 2], isr: vec![1, 2] });
        assert_eq!(v.replicated_by(3), Replicated { partitions: 2, out_of_sync: 1, leaderless: 0 });
        assert_eq!(v.replicated_by(9), Replicated::default());
    }

    #[test]
    fn troubles_name_topic_partition_and_brokers() {
        let v = view(vec![
            partition(0, Some(1), &[1, 2, 3]),
            partition(1, Some(1), &[1, 2]),
            partition(2, Some(1), &[1]),
            partition(3, None, &[3]),
        ]);
        assert_eq!(
            v.troubles(),
            ["orders-1: broker 3 is not in sync", "orders-2: brokers 2 and 3 are not in sync", "orders-3: no leader"]
        );
    }

    #[test]
    fn an_error_of_a_topic_is_a_trouble() {
        let mut v = view(vec![]);
        v.topics[0].error = Some("LeaderNotAvailable".into());
        assert_eq!(v.troubles(), ["orders: LeaderNotAvailable"]);
    }

    #[test]
    fn lists_read_like_words() {
        assert_eq!([list(&[]), list(&[1]), list(&[1, 2]), list(&[1, 2, 3])], ["none", "1", "1 and 2", "1, 2 and 3"]);
    }
}
