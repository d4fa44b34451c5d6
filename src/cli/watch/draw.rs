//! The picture on a terminal: never more lines than it has, so that the next one can take its place.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;

use super::state::{ShownFailure, ThroughputRates, WatchState};
use super::view::{bytes_rate, state_word};
use crate::cli::output::{TextTable, bytes, one_line, time};
use crate::cli::pod_metrics::{ConnectionMetrics, MetricsSample, TunnelPods};

/// Connections that are shown before the last failures are.
const FIRST: usize = 3;
/// Silent pods that are named.
const MAX_SILENT: usize = 3;
/// Broken tunnels that are named.
const MAX_TUNNELS: usize = 3;

/// `room` lines at most.
pub(super) fn picture(state: &WatchState, group: &str, room: usize) -> Vec<String> {
    let mut picture = rates(state, group);
    let connections = connections(state);
    let mut silent = state.pods.as_ref().map(silent).unwrap_or_default();
    silent.extend(state.pods.as_ref().and_then(tunnels));
    let mut failures = failures(state);

    // An empty line, the heading, and those that come first, or all where there are fewer.
    let least = if connections.is_empty() { 0 } else { 2 + connections.len().min(FIRST + 1) };
    let left = room.saturating_sub(picture.len() + silent.len());
    failures.truncate(left.saturating_sub(least));
    // A title alone says nothing.
    if failures.len() < 3 {
        failures.clear();
    }
    picture.extend(connections.render(left.saturating_sub(failures.len())));
    picture.extend(silent);
    picture.extend(failures);
    picture.truncate(room);
    picture
}

fn rates(state: &WatchState, group: &str) -> Vec<String> {
    let (now, late, all) = (state.rates_now(), state.rates_of_late(), state.rates());
    let mut table = TextTable::new(["", "now", "10 s", "average", "total"]);
    let mut row = |name: &str, of: fn(ThroughputRates) -> String, total: String| {
        table.row([name.to_owned(), of(now), of(late), of(all), total]);
    };
    row("completed", |rates| format!("{:.1}/s", rates.completed), state.sums.completed.to_string());
    row("failed", |rates| format!("{:.1}/s", rates.failed), state.sums.failed.to_string());
    row("bytes", |rates| bytes_rate(rates.bytes), bytes(state.sums.bytes));
    let watched = time(Duration::from_secs(state.now.duration_since(state.begun).as_secs()));
    let pods = state.pods.as_ref().map(|pods| format!(", {}", pods_in_words(pods))).unwrap_or_default();
    let title = one_line(&format!("{:.0}  group {group}{pods}, watching for {watched}", Timestamp::now()));
    let mut lines = vec![title, String::new()];
    lines.extend(table.render().lines().map(str::to_owned));
    lines
}

/// A table of connections, of which the first are worth a look most.
struct ConnectionTable {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl ConnectionTable {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// An empty line, the heading and as many rows as fit into `room` lines; the last line says how many do not.
    fn render(&self, room: usize) -> Vec<String> {
        let rows = room.saturating_sub(2);
        if self.is_empty() || rows == 0 {
            return Vec::new();
        }
        let shown = if self.len() > rows { rows - 1 } else { self.len() };
        let mut table = TextTable::new(self.heading.iter().copied());
        for row in self.rows.iter().take(shown) {
            table.row(row.iter().cloned());
        }
        let mut lines = vec![String::new()];
        lines.extend(table.render().lines().map(str::to_owned));
        if shown < self.len() {
            lines.push(format!("and {} more", self.len() - shown));
        }
        lines
    }
}

/// Those with an open breaker first, then the half-open ones; where no pod is asked, those with most failures.
fn connections(state: &WatchState) -> ConnectionTable {
    let failed = |name: &str| state.failed_by_connection.get(name).copied().unwrap_or(0);
    let Some(pods) = &state.pods else {
        let mut by_failures: Vec<_> = state.failed_by_connection.iter().collect();
        by_failures.sort_by_key(|(_, number)| Reverse(**number));
        let rows = by_failures.into_iter().map(|(name, number)| vec![name.clone(), number.to_string()]);
        return ConnectionTable { heading: vec!["connection", "failed"], rows: rows.collect() };
    };
    let mut by_breaker: Vec<_> = pods.connections.iter().collect();
    by_breaker.sort_by(|(_, a), (_, b)| b.breaker.total_cmp(&a.breaker));
    let row = |(name, of): (&String, &ConnectionMetrics)| {
        vec![
            name.clone(),
            state.answered_rate(name).map(|rate| format!("{rate:.1}")).unwrap_or_default(),
            of.in_flight.to_string(),
            of.waiting.to_string(),
            of.delayed.to_string(),
            of.deferred.map(|deferred| deferred.to_string()).unwrap_or_default(),
            sessions(of),
            state_word(of.breaker).to_owned(),
            failed(name).to_string(),
            pods.errors.get(name).map(|error| one_line(error)).unwrap_or_default(),
        ]
    };
    let heading = vec![
        "connection",
        "tasks/s",
        "in flight",
        "waiting",
        "delayed",
        "deferred",
        "sessions",
        "state",
        "failed",
        "error",
    ];
    ConnectionTable { heading, rows: by_breaker.into_iter().map(row).collect() }
}

/// Such as `4 pods, 1 gone`.
fn pods_in_words(pods: &MetricsSample) -> String {
    let number = if pods.pods == 1 { "1 pod".to_owned() } else { format!("{} pods", pods.pods) };
    let gone = if pods.announced.is_empty() { "silent" } else { "gone" };
    match pods.silent.len() {
        0 => number,
        silent => format!("{number}, {silent} {gone}"),
    }
}

/// Open ones; of a total over all pods, how many may be open.
fn sessions(of: &ConnectionMetrics) -> String {
    let open = format!("{} busy, {} idle", of.busy, of.idle);
    match (of.granted, of.max_sessions_total) {
        (Some(granted), Some(total)) => format!("{open}, {granted} of {total} granted"),
        _ => open,
    }
}

/// The pods that do not answer, or are not well.
fn silent(pods: &MetricsSample) -> Vec<String> {
    let all = || pods.silent.iter().chain(&pods.unwell);
    let count = all().count();
    let shown = if count > MAX_SILENT { MAX_SILENT - 1 } else { count };
    let mut lines: Vec<_> = all().take(shown).map(|silent| one_line(silent)).collect();
    if shown < count {
        lines.push(format!("and {} more pods that do not answer or are not well", count - shown));
    }
    lines
}

/// Such as `tunnels: 3 up; mill up in 1 of 4 pods, plant down`, broken ones by name.
fn tunnels(pods: &MetricsSample) -> Option<String> {
    if pods.tunnels.is_empty() {
        return None;
    }
    let broken: Vec<_> = pods.tunnels.iter().filter(|(_, of)| of.up < of.pods).collect();
    let word = |(name, of): &(&String, &TunnelPods)| match of.up {
        0 => format!("{name} down"),
        up => format!("{name} up in {up} of {} pods", of.pods),
    };
    let mut words: Vec<String> = broken.iter().take(MAX_TUNNELS).map(word).collect();
    if broken.len() > MAX_TUNNELS {
        words.push(format!("{} more not up", broken.len() - MAX_TUNNELS));
    }
    let up = format!("tunnels: {} up", pods.tunnels.len() - broken.len());
    Some(one_line(&if words.is_empty() { up } else { format!("{up}; {}", words.join(", ")) }))
}

/// An empty line, a title, and the failures, the newest first.
fn failures(state: &WatchState) -> Vec<String> {
    if state.last_failures.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), "last failures".to_owned()];
    for ShownFailure { at, code, connection, task_id, file, message } in &state.last_failures {
        let file = file.to_string();
        let about = if file.is_empty() { format!("{connection}  {task_id}") } else { file };
        lines.push(one_line(&format!("{at}  {code}  {about}: {message}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::cli::answer::ReadAnswer;

    /// Many connections, of which `z-open` and `y-half` are broken; five failures, and silent pods.
    fn state(connections: usize, silent: usize) -> WatchState {
        let mut state = WatchState::new(Instant::now());
        let mut scrape = MetricsSample { pods: silent + 1, ..MetricsSample::default() };
        for number in 0..connections {
            scrape.connections.insert(format!("c-{number:03}"), ConnectionMetrics::default());
        }
        scrape
            .connections
            .insert("y-half".to_owned(), ConnectionMetrics { breaker: 1.0, ..ConnectionMetrics::default() });
        scrape
            .connections
            .insert("z-open".to_owned(), ConnectionMetrics { breaker: 2.0, ..ConnectionMetrics::default() });
        scrape.silent = (0..silent).map(|number| format!("pod-{number}: away")).collect();
        for number in 0..5 {
            let json = format!(
                r#"{{"task_id":"t-{number}","status":"failed","error":{{"code":"timeout","message":"m"}},
                "task":{{"source":{{"connection_id":"c-{:03}"}}}}}}"#,
                number / 2
            );
            state.take(ReadAnswer::read(Some(json.as_bytes())).unwrap());
        }
        state.look(Instant::now(), Some(scrape));
        state
    }

    fn at(picture: &[String], begin: &str) -> Option<usize> {
        picture.iter().position(|line| line.starts_with(begin))
    }

    #[test]
    fn broken_tunnels_are_named_and_the_others_counted() {
        let mut sample = MetricsSample::default();
        assert_eq!(tunnels(&sample), None);
        for (name, up) in [("a", 4), ("b", 4)] {
            sample.tunnels.insert(name.to_owned(), TunnelPods { pods: 4, up });
        }
        assert_eq!(tunnels(&sample).unwrap(), "tunnels: 2 up");
        for (name, up) in [("mill", 1), ("plant", 0), ("x", 0), ("y", 0), ("z", 0)] {
            sample.tunnels.insert(name.to_owned(), TunnelPods { pods: 4, up });
        }
        let line = tunnels(&sample).unwrap();
        assert_eq!(line, "tunnels: 2 up; mill up in 1 of 4 pods, plant down, x down, 2 more not up");
    }

    #[test]
    fn no_picture_has_more_lines_than_there_is_room() {
        for (connections, silent) in [(0, 0), (1, 1), (40, 0), (200, 50)] {
            let state = state(connections, silent);
            for room in 0..300 {
                let lines = picture(&state, "group", room);
                assert!(lines.len() <= room, "{} in {room}", lines.len());
                assert!(lines.iter().all(|line| !line.contains('\n')));
            }
        }
    }

    #[test]
    fn broken_connections_come_first_and_those_left_out_are_counted() {
        let picture = picture(&state(40, 0), "group", 23);
        assert_eq!(picture.len(), 23, "{picture:#?}");
        let heading = at(&picture, "connection").unwrap();
        assert!(picture[heading + 1].starts_with("z-open"), "{picture:#?}");
        assert!(picture[heading + 2].starts_with("y-half"), "{picture:#?}");
        let more = at(&picture, "and ").unwrap();
        let shown = more - heading - 1;
        assert_eq!(picture[more], format!("and {} more", 42 - shown));
        assert!(
            at(&picture, "last failures").is_some_and(|title| picture.len() == title + 6),
            "{picture:#?}"
        );
    }

    #[test]
    fn a_connection_that_is_down_says_why_and_how_many_tasks_are_deferred() {
        let mut state = state(0, 0);
        let pods = state.pods.as_mut().unwrap();
        pods.errors.insert("y-half".to_owned(), "connect: refused".to_owned());
        pods.connections.get_mut("y-half").unwrap().deferred = Some(8.0);
        let picture = picture(&state, "group", 30);
        let line = picture.iter().find(|line| line.starts_with("y-half")).unwrap();
        assert!(line.contains(" 8 ") && line.ends_with("connect: refused"), "{line}");
    }

    #[test]
    fn connections_come_before_failures_where_there_is_little_room() {
        let picture = picture(&state(40, 0), "group", 13);
        assert!(at(&picture, "z-open").is_some() && at(&picture, "last failures").is_none(), "{picture:#?}");
    }

    #[test]
    fn all_are_shown_where_there_is_room_for_them() {
        let picture = picture(&state(100, 9), "group", 200);
        assert!(at(&picture, "c-099").is_some() && at(&picture, "z-open").is_some());
        assert!(at(&picture, "and 7 more pods").is_some() && at(&picture, "pod-1: away").is_some());
        assert_eq!(picture.iter().filter(|line| line.ends_with(" more")).count(), 0);
    }

    #[test]
    fn without_pods_those_with_most_failures_come_first() {
        let mut state = state(0, 0);
        state.pods = None;
        let answer = r#"{"task_id":"t","status":"failed","error":{"code":"timeout","message":"m"},
            "task":{"source":{"connection_id":"z"}}}"#;
        for _ in 0..3 {
            state.take(ReadAnswer::read(Some(answer.as_bytes())).unwrap());
        }
        let picture = picture(&state, "group", 30);
        let heading = at(&picture, "connection").unwrap();
        assert!(picture[heading + 1].starts_with('z') && picture[heading + 2].starts_with("c-000"));
    }
}
