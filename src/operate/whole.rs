//! Is the cluster whole: every broker is there, and each of them says that every replica of every partition is in sync.

use super::cluster::{Look, MinIsr, partitions, some};
use crate::clients::kafka::{ClusterView, list, listener_metadata};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// Bound of one question to one listener.
const ASK: Duration = Duration::from_secs(5);

/// The brokers that are asked: id and INTERNAL listener (numeric, so that nothing is resolved).
pub type Brokers = BTreeMap<u32, SocketAddr>;

/// What the brokers said.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The answer of each, or why there was none.
    pub views: BTreeMap<u32, Result<ClusterView, String>>,
}

/// Asks all of them at once.
pub async fn ask(brokers: &Brokers) -> Said {
    let asked = brokers.iter().map(|(id, address)| {
        let (id, address) = (*id, *address);
        tokio::spawn(async move { (id, listener_metadata(address, ASK).await.map_err(|e| e.in_one_line())) })
    });
    let mut views = BTreeMap::new();
    for answer in asked.collect::<Vec<_>>() {
        // A look that panicked has no entry, which counts as no answer.
        if let Ok((id, view)) = answer.await {
            views.insert(id, view);
        }
    }
    Said { views }
}

impl Said {
    /// The broker that the others take for the controller; none: they do not agree, or nobody answers.
    pub fn controller(&self) -> Option<u32> {
        let mut named = self.views.values().flatten().map(|v| v.controller);
        let first = named.next().flatten()?;
        named.all(|other| other == Some(first)).then_some(first)
    }

    /// What the cluster looks like to the controller, or to the first that answers when it does not.
    pub fn view(&self) -> Option<&ClusterView> {
        let controllers = self.controller().and_then(|id| self.views.get(&id)?.as_ref().ok());
        controllers.or_else(|| self.views.values().flatten().next())
    }

    /// Partitions whose preferred leader could lead them and does not; none: every leader is at home.
    pub fn leaders_away(&self) -> Option<String> {
        let look = Look { view: self.view()?.clone(), min_isr: MinIsr::new() };
        let away = look.health().away;
        (!away.is_empty())
            .then(|| format!("{} not led by their preferred leaders yet: {}", partitions(away.len()), some(&away)))
    }

    /// What keeps broker `next` from being restarted; none: nothing. `rests` names brokers that are stopped by order.
    ///
    /// Every broker must answer and list every other, agree on the number of partitions (one that has just started knows
    /// of none yet), and say of every partition that its in-sync set is its replica set: after a restart a follower
    /// counts only when it has caught up (strimzi#3749, #2941: a roll that looks at `min.insync.replicas` alone takes the
    /// second broker while the first still catches up). A `next` that is sick itself is excused: nobody gains by waiting
    /// for what its restart shall cure, as long as everybody else is in sync.
    pub fn in_the_way(&self, next: Option<u32>, sick: bool, rests: &[u32]) -> Option<String> {
        if let [first, ..] = rests {
            return Some(format!("broker {first} is stopped by order, so replicas are missing"));
        }
        let excused = |id: u32| sick && Some(id) == next;
        let wanted: Vec<u32> = self.views.keys().copied().filter(|id| !excused(*id)).collect();
        let mut count = None;
        for (id, view) in self.views.iter().filter(|(id, _)| !excused(**id)) {
            let view = match view {
                Ok(view) => view,
                Err(why) => return Some(format!("broker {id} does not answer: {why}")),
            };
            let listed = view.broker_ids();
            let missing: Vec<u32> = wanted.iter().copied().filter(|w| !listed.contains(w)).collect();
            if !missing.is_empty() {
                return Some(format!("broker {id} does not list broker {}", list(&missing)));
            }
            if view.controller.is_none() {
                return Some(format!("broker {id} knows no controller"));
            }
            let partitions = view.partitions().count();
            if *count.get_or_insert(partitions) != partitions {
                return Some(format!("broker {id} does not know of every partition yet"));
            }
            if let Some(trouble) = first_trouble(view, excused) {
                return Some(trouble);
            }
        }
        None
    }

    /// Partitions that have a replica on `id`, as the first of the others tells: a few by name, and how many.
    pub fn replicas_on(&self, id: u32) -> Result<Option<String>, String> {
        let other = self.views.iter().find(|(other, view)| **other != id && view.is_ok());
        let any = other.or_else(|| self.views.iter().find(|(_, view)| view.is_ok()));
        let Some((_, Ok(view))) = any else { return Err("no broker answers".into()) };
        let names: Vec<String> = view
            .partitions()
            .filter(|(_, p)| p.replicas.contains(&id))
            .map(|(topic, p)| format!("{topic}-{}", p.id))
            .collect();
        Ok(match names.len() {
            0 => None,
            1..=3 => Some(names.join(", ")),
            more => Some(format!("{} and {} more", names[..3].join(", "), more - 3)),
        })
    }

    /// Partitions that only `id` has: they are away while it restarts, and no waiting changes that.
    pub fn alone_on(&self, id: u32) -> Vec<String> {
        let Some(view) = self.views.values().flatten().next() else { return Vec::new() };
        view.partitions().filter(|(_, p)| p.replicas == [id]).map(|(topic, p)| format!("{topic}-{}", p.id)).collect()
    }
}

/// The first partition that is not as it should be, and how many more there are.
fn first_trouble(view: &ClusterView, excused: impl Fn(u32) -> bool) -> Option<String> {
    let mut troubles = view.topics.iter().filter_map(|t| Some(format!("{}: {}", t.name, t.error.as_ref()?))).chain(
        view.partitions().filter_map(|(topic, p)| {
            let lagging: Vec<u32> = p.lagging().into_iter().filter(|id| !excused(*id)).collect();
            let alone = p.replicas.iter().all(|id| excused(*id));
            match p.leader {
                None if !alone => Some(format!("{topic}-{}: no leader", p.id)),
                Some(_) if lagging.is_empty() => None,
                None => None,
                Some(_) if lagging.len() == 1 => {
                    Some(format!("{topic}-{}: broker {} is not in sync", p.id, lagging[0]))
                }
                Some(_) => Some(format!("{topic}-{}: brokers {} are not in sync", p.id, list(&lagging))),
            }
        }),
    );
    let first = troubles.next()?;
    match troubles.count() {
        0 => Some(first),
        more => Some(format!("{first}, and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::kafka::{Broker, Partition, Topic};

    fn view(brokers: &[u32], partitions: &[(&[u32], &[u32])]) -> Result<ClusterView, String> {
        let partition = |(id, (replicas, isr)): (u32, &(&[u32], &[u32]))| Partition {
            id,
            leader: isr.first().copied(),
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
        };
        Ok(ClusterView {
            brokers: brokers.iter().map(|id| Broker { id: *id, host: "h".into(), port: 1 }).collect(),
            controller: Some(1),
            topics: vec![Topic {
                name: "t".into(),
                error: None,
                partitions: (0..).zip(partitions).map(partition).collect(),
            }],
            ..ClusterView::default()
        })
    }

    fn said(views: Vec<Result<ClusterView, String>>) -> Said {
        Said { views: (1..).zip(views).collect() }
    }

    const ALL: &[u32] = &[1, 2, 3];

    #[test]
    fn a_whole_cluster_stands_in_nobodys_way() {
        let v = || view(ALL, &[(ALL, &[3, 1, 2])]);
        assert_eq!(said(vec![v(), v(), v()]).in_the_way(Some(2), false, &[]), None);
        assert_eq!(said(vec![v(), v(), v()]).controller(), Some(1));
    }

    #[test]
    fn whatever_is_missing_is_named() {
        let whole = || view(ALL, &[(ALL, ALL)]);
        let behind = || view(ALL, &[(ALL, &[1, 2])]);
        for (views, words) in [
            (vec![whole(), whole(), Err("refused".into())], "broker 3 does not answer: refused"),
            (vec![whole(), view(&[1, 2], &[(ALL, ALL)]), whole()], "broker 2 does not list broker 3"),
            (vec![whole(), whole(), view(ALL, &[])], "broker 3 does not know of every partition yet"),
            (vec![whole(), behind(), whole()], "t-0: broker 3 is not in sync"),
            (
                vec![view(ALL, &[(ALL, &[1]), (ALL, &[]), (ALL, ALL)]), whole(), whole()],
                "t-0: brokers 2 and 3 are not in sync, and 1 more",
            ),
        ] {
            assert_eq!(said(views).in_the_way(Some(1), false, &[]).as_deref(), Some(words));
        }
        let rests = said(vec![whole(), whole()]).in_the_way(Some(1), false, &[3]);
        assert!(rests.unwrap().contains("broker 3 is stopped by order"));
    }

    #[test]
    fn a_sick_broker_is_not_waited_for_before_its_own_restart_and_others_are() {
        let behind = || view(&[1, 2], &[(ALL, &[1, 2]), (&[3], &[])]);
        let views = || vec![behind(), behind(), Err("refused".into())];
        assert_eq!(said(views()).in_the_way(Some(3), true, &[]), None);
        assert!(said(views()).in_the_way(Some(1), false, &[]).is_some());
        assert!(said(views()).in_the_way(Some(2), true, &[]).is_some(), "another one is behind");
    }

    #[test]
    fn replicas_on_a_broker_are_counted_and_lonely_ones_named() {
        let v = || view(ALL, &[(&[1, 2], &[1, 2]), (&[3], &[3]), (&[3, 1], &[3, 1])]);
        let said = said(vec![v(), v(), v()]);
        assert_eq!(said.replicas_on(3), Ok(Some("t-1, t-2".into())));
        assert_eq!(said.replicas_on(2), Ok(Some("t-0".into())));
        assert_eq!(said.replicas_on(4), Ok(None));
        assert_eq!(said.alone_on(3), ["t-1"]);
    }
}
