//! The way of log lines to stderr: a bounded queue, and a thread that writes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use super::Format;

/// Lines waiting for stderr at most. A stderr that nobody reads costs lines, and never a transfer's time.
const QUEUED_LINES: usize = 4_096;

/// How long the end waits for what is queued.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// Writes what is still queued when it is dropped, for at most a second.
#[derive(Debug)]
pub struct Guard {
    lines: Lines,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_DEADLINE;
        let (done, is_done) = sync_channel(1);
        let mut flush = Queued::Flush(done);
        while let Err(TrySendError::Full(again)) = self.lines.queue.try_send(flush) {
            if Instant::now() >= deadline {
                return;
            }
            flush = again;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

enum Queued {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue to the thread that writes.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    queue: SyncSender<Queued>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Starts the thread that writes to `out`.
    pub fn to(out: impl Write + Send + 'static, format: Format) -> io::Result<Lines> {
        let (queue, queued) = sync_channel(QUEUED_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let lines = Lines { queue, lost: Arc::clone(&lost) };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(out, &queued, &lost, format))?;
        Ok(lines)
    }

    pub fn guard(&self) -> Guard {
        Guard { lines: self.clone() }
    }
}

/// Ends when nothing can log any more. An output that fails is no reason to stop: it may come back.
fn write_all(mut out: impl Write, queued: &Receiver<Queued>, lost: &AtomicU64, format: Format) {
    for next in queued {
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = out.write_all(lost_lines(lost, format).as_bytes());
        }
        match next {
            Queued::Line(line) => {
                let _ = out.write_all(&line);
            }
            Queued::Flush(done) => {
                let _ = out.flush();
                let _ = done.try_send(());
            }
        }
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
        Line { bytes: Vec::new(), lines: self.clone() }
    }
}

/// One line, queued when it is whole.
pub(super) struct Line {
    bytes: Vec<u8>,
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
        let line = std::mem::take(&mut self.bytes);
        if !line.is_empty() && self.lines.queue.try_send(Queued::Line(line)).is_err() {
            self.lines.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::super::tests::Captured;
    use super::*;

    /// An output that takes nothing until it is told to go on.
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

    #[test]
    fn an_output_that_is_stuck_costs_lines_and_holds_up_nobody() {
        let (go_on, is_going) = channel();
        let out = Captured::default();
        let lines = Lines::to(Stuck { go_on: is_going, out: out.clone() }, Format::Human).unwrap();
        for _ in 0..QUEUED_LINES + 100 {
            lines.make_writer().write_all(b"line\n").unwrap();
        }
        let lost = lines.lost.load(Ordering::Relaxed);
        assert!((99..=100).contains(&lost), "one line may be in the writer's hands: {lost}");
        drop(go_on);
        drop(lines.guard());
        let text = out.text();
        assert_eq!(text.matches("line\n").count(), QUEUED_LINES + 100 - usize::try_from(lost).unwrap());
        assert!(text.contains(&format!("{lost} log lines were lost")));
    }
}
