//! One FTP session: control connection, commands and replies, data connections. The only user of suppaftp.
//!
//! ```text
//! session   open, soundness, one command and its reply, close
//! connect   names → addresses → sockets, for control and data connections
//! login     greeting, USER, PASS, TYPE I
//! passive   EPSV or PASV, then RETR or STOR with its data connection
//! data      a transfer under way: bytes, end, final reply
//! files     SIZE, MKD, RNFR/RNTO, DELE
//! ahead     commands before their turn, where the server is far away
//! reply     three digits and a text, made safe to show
//! fault     what can go wrong on the wire; deadlines
//! classify  the one table: fault → the contract's code and what the try asks for
//! ```
//!
//! suppaftp reads and writes the control connection; data connections are wholly ours, since only then does
//! each of their waits have a deadline and is the final reply read after a connection that broke.
//! A session knows whether it is in doubt: see [`Session::is_sound`].

mod ahead;
mod classify;
mod connect;
mod data;
mod fault;
mod files;
mod login;
mod passive;
mod reply;
mod session;

pub use ahead::Manners;
pub use data::{Retrieve, Store};
pub use files::{Renamed, Size};
pub use session::Session;
