//! Ends the series of a connection that was removed.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};

use super::PodSeries;

/// Ends a connection's series, whatever their other labels.
pub(super) fn connection(series: &PodSeries, name: &str) {
    for counters in [&series.answered, &series.failures, &series.bytes, &series.retries, &series.deferred] {
        forget(counters, name);
    }
    forget(&series.sessions_opened, name);
    forget(&series.sessions_closed, name);
    forget(&series.duration, name);
    forget(&series.wait, name);
    for gauges in [&series.tasks, &series.breaker, &series.sessions, &series.session_limit] {
        forget(gauges, name);
    }
}

/// Removes every series whose label `connection` has this value.
fn forget<B: MetricVecBuilder>(series: &MetricVec<B>, connection: &str) {
    for family in series.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
            if labels.get("connection") == Some(&connection) {
                // Gone already: somebody else has removed it.
                let _ = series.remove(&labels);
            }
        }
    }
}
