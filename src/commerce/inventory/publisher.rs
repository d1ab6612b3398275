//! Turns events into record batches: compact values, or JSON values with `CloudEvents` headers.

use uuid::fmt::Hyphenated;

use super::Event;
use super::cloud_event::{self, Trace};
use crate::log::batch::{BatchBuilder, BatchError, Record};
use crate::log::{Offset, Timestamp};

use bytes::Bytes;

/// The form in which a shard writes its events. It reads both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFormat {
    /// Compact values, no keys and headers: for programs that embed the engine.
    Compact,
    /// JSON values with `CloudEvents` headers: for consumers of any kind.
    CloudEvents {
        /// The shard's partition number, part of `ce_source`.
        partition: u32,
    },
}

/// A batch of events under construction.
#[derive(Debug)]
pub(super) struct Publisher {
    builder: BatchBuilder,
    format: EventFormat,
    source: String,
    value: Vec<u8>,
    /// The newest instant as text, for it is the same for thousands of events.
    time: (i64, String),
}

impl Publisher {
    pub(super) fn new(format: EventFormat) -> Self {
        let partition = match format {
            EventFormat::Compact => 0,
            EventFormat::CloudEvents { partition } => partition,
        };
        Publisher {
            builder: BatchBuilder::new(Timestamp(0)),
            format,
            source: format!("/doorbuster/inventory/{partition}"),
            value: Vec::new(),
            time: (0, cloud_event::rfc3339(0)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.builder.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.builder.size_bytes()
    }

    /// Adds an event, which will have `offset`.
    pub(super) fn push(&mut self, event: &Event, offset: Offset, trace: &Trace) -> Result<(), BatchError> {
        if self.builder.is_empty() {
            self.builder.restart(Timestamp(event.at_ms));
        }
        self.value.clear();
        match self.format {
            EventFormat::Compact => {
                event.write_compact(&mut self.value);
                let (timestamp, value) = (Timestamp(event.at_ms), Some(&self.value[..]));
                self.builder.push(&Record {
                    timestamp,
                    key: None,
                    value,
                    headers: &[],
                })
            }
            EventFormat::CloudEvents { partition } => self.push_cloud_event(event, partition, offset, trace),
        }
    }

    /// The batch, with base offset 0.
    pub(super) fn finish(&mut self) -> Bytes {
        self.builder.finish()
    }

    fn push_cloud_event(
        &mut self,
        event: &Event,
        partition: u32,
        offset: Offset,
        trace: &Trace,
    ) -> Result<(), BatchError> {
        event.write_json(&mut self.value);
        if self.time.0 != event.at_ms {
            self.time = (event.at_ms, cloud_event::rfc3339(event.at_ms));
        }
        let mut id = [0; Hyphenated::LENGTH];
        let id = &*cloud_event::event_id(event.at_ms, partition, offset.0)
            .hyphenated()
            .encode_lower(&mut id);
        let mut reservation = [0; Hyphenated::LENGTH];
        let subject = match event.reservation {
            Some(id) => Some(&*id.hyphenated().encode_lower(&mut reservation)),
            None => cloud_event::article(event),
        };
        let mut command = [0; Hyphenated::LENGTH];
        let causation = match &trace.causation {
            Some(causation) => Some(&**causation),
            None if event.command.is_nil() => None,
            None => Some(&*event.command.hyphenated().encode_lower(&mut command)),
        };
        let event_type = cloud_event::event_type(&event.outcome, event.reservation.is_some());
        let mut headers: [(&str, &[u8]); 9] = [("", b""); 9];
        let mut count = 0;
        for (name, value) in [
            ("content-type", Some("application/json")),
            ("ce_specversion", Some("1.0")),
            ("ce_id", Some(id)),
            ("ce_source", Some(&*self.source)),
            ("ce_type", Some(event_type)),
            ("ce_time", Some(&*self.time.1)),
            ("ce_subject", subject),
            ("ce_correlationid", trace.correlation.as_deref()),
            ("ce_causationid", causation),
        ] {
            if let Some(value) = value {
                headers[count] = (name, value.as_bytes());
                count += 1;
            }
        }
        self.builder.push(&Record {
            timestamp: Timestamp(event.at_ms),
            key: subject.map(str::as_bytes),
            value: Some(&self.value),
            headers: &headers[..count],
        })
    }
}
