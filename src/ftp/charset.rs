//! The charset of a control connection (RFC 2640): how names are written there.

use std::io;

use encoding_rs::Encoding as Charset;
use suppaftp::Encoding;
use suppaftp::tokio::ImplAsyncFtpStream;

use super::control_stream::ControlStream;

/// IAC (RFC 854): doubled when it occurs in a name.
const TELNET_COMMAND: u8 = 255;

/// Names in a charset that is not UTF-8.
#[derive(Debug)]
struct CharsetEncoding(&'static Charset);

impl Encoding for CharsetEncoding {
    fn decode(&self, bytes: &[u8]) -> String {
        decode(self.0, bytes)
    }

    fn encode(&self, text: &str) -> io::Result<Vec<u8>> {
        match self.0.encode(text) {
            (bytes, _, false) => Ok(bytes.into_owned()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// Decodes text; bytes that are invalid in the charset are replaced.
pub(super) fn decode(charset: &'static Charset, bytes: &[u8]) -> String {
    charset.decode_without_bom_handling(bytes).0.into_owned()
}

/// Encodes a line of a burst, which does not go through suppaftp: in the charset, with telnet's 255 doubled.
pub(super) fn encode_line(charset: Option<&'static Charset>, line: &str) -> io::Result<Vec<u8>> {
    let Some(charset) = charset else { return Ok(line.as_bytes().to_vec()) };
    let mut bytes = Vec::with_capacity(line.len());
    for byte in CharsetEncoding(charset).encode(line)? {
        bytes.extend(std::iter::repeat_n(byte, if byte == TELNET_COMMAND { 2 } else { 1 }));
    }
    // No supported charset turns a name into a line end, and none may.
    if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0')) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(bytes)
}

/// Makes suppaftp send names in this charset.
pub(super) async fn write_in(
    client: &mut ImplAsyncFtpStream<ControlStream>,
    charset: Option<&'static Charset>,
) {
    if let Some(charset) = charset {
        client.set_encoding(CharsetEncoding(charset)).await;
    }
}
