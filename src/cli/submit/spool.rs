//! The tasks before sending: all are generated and checked before the first is sent. So they wait on disk, not in
//! memory, except for the first ones: a pod's image, if this is run by hand, has no writable directory.

use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, Write as _};

use tempfile::{SpooledTempFile, spooled_tempfile};

/// Bytes of tasks that are held in memory: some 30,000 tasks.
const IN_MEMORY: usize = 8 << 20;

/// The tasks of one run, a line each, in a file without a name: it goes with the process.
#[derive(Debug)]
pub(super) struct TaskSpool {
    file: BufWriter<SpooledTempFile>,
    pub tasks: u64,
    /// Bytes to move, as far as the listing showed them.
    pub bytes: u64,
}

impl TaskSpool {
    pub fn new() -> TaskSpool {
        TaskSpool { file: BufWriter::new(spooled_tempfile(IN_MEMORY)), tasks: 0, bytes: 0 }
    }

    /// Adds a task, which contains no line break: JSON needs none.
    ///
    /// # Errors
    /// The disk is full, for one; or there is no directory for temporary files (`TMPDIR`), and it is needed.
    pub fn push(&mut self, task: &str, bytes: Option<u64>) -> io::Result<()> {
        self.file.write_all(task.as_bytes()).map_err(about)?;
        self.file.write_all(b"\n").map_err(about)?;
        self.tasks += 1;
        self.bytes += bytes.unwrap_or(0);
        Ok(())
    }

    /// Hands each task to `take`, in order, until it says that it has enough (`false`).
    ///
    /// # Errors
    /// Those of `take`, and of reading.
    pub fn each<E: From<io::Error>>(
        &mut self,
        mut take: impl FnMut(&str) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.file.flush().map_err(about)?;
        self.file.rewind().map_err(about)?;
        let mut reader = BufReader::new(self.file.get_mut());
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            if !take(line.trim_end_matches('\n'))? {
                break;
            }
            line.clear();
        }
        Ok(())
    }
}

/// Says what could not be written: it is not what was read.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn about(error: io::Error) -> io::Error {
    let place = std::env::temp_dir();
    io::Error::new(error.kind(), format!("the temporary file for the tasks ({}): {error}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_come_out_as_they_went_in_and_again() {
        let mut spool = TaskSpool::new();
        spool.push("{\"a\":1}", Some(5)).unwrap();
        spool.push("{\"b\":\"ü\"}", None).unwrap();
        assert_eq!((spool.tasks, spool.bytes), (2, 5));
        for _ in 0..2 {
            let mut seen = Vec::new();
            spool
                .each(|task| {
                    seen.push(task.to_owned());
                    Ok::<_, io::Error>(true)
                })
                .unwrap();
            assert_eq!(seen, ["{\"a\":1}", "{\"b\":\"ü\"}"]);
        }
    }

    #[test]
    fn more_than_memory_is_for_comes_out_as_well() {
        let mut spool = TaskSpool::new();
        let task = "x".repeat(IN_MEMORY / 4);
        for number in 0..9 {
            spool.push(&format!("{number}{task}"), None).unwrap();
        }
        let mut seen = 0;
        spool
            .each(|line| {
                assert!(line.starts_with(&seen.to_string()) && line.len() == task.len() + 1);
                seen += 1;
                Ok::<_, io::Error>(seen < 8)
            })
            .unwrap();
        assert_eq!(seen, 8, "it says when it has enough");
    }
}
