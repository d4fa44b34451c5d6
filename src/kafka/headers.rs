//! A record's headers, copied out of librdkafka's buffers and back into them.

use rdkafka::message::{BorrowedMessage, Header as KafkaHeader, Headers as _, Message as _, OwnedHeaders};

use crate::record::Header;

/// In the record's order; a null value stays one.
pub(crate) fn headers_of(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let own = |header: KafkaHeader<'_, &[u8]>| Header {
        key: header.key.to_owned(),
        value: header.value.map(<[u8]>::to_vec),
    };
    message.headers().map(|headers| headers.iter().map(own).collect()).unwrap_or_default()
}

/// In this order; `None` if there is none, since librdkafka would allocate a list for nothing.
pub(crate) fn to_headers<'a>(
    headers: impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> Option<OwnedHeaders> {
    if headers.len() == 0 {
        return None;
    }
    let none = OwnedHeaders::new_with_capacity(headers.len());
    Some(headers.fold(none, |all, (key, value)| all.insert(KafkaHeader { key, value })))
}
