//! Events of `tracing` → lines → standard output and file.
//!
//! A layer of our own instead of the crate's formatter: that one bounds no line, and escapes control characters in
//! one of its forms only.

use std::fmt;
use std::io::Write;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::line::{FieldValue, Line};
use crate::clock::Clock;
use crate::config::LogFormat;

/// Where lines go, and in which form.
pub(super) struct Sink {
    /// Takes lines without waiting; drops and counts them when it cannot keep up.
    pub(super) writer: NonBlocking,
    /// The form of a line there.
    pub(super) format: LogFormat,
}

/// Writes each event to each sink.
pub(super) struct LineLayer {
    /// Gives the time of a line.
    pub(super) clock: Clock,
    /// Where lines go.
    pub(super) sinks: Vec<Sink>,
    /// The longest line.
    pub(super) line_bytes_max: usize,
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                outer.values.iter().for_each(|(name, value)| fields.set(name, value.clone()));
            }
        }
        own.values.into_iter().for_each(|(name, value)| fields.set(name, value));
        let line = Line {
            time_ms: self.clock.wall_ms(),
            level: event.metadata().level().as_str(),
            target: event.metadata().target().to_owned(),
            message: own.message,
            fields: fields.values,
        };
        for sink in &self.sinks {
            let text = line.render(sink.format, self.line_bytes_max);
            // A sink that cannot keep up counts the line as dropped; there is nobody else to tell.
            let _ = sink.writer.clone().write_all(text.as_bytes());
        }
    }
}

/// The fields of a span or event.
#[derive(Default)]
struct Fields {
    message: String,
    values: Vec<(&'static str, FieldValue)>,
}

impl Fields {
    /// Sets `name`, so that each name stands once: the innermost wins.
    fn set(&mut self, name: &'static str, value: FieldValue) {
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.values.push((name, value)),
        }
    }

    fn text(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            // What the bridge from the `log` crate adds about the source file.
            name if name.starts_with("log.") => {}
            name => self.set(name, FieldValue::Text(text)),
        }
    }

    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        self.set(field.name(), FieldValue::Bare(value.to_string()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(field, value);
        } else {
            self.text(field, value.to_string());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        self.text(field, text);
    }
}
