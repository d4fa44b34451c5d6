//! The thread that forks: the parent-death signal comes when the *thread* that forked ends, so it must live as
//! long as the process.

use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Job = (Box<Command>, Handle, oneshot::Sender<std::io::Result<Child>>);

static SPAWNER: OnceLock<Option<mpsc::SyncSender<Job>>> = OnceLock::new();

/// Queued jobs; each takes about a millisecond.
const MAX_WAITING: usize = 64;

fn start() -> Option<mpsc::SyncSender<Job>> {
    let (sender, jobs) = mpsc::sync_channel::<Job>(MAX_WAITING);
    let thread = thread::Builder::new().name("spawn-frp".to_owned()).spawn(move || {
        for (mut command, runtime, answer) in jobs {
            let _entered = runtime.enter();
            // who asked may have given up: the child is killed when it is dropped
            let _ = answer.send(command.spawn());
        }
    });
    thread.is_ok().then_some(sender)
}

/// Starts the command from the thread that never ends; `None` if that thread is missing.
pub(super) async fn spawn(command: Command) -> Option<std::io::Result<Child>> {
    let sender = SPAWNER.get_or_init(start).as_ref()?;
    let (answer, answered) = oneshot::channel();
    sender.try_send((Box::new(command), Handle::current(), answer)).ok()?;
    answered.await.ok()
}
