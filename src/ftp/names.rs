//! How the names of files are written on the control connection (RFC 2640).

use std::io;

use encoding_rs::Encoding as Charset;
use suppaftp::Encoding;

use crate::failure::TryError;

use super::control::Control;
use super::fault::{Fault, Step, Wait, within};
use super::session::Session;

/// IAC (RFC 854): as a byte of a name it is sent twice.
const TELNET_COMMAND: u8 = 255;

/// Names in a charset that is not UTF-8.
#[derive(Debug)]
struct Named(&'static Charset);

impl Encoding for Named {
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

/// Text in a charset; what it has no meaning for is replaced.
pub(super) fn decode(charset: &'static Charset, bytes: &[u8]) -> String {
    charset.decode_without_bom_handling(bytes).0.into_owned()
}

/// A line as it goes over the wire, for what is written past suppaftp: in the charset, and telnet's 255 doubled.
pub(super) fn on_the_wire(charset: Option<&'static Charset>, line: &str) -> io::Result<Vec<u8>> {
    let Some(charset) = charset else { return Ok(line.as_bytes().to_vec()) };
    let mut bytes = Vec::with_capacity(line.len());
    for byte in Named(charset).encode(line)? {
        bytes.extend(std::iter::repeat_n(byte, if byte == TELNET_COMMAND { 2 } else { 1 }));
    }
    // No charset that a server has makes a line's end of a name, and none may.
    if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0')) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(bytes)
}

/// Names are sent in this charset from now on.
pub(super) async fn write_in(ftp: &mut Control, charset: Option<&'static Charset>) {
    if let Some(charset) = charset {
        ftp.set_encoding(Named(charset)).await;
    }
}

impl Session {
    /// Before the first name that is not ASCII: `OPTS UTF8 ON`, without which IIS, for one, takes UTF-8 for its
    /// own code page. A server that refuses may well speak UTF-8 all the same, and is not asked again.
    ///
    /// # Errors
    /// Those of any command.
    pub(crate) async fn speak_utf8_for(&mut self, path: &str) -> Result<(), TryError> {
        match self.speak_utf8(path).await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.fail(Step::Opts, Some(path), &fault)),
        }
    }

    pub(super) async fn speak_utf8(&mut self, name: &str) -> Result<(), Fault> {
        if name.is_ascii() || !std::mem::take(&mut self.owes_utf8) {
            return Ok(());
        }
        let limit = self.connection().timeouts.reply;
        let waiting = || "the reply to OPTS UTF8".to_owned();
        within(Wait::Reply, limit, waiting, self.opts_utf8()).await?
    }

    async fn opts_utf8(&mut self) -> Result<(), Fault> {
        if self.exchange_line("OPTS UTF8 ON").await?.is_done() {
            return Ok(());
        }
        // Some want to know their client first.
        if self.features.has("CLNT") {
            self.exchange_line("CLNT ftp-pooler").await?;
            if self.exchange_line("OPTS UTF8 ON").await?.is_done() {
                return Ok(());
            }
        }
        self.known.no_opts_utf8();
        Ok(())
    }
}
