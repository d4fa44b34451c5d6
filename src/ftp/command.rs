//! The commands that are sent, and the session step that each belongs to.

use super::fault::Fault;

/// What the session was doing. The same reply means different things at different steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Greeting,
    Auth,
    Pbsz,
    Prot,
    /// The handshake on the control connection.
    Tls,
    Login,
    Type,
    Feat,
    Opts,
    Clnt,
    Epsv,
    Pasv,
    Eprt,
    Port,
    /// Establishing the data connection.
    DataConnect,
    Size,
    Mdtm,
    /// Sets a file's modification time, using the MDTM command ([`Step::Mdtm`]).
    SetMdtm,
    Mfmt,
    Mff,
    SiteUtime,
    /// The server's own hash of a file: HASH, or an equivalent command that it supports.
    Hash,
    XHash(&'static str),
    OptsHash,
    Rest,
    Retr,
    /// RETR was accepted: bytes follow, then the final reply.
    Receiving,
    Stor,
    /// STOR was accepted: bytes follow, then the final reply.
    Sending,
    Mkd,
    Rnfr,
    Rnto,
    Dele,
    Pwd,
    Cwd,
    /// MLSD (RFC 3659, 7).
    Mlsd,
    List,
    Noop,
    Quit,
}

impl Step {
    /// The command as it is sent and as messages name it.
    pub const fn verb(self) -> &'static str {
        match self {
            Step::Connect => "connect",
            Step::Greeting => "greeting",
            Step::Auth => "AUTH TLS",
            Step::Pbsz => "PBSZ",
            Step::Prot => "PROT",
            Step::Tls => "TLS",
            Step::Login => "login",
            Step::Type => "TYPE",
            Step::Feat => "FEAT",
            Step::Opts => "OPTS UTF8",
            Step::Clnt => "CLNT",
            Step::Epsv => "EPSV",
            Step::Pasv => "PASV",
            Step::Eprt => "EPRT",
            Step::Port => "PORT",
            Step::DataConnect => "data connection",
            Step::Size => "SIZE",
            Step::Mdtm | Step::SetMdtm => "MDTM",
            Step::Mfmt => "MFMT",
            Step::Mff => "MFF",
            Step::SiteUtime => "SITE UTIME",
            Step::Hash => "HASH",
            Step::XHash(command) => command,
            Step::OptsHash => "OPTS HASH",
            Step::Rest => "REST",
            Step::Retr | Step::Receiving => "RETR",
            Step::Stor | Step::Sending => "STOR",
            Step::Mkd => "MKD",
            Step::Rnfr => "RNFR",
            Step::Rnto => "RNTO",
            Step::Dele => "DELE",
            Step::Pwd => "PWD",
            Step::Cwd => "CWD",
            Step::Mlsd => "MLSD",
            Step::List => "LIST",
            Step::Noop => "NOOP",
            Step::Quit => "QUIT",
        }
    }

    /// Before the session is logged in: a failure here affects every task of the connection.
    pub const fn is_opening(self) -> bool {
        matches!(
            self,
            Step::Connect
                | Step::Greeting
                | Step::Auth
                | Step::Pbsz
                | Step::Prot
                | Step::Tls
                | Step::Login
                | Step::Type
                | Step::Feat
        )
    }
}

/// A command, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub step: Step,
    /// Without its line end.
    pub line: String,
}

impl Command {
    /// A command without an argument.
    pub fn plain(step: Step) -> Command {
        Command { step, line: step.verb().to_owned() }
    }

    /// A command with an argument; without one if the argument is empty.
    ///
    /// # Errors
    /// [`Fault::Unsendable`] if the argument would end the line.
    pub fn with(step: Step, argument: &str) -> Result<Command, Fault> {
        if !is_sendable(argument) {
            return Err(Fault::Unsendable);
        }
        if argument.is_empty() {
            return Ok(Command::plain(step));
        }
        Ok(Command { step, line: format!("{} {argument}", step.verb()) })
    }
}

/// Whether a text can be part of a command line. vsftpd turns NUL into a line feed, so NUL is refused too.
pub(super) fn is_sendable(text: &str) -> bool {
    !text.contains(['\0', '\r', '\n'])
}
