//! A server under test, and what moves files to and from it.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::{ffi::OsStrExt, fs::PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use ftp_pooler::config::{
    CertificateTrust, FtpConnection, LocalConnection, SessionTimeouts, TlsMode, TlsOptions,
};
use ftp_pooler::failure::{Remedy, TryError};
use ftp_pooler::ftp::{ServerProfile, Session};
use ftp_pooler::insight::ProgressGauge;
use ftp_pooler::lease::Lease;
use ftp_pooler::metrics::Metrics;
use ftp_pooler::record::{Origin, Record};
use ftp_pooler::storage::{LocalStorage, TempNames};
use ftp_pooler::task::{Operation, Options, Task};
use ftp_pooler::transfer::{
    LocalFiles, NextTask, ResumeState, TransferError, TransferExecutor, TransferProgress, TransferRequest,
    TransferredFile, UploadPipeline,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio_util::sync::CancellationToken;

use crate::support::certificate::Certificate;
use crate::support::ftp_server::{FtpServer, Make, PASSWORD, Security, Settings, USER};

/// A server under test, and the directory in which it may be used.
pub struct Rig {
    pub name: String,
    pub connection: FtpConnection,
    pub known: Arc<ServerProfile>,
    remote: String,
    directory: tempfile::TempDir,
    storage: LocalStorage,
    transfer: TransferExecutor,
    /// Fresh sessions that were needed: one, where a server does not resume TLS 1.3.
    renewed: AtomicUsize,
    pub server: Option<Arc<FtpServer>>,
}

/// One for each server that the environment names, or one for each make and way of securing it.
pub fn rigs() -> Vec<Rig> {
    if let Ok(servers) = std::env::var("FTP_POOLER_TEST_FTP") {
        return servers.split(',').map(given).collect();
    }
    let all = EVERY.iter().filter_map(|&(make, security)| Rig::start(make, Settings::new(security)));
    all.collect()
}

/// Every make with every security that it has.
pub const EVERY: &[(Make, Security)] = &[
    (Make::Vsftpd, Security::Plain),
    (Make::Vsftpd, Security::Explicit),
    (Make::Vsftpd, Security::Implicit),
    (Make::Proftpd, Security::Plain),
    (Make::Proftpd, Security::Explicit),
    (Make::Proftpd, Security::Implicit),
    (Make::PureFtpd, Security::Plain),
    (Make::PureFtpd, Security::Explicit),
];

fn given(server: &str) -> Rig {
    let [host, port, user, pass, remote] = server.splitn(5, ':').collect::<Vec<_>>()[..] else {
        panic!("FTP_POOLER_TEST_FTP is host:port:user:password:directory,…")
    };
    let connection = FtpConnection {
        name: host.into(),
        host: host.into(),
        port: port.parse().unwrap(),
        user: user.into(),
        pass: pass.to_owned().into(),
        timeouts: timeouts(),
        ..FtpConnection::default()
    };
    Rig::with(connection, remote)
}

fn timeouts() -> SessionTimeouts {
    let seconds = Duration::from_secs;
    // Pure-FTPd takes its time over passwords.
    SessionTimeouts { connect: seconds(5), login: seconds(30), ..SessionTimeouts::all(seconds(10)) }
}

/// Those of a process of its own.
fn names() -> TempNames {
    TempNames::new(Arc::new(()), "group", ["ftp-tasks".into()]).unwrap()
}

fn origin(offset: i64) -> Origin {
    Origin { topic: Arc::from("ftp-tasks"), partition: 0, offset }
}

/// The name of a temp file to which another process sends `source` for this record.
pub async fn sent_by_another(rig: &Rig, offset: i64, task: &Task) -> String {
    let source = rig.storage.resolve(&task.local_path).unwrap();
    let mut told = rig.storage.open_source(&source).await.unwrap().description();
    told.extend_from_slice(task.remote_path.as_bytes());
    let names = names();
    names.part_of(&names.name_for(&origin(offset)), &told).to_string()
}

/// The name of a temp file that another process's try at this record has left.
pub fn left_by_another(offset: i64) -> String {
    names().name_for(&origin(offset)).to_string()
}

/// The connection to a server of ours, which trusts its certificate's authority.
fn connection(addr: SocketAddr, security: Security, certificate: &Certificate) -> FtpConnection {
    let authorities: Vec<_> =
        CertificateDer::pem_file_iter(&certificate.authority).unwrap().map(Result::unwrap).collect();
    let mode = match security {
        Security::Plain => TlsMode::Off,
        Security::Explicit => TlsMode::Explicit,
        Security::Implicit => TlsMode::Implicit,
    };
    FtpConnection {
        name: "remote".into(),
        host: addr.ip().to_string(),
        port: addr.port(),
        user: USER.into(),
        pass: PASSWORD.to_owned().into(),
        timeouts: timeouts(),
        tls: TlsOptions {
            mode,
            trust: CertificateTrust::Authorities(Arc::new(authorities)),
            tls12_only: false,
        },
        ..FtpConnection::default()
    }
}

/// The tries at one task.
#[derive(Default)]
pub struct Again {
    offset: i64,
    kept: ResumeState,
}

fn record(offset: i64) -> Record {
    Record {
        origin: origin(offset),
        key: None,
        headers: Vec::new(),
        payload: None,
        timestamp_ms: None,
        retry: None,
        lease: Lease::default(),
    }
}

impl Rig {
    /// A server of ours; `None` where there is no such one.
    pub fn start(make: Make, settings: Settings) -> Option<Rig> {
        let server = FtpServer::start(make, settings)?;
        Some(Rig::on(make, settings.security, server))
    }

    /// On a server of the test's own.
    pub fn at(addr: SocketAddr, security: Security, certificate: &Certificate) -> Rig {
        Rig::with(connection(addr, security, certificate), "try")
    }

    pub fn on(make: Make, security: Security, server: FtpServer) -> Rig {
        let rig = Rig::with(connection(server.addr(), security, &server.certificate), "try");
        Rig { name: format!("{make:?}, {security:?}"), server: Some(Arc::new(server)), ..rig }
    }

    /// Another one on the same server.
    pub fn another(&self) -> Rig {
        Rig { server: self.server.clone(), ..Rig::with(self.connection.clone(), &self.remote) }
    }

    pub fn with(connection: FtpConnection, remote: &str) -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let local = LocalConnection { name: "local".into(), base_path: directory.path().to_owned() };
        let storage = LocalStorage::open(&local).unwrap();
        Rig {
            name: connection.host.clone(),
            connection,
            known: Arc::default(),
            remote: remote.to_owned(),
            directory,
            transfer: Rig::process(&storage),
            storage,
            renewed: AtomicUsize::new(0),
            server: None,
        }
    }

    fn process(storage: &LocalStorage) -> TransferExecutor {
        let storages = BTreeMap::from([("local".to_owned(), storage.clone())]);
        TransferExecutor::new(storages, names(), Metrics::default())
    }

    /// From now on another process works at the tasks; what the one before was at is as if that had been killed.
    pub fn kill(&mut self, again: Again) {
        std::mem::forget(again);
        self.transfer = Rig::process(&self.storage);
    }

    pub fn connection_address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().addr()
    }

    pub async fn session(&self) -> Session {
        match self.try_session().await {
            Ok(session) => session,
            Err(error) => panic!("{}: {error}\n{}", self.name, self.log()),
        }
    }

    pub async fn try_session(&self) -> Result<Session, TryError> {
        Session::open_with(&self.connection, &self.known).await
    }

    pub fn log(&self) -> String {
        self.server.as_ref().map(|server| server.log()).unwrap_or_default()
    }

    /// A try, and as dispatch does it another one on a fresh session where the first asks for that.
    pub async fn run(&self, session: &mut Session, task: &Task) -> Result<TransferredFile, TransferError> {
        self.run_at(session, task, next_offset()).await
    }

    /// The same at the record with this offset.
    pub async fn run_at(
        &self,
        session: &mut Session,
        task: &Task,
        offset: i64,
    ) -> Result<TransferredFile, TransferError> {
        let tried = self.once_at(session, task, offset).await;
        if !matches!(&tried, Err(TransferError::Failed(error)) if error.remedy == Remedy::FreshSession) {
            return tried;
        }
        let renewed = 1 + self.renewed.fetch_add(1, Ordering::Relaxed);
        assert!(renewed < 2, "{}: a second fresh session: {tried:?}\n{}", self.name, self.log());
        *session = self.session().await;
        self.once_at(session, task, offset).await
    }

    pub async fn once(&self, session: &mut Session, task: &Task) -> Result<TransferredFile, TransferError> {
        self.once_at(session, task, next_offset()).await
    }

    /// One try at the record with this offset.
    pub async fn once_at(
        &self,
        session: &mut Session,
        task: &Task,
        offset: i64,
    ) -> Result<TransferredFile, TransferError> {
        self.transfer.run(session, task, &record(offset), &CancellationToken::new()).await
    }

    /// Carries tasks on one session in a pipeline, as a lane does.
    pub async fn run_row(
        &self,
        session: &mut Session,
        tasks: Vec<Task>,
    ) -> Vec<Result<TransferredFile, TransferError>> {
        let mut tasks: VecDeque<_> = tasks.into_iter().map(|task| (task, record(next_offset()))).collect();
        let (mut pipeline, mut ended, mut next) = (UploadPipeline::default(), Vec::new(), tasks.pop_front());
        while let Some((task, record)) = next {
            let files = self.transfer.files("local");
            let mut next_task =
                NextOfRest { tasks: &mut tasks, files: &files, next: None, ended: &mut ended };
            let cancel = CancellationToken::new();
            let (gauge, mut kept) = (ProgressGauge::default(), ResumeState::default());
            let this = (TransferRequest { task: &task, record: &record, files: &files }, &gauge);
            let run = self
                .transfer
                .run_pipelined(session, &mut pipeline, this, &mut kept, &mut next_task, &cancel)
                .await;
            next = next_task.next.take();
            match run {
                Ok(TransferProgress::Done(done)) => ended.push(Ok(done)),
                Ok(TransferProgress::RenamePending) => assert!(next.is_some(), "due, and nothing is begun"),
                Err(stopped) => ended.push(Err(stopped)),
            }
            next = next.or_else(|| tasks.pop_front()).filter(|_| ended.iter().all(Result::is_ok));
        }
        ended
    }

    /// One more try at the task that `again` is about.
    pub async fn once_more(
        &self,
        session: &mut Session,
        task: &Task,
        again: &mut Again,
    ) -> Result<TransferredFile, TryError> {
        let record = record(again.offset);
        let cancel = CancellationToken::new();
        match self.transfer.run_again(session, task, &record, &mut again.kept, &cancel).await {
            Ok(done) => Ok(done),
            Err(TransferError::Failed(error)) => Err(error),
            Err(other) => panic!("{}: {other:?}", self.name),
        }
    }

    /// What the sessions of a pod do when they have nothing else to do.
    pub async fn clean_up(&self, session: &mut Session) {
        while self.transfer.clean_up(session).await {}
    }

    pub async fn fails(&self, session: &mut Session, task: &Task) -> TryError {
        match self.run(session, task).await {
            Err(TransferError::Failed(error)) => error,
            other => panic!("should have failed: {other:?}"),
        }
    }

    pub fn task(&self, operation: Operation, remote: &str, local: &str) -> Task {
        Task {
            task_id: "t".into(),
            operation,
            remote: self.connection.name.clone(),
            remote_path: format!("{}/{remote}", self.remote),
            local: "local".into(),
            local_path: local.into(),
            options: Options::default(),
        }
    }

    pub fn upload(&self, remote: &str) -> Task {
        self.task(Operation::Upload, remote, "source")
    }

    pub fn download(&self, remote: &str) -> Task {
        self.task(Operation::Download, remote, "copy")
    }

    pub fn write_source(&self, content: &[u8]) {
        std::fs::write(self.directory.path().join("source"), content).unwrap();
    }

    /// A source that has been there for some time.
    pub fn write_aged_source(&self, content: &[u8]) {
        self.write_source(content);
        let file = std::fs::File::options().write(true).open(self.local("source")).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }

    pub fn copy(&self) -> Vec<u8> {
        std::fs::read(self.directory.path().join("copy")).unwrap()
    }

    /// A file beneath the local connection's `base_path`.
    pub fn local(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Nothing in the server's directory can be made, renamed or removed, by root neither.
    pub fn lock(&self) {
        self.chmod(0o555);
    }

    pub fn unlock(&self) {
        self.chmod(0o777);
    }

    fn chmod(&self, mode: u32) {
        std::fs::set_permissions(self.at_server(""), Permissions::from_mode(mode)).unwrap();
    }

    /// Puts a file on the server.
    pub fn put(&self, name: &str, content: &[u8]) {
        std::fs::write(self.at_server(name), content).unwrap();
    }

    /// Puts a file on the server that has been there for some time.
    pub fn put_aged(&self, name: &str, content: &[u8]) {
        self.put(name, content);
        let file = std::fs::File::options().write(true).open(self.at_server(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }

    /// Puts a file on the server that may not be read: by its name (vsftpd), or by its mode and owner.
    pub fn forbid(&self, name: &str) {
        self.put(name, b"secret");
        std::fs::set_permissions(self.at_server(name), Permissions::from_mode(0o000)).unwrap();
    }

    pub fn make_directory(&self, name: &str) {
        std::fs::create_dir_all(self.at_server(name)).unwrap();
        std::fs::set_permissions(self.at_server(name), Permissions::from_mode(0o777)).unwrap();
    }

    pub fn has(&self, name: &str) -> bool {
        self.at_server(name).exists()
    }

    /// A name that is no UTF-8.
    pub fn put_bytes(&self, name: &[u8], content: &[u8]) {
        std::fs::write(self.at_server(OsStr::from_bytes(name)), content).unwrap();
    }

    pub fn get_bytes(&self, name: &[u8]) -> Vec<u8> {
        std::fs::read(self.at_server(OsStr::from_bytes(name))).unwrap()
    }

    pub fn get(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.at_server(name)).unwrap()
    }

    pub fn fresh_sessions(&self) -> usize {
        self.renewed.load(Ordering::Relaxed)
    }

    pub fn at_server(&self, name: impl AsRef<Path>) -> PathBuf {
        let root = self.server.as_ref().map(|server| server.root().to_owned()).unwrap_or_default();
        root.join(&self.remote).join(name)
    }
}

fn next_offset() -> i64 {
    static OFFSETS: AtomicI64 = AtomicI64::new(0);
    OFFSETS.fetch_add(1, Ordering::Relaxed)
}

/// The rest of a row.
struct NextOfRest<'a> {
    tasks: &'a mut VecDeque<(Task, Record)>,
    files: &'a LocalFiles,
    next: Option<(Task, Record)>,
    ended: &'a mut Vec<Result<TransferredFile, TransferError>>,
}

impl NextTask for NextOfRest<'_> {
    fn may_pipeline(&self) -> bool {
        true
    }

    fn next(&mut self) -> Option<TransferRequest<'_>> {
        self.next = self.tasks.pop_front();
        self.next.as_ref().map(|(task, record)| TransferRequest { task, record, files: self.files })
    }

    fn previous_ended(&mut self, ended: Result<TransferredFile, TransferError>) {
        self.ended.push(ended);
    }
}
