//! Is the cluster whole: every broker is there, and each of them says that every replica of every partition is in sync.

use super::cluster::{Look, MinIsr, name, partitions, some};
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

    /// The same as [`Said::obstacle`], in words; for who has no say about going over it.
    pub fn in_the_way(&self, next: Option<u32>, sick: bool, rests: &[u32]) -> Option<String> {
        self.obstacle(next, sick, rests).map(|obstacle| obstacle.what)
    }

    /// What keeps broker `next` from being restarted; none: nothing. `rests` names brokers that are stopped by order.
    ///
    /// Every broker must answer and list every other, name the same controller, agree on the number of partitions (one that has
    /// just started knows of none yet), and say of every partition that its in-sync set is its replica set: after a restart a
    /// follower counts only when it has caught up (strimzi#3749, #2941: a roll that looks at `min.insync.replicas` alone takes
    /// the second broker while the first still catches up). A `next` that is sick itself is excused: nobody gains by waiting
    /// for what its restart shall cure, as long as everybody else is in sync.
    ///
    /// A replica on a broker that is stopped by order, or that is neither ours nor there, never comes in sync by waiting: that
    /// is named last, and may be gone over. A stopped broker that has no replica is in nobody's way.
    pub fn obstacle(&self, next: Option<u32>, sick: bool, rests: &[u32]) -> Option<Obstacle> {
        let excused = |id: u32| sick && Some(id) == next;
        let wanted: Vec<u32> = self.views.keys().copied().filter(|id| !excused(*id)).collect();
        let mut views: Vec<(u32, &ClusterView)> = Vec::new();
        for (id, view) in self.views.iter().filter(|(id, _)| !excused(**id)) {
            let view = match view {
                Ok(view) => view,
                Err(why) => return Some(Obstacle::passing(format!("broker {id} does not answer: {why}"))),
            };
            // Whoever has its port and says so: what it tells of the rest is worth nothing either.
            if let Some(other) = view.answering.filter(|other| other != id) {
                return Some(Obstacle::passing(format!("broker {other} answers where broker {id} listens")));
            }
            let listed = view.broker_ids();
            // We write where each broker listens, so its own place is always among those that it tells.
            if view.answering.is_none() && listed.contains(id) {
                let lies = format!("broker {id} says that it listens elsewhere than where it answers");
                return Some(Obstacle::passing(lies));
            }
            let missing: Vec<u32> = wanted.iter().copied().filter(|w| !listed.contains(w)).collect();
            if !missing.is_empty() {
                return Some(Obstacle::passing(format!("broker {id} does not list broker {}", list(&missing))));
            }
            views.push((*id, view));
        }
        let absent = |id: u32| rests.contains(&id) || self.is_no_more(id, rests);
        let away = |id: u32| excused(id) || absent(id);
        if let Some(trouble) = views.iter().find_map(|(_, view)| first_trouble(view, away)) {
            return Some(Obstacle::passing(trouble));
        }
        if let Some(why) = differ(&views) {
            return Some(Obstacle::passing(why));
        }
        views.iter().find_map(|(_, view)| stranded(view, rests, absent))
    }

    /// Whether nobody is broker `id`: it is not one of ours, and no broker lists it.
    pub fn is_no_more(&self, id: u32, rests: &[u32]) -> bool {
        let listed = || self.views.values().flatten().any(|view| view.broker_ids().contains(&id));
        !self.views.contains_key(&id) && !rests.contains(&id) && !listed()
    }

    /// Partitions that have a replica on `id`: a few by name, and how many; none: none has. An error: they cannot be told yet,
    /// because somebody else does not answer, or knows of more or fewer partitions than the others.
    pub fn replicas_on(&self, id: u32) -> Result<Option<String>, String> {
        let mut views: Vec<(u32, &ClusterView)> = Vec::new();
        for (of, view) in &self.views {
            match view {
                Ok(view) => views.push((*of, view)),
                // Its own word is not needed.
                Err(_) if *of == id => {}
                Err(why) => return Err(format!("broker {of} does not answer: {why}")),
            }
        }
        if views.is_empty() {
            return Err("no broker answers".into());
        }
        if let Some(why) = differ(&views) {
            return Err(why);
        }
        let on = views.iter().find_map(|(_, view)| {
            let held = view.partitions().filter(|(_, p)| p.replicas.contains(&id));
            let names: Vec<String> = held.map(|(topic, p)| name(topic, p)).collect();
            (!names.is_empty()).then(|| some(&names))
        });
        Ok(on)
    }
}

/// Where brokers do not say the same of the cluster; none: they do.
fn differ(views: &[(u32, &ClusterView)]) -> Option<String> {
    if let Some((id, _)) = views.iter().find(|(_, view)| view.controller.is_none()) {
        return Some(format!("broker {id} knows no controller"));
    }
    let (first, view) = views.first()?;
    if let Some((other, theirs)) = views.iter().find(|(_, other)| other.controller != view.controller) {
        let of = |view: &ClusterView| view.controller.map_or_else(|| "none".to_owned(), |id| id.to_string());
        return Some(format!(
            "brokers do not agree on the controller: broker {first} says {}, broker {other} says {}",
            of(view),
            of(theirs)
        ));
    }
    let count = view.partitions().count();
    let (behind, _) = views.iter().find(|(_, other)| other.partitions().count() != count)?;
    Some(format!("broker {behind} does not know of every partition yet"))
}

/// What keeps a broker from being taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// In words.
    pub what: String,
    /// It does not pass by waiting, only by what somebody does; whoever knows that may go over it where nothing breaks.
    pub forceable: bool,
}

impl Obstacle {
    /// What passes by itself, or is dangerous as long as it does not.
    pub fn passing(what: impl Into<String>) -> Self {
        Self { what: what.into(), forceable: false }
    }

    /// In words, with the way over it where there is one.
    pub fn advice(&self) -> String {
        if self.forceable {
            format!("{} (--force goes on all the same where nothing breaks by it)", self.what)
        } else {
            self.what.clone()
        }
    }
}

/// A partition that waits for a broker that nobody runs.
fn stranded(view: &ClusterView, rests: &[u32], absent: impl Fn(u32) -> bool) -> Option<Obstacle> {
    let mut all = view.partitions().filter_map(|(topic, p)| {
        let id = p.replicas.iter().copied().find(|id| absent(*id))?;
        Some((id, name(topic, p)))
    });
    let (id, first) = all.next()?;
    let more = match all.count() {
        0 => String::new(),
        more => format!(", and {more} more have such a replica"),
    };
    let whose = if rests.contains(&id) { "is stopped by order" } else { "is none of ours and is not there" };
    Some(Obstacle { what: format!("{first} has a replica on broker {id}, which {whose}{more}"), forceable: true })
}

/// The first partition that is not as it should be, and how many more there are. Replicas that are `away` are not missed.
fn first_trouble(view: &ClusterView, away: impl Fn(u32) -> bool) -> Option<String> {
    let mut troubles = view.topics.iter().filter_map(|t| Some(format!("{}: {}", t.name, t.error.as_ref()?))).chain(
        view.partitions().filter_map(|(topic, p)| {
            let lagging: Vec<u32> = p.lagging().into_iter().filter(|id| !away(*id)).collect();
            // Who could lead it is away, so nobody can be waited for.
            let orphaned =
                p.replicas.iter().all(|id| away(*id)) || (!p.isr.is_empty() && p.isr.iter().all(|id| away(*id)));
            match p.leader {
                None if !orphaned => Some(format!("{topic}-{}: no leader", p.id)),
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
        let answers = |(id, view): (u32, Result<ClusterView, String>)| {
            (id, view.map(|v| ClusterView { answering: v.answering.or(Some(id)), ..v }))
        };
        Said { views: (1..).zip(views).map(answers).collect() }
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
    }

    #[test]
    fn a_listener_that_is_another_brokers_speaks_for_nobody_however_whole_it_says_everything_is() {
        let of = |answering| view(ALL, &[(ALL, ALL)]).map(|v| ClusterView { answering, ..v });
        let lies = || said(vec![of(Some(1)), of(Some(3)), of(Some(3))]);
        let why = "broker 3 answers where broker 2 listens";
        for (next, sick) in [(Some(1), false), (Some(2), false), (Some(3), true), (None, false)] {
            assert_eq!(lies().in_the_way(next, sick, &[]).as_deref(), Some(why), "{next:?}");
        }
        assert_eq!(lies().obstacle(Some(2), true, &[]), None, "its own restart may cure that");
        let mut elsewhere = said(vec![of(None), of(None), of(None)]);
        assert_eq!(elsewhere.in_the_way(Some(1), false, &[]), None);
        elsewhere.views.insert(3, of(None));
        let why = "broker 3 says that it listens elsewhere than where it answers";
        assert_eq!(elsewhere.in_the_way(Some(1), false, &[]).as_deref(), Some(why));
    }

    #[test]
    fn a_controller_that_brokers_do_not_agree_on_is_waited_for() {
        let of = |controller| view(ALL, &[(ALL, ALL)]).map(|v| ClusterView { controller, ..v });
        let two = said(vec![of(Some(1)), of(Some(2)), of(Some(1))]);
        assert_eq!(two.controller(), None);
        let why = "brokers do not agree on the controller: broker 1 says 1, broker 2 says 2";
        assert_eq!(two.obstacle(Some(3), false, &[]), Some(Obstacle::passing(why)));
        assert_eq!(two.replicas_on(3), Err(why.into()));
        let none = said(vec![of(Some(1)), of(None), of(Some(1))]);
        assert_eq!(none.in_the_way(None, false, &[]).as_deref(), Some("broker 2 knows no controller"));
        assert_eq!(two.obstacle(Some(2), true, &[]), None, "the one that shall be cured is not asked");
    }

    #[test]
    fn a_replica_where_nobody_runs_can_be_gone_over_and_only_when_all_else_is_whole() {
        let stopped =
            |partitions: &[(&[u32], &[u32])]| said(vec![view(&[1, 2], partitions), view(&[1, 2], partitions)]);
        assert_eq!(stopped(&[(&[1, 2], &[1, 2])]).obstacle(Some(1), false, &[3]), None, "it has no replica");
        let forced = |what: &str| Some(Obstacle { what: what.into(), forceable: true });
        let words = "t-0 has a replica on broker 3, which is stopped by order, and 1 more have such a replica";
        let rests = stopped(&[(ALL, &[1, 2]), (&[1, 3], &[1])]);
        assert_eq!(rests.obstacle(Some(1), false, &[3]), forced(words));
        assert!(rests.obstacle(Some(1), false, &[3]).unwrap().advice().contains("--force"));
        let gone = stopped(&[(&[1, 9], &[1])]);
        assert_eq!(
            gone.obstacle(Some(2), false, &[]),
            forced("t-0 has a replica on broker 9, which is none of ours and is not there")
        );
        // nobody can lead it any more, so no waiting helps
        let mut dead = view(&[1, 2], &[(&[1, 9], &[9])]).unwrap();
        dead.topics[0].partitions[0].leader = None;
        assert!(said(vec![Ok(dead.clone()), Ok(dead)]).obstacle(Some(2), false, &[]).unwrap().forceable);
        let behind = stopped(&[(ALL, &[1])]);
        assert_eq!(behind.obstacle(Some(1), false, &[3]), Some(Obstacle::passing("t-0: broker 2 is not in sync")));
        // of somebody else's, and there: it will catch up
        let other = view(&[1, 2, 9], &[(&[1, 9], &[1])]);
        let other = said(vec![other.clone(), other]);
        assert_eq!(other.obstacle(Some(2), false, &[]), Some(Obstacle::passing("t-0: broker 9 is not in sync")));
        assert!(!other.is_no_more(9, &[]) && gone.is_no_more(9, &[]) && !gone.is_no_more(3, &[3]));
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
    fn replicas_on_a_broker_are_told_when_all_others_know_as_much() {
        let v = || view(ALL, &[(&[1, 2], &[1, 2]), (&[3], &[3]), (&[3, 1], &[3, 1])]);
        let all = said(vec![v(), v(), v()]);
        assert_eq!(all.replicas_on(3), Ok(Some("t-1, t-2".into())));
        assert_eq!(all.replicas_on(2), Ok(Some("t-0".into())));
        assert_eq!(all.replicas_on(4), Ok(None));
        // one that has just started knows of none yet: that is no answer
        let fresh = said(vec![view(ALL, &[]), v(), v()]);
        assert_eq!(fresh.replicas_on(4), Err("broker 2 does not know of every partition yet".into()));
        let silent = said(vec![v(), Err("refused".into()), v()]);
        assert_eq!(silent.replicas_on(3), Err("broker 2 does not answer: refused".into()));
        assert_eq!(silent.replicas_on(2), Ok(Some("t-0".into())), "the one that leaves may be silent");
        assert_eq!(said(vec![]).replicas_on(1), Err("no broker answers".into()));
    }
}
