//! One FTP session: control connection, commands and replies, data connections. The only user of suppaftp.

use crate::config::FtpConnection;
use crate::failure::TryError;

/// A logged-in session (TYPE I), owned by one task at a time.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// Connects, reads the greeting, logs in, sets TYPE I; each step has its deadline.
    ///
    /// # Errors
    /// `connect_failed`, `timeout`, `auth_failed`, `server_busy`, `protocol_error`.
    pub async fn open(connection: &FtpConnection) -> Result<Session, TryError> {
        todo!()
    }

    /// False once an exchange was left unfinished (error, timeout, cancellation) or a reply did not fit:
    /// such a session is never used again. Costs no round trip.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        todo!()
    }

    /// Looks at the idle socket: readable means that the server has said 421 or closed it. No round trip.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        todo!()
    }

    /// Ends the session: QUIT where it is sound, then waits (bounded by a second or two) until the server
    /// has closed its end, so that the server counts it no more. The socket is closed when this returns.
    pub async fn close(self) {
        todo!()
    }
}
