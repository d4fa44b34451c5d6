//! A task's spans: names and attributes are those of OpenTelemetry's conventions for messaging, if there are any,
//! otherwise they start with `ftp_pooler.`. They contain neither paths nor messages, since traces may have other
//! readers than answers.

use std::time::{Duration, SystemTime};

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};

use super::{TaskTries, TracedTry, TracesInner};
use crate::record::{Header, Record};

/// The attributes of a task's span.
#[derive(Debug)]
pub struct TaskAttributes<'a> {
    pub record: &'a Record,
    /// Empty if there is none.
    pub task_id: &'a str,
    /// `download`, `upload`, or `reject` if the record is not a task.
    pub operation: &'static str,
    /// The FTP side's connection; empty if there is none.
    pub connection: &'a str,
    pub attempts: u32,
    /// The time since this pod consumed it.
    pub since: Duration,
}

/// How it left this pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanEnd<'a> {
    Completed {
        bytes: u64,
    },
    /// With this code.
    Failed(&'static str),
    /// To the retry topic, for this reason.
    Deferred(&'a str),
}

impl TracesInner {
    /// The task's span, from its arrival until now, and one for each of its tries.
    pub(super) fn record(&self, mut tries: TaskTries, about: &TaskAttributes<'_>, end: SpanEnd<'_>) {
        let now = SystemTime::now();
        let code = if let SpanEnd::Failed(code) = end { Some(code) } else { None };
        tries.end(now, code);
        let parent =
            self.propagator.extract_with_context(&Context::new(), &HeaderCarrier(&about.record.headers));
        let builder = SpanBuilder::from_name(about.operation)
            .with_kind(SpanKind::Consumer)
            .with_start_time(now.checked_sub(about.since).unwrap_or(now))
            .with_attributes(self.attributes(about, end));
        let mut span = self.tracer.build_with_context(builder, &parent);
        if !span.is_recording() {
            return;
        }
        if let Some(code) = code {
            span.set_status(Status::error(code));
        }
        let within = Context::new().with_remote_span_context(span.span_context().clone());
        for one in &tries.ended {
            self.record_try(one, about.connection, &within);
        }
        span.end_with_timestamp(now);
    }

    fn record_try(&self, one: &TracedTry, connection: &str, within: &Context) {
        let mut attributes = vec![KeyValue::new("ftp_pooler.connection", connection.to_owned())];
        attributes.extend(one.code.map(|code| KeyValue::new("error.type", code)));
        let builder = SpanBuilder::from_name("try")
            .with_kind(SpanKind::Client)
            .with_start_time(one.from)
            .with_attributes(attributes);
        let mut span = self.tracer.build_with_context(builder, within);
        if let Some(code) = one.code {
            span.set_status(Status::error(code));
        }
        span.end_with_timestamp(one.to);
    }

    fn attributes(&self, about: &TaskAttributes<'_>, end: SpanEnd<'_>) -> Vec<KeyValue> {
        let origin = &about.record.origin;
        let mut attributes = vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", origin.topic.to_string()),
            KeyValue::new("messaging.destination.partition.id", origin.partition.to_string()),
            KeyValue::new("messaging.kafka.offset", origin.offset),
            KeyValue::new("messaging.consumer.group.name", self.group.clone()),
            KeyValue::new("ftp_pooler.attempts", i64::from(about.attempts)),
        ];
        let named = [("ftp_pooler.task_id", about.task_id), ("ftp_pooler.connection", about.connection)];
        let named = named.into_iter().filter(|(_, value)| !value.is_empty());
        attributes.extend(named.map(|(key, value)| KeyValue::new(key, value.to_owned())));
        attributes.push(match end {
            SpanEnd::Completed { bytes } => {
                KeyValue::new("ftp_pooler.bytes", i64::try_from(bytes).unwrap_or(i64::MAX))
            }
            SpanEnd::Failed(code) => KeyValue::new("error.type", code),
            SpanEnd::Deferred(why) => KeyValue::new("ftp_pooler.deferred", why.to_owned()),
        });
        attributes
    }
}

/// A record's headers for the propagator: `traceparent` and `tracestate`, in upper or lower case.
struct HeaderCarrier<'a>(&'a [Header]);

impl Extractor for HeaderCarrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let header = self.0.iter().find(|header| header.key.eq_ignore_ascii_case(key))?;
        std::str::from_utf8(header.value.as_deref()?).ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|header| header.key.as_str()).collect()
    }
}
