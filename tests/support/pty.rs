//! A command on a pseudo-terminal: what it does where it believes that somebody looks.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A running command, and everything it has written to its terminal.
#[derive(Debug)]
pub struct OnTerminal {
    child: std::process::Child,
    reader: JoinHandle<()>,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl OnTerminal {
    /// Starts a command with a terminal of 120 columns as its input and both outputs.
    ///
    /// # Panics
    /// Where the system has no pseudo-terminals, or the command cannot be started.
    pub fn start(command: Command) -> OnTerminal {
        OnTerminal::with_rows(command, 40)
    }

    /// Where the terminal has this many rows.
    ///
    /// # Panics
    /// As [`OnTerminal::start`] does.
    pub fn with_rows(mut command: Command, rows: u16) -> OnTerminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("a pseudo-terminal");
        unlockpt(&master).expect("a pseudo-terminal");
        let name = ptsname(&master, Vec::new()).expect("a pseudo-terminal's name");
        let terminal = File::options().read(true).write(true).open(name.to_str().expect("a path"));
        let terminal = terminal.expect("the terminal's other end");
        let size = Winsize { ws_row: rows, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("a size");
        let end = || OwnedFd::from(terminal.try_clone().expect("a descriptor"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the command");
        // The last holders of the terminal are the command and its children.
        drop((terminal, command));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut master = File::from(master);
            let mut buffer = [0; 4096];
            // Ends with an error (EIO) once nobody has the other end any more.
            while let Ok(read @ 1..) = master.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..read]);
            }
        });
        OnTerminal { child, reader, seen }
    }

    /// What it has written so far, escapes included.
    pub fn seen(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen).into_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; gives all that was written.
    ///
    /// # Panics
    /// Where the command cannot be waited for.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("the command's end");
        self.reader.join().expect("the terminal's reader");
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (status, String::from_utf8_lossy(&seen).into_owned())
    }
}
