//! What the demo runs on: broker, FTP server, directories, and the reader of the answers.

use std::env;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use indicatif::HumanBytes;
use tokio::task::block_in_place;

use crate::broker::Broker;
use crate::plan::{LOCAL, Plan, SERVER};
use crate::pod::{DemoPod, PodStartError};
use crate::reader::Reader;
use crate::server::{FtpServer, USER};
use crate::site::{Addresses, Site};

/// All but the pod, which must be stopped before any of this ends. Ends in this order.
#[derive(Debug)]
pub struct Stage {
    pub reader: Reader,
    pub server: FtpServer,
    pub broker: Broker,
    pub site: Site,
    page: SocketAddr,
    metrics: SocketAddr,
}

impl Stage {
    /// Starts everything.
    pub async fn set<P: DemoPod>(site: Site, plan: &Plan) -> Result<(P, Stage)> {
        block_in_place(|| plan.prepare(&site)).context("cannot make the demo's files")?;
        let broker = Broker::start()?;
        let server = FtpServer::start(site.server()).await?;
        let reader = Reader::start(broker.bootstrap())?;
        let mut addresses = Addresses {
            bootstrap: broker.bootstrap(),
            server: server.address(),
            nobody: server.nobody()?,
            api_port: 8080,
            metrics_port: 9090,
        };
        site.configure(&addresses)?;
        let mut pod = P::start(&site.config()).await;
        if matches!(pod, Err(PodStartError::PortTaken(_))) {
            (addresses.api_port, addresses.metrics_port) = (0, 0); // the system gives free ones
            site.configure(&addresses)?;
            pod = P::start(&site.config()).await;
        }
        let pod = pod.map_err(PodStartError::into_error)?;
        let (page, metrics) = (pod.api_address(), pod.metrics_address());
        Ok((pod, Stage { reader, server, broker, site, page, metrics }))
    }

    /// What the demo has set up, and where.
    pub fn introduction(&self, plan: &Plan) -> String {
        let root = self.site.root().display();
        let kept = if self.site.is_temporary() { "until the end" } else { "kept" };
        format!(
            "A Kafka broker, an FTP server and FTP Pooler, all in this process:\n\
             \x20 page        http://{page}/\n\
             \x20 metrics     http://{metrics}/metrics\n\
             \x20 FTP server  {server}, user {USER}\n\
             \x20 broker      {broker}; it has no transactions, so answers are delivered at_least_once here\n\
             \x20 files       {root} ({kept})\n\
             {records} records are sent: {bytes} to move, and some that must fail.\n",
            page = self.page,
            metrics = self.metrics,
            server = self.server.address(),
            broker = self.broker.bootstrap(),
            records = plan.records.len(),
            bytes = HumanBytes(plan.bytes()),
        )
    }

    /// The sidecar's addresses, the page's first.
    pub fn addresses(&self, is_running: bool) -> String {
        let (page, metrics) = (self.page, self.metrics);
        let when = if is_running {
            "It is up at:"
        } else {
            "It was up at (--keep-running leaves it up, to play with):"
        };
        format!("\n{when}\n  http://{page}/  (also /health, /ready, /metrics)\n  http://{metrics}/metrics")
    }

    /// How to send a task of one's own.
    pub fn invitation(&self) -> Result<String> {
        let task = format!(
            "{{\"task_id\": \"mine-1\", \"operation\": \"upload\", \
             \"source\": {{\"connection_id\": \"{LOCAL}\", \"path\": \"/hello.txt\"}}, \
             \"destination\": {{\"connection_id\": \"{SERVER}\", \"path\": \"/inbox/hello.txt\"}}}}"
        );
        let (storage, arrived) = (self.site.storage(), self.site.server().join("inbox/hello.txt"));
        let mut text = String::from(
            "\nAll of it runs on until Ctrl-C. Try a task of your own, in another terminal:\n\n",
        );
        writeln!(text, "  echo hello > {}", quoted(&storage.join("hello.txt")))?;
        writeln!(
            text,
            "  {} demo send --bootstrap {} '{task}'",
            quoted(&this_program()),
            self.broker.bootstrap()
        )?;
        writeln!(text, "  cat {}\n", quoted(&arrived))?;
        writeln!(text, "Or the commands that a pool of your own has:\n")?;
        let (program, config) = (quoted(&this_program()), quoted(&self.site.config()));
        for command in [&format!("submit {SERVER}:/ {LOCAL}:/copy/ --recursive --wait"), "failures", "watch"]
        {
            writeln!(text, "  {program} {command} --config {config}")?;
        }
        writeln!(text)?;
        writeln!(
            text,
            "`{LOCAL}` is {}, `{SERVER}` is {}.",
            storage.display(),
            self.site.server().display()
        )?;
        writeln!(text, "Answers show here as they arrive.")?;
        Ok(text)
    }
}

/// As the user may type it: relative to the working directory if possible.
fn this_program() -> PathBuf {
    let program = env::current_exe().unwrap_or_else(|_| PathBuf::from("ftp-pooler"));
    let here = env::current_dir().unwrap_or_default();
    program.strip_prefix(here).map(ToOwned::to_owned).unwrap_or(program)
}

/// Quoted for a shell where necessary.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(is_plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_for_the_shell() {
        assert_eq!(quoted(Path::new("/tmp/ftp-pooler-demo-x1/storage")), "/tmp/ftp-pooler-demo-x1/storage");
        assert_eq!(quoted(Path::new("/tmp/a b/it's")), r"'/tmp/a b/it'\''s'");
    }
}
