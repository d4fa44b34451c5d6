//! Medians, and how they compare.

use std::fmt;
use std::time::Duration;

use crate::SESSIONS;
use crate::load::{Case, Ground};
use crate::usage::Usage;

/// The results of one ground, by case and contestant, in the order in which they came.
#[derive(Debug)]
pub struct Table {
    name: String,
    round_trip: Option<Duration>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    case: Case,
    who: String,
    runs: Vec<Usage>,
}

/// The medians of one row.
struct Medians {
    seconds: f64,
    cpu_ms: f64,
    peak_mib: f64,
}

impl Table {
    pub fn new(ground: &Ground) -> Table {
        Table { name: ground.name.clone(), round_trip: ground.round_trip, rows: Vec::new() }
    }

    pub fn add(&mut self, case: &Case, who: &str, usage: Usage) {
        eprintln!(
            "  {who}: {:.2} s, {:.2} s of CPU, {} MiB",
            usage.elapsed.as_secs_f64(),
            usage.cpu.as_secs_f64(),
            usage.peak_bytes >> 20
        );
        match self.rows.iter_mut().find(|row| row.case == *case && row.who == who) {
            Some(row) => row.runs.push(usage),
            None => self.rows.push(Row { case: case.clone(), who: who.to_owned(), runs: vec![usage] }),
        }
    }

    /// Those of the quickest other, and the least CPU of any other.
    fn best_peer(&self, row: &Row) -> Option<(f64, f64)> {
        let others = || self.rows.iter().filter(|other| other.case == row.case && other.who != row.who);
        let least = |of: fn(&Medians) -> f64| others().map(|other| of(&other.medians())).reduce(f64::min);
        Some((least(|m| m.seconds)?, least(|m| m.cpu_ms)?))
    }
}

impl Row {
    fn medians(&self) -> Medians {
        let files = self.case.files as f64;
        Medians {
            seconds: median(self.runs.iter().map(|run| run.elapsed.as_secs_f64())),
            cpu_ms: median(self.runs.iter().map(|run| run.cpu.as_secs_f64() * 1e3 / files)),
            peak_mib: median(self.runs.iter().map(|run| run.peak_bytes as f64 / f64::from(1 << 20))),
        }
    }
}

/// Markdown. The ratios are this row's figure by that of the best of the others: below 1 is better than all.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n", self.name)?;
        writeln!(
            f,
            "| files | who | seconds | files/s | round trips a file | CPU ms a file | peak MiB | \
             seconds : best other's | CPU : best other's |"
        )?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|--:|")?;
        for row in &self.rows {
            let Medians { seconds, cpu_ms, peak_mib } = row.medians();
            let files = row.case.files as f64;
            let trips = self.round_trip.map_or_else(String::new, |round_trip| {
                format!("{:.1}", seconds * SESSIONS as f64 / round_trip.as_secs_f64() / files)
            });
            let (by_seconds, by_cpu) = match self.best_peer(row) {
                Some((best, least)) => (format!("{:.2}", seconds / best), format!("{:.2}", cpu_ms / least)),
                None => (String::new(), String::new()),
            };
            let most =
                self.rows.iter().filter(|other| other.case == row.case).map(|other| other.runs.len()).max();
            let once = if Some(row.runs.len()) == most { "" } else { " (one round)" };
            writeln!(
                f,
                "| {} | {}{once} | {seconds:.2} | {:.0} | {trips} | {cpu_ms:.2} | {peak_mib:.0} | {by_seconds} | {by_cpu} |",
                row.case,
                row.who,
                files / seconds,
            )?;
        }
        Ok(())
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
