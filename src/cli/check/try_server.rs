//! One server: its login, its login directory over a data connection, and if asked for a file there and back.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Found;
use crate::config::{BandwidthTimetable, FtpConnection, TlsMode};
use crate::failure::{Code, TryError};
use crate::ftp::{Session, SizeReply};
use crate::storage::Incarnation;

/// A huge directory is not read to its end.
const LIST_WITHIN: Duration = Duration::from_secs(20);
/// What `--deep` writes.
const CONTENT: &[u8] = b"written by `ftp-pooler check --deep`, and to be removed by it\n";

pub(super) async fn try_server(connection: &FtpConnection, is_deep: bool) -> Found {
    let begun = Instant::now();
    let mut session = match Session::open(connection).await {
        Ok(session) => session,
        Err(error) if error.failure.code == Code::ServerBusy => return Found::Busy(error.to_string()),
        Err(error) => return Found::Failed(error.to_string()),
    };
    let tls = if connection.tls.mode == TlsMode::Off { "" } else { ", over TLS" };
    let mut found = format!("{}:{}: logged in as {}{tls}", connection.host, connection.port, connection.user);
    found.push_str(&limited("bandwidth", &connection.bandwidth));
    let listed = list(connection, &mut session).await;
    let is_listed = listed.is_ok();
    found.push_str(match &listed {
        Ok(text) | Err(text) => text,
    });
    let mut is_well = is_listed;
    if is_deep && is_listed {
        let written = write_a_file(connection, &mut session).await;
        is_well = written.is_ok();
        found.push_str(match &written {
            Ok(text) | Err(text) => text,
        });
    }
    let _ = write!(found, ", {} ms", begun.elapsed().as_millis());
    if session.is_usable() {
        session.close().await;
    }
    if is_well { Found::Well(found) } else { Found::Failed(found) }
}

/// The key's current limit, if it has one at any time.
pub(super) fn limited(key: &str, timetable: &BandwidthTimetable) -> String {
    if timetable.is_unlimited() {
        return String::new();
    }
    let (now, timetable) = (timetable.now().to_string(), timetable.to_string());
    let always = if now == timetable { String::new() } else { format!(" ({key} = {timetable})") };
    format!(", limited to {now} now{always}")
}

/// Lists the directory that tasks with a relative path begin in.
async fn list(connection: &FtpConnection, session: &mut Session) -> Result<String, String> {
    let directory = connection.on_server("").unwrap_or_default();
    let trimmed = directory.trim_end_matches('/');
    let directory = if trimmed.is_empty() && !directory.is_empty() { "/" } else { trimmed };
    let mut entries = 0_u64;
    let listing = session.list(directory, |_| entries += 1);
    let listed = timeout(LIST_WITHIN, listing).await;
    match listed {
        Ok(Ok(())) => Ok(format!("; its directory has {}", entries_of(entries))),
        Err(_) if entries > 0 => Ok(format!("; its directory has more than {}", entries_of(entries))),
        Err(_) => {
            let waited = LIST_WITHIN.as_secs();
            Err(format!(
                "; timeout: no byte of its directory's listing came within {waited} s{PASSIVE_PORTS}"
            ))
        }
        // A drop box: writable, but not listable; whether the data connection works is not known then.
        Ok(Err(error)) if is_refusal(&error) => Ok(format!("; its directory may not be listed ({error})")),
        Ok(Err(error)) => {
            let is_about_data = matches!(error.failure.code, Code::ConnectFailed | Code::Timeout);
            let hint = if is_about_data { PASSIVE_PORTS } else { "" };
            Err(format!("; its directory cannot be listed: {error}{hint}"))
        }
    }
}

const PASSIVE_PORTS: &str =
    " (does a firewall block the data connection, such as the server's passive ports?)";

fn entries_of(entries: u64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

fn is_refusal(error: &TryError) -> bool {
    matches!(error.failure.code, Code::PermissionDenied | Code::SourceNotFound | Code::Unsupported)
}

/// Writes a file, asks for its size, and removes it.
async fn write_a_file(connection: &FtpConnection, session: &mut Session) -> Result<String, String> {
    let failed = |what: &str, error: &TryError| format!("; {what}: {error}");
    let id = Incarnation::random().map_err(|error| format!("; no random name for a file: {error}"))?;
    let name = format!("ftp-pooler-check-{id}.tmp");
    let path = connection.on_server(&name).unwrap_or(name);
    let stored = async {
        let mut upload = session.store(&path).await?;
        upload.write(CONTENT).await?;
        upload.close().await?;
        upload.finish(false).await
    };
    stored.await.map_err(|error| failed("a file cannot be written", &error))?;
    let size = session.size(&path).await;
    session
        .delete(&path)
        .await
        .map_err(|error| failed(&format!("{path} was written and cannot be removed"), &error))?;
    match size.map_err(|error| failed("the size of a written file cannot be asked for", &error))? {
        SizeReply::Bytes(bytes) if bytes != CONTENT.len() as u64 => {
            Err(format!("; of {} bytes written {bytes} arrived", CONTENT.len()))
        }
        _ => Ok("; a file was written and removed".to_owned()),
    }
}
