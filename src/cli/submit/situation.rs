//! The state of tasks that have no answer yet, in one sentence. Pure.

use crate::cli::output::count;

/// Why no answer comes, or what comes next. The first that applies is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Situation {
    /// No broker answers; the reason.
    KafkaAway(String),
    /// The group has no member.
    NoPod { group: String },
    /// These connections' servers are down: their tasks are deferred, or wait for it.
    ServerDown { connections: Vec<String>, deferred: u64 },
    /// Tasks are in the retry topic, and no pod could be asked why.
    Deferred { connections: Vec<String>, deferred: u64 },
    /// The pods have work.
    Working { in_flight: u64, waiting: u64, deferred: u64 },
}

/// Connections that are named.
const NAMED: usize = 3;

impl Situation {
    pub fn sentence(&self) -> String {
        match self {
            Situation::KafkaAway(why) => format!("Kafka is unavailable: {why}"),
            Situation::NoPod { group } => format!("no pod runs: the group {group} has no members"),
            Situation::ServerDown { connections, deferred } => {
                let servers = if connections.len() == 1 { "server of" } else { "servers of" };
                let are = if connections.len() == 1 { "is" } else { "are" };
                let deferred = match deferred {
                    0 => String::new(),
                    deferred => format!(", {} deferred until then", count(*deferred, "task")),
                };
                format!("the {servers} {} {are} down{deferred}", named(connections))
            }
            Situation::Deferred { connections, deferred } => {
                let are = if *deferred == 1 { "is" } else { "are" };
                let tasks = count(*deferred, "task");
                format!("{tasks} of {} {are} deferred: is the server down?", named(connections))
            }
            Situation::Working { in_flight, waiting, deferred: 0 } => {
                format!("{in_flight} in flight, {waiting} waiting")
            }
            Situation::Working { in_flight, waiting, deferred } => {
                format!(
                    "{in_flight} in flight, {waiting} waiting, {deferred} deferred until their retry is due"
                )
            }
        }
    }

    /// Whether it deserves its own line after a while without answers.
    pub fn is_trouble(&self) -> bool {
        !matches!(self, Situation::Working { .. })
    }
}

fn named(connections: &[String]) -> String {
    let first = connections.get(..NAMED).unwrap_or(connections).join(", ");
    match connections.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_sentence() {
        let connections = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>();
        for (situation, sentence) in [
            (Situation::KafkaAway("refused".into()), "Kafka is unavailable: refused"),
            (Situation::NoPod { group: "pool".into() }, "no pod runs: the group pool has no members"),
            (
                Situation::ServerDown { connections: connections(1), deferred: 7 },
                "the server of c0 is down, 7 tasks deferred until then",
            ),
            (
                Situation::ServerDown { connections: connections(5), deferred: 7 },
                "the servers of c0, c1, c2 and 2 more are down, 7 tasks deferred until then",
            ),
            (
                Situation::Deferred { connections: connections(2), deferred: 9 },
                "9 tasks of c0, c1 are deferred: is the server down?",
            ),
            (Situation::ServerDown { connections: connections(1), deferred: 0 }, "the server of c0 is down"),
            (
                Situation::Deferred { connections: connections(1), deferred: 1 },
                "1 task of c0 is deferred: is the server down?",
            ),
            (Situation::Working { in_flight: 1, waiting: 3, deferred: 0 }, "1 in flight, 3 waiting"),
            (
                Situation::Working { in_flight: 0, waiting: 0, deferred: 8 },
                "0 in flight, 0 waiting, 8 deferred until their retry is due",
            ),
        ] {
            assert_eq!(situation.sentence(), sentence);
        }
    }
}
