//! The peer as a server that behaves: its replies, and its files in memory.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::State;
use super::peer::{DataEnd, Gone, Peer};

impl Peer {
    pub(super) async fn behave(&mut self, verb: &str, argument: &str) -> Result<(), Gone> {
        let argument = match self.in_current_directory(verb, argument) {
            Ok(argument) => argument,
            Err(reply) => return self.say(&reply).await,
        };
        let argument = argument.as_str();
        match verb {
            "USER" => self.say("331 password, please").await,
            "PASS" => {
                self.shared.logins.fetch_add(1, Ordering::SeqCst);
                self.say("230 logged in").await
            }
            "TYPE" | "NOOP" | "PBSZ" | "PROT" => self.say("200 ok").await,
            "EPSV" => {
                let port = self.listen().await?;
                self.say(&format!("229 Entering Extended Passive Mode (|||{port}|)")).await
            }
            "PASV" => {
                let port = self.listen().await?;
                self.say(&format!("227 Entering Passive Mode (127,0,0,1,{},{}).", port >> 8, port & 255))
                    .await
            }
            "EPRT" => match argument.split('|').nth(3).and_then(|port| port.parse().ok()) {
                Some(port) => {
                    self.data = Some(DataEnd::At(SocketAddr::from(([127, 0, 0, 1], port))));
                    self.say("200 there, then").await
                }
                None => self.say("501 where?").await,
            },
            "QUIT" => {
                self.say("221 bye").await?;
                Err(Gone)
            }
            "REST" => {
                self.from = argument.parse().unwrap_or(0);
                self.say("350 restarting").await
            }
            "RETR" => self.retrieve(argument).await,
            "STOR" => self.store(argument).await,
            "LIST" => self.list(argument).await,
            _ => {
                let reply = self.about_files(verb, argument);
                self.say(&reply).await
            }
        }
    }

    /// The argument, and on a server that takes no paths the whole path of the file that it names, or the reply that
    /// needs nothing more.
    fn in_current_directory(&mut self, verb: &str, argument: &str) -> Result<String, String> {
        let state = self.shared.state.lock().unwrap();
        let Some(refusal) = &state.refuses_paths else { return Ok(argument.to_owned()) };
        match verb {
            "PWD" => Err(format!("257 \"{}/\"", self.current)),
            "CWD" if state.has_parent(&format!("{}/x", argument.trim_end_matches('/'))) => {
                argument.trim_end_matches('/').clone_into(&mut self.current);
                Err("250 there now".to_owned())
            }
            "CWD" => Err("550 no such directory".to_owned()),
            "SIZE" | "MDTM" | "RETR" | "STOR" | "DELE" | "RNFR" | "RNTO" if argument.contains('/') => {
                Err(refusal.clone())
            }
            "SIZE" | "MDTM" | "RETR" | "STOR" | "DELE" | "RNFR" | "RNTO" => {
                Ok(format!("{}/{argument}", self.current))
            }
            _ => Ok(argument.to_owned()),
        }
    }

    fn about_files(&mut self, verb: &str, path: &str) -> String {
        let mut state = self.shared.state.lock().unwrap();
        match verb {
            "SIZE" => match state.files.get(path) {
                Some(content) => format!("213 {}", content.len()),
                None => "550 Could not get file size.".to_owned(),
            },
            "MDTM" if !state.modified.is_empty() => match state.modified.get(path) {
                Some(time) => format!("213 {time}"),
                None => "550 Could not get file modification time.".to_owned(),
            },
            "DELE" if state.files.remove(path).is_some() => "250 deleted".to_owned(),
            "RNFR" if state.files.contains_key(path) => {
                self.renaming = Some(path.to_owned());
                "350 and to?".to_owned()
            }
            "RNTO" => match self.renaming.take().and_then(|from| state.files.remove(&from)) {
                Some(content) => {
                    state.files.insert(path.to_owned(), content);
                    "250 renamed".to_owned()
                }
                None => "503 RNFR first".to_owned(),
            },
            "MKD" if state.has_parent(path) && state.make(path) => "257 made".to_owned(),
            "DELE" | "RNFR" | "MKD" => format!("550 {verb} failed."),
            _ => "500 Unknown command.".to_owned(),
        }
    }

    async fn retrieve(&mut self, path: &str) -> Result<(), Gone> {
        let Some(content) = self.shared.state.lock().unwrap().files.get(path).cloned() else {
            return self.say("550 Failed to open file.").await;
        };
        self.say("150 here it comes").await?;
        let mut data = self.accept().await?;
        let from = std::mem::take(&mut self.from);
        let sent = data.io().write_all(content.get(from..).unwrap_or_default()).await;
        data.close().await;
        self.say(if sent.is_ok() { "226 sent" } else { "426 broken" }).await
    }

    /// The names in a directory, with -a or without.
    async fn list(&mut self, argument: &str) -> Result<(), Gone> {
        let directory = argument.strip_prefix("-a").unwrap_or(argument).trim().trim_end_matches('/');
        let directory = if directory == "." { "" } else { directory };
        let names: String = {
            let state = self.shared.state.lock().unwrap();
            let inside = |path: &String| {
                let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
                (above == directory).then(|| format!("{name}\r\n"))
            };
            state.files.keys().filter_map(inside).collect()
        };
        self.say("150 here it comes").await?;
        let mut data = self.accept().await?;
        let sent = data.io().write_all(names.as_bytes()).await;
        data.close().await;
        self.say(if sent.is_ok() { "226 sent" } else { "426 broken" }).await
    }

    async fn store(&mut self, path: &str) -> Result<(), Gone> {
        if !self.shared.state.lock().unwrap().has_parent(path) {
            return self.say("553 Could not create file.").await;
        }
        self.say("150 send it").await?;
        let mut data = self.accept().await?;
        let mut rest = Vec::new();
        let mut content = match std::mem::take(&mut self.from) {
            0 => Vec::new(),
            from => {
                let mut there =
                    self.shared.state.lock().unwrap().files.get(path).cloned().unwrap_or_default();
                let behind = there.split_off(from.min(there.len()));
                if !self.shared.state.lock().unwrap().cuts {
                    rest = behind;
                }
                there
            }
        };
        let begin = content.len();
        let got = data.io().read_to_end(&mut content).await;
        data.close().await;
        content.extend(rest.into_iter().skip(content.len() - begin));
        self.shared.state.lock().unwrap().files.insert(path.to_owned(), content);
        self.say(if got.is_ok() { "226 stored" } else { "426 broken" }).await
    }
}

impl State {
    fn has_parent(&self, path: &str) -> bool {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.directories.as_ref().is_none_or(|there| parent.is_empty() || there.contains(parent))
    }

    /// False where it exists already: like vsftpd's, the refusal does not say so.
    fn make(&mut self, path: &str) -> bool {
        self.directories.as_mut().is_some_and(|there| there.insert(path.to_owned()))
    }
}
