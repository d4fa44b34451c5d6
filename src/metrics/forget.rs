//! Ends the series of a connection that is no more.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};

/// Removes every series whose label `connection` has this value.
pub(super) fn forget<B: MetricVecBuilder>(series: &MetricVec<B>, connection: &str) {
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
