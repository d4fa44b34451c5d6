//! One FTP session: control connection, commands and replies, data connections. The only user of suppaftp.
//!
//! ```text
//! session   open, soundness, one command and its reply, close
//! connect   names → addresses → sockets, for control and data connections
//! control   the control connection, which suppaftp and bursts share
//! tls       of control and data connections
//! trust     which certificates are accepted, and what is wrong with the others
//! known     what a connection's sessions tell each other about its server
//! login     greeting, AUTH TLS, USER, PASS, TYPE I
//! features  what the server says it can do: FEAT
//! names     the charset of names, UTF-8
//! proxy     SOCKS5, HTTP CONNECT
//! active    EPRT or PORT, and the server's data connection
//! ahead     commands before their turn, where the server is far away
//! passive   EPSV or PASV, then RETR or STOR with its data connection
//! data      a transfer under way: bytes, end, final reply
//! ending    how a transfer ends, and what goes out with that
//! files     SIZE, MKD, RNFR/RNTO, DELE
//! list      temp files of the dead: MLSD, LIST
//! mlsd      a line of MLSD, taken apart for both of these
//! directory what is in a directory, with sizes and times, for `submit`: MLSD, LIST
//! mtime     MDTM; MFMT, MFF, SITE UTIME
//! hash      HASH, XSHA256 and their like
//! pace      too slow, or no byte at all
//! restart   REST
//! reply     three digits and a text, made safe to show
//! fault     what can go wrong on the wire; deadlines
//! classify  the one table: fault → the contract's code and what the try asks for
//! ```
//!
//! suppaftp reads and writes the control connection, but for bursts (see `ahead`); data connections are wholly
//! ours, since only then does each of their waits have a deadline and is the final reply read after one broke.
//! A session knows whether it is in doubt: see [`Session::is_sound`].

mod active;
mod ahead;
mod classify;
mod connect;
mod control;
mod data;
mod directory;
mod ending;
mod fault;
mod features;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hash;
mod known;
mod list;
mod login;
mod mlsd;
mod mtime;
mod names;
mod pace;
mod passive;
mod proxy;
mod reply;
mod restart;
mod session;
mod tls;
mod trust;

pub use data::{End, Retrieve, Store};
pub use directory::{Entry, EntryKind, Told};
pub use ending::{Ended, Row};
pub use files::{Deleted, Renamed, Size};
pub use hash::ServerHash;
pub use known::Known;
pub use mtime::{Modified, SetModified};
pub use restart::Restarts;
pub use session::Session;
