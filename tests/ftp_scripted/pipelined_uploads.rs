//! Uploads in a pipeline, to a server that is taken for a far one: their last commands go out with the next one's.

use std::collections::VecDeque;

use ftp_pooler::failure::Failure;
use ftp_pooler::insight::ProgressGauge;
use ftp_pooler::transfer::{
    LocalFiles, NextTask, ResumeState, TransferProgress, TransferRequest, UploadPipeline,
};

use super::*;

pub const CONTENT: &[u8] = b"0123456789";
pub const FILES: usize = 4;
/// A task that fails for good is given up, as a lane does.
const TRIES: usize = 4;

/// The rest of a pipeline, and what became of those before.
struct NextOfRest<'a> {
    waiting: &'a mut VecDeque<Entry>,
    files: &'a LocalFiles,
    next: Option<Entry>,
    ended: Option<Result<TransferredFile, TransferError>>,
    may_pipeline: bool,
}

pub struct Entry {
    pub task: Task,
    pub record: Record,
    pub tries: usize,
    pub kept: ResumeState,
}

impl NextTask for NextOfRest<'_> {
    fn may_pipeline(&self) -> bool {
        self.may_pipeline
    }

    fn next(&mut self) -> Option<TransferRequest<'_>> {
        if self.may_pipeline && self.waiting.front().is_some_and(|entry| entry.tries == 0) {
            self.next = self.waiting.pop_front();
        }
        let files = self.files;
        self.next.as_ref().map(|entry| TransferRequest { task: &entry.task, record: &entry.record, files })
    }

    fn previous_ended(&mut self, ended: Result<TransferredFile, TransferError>) {
        assert!(self.ended.replace(ended).is_none(), "ended twice");
    }
}

/// Works through uploads as a lane does; says what became of each.
pub struct Lane<'a> {
    pub rig: &'a Rig,
    pub known: &'a Arc<ServerProfile>,
    pub waiting: VecDeque<Entry>,
    pub ended: BTreeMap<String, Result<TransferredFile, TransferError>>,
}

impl Lane<'_> {
    pub async fn work(
        mut self,
        mut session: Session,
    ) -> BTreeMap<String, Result<TransferredFile, TransferError>> {
        let (mut pipeline, mut due, mut next) = (UploadPipeline::default(), None::<Entry>, None);
        while let Some((mut entry, is_next)) =
            next.take().map(|next| (next, true)).or_else(|| Some((self.waiting.pop_front()?, false)))
        {
            if !is_next && !session.is_usable() {
                session = self.rig.hasty(self.known).await;
                pipeline = UploadPipeline::default();
            }
            let may_pipeline = entry.tries == 0;
            entry.tries += 1;
            let files = &self.rig.transfer.files("local");
            let mut next_task =
                NextOfRest { waiting: &mut self.waiting, files, next: None, ended: None, may_pipeline };
            let gauge = ProgressGauge::default();
            let run = self.rig.transfer.run_pipelined(
                &mut session,
                &mut pipeline,
                (TransferRequest { task: &entry.task, record: &entry.record, files }, &gauge),
                &mut entry.kept,
                &mut next_task,
                &self.rig.cancel,
            );
            let run = tokio::time::timeout(PATIENCE, must_be_send(run)).await.expect("the try hangs");
            let NextOfRest { next: taken, ended, .. } = next_task;
            if let Some(due) = due.take() {
                // A lease that ended before its task began: dispatch does the same.
                let interrupted = || {
                    let failure = Failure::new(Code::ConnectFailed, "the next one's try was interrupted");
                    Err(TransferError::Failed(TryError { failure, remedy: Remedy::FreshSession }))
                };
                self.settle(due, ended.unwrap_or_else(interrupted));
            }
            let is_doubtful = match &run {
                Ok(_) => false,
                Err(TransferError::Failed(error)) => error.remedy == Remedy::FreshSession,
                Err(_) => true,
            };
            match run {
                Ok(TransferProgress::Done(done)) => self.settle(entry, Ok(done)),
                Ok(TransferProgress::RenamePending) => due = Some(entry),
                Err(stopped) => self.settle(entry, Err(stopped)),
            }
            assert!(due.is_none() || taken.is_some(), "due, and nothing is begun");
            match taken {
                Some(taken) if !is_doubtful => next = Some(taken),
                Some(taken) => {
                    self.waiting.push_front(taken);
                    session = self.rig.hasty(self.known).await;
                    pipeline = UploadPipeline::default();
                }
                None => {}
            }
        }
        self.ended
    }

    fn settle(&mut self, entry: Entry, ended: Result<TransferredFile, TransferError>) {
        let is_final = match &ended {
            Err(TransferError::Failed(error)) => error.remedy == Remedy::GiveUp || entry.tries >= TRIES,
            Ok(_) | Err(_) => true,
        };
        if is_final {
            assert!(self.ended.insert(entry.task.remote_path.clone(), ended).is_none(), "answered twice");
        } else {
            self.waiting.push_back(entry);
        }
    }
}

async fn far(script: Script) -> (Rig, Arc<ServerProfile>, Session) {
    waiting(script, PATIENCE).await
}

/// With each wait that long at most.
async fn waiting(script: Script, wait: Duration) -> (Rig, Arc<ServerProfile>, Session) {
    let mut rig = Rig::with(script).await;
    rig.connection.timeouts = SessionTimeouts {
        connect: wait,
        login: wait,
        reply: wait,
        stall: wait,
        close: wait,
        ..rig.connection.timeouts
    };
    rig.local("g", CONTENT);
    let known = Arc::new(ServerProfile::high_latency());
    let mut session = rig.hasty(&known).await;
    rig.run(&mut session, &upload("/g", "/out/warm")).await.unwrap();
    rig.server.forget_commands();
    (rig, known, session)
}

fn entries(rig: &Rig) -> VecDeque<Entry> {
    let entry = |file: usize| Entry {
        task: upload("/g", &format!("/out/{file}")),
        record: record(1_000 + i64::try_from(file).unwrap(), rig.lease.clone()),
        tries: 0,
        kept: ResumeState::default(),
    };
    (0..FILES).map(entry).collect()
}

async fn work(
    rig: &Rig,
    known: &Arc<ServerProfile>,
    session: Session,
) -> BTreeMap<String, Result<TransferredFile, TransferError>> {
    let lane = Lane { rig, known, waiting: entries(rig), ended: BTreeMap::new() };
    lane.work(session).await
}

/// No name was given to a temp file whose SIZE had not been asked before.
pub fn assert_renamed_after_size(commands: &[String], at: &str) {
    for (place, line) in commands.iter().enumerate() {
        let Some(temp) = line.strip_prefix("RNFR ") else { continue };
        let size = format!("SIZE {temp}");
        // RNFR alone changes nothing, and may stand right behind SIZE.
        let rnto = commands[place..].iter().position(|line| line.starts_with("RNTO"));
        let asked = commands[..place + rnto.unwrap_or(0)].contains(&size);
        assert!(asked, "{at}: {commands:#?}");
    }
}

#[tokio::test]
async fn the_last_commands_of_a_file_go_out_with_the_end_of_the_next() {
    let (rig, known, session) = far(Script::new()).await;
    let ended = work(&rig, &known, session).await;
    assert_eq!(ended.values().filter(|ended| ended.is_ok()).count(), FILES, "{ended:#?}");
    let mut expected = vec!["STOR", "EPSV", "SIZE", "STOR"];
    for _ in 2..FILES {
        expected.extend(["EPSV", "RNFR", "RNTO", "SIZE", "STOR"]);
    }
    expected.extend(["RNFR", "RNTO", "SIZE", "RNFR", "RNTO", "EPSV"]);
    assert_eq!(rig.server.verbs(), expected);
    assert_renamed_after_size(&rig.server.commands(), "");
    assert!(!known.rejects_pipelining());
}

#[tokio::test]
async fn a_size_that_is_wrong_names_no_file() {
    let (rig, known, session) = far(Script::new()).await;
    rig.server.now_on("SIZE", say("213 9"));
    let ended = work(&rig, &known, session).await;
    assert_eq!(ended.len(), FILES);
    for (path, ended) in ended {
        assert_eq!(failed(ended).failure.code, Code::IntegrityMismatch);
        assert!(rig.server.content(&path).is_none(), "{path}");
    }
    assert!(!rig.server.verbs().contains(&text("RNTO")));
}

#[tokio::test]
async fn a_task_that_is_ours_no_more_is_not_renamed_and_its_neighbours_are() {
    let (rig, known, session) = far(Script::new()).await;
    let mut waiting = entries(&rig);
    let lease = Lease::default();
    waiting[1].record.lease = lease.clone();
    // It ends while the file is due: its end goes out in one burst with the name of the one before.
    rig.server.now_on("STOR", Act::Take(100, End::Dawdle(text("226 stored"))));
    let lane = Lane { rig: &rig, known: &known, waiting, ended: BTreeMap::new() };
    let ending = async {
        until("the first has its name", || rig.server.verbs().iter().any(|verb| verb == "RNTO")).await;
        lease.end();
    };
    let (ended, ()) = tokio::join!(lane.work(session), ending);
    assert!(matches!(ended["/out/1"], Err(TransferError::LeaseEnded)), "{ended:#?}");
    assert!(rig.server.content("/out/1").is_none());
    for path in ["/out/0", "/out/2", "/out/3"] {
        assert!(ended[path].is_ok(), "{ended:#?}");
        assert_eq!(rig.server.content(path).unwrap(), CONTENT);
    }
}

#[tokio::test]
async fn a_neighbour_whose_lease_ends_takes_nobody_with_it() {
    let (rig, known, session) = far(Script::new()).await;
    let mut waiting = entries(&rig);
    let lease = Lease::default();
    waiting[2].record.lease = lease.clone();
    rig.server.nth("STOR", 2, Act::Take(100, End::Stall));
    let lane = Lane { rig: &rig, known: &known, waiting, ended: BTreeMap::new() };
    let ending = async {
        let stores = || rig.server.verbs().iter().filter(|verb| *verb == "STOR").count();
        until("the third is on its way", || stores() >= 3).await;
        lease.end();
    };
    let (ended, ()) = tokio::join!(lane.work(session), ending);
    assert!(matches!(ended["/out/2"], Err(TransferError::LeaseEnded)), "{ended:#?}");
    for path in ["/out/0", "/out/1", "/out/3"] {
        assert!(ended[path].is_ok(), "{path} {ended:#?}");
        assert_eq!(rig.server.content(path).unwrap(), CONTENT);
    }
}

#[tokio::test]
async fn a_source_that_is_missing_does_not_disturb_its_row() {
    let (rig, known, session) = far(Script::new()).await;
    let mut waiting = entries(&rig);
    waiting[1].task.local_path = "/missing".into();
    let lane = Lane { rig: &rig, known: &known, waiting, ended: BTreeMap::new() };
    let ended = lane.work(session).await;
    assert!(!known.rejects_pipelining());
    for (path, ended) in ended {
        if path == "/out/1" {
            assert_eq!(failed(ended).failure.code, Code::SourceNotFound);
        } else {
            assert_eq!(ended.unwrap().bytes, CONTENT.len() as u64, "{path}");
        }
    }
}

/// Whatever one reply of a row is like: every file is there in the end, and whole; each task is answered once; no
/// file has its name before its SIZE was asked.
#[tokio::test]
async fn a_fault_anywhere_in_a_row_costs_no_file() {
    let acts = || {
        faults([
            say("213 3"),
            say("425 No data connection"),
            say("226 a\r\n226 b"),
            Act::Take(100, End::Close(text("426 Broken"))),
            Act::Take(100, End::Reset(text("451 Broken"))),
            Act::Take(3, End::Close(text("226 stored"))),
            Act::DeadPort,
        ])
    };
    for command in ["EPSV", "STOR", "SIZE", "RNFR", "RNTO"] {
        let mut cases = tokio::task::JoinSet::new();
        for nth in 0..3 {
            for act in acts() {
                let is_stors = matches!(act, Act::Take(..));
                // In its turn it is meant.
                if (command, nth) == ("STOR", 0) && matches!(&act, Act::Say(said) if said.starts_with("500"))
                {
                    continue;
                }
                if is_stors != (command == "STOR") && (is_stors || matches!(act, Act::DeadPort)) {
                    continue;
                }
                cases.spawn(costs_no_file(command, nth, act));
            }
        }
        while let Some(case) = cases.join_next().await {
            case.unwrap();
        }
    }
}

async fn costs_no_file(command: &'static str, nth: usize, act: Act) {
    let at = format!("{command} {nth} {act:?}");
    // A file that a server takes for renamed without having renamed it cannot be told.
    let lies = command == "RNTO" && matches!(&act, Act::Say(said) if said.starts_with("226"));
    let (rig, known, session) = waiting(Script::new(), Duration::from_secs(1)).await;
    rig.server.nth(command, nth, act);
    let ended = work(&rig, &known, session).await;
    assert_eq!(ended.len(), FILES, "{at}");
    assert_renamed_after_size(&rig.server.commands(), &at);
    for (path, ended) in ended {
        let content = rig.server.content(&path);
        assert!(ended.is_ok(), "{at}: {path}: {ended:?}\n{:#?}", rig.server.commands());
        assert!(
            content.as_deref() == Some(CONTENT) || lies && content.is_none(),
            "{at}: {path}: {content:?}"
        );
    }
}
