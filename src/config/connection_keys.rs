//! The table of the keys of connections.ini, and rclone's keys that this version does not support.

use std::path::Path;
use std::time::Duration;

use super::connection::{ChangeDirectory, FtpConnection, LocalConnection, RenameOver, UploadMode};
use super::encoding::NameEncoding;
use super::key::KeyDefault::{Described, Is, Required};
use super::key::{ConfigKey, FieldAccess, KeyDefault, KeyField, KeyGroup, field, key, nonzero_field};
use super::kind::{KeyKind, KeyValue, MAX_SECRET_FILE_BYTES, quoted};
use super::time_offset::TIME_OFFSET;
use super::tls::{self, MAX_CA_BYTES};
use super::{bandwidth, network, password};

/// A wait must end soon enough for an operator to notice.
const WAIT: KeyKind = KeyKind::Time { min: Duration::from_millis(1), max: Duration::from_secs(3_600) };
const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

/// The password: in plain text, obscured as by rclone, or in a separate file.
const PASSWORD: KeyGroup = KeyGroup {
    keys: &["pass", "obscured_pass", "pass_file"],
    missing: Some("is missing; expected pass, obscured_pass or pass_file (for an anonymous server any pass)"),
    ignores_empty: false,
};
const ONE_IS_REQUIRED: KeyDefault = Described("one of these three is required");

pub(super) const TYPES: KeyKind = KeyKind::Choice(&["ftp", "local", "frp"]);
pub(super) const TYPE_DOC: &str = "What the section is: an `ftp` server, a `local` directory, or an `frp` tunnel that servers are reached through.";
pub(super) const TYPE: &str = "type";
pub(super) const PASSIVE: &str = "passive";
pub(super) const VIA: &str = "via";

/// A key that decides which table applies is read before it.
pub(super) const fn type_is<T>(name: fn(&T) -> KeyValue) -> FieldAccess<T> {
    FieldAccess { set: |_, _| Ok(()), get: name }
}

const fn ftp_key(
    path: &'static str,
    kind: KeyKind,
    default: KeyDefault,
    field: FieldAccess<FtpConnection>,
    doc: &'static str,
) -> ConfigKey<FtpConnection> {
    key(path, kind, default, field, doc)
}

/// The keys of a section with `type = ftp`, in the order of the documentation. They are set in this order.
#[rustfmt::skip] // one entry after the other, its text last
pub(super) const FTP_KEYS: &[ConfigKey<FtpConnection>] = &[
    ftp_key(TYPE, TYPES, Required, type_is(|_| KeyValue::Text("ftp".to_owned())), TYPE_DOC).rclones(),
    ftp_key("host", KeyKind::Host, Required, field!(host), "The FTP server.").rclones().selects_files(),
    ftp_key("port", KeyKind::Number { min: 1, max: 65_535 }, Is("21"), field!(port),
        "The port of its control connections.").rclones().selects_files(),
    ftp_key("user", KeyKind::Text, Required, field!(user),
        "The account's name; `anonymous` if the server needs no account. (rclone's default is the user that runs it; a \
         pod has no such user.)").rclones().selects_files(),
    ftp_key("pass", KeyKind::Secret, ONE_IS_REQUIRED, field!(pass),
        "The password verbatim: nothing in it is an escape or a quote. (rclone's `pass` is obscured: that is \
         `obscured_pass` here.)").one_of(&PASSWORD),
    ftp_key("obscured_pass", KeyKind::Secret, ONE_IS_REQUIRED, password::OBSCURED,
        "The password as rclone.conf has it, or as `rclone obscure` prints it.").one_of(&PASSWORD),
    ftp_key("pass_file", KeyKind::File { max_bytes: MAX_SECRET_FILE_BYTES }, ONE_IS_REQUIRED, password::FILE,
        "A file that contains the password, such as a mounted secret; one line break at its end is removed.")
        .one_of(&PASSWORD),
    ftp_key("tls", KeyKind::Flag, Is("false"), tls::IMPLICIT,
        "Implicit FTPS: TLS from the first byte, usually on port 990.").rclones(),
    ftp_key("explicit_tls", KeyKind::Flag, Is("false"), tls::EXPLICIT,
        "Explicit FTPS: the session starts in plain text and switches to TLS before the login (AUTH TLS), or fails.")
        .rclones(),
    ftp_key("no_check_certificate", KeyKind::Flag, Is("false"), tls::UNCHECKED,
        "Accept any certificate: a man in the middle can read and change everything. `tls_pin` is better.").rclones(),
    ftp_key("tls_ca", KeyKind::File { max_bytes: MAX_CA_BYTES }, Described("the system's authorities"), tls::AUTHORITIES,
        "A PEM file of the authorities to trust, instead of the system's."),
    ftp_key("tls_pin", KeyKind::Syntax("fingerprints (SHA-256)"), Described("none"), tls::PINS,
        "Trust these certificates and no others, regardless of issuer, name and date: the SHA-256 of a certificate in \
         hex, or `sha256//` and that of its public key in base64; several are separated by commas."),
    ftp_key("disable_tls13", KeyKind::Flag, Is("false"), field!(tls.tls12_only),
        "TLS 1.2 at most. Servers that require the control connection's TLS session on each data connection may need \
         it; where one refuses for that reason, the connection falls back to TLS 1.2 without this key.").rclones(),
    ftp_key(PASSIVE, KeyKind::Flag, Is("true"), network::PASSIVE,
        "The client opens the data connections. `false` is active mode: the server opens them, and must be able to \
         reach the pod."),
    ftp_key("active_address", KeyKind::Syntax("an IP address"), Described("the pod's end of the control connection"),
        network::ACTIVE_ADDRESS,
        "The IP address that servers are told to connect to in active mode, such as that of a NAT in front of the pod."),
    ftp_key("active_ports", KeyKind::Syntax("a range of ports"), Described("any free port"), network::ACTIVE_PORTS,
        "The ports that servers are told to connect to in active mode, `50000-50099`: as many as there are sessions, \
         or more."),
    ftp_key("pasv_address", KeyKind::Choice(&["control", "server"]), Is("control"), network::PASV_ADDRESS,
        "Where data connections go after PASV: to the `control` connection's address, or to the one that the `server` \
         names, which behind NAT is wrong and can be anyone's. (EPSV names none.)"),
    ftp_key("disable_epsv", KeyKind::Flag, Is("false"), field!(disable_epsv),
        "Go straight to PASV, for a server that answers EPSV wrongly.").rclones(),
    ftp_key("disable_utf8", KeyKind::Flag, Is("false"), field!(disable_utf8),
        "Do not announce UTF-8 names to a server that offers UTF-8 (OPTS UTF8 ON); they are sent as UTF-8 all the same.")
        .rclones(),
    ftp_key("charset", KeyKind::Syntax("a charset in which ASCII is ASCII"), Is("utf-8"), CHARSET,
        "The charset of names on the server: `windows-1252` (which includes Latin-1), `shift_jis`, `gbk`, or another \
         label of the WHATWG's Encoding Standard.").selects_files(),
    ftp_key("time_offset", KeyKind::Syntax("an offset from UTC, from -12:00 to +14:00"), Described("learned from MDTM"),
        TIME_OFFSET,
        "The offset of the server's clock from UTC, such as `+02:00`: LIST's times are by that clock. Needed for \
         `--newer-than` and `--older-than` if the server has neither MLSD nor MDTM."),
    ftp_key("encoding", KeyKind::Syntax("classes of characters"), Described("names are sent as the task has them"), ENCODING,
        "Characters of a task's remote path that the server does not accept, and that are replaced by look-alikes \
         there: rclone's classes, separated by commas, such as its own default for FTP, \
         `Slash,Del,Ctl,RightSpace,Dot`. Unlike in rclone, nothing is replaced unless this is set.")
        .rclones().selects_files(),
    ftp_key("writing_mdtm", KeyKind::Flag, Is("false"), field!(writing_mdtm),
        "Set times with `MDTM time path` right away, for `preserve_mtime` on an upload. Otherwise MFMT, MFF and SITE \
         UTIME are tried first if the server offers them, and this form if it offers none of them, as vsftpd.").rclones(),
    ftp_key("path_root", KeyKind::Text, Described("paths are as the task has them"), PATH_ROOT,
        "A directory on the server under which all remote paths lie, absolute ones too.").selects_files(),
    ftp_key("socks_proxy", KeyKind::Secret, Described("none"), network::SOCKS_PROXY,
        "A SOCKS5 proxy for control and data connections: `host:port`, or `user:password@host:port`.").rclones(),
    ftp_key("http_proxy", KeyKind::Secret, Described("none"), network::HTTP_PROXY,
        "An HTTP proxy with CONNECT, for control and data connections: `http://host:port`, or \
         `http://user:password@host:port`.").rclones(),
    ftp_key("source_address", KeyKind::Syntax("an IP address"), Described("what the system chooses"), network::SOURCE_ADDRESS,
        "The pod's own IP address that connections are opened from."),
    ftp_key(VIA, KeyKind::Text, Described("none: the server is reached directly"), network::VIA,
        "The section of type `frp` through whose tunnel the server is reached. `host` is then its name as the far side and \
         its certificate have it; `close_timeout` and `stall_timeout` are longer by default, since megabytes may lie in the \
         tunnel.").selects_files(),
    ftp_key("keepalive", KeyKind::Time { min: Duration::ZERO, max: Duration::from_secs(7_200) }, Is("15s"),
        nonzero_field!(network.keepalive),
        "Idle time after which TCP sends keepalive probes, so that firewalls and NAT gateways do not forget a connection \
         that is silent, such as the control connection during a long transfer. Must be below the shortest idle time after \
         which one on the way does so: see OPERATIONS. 0 disables them."),
    ftp_key("max_sessions", KeyKind::Number { min: 1, max: 10_000 }, Described("`pool.max_sessions_per_connection`"),
        field!(max_sessions),
        "Maximum number of open sessions of one pod with this server, idle or busy.").keeps_sessions(),
    ftp_key("max_sessions_total", KeyKind::Number { min: 0, max: 1_000_000 }, Described("`pool.max_sessions_total`"),
        nonzero_field!(max_sessions_total),
        "Maximum number of open sessions of all pods together with this server, idle or busy; 0 is no limit. One less \
         than the server allows leaves one for `submit` and `check`.").keeps_sessions(),
    ftp_key("concurrency", KeyKind::Number { min: 0, max: 10_000 }, Is("0"), CONCURRENCY,
        "Lowers `max_sessions` to this number; 0 does not.").rclones().keeps_sessions(),
    ftp_key("max_session_age", KeyKind::Time { min: SECOND, max: DAY },
        Described("`4m30s` with TLS, since many servers forget TLS sessions after five minutes; otherwise none"),
        field!(max_session_age),
        "A session that is older than this is closed as soon as it has no transfer."),
    ftp_key("max_session_transfers", KeyKind::Number { min: 0, max: 1_000_000_000 }, Is("0"),
        nonzero_field!(max_session_transfers),
        "A session that has served this many tasks is closed; 0 is no limit. For servers that slow down or leak with \
         each transfer."),
    ftp_key("idle_timeout", KeyKind::Time { min: Duration::ZERO, max: DAY }, Described("`pool.session_timeout_seconds`"),
        field!(idle_timeout),
        "An idle session of this connection is closed after this time; 0 keeps it until the server ends it.")
        .rclones().keeps_sessions(),
    ftp_key("rename_over", KeyKind::Choice(&["auto", "delete_first"]), Is("auto"), field!(rename_over),
        "How an upload replaces a file: `auto` renames over it in one step; `delete_first` is for servers that refuse \
         that, and a reader may see no file for a moment."),
    ftp_key("upload", KeyKind::Choice(&["temp_name", "in_place"]), Is("temp_name"), field!(upload),
        "`temp_name` stores a file under a temp name, and renames it once it is whole and verified. `in_place` stores it under \
         its own name (rclone's `--inplace`), for accounts that may not rename, and for servers that take files away as \
         they arrive. Its price: a reader may see a part of a file; a transfer that fails leaves one there, or a file that is \
         not verified; a task that is done again stores the file again; no upload is resumed; `overwrite: false` is \
         refused. Each result has a note that says so."),
    ftp_key("no_check_upload", KeyKind::Flag, Is("false"), field!(no_check_upload),
        "Ask nothing about a file that was uploaded, neither SIZE nor a hash, for accounts that may write and not look: the \
         server's reply to STOR is the only proof that the file is whole, and the result has a note. A task with \
         `verify: hash` is checked all the same.").rclones(),
    ftp_key("temp_prefix", KeyKind::Syntax("the start of a file's name"), Is(".ftp-pooler-"), TEMP_NAME_PREFIX,
        "What the names of temp files on the server begin with, for servers that refuse a leading dot. Temp files with \
         another prefix, from before a change, are not cleaned up.").selects_files(),
    ftp_key("temp_suffix", KeyKind::Syntax("the end of a file's name"), Is(".tmp"), TEMP_NAME_SUFFIX,
        "What the names of temp files on the server end with, such as the suffix that its own jobs pass over.").selects_files(),
    ftp_key("temp_dir", KeyKind::Text, Described("the directory of the file"), TEMP_DIR,
        "The directory on the server in which files have their temp names, on the same file system as where they go; a \
         relative one lies where a task's relative paths do.").selects_files(),
    ftp_key("change_directory", KeyKind::Choice(&["when_refused", "always"]), Is("when_refused"),
        field!(change_directory),
        "Some servers take a file's name and no path. `when_refused` finds that out: where STOR or RETR of a path is \
         refused, its directory is entered (CWD) and the name tried, and if that is taken every command goes so from \
         then on. `always` does so from the start."),
    ftp_key("resume", KeyKind::Flag, Is("true"), field!(resume),
        "An interrupted transfer continues where it stopped (REST) if size and time of its source are unchanged (a \
         download with `verify: none` checks neither, and starts again), also in the pod that takes its task over: for \
         that an upload's directory is listed before the first file of 4 MiB or more that goes there in an assignment. \
         `false` starts each try with the first byte, as a task can ask with `options.resume`."),
    ftp_key("max_file_size", KeyKind::Size { min: 1, max: 1 << 50 }, Is("1Ti"), field!(max_file_size),
        "A larger file fails with `file_too_large`: before its first byte if its size is known, otherwise once this many \
         bytes have arrived. So no server can send for ever."),
    ftp_key("bandwidth", KeyKind::Syntax(bandwidth::SYNTAX), Is("off"), bandwidth::OF_CONNECTION,
        "Bytes per second at most, of one pod over all its sessions with this server, as rclone's `--bwlimit` has it: `10M` in \
         each direction, `10M:1M` up and down, `off`, or a timetable by the pod's local time (`TZ`), \
         `08:00,512k 18:00,off` or `Mon-08:00,512k Fri-18:00,off`. A plain number is KiB; a later entry for the same time \
         corrects an earlier one. A change holds at once for running transfers.").keeps_sessions(),
    ftp_key("min_rate", KeyKind::Size { min: 0, max: 1 << 30 }, Is("64"), field!(min_rate.bytes_per_second),
        "Bytes per second, averaged over `min_rate_window`, that a data connection must transfer while it is waited for; \
         a slower one has failed. 0 disables the check."),
    ftp_key("min_rate_window", KeyKind::Time { min: SECOND, max: Duration::from_secs(3_600) }, Is("2m"),
        field!(min_rate.window), "The time over which `min_rate` is averaged."),
    ftp_key("connect_timeout", WAIT, Is("30s"), field!(timeouts.connect), "For each TCP connect, control and data."),
    ftp_key("greeting_timeout", WAIT, Is("30s"), field!(timeouts.greeting),
        "For the server's greeting, after the connect."),
    ftp_key("login_timeout", WAIT, Is("30s"), field!(timeouts.login),
        "For each reply of the login, and for the TLS handshake; all of them together may take twice as long."),
    ftp_key("reply_timeout", WAIT, Is("30s"), field!(timeouts.reply), "For any other reply."),
    ftp_key("first_byte_timeout", WAIT, Is("1m"), field!(timeouts.first_byte),
        "For the first byte of a download: a server may have to fetch the file from somewhere first."),
    ftp_key("stall_timeout", WAIT, Is("60s"), field!(timeouts.stall),
        "A data connection without a byte for this long has stalled; `5m` by default with `via`."),
    ftp_key("close_timeout", WAIT, Is("1m"), field!(timeouts.close),
        "For the reply that ends a transfer, counted from the end of its data; `10m` by default with `via`.").rclones(),
    ftp_key("shut_timeout", WAIT, Described("`close_timeout`"), SHUT_TIMEOUT,
        "rclone's name for a part of the wait that `close_timeout` limits here: the shorter of the two applies.")
        .rclones(),
    ftp_key("hash_timeout", WAIT, Is("10m"), field!(timeouts.hash),
        "For the reply to HASH and its like, for which the server reads the whole file."),
];

/// The keys of a section with `type = local`.
#[rustfmt::skip]
pub(super) const LOCAL_KEYS: &[ConfigKey<LocalConnection>] = &[
    key(TYPE, TYPES, Required, type_is(|_| KeyValue::Text("local".to_owned())), TYPE_DOC).rclones(),
    key("base_path", KeyKind::Directory, Required, BASE_PATH,
        "The directory under which all local paths lie; it must exist. One file system that all pods share."),
];

/// The charset of a label; UTF-8 is `None`.
const CHARSET: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        ftp.charset = Some(charset(&value.into_text())?).filter(|charset| *charset != encoding_rs::UTF_8);
        Ok(())
    },
    get: |ftp| {
        KeyValue::Text(ftp.charset.map_or("utf-8".to_owned(), |charset| charset.name().to_ascii_lowercase()))
    },
};

fn charset(text: &str) -> Result<&'static encoding_rs::Encoding, String> {
    let charset = encoding_rs::Encoding::for_label(text.trim().as_bytes());
    charset.filter(|charset| charset.is_ascii_compatible()).ok_or_else(|| {
        format!("found {}; expected a charset in which ASCII is ASCII, such as windows-1252", quoted(text))
    })
}

const ENCODING: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        ftp.encoding = Some(NameEncoding::parse(&value.into_text())?);
        Ok(())
    },
    get: |ftp| ftp.encoding.map_or(KeyValue::Unset, |encoding| KeyValue::Text(encoding.names())),
};

/// A directory on the server, without trailing slashes. Servers on Windows treat `\` as one as well.
fn server_directory(value: KeyValue) -> Result<Option<String>, String> {
    let directory = value.into_text();
    if directory.split(['/', '\\']).any(|component| component == "..") {
        return Err("expected a path without `..`".to_owned());
    }
    let bare = directory.trim_end_matches('/');
    Ok(Some(if bare.is_empty() { "/" } else { bare }.to_owned()))
}

const PATH_ROOT: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| server_directory(value).map(|root| ftp.path_root = root),
    get: |ftp| ftp.path_root.load(),
};

/// A part of a file's name: no slash, and nothing that a command cannot contain.
fn name_part(value: KeyValue, expected: &str) -> Result<String, String> {
    let text = value.into_text();
    if text.len() > MAX_TEMP_NAME_PART
        || text.contains(['/', '\\', '*', '?'])
        || text.contains(char::is_control)
    {
        return Err(format!(
            "found {}; expected {expected}: at most {MAX_TEMP_NAME_PART} bytes, no slash and no wildcard",
            quoted(&text)
        ));
    }
    Ok(text)
}

/// With these a temp name is as long as a name may be.
const MAX_TEMP_NAME_PART: usize = 60;

const TEMP_NAME_PREFIX: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| name_part(value, "the start of a file's name").map(|text| ftp.temp_prefix = text),
    get: |ftp| ftp.temp_prefix.load(),
};

const TEMP_NAME_SUFFIX: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| name_part(value, "the end of a file's name").map(|text| ftp.temp_suffix = text),
    get: |ftp| ftp.temp_suffix.load(),
};

const TEMP_DIR: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| server_directory(value).map(|directory| ftp.temp_dir = directory),
    get: |ftp| ftp.temp_dir.load(),
};

/// rclone's limit can only lower the pool's.
const CONCURRENCY: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        let mut limit = 0;
        limit.store(value);
        if limit > 0 {
            ftp.max_sessions = ftp.max_sessions.min(limit);
        }
        Ok(())
    },
    get: |_| KeyValue::ShownByAnother,
};

/// rclone waits twice at the end of a transfer, and has a key for each; here it is one wait.
const SHUT_TIMEOUT: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        let mut shut = Duration::ZERO;
        shut.store(value);
        ftp.timeouts.close = ftp.timeouts.close.min(shut);
        Ok(())
    },
    get: |ftp| ftp.timeouts.close.load(),
};

const BASE_PATH: FieldAccess<LocalConnection> = FieldAccess {
    set: |local, value| {
        // Components, so that `/data//storage/` and `/data/storage` are one path.
        local.base_path = Path::new(&value.into_text()).components().collect();
        Ok(())
    },
    get: |local| KeyValue::Text(local.base_path.display().to_string()),
};

impl KeyField for RenameOver {
    fn store(&mut self, value: KeyValue) {
        *self = match value.into_text().as_str() {
            "delete_first" => RenameOver::DeleteFirst,
            _ => RenameOver::Auto, // the key's kind accepts nothing else
        };
    }

    fn load(&self) -> KeyValue {
        let name = match self {
            RenameOver::Auto => "auto",
            RenameOver::DeleteFirst => "delete_first",
        };
        KeyValue::Text(name.to_owned())
    }
}

impl KeyField for UploadMode {
    fn store(&mut self, value: KeyValue) {
        *self = if value.into_text() == "in_place" { UploadMode::InPlace } else { UploadMode::TempName };
    }

    fn load(&self) -> KeyValue {
        let name = match self {
            UploadMode::TempName => "temp_name",
            UploadMode::InPlace => "in_place",
        };
        KeyValue::Text(name.to_owned())
    }
}

impl KeyField for ChangeDirectory {
    fn store(&mut self, value: KeyValue) {
        *self = match value.into_text().as_str() {
            "always" => ChangeDirectory::Always,
            _ => ChangeDirectory::WhenRefused,
        };
    }

    fn load(&self) -> KeyValue {
        let name = match self {
            ChangeDirectory::WhenRefused => "when_refused",
            ChangeDirectory::Always => "always",
        };
        KeyValue::Text(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charset_is_one_in_which_ascii_is_ascii() {
        for label in ["utf-8", "latin1", "Shift_JIS"] {
            assert!(charset(label).is_ok(), "{label}");
        }
        for label in ["", "utf-16", "klingon"] {
            assert!(charset(label).unwrap_err().contains("expected a charset"), "{label}");
        }
    }
}
