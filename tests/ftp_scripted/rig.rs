//! What each of these tests sets up, and the words that they are written in.

use super::*;

/// A server, an empty directory, and what moves files between them.
pub struct Rig {
    pub server: Server,
    pub connection: FtpConnection,
    pub directory: tempfile::TempDir,
    pub storage: LocalStorage,
    pub transfer: TransferExecutor,
    pub lease: Lease,
    pub cancel: CancellationToken,
}

impl Rig {
    pub async fn with(script: Script) -> Rig {
        let server = script.start().await;
        let directory = tempfile::tempdir().unwrap();
        let local = LocalConnection { name: "local".into(), base_path: directory.path().to_owned() };
        let storage = LocalStorage::open(&local).unwrap();
        let storages = BTreeMap::from([("local".to_owned(), storage.clone())]);
        Rig {
            connection: connection(server.address),
            server,
            directory,
            storage,
            transfer: TransferExecutor::new(storages, names(), Metrics::default()),
            lease: Lease::default(),
            cancel: CancellationToken::new(),
        }
    }

    /// A session that sends one command at a time, also where a busy machine makes the server seem far away.
    pub async fn session(&self) -> Session {
        Session::open_with(&self.connection, &Arc::new(ServerProfile::low_latency())).await.unwrap()
    }

    /// A session that sends ahead what it can, however near the server is.
    pub async fn hasty(&self, known: &Arc<ServerProfile>) -> Session {
        Session::open_with(&self.connection, known).await.unwrap()
    }

    pub async fn run(&self, session: &mut Session, task: &Task) -> Result<TransferredFile, TransferError> {
        static OFFSETS: AtomicI64 = AtomicI64::new(0);
        self.run_record(session, task, OFFSETS.fetch_add(1, Ordering::Relaxed)).await
    }

    /// Tries at one task until one succeeds or has failed as often as it may, as dispatch makes them; a session in
    /// doubt is replaced. Returns the failures before.
    pub async fn try_again(&self, task: &Task, tries: usize) -> (Vec<TryError>, Option<TransferredFile>) {
        self.try_again_at(task, -1, tries).await
    }

    /// The same at the record with this offset.
    pub async fn try_again_at(
        &self,
        task: &Task,
        offset: i64,
        tries: usize,
    ) -> (Vec<TryError>, Option<TransferredFile>) {
        let (mut kept, mut errors) = (ResumeState::default(), Vec::new());
        let mut session = self.session().await;
        for _ in 0..tries {
            if !session.is_usable() {
                session = self.session().await;
            }
            let record = record(offset, self.lease.clone());
            let run = self.transfer.run_again(&mut session, task, &record, &mut kept, &self.cancel);
            match tokio::time::timeout(PATIENCE, must_be_send(run)).await.expect("the try hangs") {
                Ok(done) => return (errors, Some(done)),
                Err(TransferError::Failed(error)) => errors.push(error),
                Err(other) => panic!("{other:?}"),
            }
        }
        drop(kept);
        assert!(self.storage.settled(PATIENCE).await);
        (errors, None)
    }

    /// One try at the record with this offset.
    pub async fn run_record(
        &self,
        session: &mut Session,
        task: &Task,
        offset: i64,
    ) -> Result<TransferredFile, TransferError> {
        let record = record(offset, self.lease.clone());
        let run = self.transfer.run(session, task, &record, &self.cancel);
        let ended = tokio::time::timeout(PATIENCE, must_be_send(run)).await.expect("the try hangs");
        assert!(self.storage.settled(PATIENCE).await);
        ended
    }

    /// Writes a local file.
    pub fn local(&self, name: &str, content: &[u8]) {
        std::fs::write(self.directory.path().join(name), content).unwrap();
    }

    pub fn local_files(&self) -> Vec<String> {
        files(self.directory.path())
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.path().join(name)).unwrap()
    }
}

/// Those of a process of its own.
pub fn names() -> TempNames {
    TempNames::new(Arc::new(()), "group", ["ftp-tasks".into()]).unwrap()
}

pub fn record(offset: i64, lease: Lease) -> Record {
    Record {
        origin: Origin { topic: Arc::from("ftp-tasks"), partition: 0, offset },
        key: None,
        headers: Vec::new(),
        payload: None,
        timestamp_ms: Some(1_700_000_000_000),
        retry: None,
        lease,
    }
}

pub fn must_be_send<F: Future + Send>(future: F) -> F {
    future
}

pub fn connection(address: SocketAddr) -> FtpConnection {
    FtpConnection {
        name: "remote-ftp".into(),
        host: address.ip().to_string(),
        port: address.port(),
        user: "anna".into(),
        pass: "s3cret".to_owned().into(),
        max_sessions: 10,
        timeouts: SessionTimeouts::all(SHORT),
        ..FtpConnection::default()
    }
}

pub fn task(operation: Operation, remote: &str, local: &str) -> Task {
    Task {
        task_id: "t".into(),
        operation,
        remote: "remote-ftp".into(),
        remote_path: remote.into(),
        local: "local".into(),
        local_path: local.into(),
        options: Options::default(),
    }
}

pub fn download(remote: &str, local: &str) -> Task {
    task(Operation::Download, remote, local)
}

pub fn upload(local: &str, remote: &str) -> Task {
    task(Operation::Upload, remote, local)
}

pub fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub fn failed(ended: Result<TransferredFile, TransferError>) -> TryError {
    match ended {
        Err(TransferError::Failed(error)) => error,
        other => panic!("should have failed: {other:?}"),
    }
}

pub fn some_bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

pub fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

pub fn text(text: &str) -> String {
    text.to_owned()
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what} never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a server may do in any command's turn, and `more`.
pub fn faults(more: impl IntoIterator<Item = Act>) -> Vec<Act> {
    let mut faults = vec![
        Act::Hang,
        Act::Close,
        Act::SayAndClose(text("421 Bye")),
        say("garbage"),
        say("226 not asked for"),
        say("450 Busy"),
        say("500 What?"),
        say("500 a\r\n226 b"),
    ];
    faults.extend(more);
    faults
}
