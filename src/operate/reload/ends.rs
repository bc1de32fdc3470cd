//! How a reload or a roll ends before all is done, in words: what led to it, what was done, what is left.

use super::{Failed, Purpose, Roll};
use crate::{
    base::{NodeName, units::human_duration},
    engine::Rejection,
    operate::whole::Obstacle,
    services::change::{Does, Step},
};

/// What one step came to.
pub(super) enum Broke {
    /// The node did not come up, or did not go.
    Node(String),
    /// A wait took too long.
    Waited(Obstacle),
    /// It would harm what no waiting mends.
    Refused(Refused),
    /// The supervisor is on its way down, or gone.
    Over(String),
}

/// Why a step is not taken: one sentence, what leads to it, what to do.
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) causes: Vec<String>,
    pub(super) hint: &'static str,
}

impl Broke {
    pub(super) fn words(self) -> String {
        match self {
            Broke::Node(why) | Broke::Over(why) => why,
            Broke::Waited(obstacle) => obstacle.what,
            Broke::Refused(Refused { message, causes, .. }) => {
                std::iter::once(message).chain(causes).collect::<Vec<_>>().join(": ")
            }
        }
    }
}

/// What no waiting makes safe.
pub(super) const NEVER_SAFE: &str = "give them more replicas, or accept it with --accept-unavailable";

pub(super) fn holds_replicas(node: &NodeName, partitions: &str) -> Refused {
    Refused {
        message: format!("{node} is not in the file any more but holds replicas"),
        causes: vec![format!("replicas of {partitions} are on it")],
        hint: "move them to other brokers (kafka-reassign-partitions)",
    }
}

pub(super) fn over() -> Broke {
    Broke::Over("the supervisor is on its way down".into())
}

pub(super) fn broke(rejection: Rejection) -> Broke {
    match rejection {
        Rejection::NotReady(why) | Rejection::Unsafe(why) => Broke::Node(why.join("; ")),
        Rejection::UnknownNode(node) => Broke::Node(format!("there is no node {node}")),
        Rejection::NotNow(why) if why.contains("on its way down") => Broke::Over(why),
        Rejection::NotNow(why) => Broke::Node(why),
        Rejection::Ending => Broke::Over("the daemon ended".into()),
    }
}

impl Roll<'_> {
    pub(super) fn said(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (does, word) in [
            (Does::Restart, "restarted"),
            (Does::Start, "started"),
            (Does::Live, "changed live"),
            (Does::Keep, "changed for the next start"),
            (Does::Stop, "stopped and dropped"),
        ] {
            let names: Vec<&str> = self.done.iter().filter(|s| s.does == does).map(|s| s.node.as_str()).collect();
            if !names.is_empty() {
                lines.push(format!("{word} {}", names.join(", ")));
            }
        }
        lines.extend(self.was_away.clone());
        lines
    }

    pub(super) fn summary(&self, at: &Step) -> Vec<String> {
        let mut lines: Vec<String> = self.said().into_iter().map(|line| format!("done: {line}")).collect();
        let names = self.names_left(at);
        if !names.is_empty() {
            lines.push(format!("left as they were: {}", names.join(", ")));
        }
        lines
    }

    pub(super) fn left(&self, at: &Step, obstacle: &Obstacle) -> Failed {
        let mut causes = vec![obstacle.what.clone()];
        causes.extend(self.summary(at));
        let force = match (obstacle.forceable, self.terms.force) {
            (true, false) => "; it does not pass by waiting, and with --force it is gone over where nothing breaks",
            (_, _) => "; --max-wait gives it longer",
        };
        Failed {
            exit: 6,
            message: format!("waited {} before {} and stopped", human_duration(self.max_wait), at.node),
            causes,
            hint: Some(format!("once that is over, {}{force}", self.rest(at))),
        }
    }

    pub(super) fn refused(&self, at: &Step, refused: Refused) -> Failed {
        let Refused { message, mut causes, hint } = refused;
        causes.extend(self.summary(at));
        Failed { exit: 8, message, causes, hint: Some(format!("{hint}; then {}", self.rest(at))) }
    }

    /// How what is left is done.
    pub(super) fn rest(&self, at: &Step) -> String {
        match self.purpose {
            Purpose::Reload => "`cdc-supervisor reload` does the rest".into(),
            Purpose::Roll => format!("`cdc-supervisor roll {}` does the rest", self.names_left(at).join(" ")),
        }
    }

    /// A roll ends where a broker does not come back: the others have what it lacks.
    pub(super) fn stopped(&self, at: &Step, why: String) -> Failed {
        let mut causes = vec![why];
        causes.extend(self.summary(at));
        let node = &at.node;
        Failed {
            exit: 6,
            message: format!("{node} did not come back; no other broker is restarted"),
            causes,
            hint: Some(format!("`cdc-supervisor logs {node}` shows what it said; mend it, then roll the others")),
        }
    }

    pub(super) fn names_left<'b>(&'b self, at: &'b Step) -> Vec<&'b str> {
        std::iter::once(at).chain(&self.left).filter(|s| !self.done.contains(s)).map(|s| s.node.as_str()).collect()
    }
}
