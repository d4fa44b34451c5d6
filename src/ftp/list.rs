//! The names in a directory (NLST).

use bytes::BufMut;

use crate::failure::TryError;

use super::fault::Step;
use super::session::Session;

/// Bytes of one list that are read; what comes after them is not looked at.
const MAX_LIST: usize = 4 << 20;

impl Session {
    /// The names of the files in `directory` (with the slash at its end; empty for the one logged in to), hidden
    /// ones included. Of a huge directory only the first four mebibytes of names.
    ///
    /// # Errors
    /// As of RETR. A directory that is empty or missing, which servers do not tell apart, has no names.
    pub async fn names_in(&mut self, directory: &str) -> Result<Vec<String>, TryError> {
        let path = match directory.trim_end_matches('/') {
            "" => directory,
            path => path,
        };
        // Without -a vsftpd, ProFTPD and Pure-FTPd do not list hidden files; others take it for a name.
        let options = if path.is_empty() { "-a".to_owned() } else { format!("-a {path}") };
        match self.names(&options).await {
            Err(error) if self.is_sound() && matches!(error.failure.ftp_code, Some(450 | 550)) => {
                Ok(Vec::new())
            }
            Err(error) if self.is_sound() && matches!(error.failure.ftp_code, Some(500..=504)) => {
                let plain = if path.is_empty() { "." } else { path };
                self.names(plain).await
            }
            listed => listed,
        }
    }

    async fn names(&mut self, argument: &str) -> Result<Vec<String>, TryError> {
        let mut retrieve = self.listing(Step::Nlst, argument).await?;
        let mut list = Vec::new();
        while list.len() < MAX_LIST {
            let mut room = (&mut list).limit(64 * 1024);
            if retrieve.read(&mut room).await? == 0 {
                break;
            }
        }
        if list.len() < MAX_LIST {
            retrieve.finish().await?;
        } else {
            retrieve.abort().await;
        }
        let text = String::from_utf8_lossy(&list);
        let name = |line: &str| line.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(text.lines().map(name).filter(|name| !name.is_empty()).collect())
    }
}
