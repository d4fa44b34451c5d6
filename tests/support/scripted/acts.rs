//! What a script can tell the server to do.

use std::time::Duration;

/// What the server does instead of behaving.
#[derive(Clone, Debug)]
pub enum Act {
    /// Says this (a line end is added), and does nothing else.
    Say(String),
    /// Says this without a line end, and waits for the next command.
    Mutter(String),
    /// Says this, then closes the control connection.
    SayAndClose(String),
    /// Says this, one byte a packet.
    Torn(String),
    /// Says these bytes, whatever they are.
    Bytes(Vec<u8>),
    /// Says this, and after it nothing any more.
    SayAndHang(String),
    /// Says this, and goes on with that for ever, or until the client has had enough.
    Flood(String, String),
    /// Closes the control connection without a word.
    Close,
    /// Never answers.
    Hang,
    /// RETR: 150, these bytes, then this end.
    Send(Vec<u8>, End),
    /// RETR: 226 before a single byte is sent, and nothing after them.
    SendLate(Vec<u8>),
    /// STOR: 150, takes at most so many bytes, then this end.
    Take(usize, End),
    /// RETR: 150, then one byte after the other, with such a pause between two, until the client closes it; then 426.
    Drip(Duration),
    /// EPSV: names a port on which connections wait for ever to be accepted.
    NobodyAccepts,
    /// RETR, MLSD or LIST on a data connection with TLS: 150, closed before the handshake; then this reply.
    NothingToSend(String),
    /// EPSV or PASV: names a port on which nobody listens.
    DeadPort,
    /// EPSV: names a port that is silent, since as many connections wait there to be accepted as may.
    FullPort,
    /// PASV: names the right port at another address.
    ForeignAddress,
}

/// How a data connection ends.
#[derive(Clone, Debug)]
pub enum End {
    /// Closed; then the reply.
    Close(String),
    /// Reset; then the reply.
    Reset(String),
    /// Closed; no reply.
    Silence,
    /// Left open, and no reply.
    Stall,
    /// Bytes until the client closes it; then 426.
    Endless,
    /// Left alone for half a second, then read to its end; then the reply.
    Dawdle(String),
    /// Closed, together with the control connection.
    Vanish,
}
