//! The key and headers of an answer, and the room they leave for the payload.

use std::borrow::Cow;

use super::Outcome;
use super::encode::{Answer, AnswerKind};
use crate::record::{Header, OWN_HEADER_PREFIX, Record};

/// What Kafka counts towards a record's size besides key, headers and value: 61 bytes of a batch's header and
/// at most 36 of lengths and deltas (record batch, magic 2), rounded up.
const RECORD_OVERHEAD: usize = 128;
/// The same for each header: two lengths of at most 5 bytes.
const HEADER_OVERHEAD: usize = 10;

/// An answer's key and headers.
pub(super) struct Envelope<'a> {
    key: Option<&'a [u8]>,
    headers: Vec<Cow<'a, Header>>,
    /// How many bytes are left for the payload.
    pub room: usize,
    /// Headers or the key had to be dropped.
    pub cut: bool,
}

impl<'a> Envelope<'a> {
    /// The envelope that leaves the payload `needed` bytes of `max_bytes`.
    pub fn of(outcome: &'a Outcome, max_bytes: usize, needed: usize) -> Self {
        let record = &outcome.record;
        let task_id = outcome.task_id.as_deref().map(str::as_bytes);
        let headers = record.headers.iter().filter(|header| !header.key.starts_with(OWN_HEADER_PREFIX));
        let whole = Envelope {
            key: task_id.or(record.key.as_deref()),
            headers: headers.map(Cow::Borrowed).collect(),
            room: max_bytes.saturating_sub(RECORD_OVERHEAD),
            cut: false,
        };
        let has_room = |envelope: &Self| envelope.len() + needed <= envelope.room;
        let fitting = if has_room(&whole) {
            whole
        } else {
            let bare = Envelope { cut: !whole.headers.is_empty(), headers: Vec::new(), ..whole };
            let keyless = bare.key != task_id;
            if has_room(&bare) { bare } else { Envelope { key: task_id, cut: bare.cut || keyless, ..bare } }
        };
        Envelope { room: fitting.room.saturating_sub(fitting.len()), ..fitting }
    }

    /// The envelope of the record itself, with its `own` headers written again; `None` where it leaves no room.
    pub fn of_deferral(record: &'a Record, own: Vec<Header>, max_bytes: usize) -> Option<Self> {
        let headers = record.headers.iter().filter(|header| !header.key.starts_with(OWN_HEADER_PREFIX));
        let whole = Envelope {
            key: record.key.as_deref(),
            headers: headers.map(Cow::Borrowed).chain(own.into_iter().map(Cow::Owned)).collect(),
            room: 0,
            cut: false,
        };
        let room = max_bytes.checked_sub(RECORD_OVERHEAD + whole.len())?;
        Some(Envelope { room, ..whole })
    }

    pub fn deferral(self, payload: Vec<u8>) -> Answer<'a> {
        Answer { kind: AnswerKind::Deferral, key: self.key, headers: self.headers, payload, truncated: false }
    }

    pub fn answer(self, kind: AnswerKind, payload: String, truncated: bool) -> Answer<'a> {
        Answer { kind, key: self.key, headers: self.headers, payload: payload.into_bytes(), truncated }
    }

    /// The size of key and headers in bytes.
    fn len(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|header| HEADER_OVERHEAD + header.key.len() + header.value.as_ref().map_or(0, Vec::len));
        self.key.map_or(0, <[u8]>::len) + headers.sum::<usize>()
    }
}
