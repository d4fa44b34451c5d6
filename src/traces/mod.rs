//! Traces over OTLP, if `traces.endpoint` is set: a span for each task, one beneath it for each try, joined to the producer's
//! trace by the record's `traceparent` (W3C Trace Context). Switched off, it costs one comparison a task.
//!
//! ```text
//! span     a task's spans: names and attributes of OpenTelemetry's conventions for messaging
//! client   the exporter's POST to the collector
//! ```
//!
//! Spans are created when a task has left, from the notes collected until then; they wait in a bounded queue for a
//! thread of the SDK, which sends them. If the queue is full, a span is dropped: no task waits for its trace.

mod client;
mod span;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};
use tokio::runtime::Handle;

pub use span::{SpanEnd, TaskAttributes};

use crate::config;
use crate::record::Record;

/// The maximum number of spans waiting to be sent.
const MAX_QUEUED: usize = 16_384;
/// The maximum number of spans in one request.
const MAX_BATCH: usize = 1_000;
/// The maximum time that a span waits to be sent with others.
const EVERY: Duration = Duration::from_secs(2);
/// The maximum number of a task's tries that become separate spans.
const MAX_TRIES: usize = 128;

/// Receives the traces of tasks; cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<TracesInner>>);

struct TracesInner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
    group: String,
}

impl Traces {
    /// Traces as configured by `traces.endpoint`; none if it is not set. Spans are sent on this runtime.
    ///
    /// # Errors
    /// If the exporter does not accept the endpoint.
    pub fn start(config: &config::TracesConfig, pod: &str, group: &str, runtime: Handle) -> io::Result<Self> {
        let Some(endpoint) = &config.endpoint else { return Ok(Traces(None)) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client::CollectorClient::new(runtime))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(client::DEADLINE)
            .build()
            .map_err(io::Error::other)?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_QUEUED)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(EVERY)
            .build();
        // The service that started the trace decides; if there is none, this percentage is sampled.
        let own = Sampler::TraceIdRatioBased(f64::from(config.percent) / 100.0);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_sampler(Sampler::ParentBased(Box::new(own)))
            .with_resource(resource(pod))
            .build();
        let tracer = provider.tracer("ftp-pooler");
        let propagator = TraceContextPropagator::new();
        Ok(Traces(Some(Arc::new(TracesInner { provider, tracer, propagator, group: group.to_owned() }))))
    }

    /// Collects a task's notes; does nothing if traces are off.
    #[must_use]
    pub fn notes(&self) -> TaskNotes {
        TaskNotes(self.0.as_ref().map(|_| Box::default()))
    }

    /// The task has left this pod: its spans are created.
    pub fn left(&self, notes: TaskNotes, about: &TaskAttributes<'_>, end: SpanEnd<'_>) {
        if let (Some(inner), Some(tries)) = (&self.0, notes.0) {
            inner.record(*tries, about, end);
        }
    }

    /// A record that is not a valid task: its producer finds the error in its trace, too. `task_id` is set if it could
    /// be read.
    pub fn rejected(&self, record: &Record, task_id: Option<&str>, attempts: u32, code: &'static str) {
        let about = TaskAttributes {
            record,
            task_id: task_id.unwrap_or_default(),
            operation: "reject",
            connection: "",
            attempts,
            since: Duration::ZERO,
        };
        self.left(self.notes(), &about, SpanEnd::Failed(code));
    }

    /// Sends the remaining spans; blocks for at most this long.
    pub fn stop(&self, within: Duration) {
        if let Some(inner) = &self.0
            && let Err(error) = inner.provider.shutdown_with_timeout(within)
        {
            tracing::warn!(event = "last_traces_not_sent", %error, "the last traces were not sent");
        }
    }
}

fn resource(pod: &str) -> Resource {
    let attributes = [
        KeyValue::new("service.name", "ftp-pooler"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", pod.to_owned()),
    ];
    Resource::builder_empty().with_attributes(attributes).build()
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.0.is_some()).finish()
    }
}

/// The tries at one task in this pod.
#[derive(Debug, Default)]
pub struct TaskNotes(Option<Box<TaskTries>>);

#[derive(Debug, Default)]
struct TaskTries {
    ended: Vec<TracedTry>,
    /// When the current one started.
    begun: Option<SystemTime>,
}

#[derive(Debug)]
struct TracedTry {
    from: SystemTime,
    to: SystemTime,
    /// The error's code; none if it succeeded.
    code: Option<&'static str>,
}

impl TaskNotes {
    pub fn try_begins(&mut self) {
        if let Some(tries) = &mut self.0 {
            tries.begun = Some(SystemTime::now());
        }
    }

    /// The try is over, and either there will be another, or it gives no answer.
    pub fn try_failed(&mut self, code: &'static str) {
        if let Some(tries) = &mut self.0 {
            tries.end(SystemTime::now(), Some(code));
        }
    }
}

impl TaskTries {
    fn end(&mut self, to: SystemTime, code: Option<&'static str>) {
        if let Some(from) = self.begun.take()
            && self.ended.len() < MAX_TRIES
        {
            self.ended.push(TracedTry { from, to, code });
        }
    }
}
