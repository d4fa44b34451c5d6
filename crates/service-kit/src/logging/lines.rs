//! Writes log lines to stderr: a bounded buffer, and a thread that writes.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::Format;

/// The maximum number of lines waiting for stderr. If stderr is not read, lines are lost, but no transfer is delayed.
const QUEUED_LINES: usize = 4_096;
/// How long lines of the batched target may wait to be written together with others: waking the thread costs more than
/// the line. Everything else is written at once, together with the waiting lines.
const GATHER: Duration = Duration::from_millis(50);
/// With this many lines waiting, they are written at once.
const MANY_LINES: usize = QUEUED_LINES / 4;

/// How long the queue may take to drain at the end.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// On drop, writes what is still queued, for at most a second.
#[derive(Debug)]
pub struct Guard {
    queue: Arc<Queue>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting();
        waiting.is_urgent = true;
        self.queue.arrived.notify_one();
        let is_left = |waiting: &mut Waiting| waiting.lines > 0;
        let _ = self.queue.written.wait_timeout_while(waiting, FLUSH_DEADLINE, is_left);
    }
}

/// The lines waiting for the thread that writes.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes the thread that writes.
    arrived: Condvar,
    /// Wakes a caller that waits until everything is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Includes those being written.
    lines: usize,
    lost: u64,
    /// The thread sleeps until a line arrives.
    is_idle: bool,
    /// The waiting lines must be written now.
    is_urgent: bool,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, line: &[u8], may_wait: bool) {
        let mut waiting = self.waiting();
        if waiting.lines >= QUEUED_LINES {
            waiting.lost += 1;
            return;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        let is_enough = (!may_wait && !waiting.is_urgent) || waiting.lines == MANY_LINES;
        waiting.is_urgent |= !may_wait;
        if std::mem::take(&mut waiting.is_idle) || is_enough {
            self.arrived.notify_one();
        }
    }

    /// Moves the waiting lines into `bytes`; returns their number, and the number of lost lines.
    fn take(&self, bytes: &mut Vec<u8>) -> (usize, u64) {
        bytes.clear();
        let mut waiting = self.waiting();
        while waiting.bytes.is_empty() && waiting.lost == 0 {
            waiting.is_idle = true;
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let may_wait = |waiting: &mut Waiting| waiting.lines < MANY_LINES && !waiting.is_urgent;
        let gathered = self.arrived.wait_timeout_while(waiting, GATHER, may_wait);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        waiting.is_urgent = false;
        std::mem::swap(&mut waiting.bytes, bytes);
        (waiting.lines, std::mem::take(&mut waiting.lost))
    }

    fn has_written(&self, lines: usize) {
        let mut waiting = self.waiting();
        waiting.lines -= lines;
        if waiting.lines == 0 {
            self.written.notify_all();
        }
    }
}

/// The sending side of the thread that writes.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    queue: Arc<Queue>,
    /// The target whose lines may wait.
    batched: Option<&'static str>,
}

impl Lines {
    /// Starts the thread that writes to `out`.
    pub fn to(
        out: impl Write + Send + 'static,
        format: Format,
        batched: Option<&'static str>,
    ) -> io::Result<Lines> {
        let queue = Arc::new(Queue::default());
        let lines = Lines { queue: Arc::clone(&queue), batched };
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(out, &queue, format))?;
        Ok(lines)
    }

    pub fn guard(&self) -> Guard {
        Guard { queue: Arc::clone(&self.queue) }
    }
}

/// Runs as long as the process. A failing output is not a reason to stop: it may recover.
fn write_all(mut out: impl Write, queue: &Queue, format: Format) {
    let mut bytes = Vec::new();
    loop {
        let (lines, lost) = queue.take(&mut bytes);
        let _ = out.write_all(&bytes);
        if lost > 0 {
            let _ = out.write_all(lost_lines(lost, format).as_bytes());
        }
        let _ = out.flush();
        queue.has_written(lines);
    }
}

fn lost_lines(lost: u64, format: Format) -> String {
    match format {
        Format::Json => {
            format!(
                "{{\"level\":\"WARN\",\"message\":\"log lines were lost: stderr is too slow\",\"lost\":{lost}}}\n"
            )
        }
        Format::Human => format!("WARN {lost} log lines were lost: stderr is too slow\n"),
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { bytes: Vec::new(), may_wait: false, lines: self.clone() }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line {
        let mut line = self.make_writer();
        line.may_wait = self.batched == Some(about.target());
        line
    }
}

/// One line, queued when it is complete.
pub(super) struct Line {
    bytes: Vec<u8>,
    may_wait: bool,
    lines: Lines,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.lines.queue.add(&self.bytes, self.may_wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::super::tests::Captured;
    use super::*;

    /// An output that blocks until it is released.
    struct Stuck {
        go_on: Receiver<()>,
        out: Captured,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go_on.recv();
            self.out.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Reports each write to a channel.
    struct Told(std::sync::mpsc::Sender<String>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8(bytes.to_vec()).unwrap()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_come_together_are_written_together_and_a_last_one_is_not_left() {
        let (tell, told) = channel();
        let lines = Lines::to(Told(tell), Format::Human, Some("ftp_pooler::task")).unwrap();
        for number in 0..100 {
            lines.queue.add(format!("{number}\n").as_bytes(), true);
        }
        let (mut text, mut writes) = (String::new(), 0);
        while text.lines().count() < 100 {
            text += &told.recv_timeout(Duration::from_secs(30)).unwrap();
            writes += 1;
        }
        assert!(writes < 100, "a write for each line");
        let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_that_may_not_wait_is_written_at_once_behind_those_that_may() {
        let queue = Queue::default();
        queue.add(b"task\n", true);
        queue.add(b"urgent\n", false);
        assert!(queue.waiting().is_urgent);
        let mut bytes = Vec::new();
        assert_eq!(queue.take(&mut bytes), (2, 0));
        assert_eq!(bytes, b"task\nurgent\n");
        assert!(!queue.waiting().is_urgent);
    }

    #[test]
    fn an_output_that_is_stuck_costs_lines_and_holds_up_nobody() {
        let (go_on, is_going) = channel();
        let out = Captured::default();
        let lines =
            Lines::to(Stuck { go_on: is_going, out: out.clone() }, Format::Human, Some("ftp_pooler::task"))
                .unwrap();
        for _ in 0..QUEUED_LINES + 100 {
            lines.make_writer().write_all(b"line\n").unwrap();
        }
        assert_eq!(lines.queue.waiting().lost, 100);
        drop(go_on);
        drop(lines.guard());
        let text = out.text();
        assert_eq!(text.matches("line\n").count(), QUEUED_LINES);
        assert!(text.contains("100 log lines were lost"));
    }
}
