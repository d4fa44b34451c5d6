//! What a run has to tell: one line, and a row of `docs/TEST_REPORT.md`.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use crate::audit::Audit;
use crate::fleet::Fleet;
use crate::gaps::Gaps;
use crate::settings::Settings;
use crate::site::TOTAL;

pub struct Figures<'a> {
    /// Records in the input topic.
    pub tasks: i64,
    pub answers: usize,
    pub audit: &'a Audit,
    pub fleet: &'a Fleet<'a>,
    pub rebalances: usize,
    /// Answers in aborted transactions, which nobody sees.
    pub aborted_answers: usize,
    /// Temp files when the last answer had come.
    pub stood: usize,
    /// Seconds until none stood any more.
    pub swept: u64,
    pub gaps: &'a Gaps,
    /// The most that the first server had at once; 0 where they were not counted.
    pub sessions: usize,
    pub seconds: u64,
}

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            tasks,
            answers,
            audit,
            fleet,
            rebalances,
            aborted_answers,
            stood,
            swept,
            gaps,
            sessions,
            seconds,
        } = self;
        let Audit { lost, duplicated, wrong, left } = audit;
        let [lost, duplicated, wrong, left] = [lost, duplicated, wrong, left].map(Vec::len);
        write!(
            f,
            "tasks {tasks}, answers {answers}, lost {lost}, duplicated {duplicated}, wrong files {wrong}, "
        )?;
        write!(f, "temp files left {left} ({stood} at the last answer, swept for {swept} s), ")?;
        write!(
            f,
            "kills {}, exits {}, aborts by librdkafka {}, ",
            fleet.kills, fleet.exits, fleet.assignor_aborts
        )?;
        write!(f, "rebalances {rebalances}, ")?;
        write!(f, "aborted transactions {} (answers {aborted_answers}), ", fleet.aborted_transactions())?;
        if *sessions > 0 {
            write!(f, "sessions with one server {sessions} at most, of {TOTAL}, ")?;
        }
        write!(f, "longest gaps without answers: {gaps}; ")?;
        write!(f, "seconds {seconds}")
    }
}

impl Figures<'_> {
    /// Appends a row of the report's table.
    ///
    /// # Panics
    /// Where the file cannot be written.
    pub fn report(&self, settings: &Settings, file: &Path) {
        let Settings { pods, brokers, network, seed, delivery, .. } = settings;
        let Audit { lost, duplicated, wrong, left } = self.audit;
        let [lost, duplicated, wrong, left] = [lost, duplicated, wrong, left].map(Vec::len);
        let Figures { tasks, answers, fleet, rebalances, seconds, .. } = self;
        let place = if *network { ", disturbed network" } else { "" };
        let (kills, aborted) = (fleet.kills, fleet.aborted_transactions());
        let row = format!(
            "| {delivery}{place} | {brokers} | {seed} | {pods} | {tasks} | {answers} | {lost} | {duplicated} | {wrong} | {left} | {kills} \
             | {rebalances} | {aborted} | {seconds} |\n"
        );
        append(file, &row);
        append(
            &file.with_extension("gaps"),
            &self
                .gaps
                .rows(&format!("{brokers} x Kafka{}", if *network { ", disturbed network" } else { "" })),
        );
    }
}

fn append(file: &Path, rows: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(file).expect("a file for the report");
    file.write_all(rows.as_bytes()).expect("rows of the report");
}
