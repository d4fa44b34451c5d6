//! Temp files that nobody will finish are removed from the servers, on sessions that have nothing else to do.
//!
//! Which, and where they are looked for, is the same as for local ones: see `storage::strays`. Of a server only
//! names and sizes are asked.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::failure::TryError;
use crate::ftp::{Session, Size};
use crate::storage::{Errand, Incarnation, SharedStrays, Stamp, TempName};

use super::Transfer;

/// How long one errand may keep a session from the next task.
const WITHIN: Duration = Duration::from_secs(10);
/// Temp files of one directory whose sizes are asked at most.
const MAX_FOUND: usize = 100;

impl Transfer {
    /// Does one thing that is due on this session's server: a look into a directory, or a removal. False where
    /// nothing is. Takes ten seconds at most; the session may be in doubt afterwards, or where it is dropped.
    pub async fn tidy(&self, session: &mut Session) -> bool {
        let connection = session.connection().name.clone();
        let strays = self.strays_at(&connection);
        let errand = strays.lock().next(Instant::now());
        match errand {
            None => return false,
            Some(Errand::Remove { directory, temp }) => {
                let path = format!("{directory}{temp}");
                match timeout(WITHIN, session.delete(&path)).await {
                    Ok(Ok(true)) => {
                        tracing::info!(connection, path, "a temp file was removed from the server");
                    }
                    Ok(Ok(false)) => {}
                    _ if !session.is_sound() && temp.incarnation() == self.incarnation => {
                        strays.lock().left(&directory, temp);
                    }
                    _ => tracing::warn!(connection, path, "a temp file may be left on the server"),
                }
            }
            Some(Errand::Look { directory }) => {
                match timeout(WITHIN, look(session, &directory, self.incarnation)).await {
                    Ok(Ok(found)) => {
                        strays.lock().looked(&directory, found, self.incarnation, Instant::now());
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(connection, %error, "not looked for temp files");
                        strays.lock().forget(&directory);
                    }
                    Err(_) => strays.lock().forget(&directory),
                }
            }
        }
        true
    }
}

/// Other processes' temp files in the directory.
async fn look(
    session: &mut Session,
    directory: &str,
    ours: Incarnation,
) -> Result<Vec<(TempName, Stamp)>, TryError> {
    let names = session.names_in(directory).await?;
    let temps = names.iter().filter_map(|name| TempName::parse(name));
    let others: Vec<TempName> = temps.filter(|temp| temp.incarnation() != ours).take(MAX_FOUND).collect();
    let mut found = Vec::with_capacity(others.len());
    for temp in others {
        // A living upload grows; a time of change would be in the server's time zone.
        let stamp = match session.size(&format!("{directory}{temp}")).await? {
            Size::Bytes(size) => Some((size, 0)),
            Size::Unsupported | Size::Refused { .. } => None,
        };
        found.push((temp, stamp));
    }
    Ok(found)
}

/// A temp file that may stand on the server. Dropped before it is [`Leftover::gone`], it is removed later.
#[derive(Debug)]
pub(super) struct Leftover {
    strays: SharedStrays,
    directory: String,
    temp: Option<TempName>,
}

impl Leftover {
    pub fn of(strays: &SharedStrays, directory: &str, temp: &TempName) -> Self {
        Leftover { strays: strays.clone(), directory: directory.to_owned(), temp: Some(temp.clone()) }
    }

    pub fn gone(mut self) {
        self.temp = None;
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(temp) = self.temp.take() {
            self.strays.lock().left(&self.directory, temp);
        }
    }
}
