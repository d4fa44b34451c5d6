//! How a metric is declared: one line, from which the field, its registration and its help are generated.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result,
};

/// A kind of metric that can be declared.
pub(super) trait DeclareMetric: Collector + Clone + 'static {
    fn declare(opts: Opts, labels: &[&str], buckets: &[f64]) -> Result<Self>;

    /// Creates the metric and registers it; an error if name, labels or buckets are invalid.
    fn register(
        registry: &Registry,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<Self> {
        let metric = Self::declare(Opts::new(name, help.trim()), labels, buckets)?;
        registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

macro_rules! declare_kinds {
    ($($kind:ident: |$opts:ident, $labels:ident, $buckets:ident| $make:expr;)+) => {$(
        impl DeclareMetric for $kind {
            fn declare($opts: Opts, $labels: &[&str], $buckets: &[f64]) -> Result<Self> {
                $make
            }
        }
    )+};
}

declare_kinds! {
    CounterVec: |opts, labels, _buckets| CounterVec::new(opts, labels);
    Gauge: |opts, _labels, _buckets| Gauge::with_opts(opts);
    IntCounter: |opts, _labels, _buckets| IntCounter::with_opts(opts);
    IntCounterVec: |opts, labels, _buckets| IntCounterVec::new(opts, labels);
    IntGauge: |opts, _labels, _buckets| IntGauge::with_opts(opts);
    IntGaugeVec: |opts, labels, _buckets| IntGaugeVec::new(opts, labels);
    Histogram: |opts, _labels, buckets| {
        Histogram::with_opts(HistogramOpts::from(opts).buckets(buckets.to_vec()))
    };
    HistogramVec: |opts, labels, buckets| {
        HistogramVec::new(HistogramOpts::from(opts).buckets(buckets.to_vec()), labels)
    };
}

/// Declares `Series`: one field per metric, created and registered by `Series::register`.
macro_rules! declare_metrics {
    ($(
        $(#[doc = $help:literal])+
        $field:ident: $kind:ident = $name:literal, [$($label:literal),*] $(, $buckets:expr)?;
    )+) => {
        struct PodSeries {
            $($(#[doc = $help])+ $field: $kind,)+
        }

        impl PodSeries {
            fn register(registry: &prometheus::Registry) -> prometheus::Result<Self> {
                Ok(PodSeries {$(
                    $field: <$kind as $crate::metrics::declare::DeclareMetric>::register(
                        registry,
                        $name,
                        concat!($($help),+),
                        &[$($label),*],
                        &<[&[f64]]>::concat(&[$($buckets)?]),
                    )?,
                )+})
            }

            /// The names of all metrics, in the order of their declaration.
            #[cfg(test)]
            const NAMES: &[&str] = &[$($name),+];
        }
    };
}
pub(super) use declare_metrics;
