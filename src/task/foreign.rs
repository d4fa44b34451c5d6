//! Records that are not tasks because of the serializer that wrote them: a schema registry's, an envelope, a binary
//! format. They are named, since "not UTF-8 (byte 7)" does not tell a producer which of its settings is wrong.

use serde_json::value::RawValue;

use super::json::{JsonField, JsonValue, object, string};

/// The format of a record that is not a task.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignRecord<'a> {
    /// Completes a sentence that starts with "the record".
    pub what: String,
    /// The JSON in it that may be the task.
    pub inner: Option<&'a str>,
}

/// A record that is not JSON from its first byte on.
pub(super) fn binary(payload: &[u8]) -> Option<ForeignRecord<'_>> {
    let (what, inner) = match payload {
        [0, id @ ..] if id.len() >= 4 => {
            let (id, content) = id.split_first_chunk()?;
            let schema = u32::from_be_bytes(*id);
            let inner = std::str::from_utf8(content).ok().filter(|text| text.trim_start().starts_with('{'));
            let holds =
                if inner.is_some() { "before its JSON" } else { "before Avro, Protobuf or other bytes" };
            let what = format!(
                "is framed for a Schema Registry (a zero byte and the schema id {schema} {holds}), must be a JSON object \
                 alone: serialize it as a string, not with the registry's serializer"
            );
            (what, inner)
        }
        [b'O', b'b', b'j', 1, ..] => {
            ("is an Avro container file, must be a JSON object as text".to_owned(), None)
        }
        [0xc3, 1, ..] => {
            ("is Avro in its single-object encoding, must be a JSON object as text".to_owned(), None)
        }
        [first @ (0..=8 | 14..=31 | 127), ..] => (
            format!(
                "begins with the byte 0x{first:02x}, as Avro, Protobuf and other binary formats do, must be a JSON object \
                 as text"
            ),
            None,
        ),
        _ => return None,
    };
    Some(ForeignRecord { what, inner })
}

/// A JSON object that is not a task, but contains one.
pub(super) fn envelope(json: &str) -> Option<ForeignRecord<'_>> {
    let (fields, read) =
        object(json, ["task_id", "operation", "schema", "payload", "specversion", "type", "id", "data"]);
    read.ok()?;
    let [task_id, operation, schema, payload, specversion, kind, id, data] = fields;
    let is_there = |field: &JsonField<'_>| !matches!(field.value, JsonValue::Absent);
    if is_there(&task_id) || is_there(&operation) {
        return None;
    }
    if is_there(&schema) && is_there(&payload) {
        let what = "is an envelope of Kafka Connect (schema and payload), must be the task alone: set \
                    value.converter.schemas.enable=false for its JsonConverter";
        return Some(ForeignRecord { what: what.to_owned(), inner: payload.optional().map(RawValue::get) });
    }
    if is_there(&specversion) && is_there(&kind) && is_there(&id) {
        let version = specversion.optional().and_then(string).unwrap_or_default();
        let what = format!(
            "is a CloudEvent (specversion {}), must be its data alone: send it in CloudEvents' binary mode, whose \
             value is the data",
            version.chars().filter(char::is_ascii_graphic).take(8).collect::<String>()
        );
        return Some(ForeignRecord { what, inner: data.optional().map(RawValue::get) });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_formats_are_named_and_text_is_none_of_them() {
        for (payload, part) in [
            (&b"\0\0\0\0\x0c{\"task_id\": \"t\"}"[..], "schema id 12 before its JSON"),
            (b"\0\0\0\x01\0\x04t1", "schema id 256 before Avro"),
            (b"Obj\x01\x04\x14avro.codec", "Avro container file"),
            (b"\xc3\x01\0\0\0\0\0\0\0\0", "single-object encoding"),
            (b"\x04t1\x10download", "begins with the byte 0x04"),
            (b"\0\0", "begins with the byte 0x00"),
        ] {
            let found = binary(payload).unwrap_or_else(|| panic!("{payload:?}"));
            assert!(found.what.contains(part), "{}", found.what);
        }
        for payload in [&b"{}"[..], b"", b" {}", b"\t{}", b"\xef\xbb\xbf{}", b"hello", b"\xff"] {
            assert_eq!(binary(payload), None, "{payload:?}");
        }
    }

    #[test]
    fn an_envelope_is_one_only_where_it_is_no_task() {
        for (json, inner) in [
            (r#"{"schema":{},"payload":{"task_id":"t"}}"#, Some(r#"{"task_id":"t"}"#)),
            (r#"{"schema":null,"payload":null}"#, None),
            (r#"{"specversion":"1.0","type":"x","id":"1","source":"/x","data":{}}"#, Some("{}")),
        ] {
            assert_eq!(envelope(json).unwrap().inner, inner, "{json}");
        }
        for json in [r#"{"task_id":"t","schema":1,"payload":2}"#, r#"{"payload":{}}"#, "{}", "[]", "{"] {
            assert_eq!(envelope(json), None, "{json}");
        }
    }
}
