//! Every key of connections.ini, declared once, and rclone's keys that this version does not have.

use std::time::Duration;

use super::keys::{Key, Standard, key};
use super::kind::Kind;

use Standard::{Is, Required, Told};

/// A wait must end, and soon enough that somebody notices.
const WAIT: Kind = Kind::Time { min: Duration::from_millis(1), max: Duration::from_secs(3600) };

const WAIT_DAY: Kind = Kind::Time { min: Duration::from_secs(1), max: Duration::from_secs(86_400) };

const fn rclones(path: &'static str, kind: Kind, standard: Standard, doc: &'static str) -> Key {
    Key { is_rclones: true, ..key(path, kind, standard, doc) }
}

/// Says which of the tables below holds for a section.
pub const TYPE: Key = rclones(
    "type",
    Kind::Choice { known: &["ftp", "local"], later: &[] },
    Required,
    "What the connection is: `ftp` or `local`.",
);

pub const HOST: Key = rclones("host", Kind::Host, Required, "The FTP server.");
pub const PORT: Key =
    rclones("port", Kind::Number { min: 1, max: 65_535 }, Is("21"), "The port of its control connections.");
pub const USER: Key = rclones(
    "user",
    Kind::Text,
    Required,
    "The account's name; `anonymous` where the server wants none. rclone takes the name of whoever runs it \
     where this is missing; a pod has nobody to take it from.",
);
pub const PASS: Key = key(
    "pass",
    Kind::Secret,
    Told("one of these three is required"),
    "The password as it is: nothing in it is an escape or a quote. (rclone's `pass` is obscured: that is \
     `obscured_pass` here.)",
);
pub const OBSCURED_PASS: Key = key(
    "obscured_pass",
    Kind::Secret,
    Told("one of these three is required"),
    "The password as rclone.conf has it, or as `rclone obscure` prints it.",
);
pub const PASS_FILE: Key = key(
    "pass_file",
    Kind::Path,
    Told("one of these three is required"),
    "A file that holds the password, such as a mounted secret; one line break at its end is not part of it.",
);
pub const PASSIVE: Key = key(
    "passive",
    Kind::Flag,
    Is("true"),
    "The client opens the data connections. `false` is active mode: the server does, and must be able to reach \
     the pod.",
);
pub const ACTIVE_ADDRESS: Key = key(
    "active_address",
    Kind::Text,
    Told("the pod's end of the control connection"),
    "The IP address that a server is told to connect to in active mode, such as that of a NAT before the pod.",
);
pub const ACTIVE_PORTS: Key = key(
    "active_ports",
    Kind::Text,
    Told("any free port"),
    "The ports that a server is told to connect to in active mode, `50000-50099`: as many as there are sessions, \
     or more.",
);
pub const PASV_ADDRESS: Key = key(
    "pasv_address",
    Kind::Choice { known: &["control", "server"], later: &[] },
    Is("control"),
    "Where data connections go after PASV: to the `control` connection's address, or to the one that the \
     `server` names, which behind NAT is wrong and can be anybody's. (EPSV names none.)",
);
pub const SOCKS_PROXY: Key = rclones(
    "socks_proxy",
    Kind::Secret,
    Told("none"),
    "A SOCKS5 proxy for control and data connections: `host:port`, or `user:password@host:port`.",
);
pub const HTTP_PROXY: Key = rclones(
    "http_proxy",
    Kind::Secret,
    Told("none"),
    "An HTTP proxy that knows CONNECT, for control and data connections: `http://host:port`, or \
     `http://user:password@host:port`.",
);
pub const SOURCE_ADDRESS: Key = key(
    "source_address",
    Kind::Text,
    Told("what the system chooses"),
    "The pod's own IP address that connections begin at.",
);
pub const KEEPALIVE: Key = key(
    "keepalive",
    Kind::Time { min: Duration::ZERO, max: Duration::from_secs(7200) },
    Is("1m"),
    "After this much silence TCP asks whether the server is still there, which also keeps firewalls from \
     forgetting a control connection during a long transfer; 0 never asks.",
);
pub const ENCODING: Key = rclones(
    "encoding",
    Kind::Encoding,
    Told("names are sent as the task has them"),
    "Characters of a task's remote path that the server does not take, and that are replaced there by look-alikes: \
     rclone's classes with commas, such as its own default for FTP, `Slash,Del,Ctl,RightSpace,Dot`. Unlike with \
     rclone nothing is replaced where this is not set.",
);
pub const WRITING_MDTM: Key = rclones(
    "writing_mdtm",
    Kind::Flag,
    Is("false"),
    "Set times with `MDTM time path` at once, for `preserve_mtime` on an upload. Otherwise MFMT, MFF and SITE UTIME \
     come first where the server offers them, and this form where it offers none of them, such as vsftpd.",
);
pub const IDLE_TIMEOUT: Key = rclones(
    "idle_timeout",
    Kind::Time { min: Duration::ZERO, max: Duration::from_secs(86_400) },
    Told("`pool.session_timeout_seconds`"),
    "An idle session of this connection is closed after this time; 0 keeps it until the server ends it.",
);
pub const PATH_ROOT: Key = key(
    "path_root",
    Kind::Text,
    Told("paths are as the task has them"),
    "A directory on the server beneath which all remote paths lie, absolute ones too.",
);
pub const TLS: Key =
    rclones("tls", Kind::Flag, Is("false"), "Implicit FTPS: TLS from the first byte, usually on port 990.");
pub const EXPLICIT_TLS: Key = rclones(
    "explicit_tls",
    Kind::Flag,
    Is("false"),
    "Explicit FTPS: the session begins in plain text and turns to TLS before the login (AUTH TLS), or ends.",
);
pub const NO_CHECK_CERTIFICATE: Key = rclones(
    "no_check_certificate",
    Kind::Flag,
    Is("false"),
    "Accept any certificate: whoever is in between can read and change everything. `tls_pin` is better.",
);
pub const DISABLE_TLS13: Key = rclones(
    "disable_tls13",
    Kind::Flag,
    Is("false"),
    "TLS 1.2 at most. Servers that want the session of the control connection on each data connection may \
     need it; where one refuses for that reason, the connection goes down to TLS 1.2 by itself.",
);
pub const TLS_CA: Key = key(
    "tls_ca",
    Kind::Path,
    Told("the system's authorities"),
    "A PEM file of the authorities to trust, instead of the system's.",
);
pub const TLS_PIN: Key = key(
    "tls_pin",
    Kind::Pins,
    Told("none"),
    "CertificateTrust these certificates and no others, whatever their issuer, name and date: the SHA-256 of a \
     certificate in hex, or `sha256//` and that of its public key in base64; several with commas.",
);
pub const MAX_SESSION_AGE: Key = key(
    "max_session_age",
    WAIT_DAY,
    Told("`4m30s` with TLS, whose sessions many servers forget after five minutes; else none"),
    "A session that is older than this is closed as soon as it has no transfer.",
);
pub const MAX_SESSION_TRANSFERS: Key = key(
    "max_session_transfers",
    Kind::Number { min: 0, max: 1_000_000_000 },
    Is("0"),
    "A session that has served so many tasks is closed; 0 is no limit. For servers that grow slower or leak with \
     each transfer.",
);
pub const RESUME: Key = key(
    "resume",
    Kind::Flag,
    Is("true"),
    "A transfer that broke off goes on where it was (REST), if size and time of its source are the same as before \
     (a download with `verify: none` asks for neither, and begins anew), also in the pod that takes its task over: for \
     that an upload's directory is listed before the first file of 4 MiB or more that goes there in an assignment. \
     `false` begins each try with the first byte, as a task can ask with `options.resume`.",
);
pub const MAX_FILE_SIZE: Key = key(
    "max_file_size",
    Kind::Size { min: 1, max: 1 << 50 },
    Is("1Ti"),
    "A larger file is `file_too_large`: before its first byte where its size is known, else once so many bytes have \
     come. So no server can send for ever.",
);
pub const MIN_RATE: Key = key(
    "min_rate",
    Kind::Size { min: 0, max: 1 << 30 },
    Is("64"),
    "Bytes a second, on average over `min_rate_window`, that a data connection must move while it is waited for; a \
     slower one has failed. 0 bears any.",
);
pub const MIN_RATE_WINDOW: Key = key(
    "min_rate_window",
    Kind::Time { min: Duration::from_secs(1), max: Duration::from_secs(3600) },
    Is("2m"),
    "The time over which `min_rate` is measured.",
);
pub const DISABLE_EPSV: Key = rclones(
    "disable_epsv",
    Kind::Flag,
    Is("false"),
    "Go straight to PASV, for a server that answers EPSV wrongly.",
);
pub const DISABLE_UTF8: Key = rclones(
    "disable_utf8",
    Kind::Flag,
    Is("false"),
    "Do not tell a server that offers UTF-8 that names are UTF-8 (OPTS UTF8 ON); they are sent so all the same.",
);
pub const CHARSET: Key = key(
    "charset",
    Kind::Charset,
    Is("utf-8"),
    "The charset of names on the server: `windows-1252` (which is Latin-1, too), `shift_jis`, `gbk`, or another \
     label of the WHATWG's encoding standard.",
);
pub const TIME_OFFSET: Key = key(
    "time_offset",
    Kind::TimeOffset,
    Told("learned from MDTM"),
    "The offset of the server's clock from UTC, such as `+02:00`: LIST's times are by that clock. Needed where the \
     server has neither MLSD nor MDTM, for `--newer-than` and `--older-than`.",
);
pub const MAX_SESSIONS: Key = key(
    "max_sessions",
    Kind::Number { min: 1, max: 10_000 },
    Told("`pool.max_sessions_per_connection`"),
    "Open sessions of one pod with this server at most, idle or busy.",
);
pub const CONCURRENCY: Key = rclones(
    "concurrency",
    Kind::Number { min: 0, max: 10_000 },
    Is("0"),
    "Lowers `max_sessions` to this number; 0 does not.",
);
pub const RENAME_OVER: Key = key(
    "rename_over",
    Kind::Choice { known: &["auto", "delete_first"], later: &[] },
    Is("auto"),
    "How an upload replaces a file: `auto` renames over it in one step; `delete_first` is for servers that \
     refuse to, and a reader may see no file for a moment.",
);
pub const CONNECT_TIMEOUT: Key =
    key("connect_timeout", WAIT, Is("30s"), "For each TCP connect, control and data.");
pub const GREETING_TIMEOUT: Key =
    key("greeting_timeout", WAIT, Is("30s"), "For the server's greeting, once it is connected to.");
pub const LOGIN_TIMEOUT: Key = key(
    "login_timeout",
    WAIT,
    Is("30s"),
    "For each reply of the login, and for the TLS handshake; all of them together may take twice as long.",
);
pub const REPLY_TIMEOUT: Key = key("reply_timeout", WAIT, Is("30s"), "For any other reply.");
pub const FIRST_BYTE_TIMEOUT: Key = key(
    "first_byte_timeout",
    WAIT,
    Is("1m"),
    "For the first byte of a download: a server may have to fetch the file from somewhere first.",
);
pub const STALL_TIMEOUT: Key =
    key("stall_timeout", WAIT, Is("60s"), "A data connection without a byte for this long has stalled.");
pub const CLOSE_TIMEOUT: Key = rclones(
    "close_timeout",
    WAIT,
    Is("1m"),
    "For the reply that ends a transfer, counted from the end of its data.",
);
pub const SHUT_TIMEOUT: Key = rclones(
    "shut_timeout",
    WAIT,
    Told("`close_timeout`"),
    "rclone's name for a part of the wait that `close_timeout` bounds here: the shorter of the two holds.",
);
pub const HASH_TIMEOUT: Key = key(
    "hash_timeout",
    WAIT,
    Is("10m"),
    "For the reply to HASH and its like, for which the server reads the whole file.",
);

/// The keys of a section with `type = ftp`, in the order of the documentation.
pub const FTP: &[&Key] = &[
    &TYPE,
    &HOST,
    &PORT,
    &USER,
    &PASS,
    &OBSCURED_PASS,
    &PASS_FILE,
    &TLS,
    &EXPLICIT_TLS,
    &NO_CHECK_CERTIFICATE,
    &TLS_CA,
    &TLS_PIN,
    &DISABLE_TLS13,
    &PASSIVE,
    &ACTIVE_ADDRESS,
    &ACTIVE_PORTS,
    &PASV_ADDRESS,
    &DISABLE_EPSV,
    &DISABLE_UTF8,
    &CHARSET,
    &TIME_OFFSET,
    &ENCODING,
    &WRITING_MDTM,
    &PATH_ROOT,
    &SOCKS_PROXY,
    &HTTP_PROXY,
    &SOURCE_ADDRESS,
    &KEEPALIVE,
    &MAX_SESSIONS,
    &CONCURRENCY,
    &MAX_SESSION_AGE,
    &MAX_SESSION_TRANSFERS,
    &IDLE_TIMEOUT,
    &RENAME_OVER,
    &RESUME,
    &MAX_FILE_SIZE,
    &MIN_RATE,
    &MIN_RATE_WINDOW,
    &CONNECT_TIMEOUT,
    &GREETING_TIMEOUT,
    &LOGIN_TIMEOUT,
    &REPLY_TIMEOUT,
    &FIRST_BYTE_TIMEOUT,
    &STALL_TIMEOUT,
    &CLOSE_TIMEOUT,
    &SHUT_TIMEOUT,
    &HASH_TIMEOUT,
];

pub const BASE_PATH: Key = key(
    "base_path",
    Kind::Path,
    Required,
    "The directory that all local paths are taken beneath; it must be there. One file system that all pods \
     share.",
);

/// The keys of a section with `type = local`.
pub const LOCAL: &[&Key] = &[&TYPE, &BASE_PATH];

/// A key of rclone's that this version does not have.
#[derive(Debug, Clone, Copy)]
pub struct Foreign {
    pub name: &'static str,
    pub taken: Taken,
    /// Why it can be ignored, or what to do instead.
    pub note: &'static str,
}

/// Which values of a foreign key change nothing here, so that it may stay in the section.
#[derive(Debug, Clone, Copy)]
pub enum Taken {
    Any,
    Only(&'static [&'static str]),
}

const OFF: Taken = Taken::Only(&["false", "f", "0"]);

const fn foreign(name: &'static str, taken: Taken, note: &'static str) -> Foreign {
    Foreign { name, taken, note }
}

/// rclone's options for its FTP backend (its docs/ftp) that have no counterpart here.
pub const FOREIGN: &[Foreign] = &[
    foreign("description", Taken::Any, "a remark"),
    foreign("allow_insecure_tls_ciphers", OFF, "this TLS has no insecure ciphers"),
    foreign("tls_cache_size", Taken::Any, "each session keeps its own TLS session"),
    foreign("disable_mlsd", Taken::Any, "only submit lists, and asks for LIST where MLSD is refused"),
    foreign("force_list_hidden", Taken::Any, "only submit lists, and takes what the server shows"),
    foreign("ask_password", OFF, "a pod has nobody to ask"),
    foreign("no_check_upload", OFF, "every upload is checked before it gets its name"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_fits_its_own_kind() {
        for key in FTP.iter().chain(LOCAL) {
            if let Is(text) = key.standard {
                assert!(key.kind.read(text).is_ok(), "{} = {text}", key.path);
            }
        }
    }

    #[test]
    fn a_key_is_either_ours_or_foreign() {
        for foreign in FOREIGN {
            assert!(FTP.iter().all(|key| key.path != foreign.name), "{}", foreign.name);
        }
    }
}
