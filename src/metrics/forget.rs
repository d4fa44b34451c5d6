//! Removes the series of a removed connection or tunnel.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};

use super::PodSeries;

/// Removes a connection's series, whatever their other labels.
pub(super) fn connection(series: &PodSeries, name: &str) {
    for counters in [&series.answered, &series.failures, &series.bytes, &series.retries, &series.deferred] {
        forget(counters, name);
    }
    forget(&series.sessions_opened, name);
    forget(&series.sessions_closed, name);
    forget(&series.duration, name);
    forget(&series.wait, name);
    forget(&series.bandwidth_wait, name);
    for gauges in [&series.tasks, &series.breaker, &series.sessions, &series.session_limit] {
        forget(gauges, name);
    }
}

/// Removes a tunnel's series.
pub(super) fn tunnel(series: &PodSeries, name: &str) {
    for gauges in [&series.tunnel_state, &series.tunnel_up] {
        forget_labelled(gauges, "tunnel", name);
    }
    for counters in [&series.tunnel_connects, &series.tunnel_errors] {
        forget_labelled(counters, "tunnel", name);
    }
}

/// Removes the series of a feed that this pod no longer lists.
pub(super) fn feed(series: &PodSeries, name: &str) {
    for counters in [&series.feed_listings, &series.feed_tasks] {
        forget_labelled(counters, "feed", name);
    }
    for gauges in [&series.feed_files, &series.feed_listed] {
        forget_labelled(gauges, "feed", name);
    }
}

/// Removes every series whose label `connection` has this value.
fn forget<B: MetricVecBuilder>(series: &MetricVec<B>, connection: &str) {
    forget_labelled(series, "connection", connection);
}

fn forget_labelled<B: MetricVecBuilder>(series: &MetricVec<B>, label: &str, value: &str) {
    for family in series.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if labels.get(label) == Some(&value) {
                // It was removed concurrently.
                let _ = series.remove(&labels);
            }
        }
    }
}
