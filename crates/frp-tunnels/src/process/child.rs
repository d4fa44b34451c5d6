//! A running program of frp: its output by lines, its end, and how it is stopped.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{ConfigFile, ProcessError, exec_child, spawner};

/// Lines that are kept for the report of an end.
pub const LAST_LINES: usize = 100;
/// Lines that wait for the supervisor; frpc waits in its turn when they are full.
const MAX_WAITING_LINES: usize = 1024;
/// What of a line is longer is cut off.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// Output of a program that is run to its end.
const MAX_OUTPUT_BYTES: u64 = 1024 * 1024;

/// Environment that a child keeps. All else is withheld: frp's configuration is a template that can read it,
/// and frpc would take `http_proxy` from it.
const KEPT_VARIABLES: [&str; 4] = ["TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG"];

/// A program with its arguments; none of them is a secret.
#[derive(Debug, Clone)]
pub struct ProgramRun {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub deadline: Duration,
}

/// Of a program that has ended.
#[derive(Debug)]
pub struct ProgramOutput {
    pub is_success: bool,
    /// Standard output and standard error.
    pub text: String,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    Code(i32),
    Signal(i32),
    /// Its end could not be observed.
    Unknown,
}

impl From<ExitStatus> for ExitReason {
    fn from(status: ExitStatus) -> Self {
        let code = status.code().map(Self::Code);
        code.or_else(|| status.signal().map(Self::Signal)).unwrap_or(Self::Unknown)
    }
}

/// A process that runs until it is stopped or exits. Dropping it kills its whole group.
#[derive(Debug)]
pub struct FrpProcess {
    pid: i32,
    lines: mpsc::Receiver<String>,
    signals: mpsc::Sender<Signal>,
    exit: watch::Receiver<Option<ExitReason>>,
}

impl FrpProcess {
    /// Starts the program; `config` becomes its last argument after `-c`.
    pub async fn start(
        program: PathBuf,
        mut arguments: Vec<OsString>,
        config: Option<&ConfigFile>,
    ) -> Result<Self, ProcessError> {
        let mut input = Stdio::null();
        if let Some(config) = config {
            let (path, stdio) = config.for_child().map_err(ProcessError::Configuration)?;
            arguments.extend(["-c".into(), path.into_os_string()]);
            input = stdio;
        }
        let mut child = spawn(&program, &arguments, input).await?;
        let (line_sender, lines) = mpsc::channel(MAX_WAITING_LINES);
        if let Some(output) = child.stdout.take() {
            tokio::spawn(read_lines(output, line_sender.clone()));
        }
        if let Some(output) = child.stderr.take() {
            tokio::spawn(read_lines(output, line_sender));
        }
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let (signals, signal_receiver) = mpsc::channel(4);
        let (exit_sender, exit) = watch::channel(None);
        tokio::spawn(watch_over(child, pid, signal_receiver, exit_sender));
        Ok(Self { pid, lines, signals, exit })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The next line of its output; `None` once it has ended and all is read. Cancel-safe.
    pub async fn next_line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// How it ended, if it has.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        *self.exit.borrow()
    }

    /// Waits for its end. Cancel-safe.
    pub async fn ended(&mut self) -> ExitReason {
        let found = self.exit.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
        found.unwrap_or(ExitReason::Unknown)
    }

    /// SIGTERM, and SIGKILL if that does not end it in time.
    pub async fn terminate(&mut self, grace: Duration) -> ExitReason {
        for (signal, wait) in [(Signal::TERM, grace), (Signal::KILL, grace.max(Duration::from_secs(5)))] {
            if self.exit_reason().is_none() {
                let _ = self.signals.try_send(signal);
            }
            let is_ended = async {
                // a full pipe must not keep it from ending
                while self.lines.recv().await.is_some() {}
                self.ended().await
            };
            if let Ok(reason) = timeout(wait, is_ended).await {
                return reason;
            }
        }
        ExitReason::Unknown
    }

    /// Sends a signal to its group, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = self.signals.try_send(signal);
    }
}

/// Owns the child until its end, so that its pid cannot be reused when a signal is sent.
async fn watch_over(
    mut child: Child,
    pid: i32,
    mut signals: mpsc::Receiver<Signal>,
    exit: watch::Sender<Option<ExitReason>>,
) {
    let group = Pid::from_raw(pid);
    let send = |signal| {
        if let Some(group) = group {
            let _ = kill_process_group(group, signal);
        }
    };
    let reason = loop {
        tokio::select! {
            status = child.wait() => break status.map_or(ExitReason::Unknown, ExitReason::from),
            signal = signals.recv() => {
                // the handle was dropped: the process is killed
                send(signal.unwrap_or(Signal::KILL));
                if signal.is_none() {
                    break child.wait().await.map_or(ExitReason::Unknown, ExitReason::from);
                }
            }
        }
    };
    let _ = exit.send(Some(reason));
}

async fn spawn(
    program: &std::path::Path,
    arguments: &[OsString],
    input: Stdio,
) -> Result<Child, ProcessError> {
    let start_error = |source| ProcessError::Start { program: program.to_owned(), source };
    let helper = exec_child::helper().map_err(start_error)?;
    let own_pid = std::process::id().to_string();
    let mut command = Command::new(helper);
    command.arg(exec_child::SUBCOMMAND).arg(own_pid).arg(program).args(arguments);
    command.env_clear();
    command.envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    match spawner::spawn(command).await {
        Some(child) => child.map_err(start_error),
        None => Err(ProcessError::SpawnerGone),
    }
}

async fn read_lines(output: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        match (&mut reader).take(limit).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if lines.send(text.trim_end().to_owned()).await.is_err() {
            return;
        }
    }
}

/// Runs a program to its end and gives what it said.
pub async fn run_to_end(run: ProgramRun, config: Option<&ConfigFile>) -> Result<ProgramOutput, ProcessError> {
    let mut process = FrpProcess::start(run.program, run.arguments, config).await?;
    let mut text = String::new();
    let limit = usize::try_from(MAX_OUTPUT_BYTES).unwrap_or(usize::MAX);
    let whole = async {
        while let Some(line) = process.next_line().await {
            if text.len() < limit {
                text.push_str(&line);
                text.push('\n');
            }
        }
        process.ended().await
    };
    let Ok(reason) = timeout(run.deadline, whole).await else {
        process.signal(Signal::KILL);
        return Err(ProcessError::Deadline(run.deadline));
    };
    Ok(ProgramOutput { is_success: reason == ExitReason::Code(0), text })
}

/// The last lines of a process, bounded.
#[derive(Debug, Default)]
pub(crate) struct LastLines(VecDeque<String>);

impl LastLines {
    pub(crate) fn push(&mut self, line: String) {
        if self.0.len() == LAST_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    pub(crate) fn to_vec(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}
