//! One FTP session: control connection, commands and replies, data connections. The only user of suppaftp.
//!
//! ```text
//! session          a logged-in session: its lifecycle, one command and its reply, and the effect of a failure on it
//! login            greeting, AUTH TLS, USER, PASS, TYPE I, FEAT
//! features         what the server reports it can do: FEAT
//! server_profile   what a connection's sessions have found out about its server
//! write_only       directories in which temp files would remain for ever
//!
//! control          the control connection; the seam to suppaftp
//! control_stream   the stream beneath suppaftp: plain or TLS, shared with the code that writes bursts
//! reply_framing    where one reply ends and the next begins
//! reply_queue      which replies are outstanding: what makes a session unusable (`session::retire` has the causes that no
//!                  reply shows)
//! reply            three digits and a text, made safe to show
//! command          the commands, and the steps of a session
//! charset          names that are not UTF-8
//!
//! connect          names → addresses → sockets, for control and data connections
//! dial             several addresses of one name (RFC 8305), and which of them answered
//! proxy            SOCKS5, HTTP CONNECT
//! tls              TLS of control and data connections
//! certificate      which certificates are accepted, and what is wrong with the others
//!
//! files            SIZE, MKD, DELE
//! rename           RNFR, RNTO
//! mtime            MDTM; MFMT, MFF, SITE UTIME
//! hash             HASH, XSHA256 and their like
//! restart          REST
//! listing          what is in a directory: MLSD, LIST
//! listing_lines    the bytes of a listing → entries (by crates/ftp-listing), with names in Unicode
//! current_directory  PWD, CWD
//! bare_names       servers that take names and no paths: CWD first
//! zos              z/OS, known by what it says
//!
//! download_stream  RETR, MLSD, LIST: what the server sends
//! upload_stream    STOR: what the server receives
//! data_transfer    a transfer in progress: bytes, end, final reply
//! open_transfer    how a transfer starts: its data connection and the command that uses it
//! data_connection  how a data connection is established: EPSV, PASV, EPRT, PORT; its TLS
//! active_listener  active mode: accepts the server's data connection
//! transfer_rate    too slow, or no byte at all
//! pipelining       commands that are sent before the replies to earlier ones are in
//! end_burst        the end of an upload, joined with the commands of the uploads before and after it
//!
//! fault            what can go wrong on the wire; deadlines
//! classify         the one table: fault → the contract's code and how the try may be repeated
//! fuzz             replies that no server should send, for `make fuzz`
//! ```
//!
//! suppaftp reads replies and writes single commands. Data connections are entirely ours: only so does each of their
//! waits have a deadline, and is the final reply read after one broke. Whether a session can be used again follows from
//! the replies that are outstanding: see [`Session::is_usable`].

mod session;

mod features;
mod login;
mod server_profile;
mod write_only;

mod charset;
mod command;
mod control;
mod control_stream;
mod reply;
mod reply_framing;
mod reply_queue;

mod certificate;
mod connect;
mod dial;
mod proxy;
mod tls;

mod bare_names;
mod current_directory;
mod files;
mod hash;
mod listing;
mod listing_lines;
mod mtime;
mod rename;
mod restart;
mod zos;

mod active_listener;
mod data_connection;
mod data_transfer;
mod download_stream;
mod end_burst;
mod open_transfer;
mod pipelining;
mod transfer_rate;
mod upload_stream;

mod classify;
mod fault;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

pub use data_transfer::DataEnd;
pub use download_stream::DownloadStream;
pub use end_burst::{BurstOutcome, EndBurst};
pub use files::{DeleteOutcome, RefusedDirectory, SizeReply};
pub use hash::ServerHash;
pub use listing_lines::{ListedEntry, UnreadLine, UnreadReason};
pub use mtime::{ModifiedReply, SetModified};
pub use rename::RenameOutcome;
pub use restart::RestartSupport;
pub use server_profile::ServerProfile;
pub use session::Session;
pub use upload_stream::UploadStream;
