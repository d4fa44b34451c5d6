//! Opens a session for a command that lists a server, besides the pool's own sessions there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::config::FtpConnection;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::ftp::{ServerProfile, Session};
use crate::listing::{ListingSessions, Location, LocationConnection};

/// How long a server that accepts no more sessions is retried. Pods close idle sessions that others may wait for well
/// within it (`IDLE_WHILE_SCARCE` in `src/pool/accounting/limit.rs`).
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries, at first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A command's own sessions with one place's server.
pub(super) struct PatientSessions<'a> {
    connection: Option<Arc<FtpConnection>>,
    profile: Arc<ServerProfile>,
    /// Gets lines for people.
    say: &'a (dyn Fn(&str) + Sync),
}

impl<'a> PatientSessions<'a> {
    pub fn with(place: &Location, say: &'a (dyn Fn(&str) + Sync)) -> PatientSessions<'a> {
        let connection = match &place.connection {
            LocationConnection::Ftp(ftp) => Some(Arc::clone(ftp)),
            LocationConnection::Local(_) => None,
        };
        PatientSessions { connection, profile: Arc::default(), say }
    }
}

#[async_trait]
impl ListingSessions for PatientSessions<'_> {
    type Session = Box<Session>;

    async fn open(&self) -> Result<Box<Session>, TryError> {
        let Some(connection) = &self.connection else {
            let failure = Failure::new(Code::Internal, "a local directory has no sessions");
            return Err(TryError { failure, remedy: Remedy::GiveUp });
        };
        open(connection, &self.profile, self.say).await.map(Box::new)
    }

    async fn close(&self, session: Box<Session>) {
        session.close().await;
    }
}

/// [`Session::open_with`]; where the server is full, again and again for [`PATIENCE`]. `say` gets a line when that
/// begins.
///
/// # Errors
/// As of [`Session::open_with`]; `server_busy` where the server was full all the time.
async fn open(
    connection: &FtpConnection,
    profile: &Arc<ServerProfile>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Session, TryError> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut has_said = false;
    loop {
        let mut error = match Session::open_with(connection, profile).await {
            Err(error) if error.failure.code == Code::ServerBusy => error,
            ended => return ended,
        };
        if begun.elapsed() + pause >= PATIENCE {
            let tried = format!("; tried for {} s", begun.elapsed().as_secs());
            error.failure.message.push_str(&tried);
            return Err(error);
        }
        if !has_said {
            has_said = true;
            say(&format!(
                "{}: {}: waiting for a free session, {} s at most",
                connection.name,
                error.failure.message,
                PATIENCE.as_secs()
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
