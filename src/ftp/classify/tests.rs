//! A row for each thing that real servers say.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::failure::Code::*;
use crate::failure::Remedy::*;
use crate::ftp::fault::Wait;
use crate::ftp::reply::reply;

fn said(step: Step, line: &str) -> (Code, Remedy) {
    let error = classify(at(step, false), &Fault::Reply(reply(line)));
    (error.failure.code, error.remedy)
}

fn at(step: Step, stale: bool) -> ErrorContext<'static> {
    let path = (!step.is_opening() && step != Step::Epsv).then_some("/in/a.txt");
    ErrorContext { step, server: "ftp.example.com:21", path, stale, renewable: false }
}

fn broken(kind: io::ErrorKind) -> Fault {
    Fault::Broken { what: "the control connection".to_owned(), error: kind.into() }
}

#[test]
fn a_login_that_is_refused_for_being_in_plain_text_says_which_key_is_missing() {
    for line in ["550 SSL/TLS required on the control channel", "534 Policy requires SSL."] {
        let error = classify(at(Step::Login, false), &Fault::Reply(reply(line)));
        assert_eq!(error.failure.code, TlsFailed, "{line}");
        assert!(error.failure.message.ends_with("(it wants TLS: explicit_tls = true)"), "{error}");
    }
    let plain = classify(at(Step::Login, false), &Fault::Reply(reply("530 Login incorrect.")));
    assert!(!plain.failure.message.contains("explicit_tls"), "{plain}");
}

#[test]
fn a_full_server_is_told_from_a_wrong_password() {
    for (step, line, expected) in [
        (
            Step::Greeting,
            "421 There are too many connected users, please try later.",
            (ServerBusy, LowerLimit),
        ),
        (
            Step::Greeting,
            "421 There are too many connections from your internet address.",
            (ServerBusy, LowerLimit),
        ),
        (Step::Greeting, "421 50 users (the maximum) are already logged in, sorry", (ServerBusy, LowerLimit)),
        (
            Step::Login,
            "530 Sorry, the maximum number of clients (2) for this user are already connected.",
            (ServerBusy, LowerLimit),
        ),
        (
            Step::Login,
            "421 I can't accept more than 2 connections as the same user",
            (ServerBusy, LowerLimit),
        ),
        (Step::Login, "530 Too many users logged in for this account", (ServerBusy, LowerLimit)),
        (Step::Retr, "451 Too many transfers", (ServerBusy, LowerLimit)),
        (Step::Epsv, "421 Too many connections", (ServerBusy, LowerLimit)),
        (Step::Login, "530 Login incorrect.", (AuthFailed, OpenBreaker)),
        (Step::Login, "530 Login authentication failed", (AuthFailed, OpenBreaker)),
        (Step::Login, "530 User cannot log in.", (AuthFailed, OpenBreaker)),
        (Step::Login, "332 Need account for login.", (AuthFailed, OpenBreaker)),
        (Step::Login, "500 OOPS: cannot change directory:/home/anna", (ConnectFailed, OpenBreaker)),
        (Step::Greeting, "120 Service ready in 5 minutes", (ConnectFailed, OpenBreaker)),
    ] {
        assert_eq!(said(step, line), expected, "{line}");
    }
}

#[test]
fn a_server_that_wants_tls_says_so_in_many_ways() {
    for (step, line, expected) in [
        (Step::Login, "530 Non-anonymous sessions must use encryption.", (TlsFailed, OpenBreaker)),
        (Step::Login, "550 SSL/TLS required on the control channel", (TlsFailed, OpenBreaker)),
        (
            Step::Login,
            "421 Sorry, cleartext sessions are not accepted on this server.",
            (TlsFailed, OpenBreaker),
        ),
        (Step::Login, "534 Policy requires SSL.", (TlsFailed, OpenBreaker)),
        (Step::Retr, "522 SSL connection required; connection not protected", (TlsFailed, GiveUp)),
        (
            Step::Stor,
            "425 Unable to build data connection: TLS session of data connection not resumed",
            (TlsFailed, GiveUp),
        ),
        (Step::Retr, "550 /in/a.txt: No such file or directory in /etc/ssl", (SourceNotFound, GiveUp)),
    ] {
        assert_eq!(said(step, line), expected, "{line}");
    }
}

#[test]
fn a_source_that_is_missing_is_told_from_one_that_is_forbidden() {
    for (line, expected) in [
        ("550 Failed to open file.", SourceNotFound),
        ("550 /in/a.txt: No such file or directory", SourceNotFound),
        ("550 Can't open /in/a.txt: No such file or directory", SourceNotFound),
        ("550 The system cannot find the file specified.", SourceNotFound),
        ("550 /in/a.txt: Not a regular file", SourceNotFound),
        ("450 /in/a.txt: No such file or directory", SourceNotFound),
        ("550 /in/a.txt: Permission denied", PermissionDenied),
        ("550 Can't open /in/a.txt: Permission denied", PermissionDenied),
        ("550 Access is denied.", PermissionDenied),
        ("550 Permission denied.", PermissionDenied),
    ] {
        assert_eq!(said(Step::Retr, line), (expected, GiveUp), "{line}");
    }
}

#[test]
fn an_upload_that_is_refused_says_why() {
    for (step, line, expected) in [
        (Step::Stor, "553 Could not create file.", (PermissionDenied, GiveUp)),
        (Step::Stor, "550 /in/a.txt: Permission denied", (PermissionDenied, GiveUp)),
        (Step::Stor, "553 Can't open that file: Permission denied", (PermissionDenied, GiveUp)),
        (Step::Stor, "550 /in/a.txt: File name too long", (PathNotAllowed, GiveUp)),
        (Step::Stor, "553 File name not allowed.", (PathNotAllowed, GiveUp)),
        (Step::Stor, "452 Insufficient storage space", (StorageFull, Wait)),
        (Step::Sending, "452 Transfer aborted: No space left on device", (StorageFull, Wait)),
        (Step::Sending, "552 Disk full - please upload later", (StorageFull, GiveUp)),
        (Step::Sending, "552 Transfer aborted. Disc quota exceeded", (StorageFull, GiveUp)),
        (Step::Sending, "451 Failure writing to local file: no space left on device", (StorageFull, Wait)),
        (Step::Sending, "451 Failure writing to local file.", (ProtocolError, Wait)),
        (Step::Stor, "532 Need account for storing files", (PermissionDenied, GiveUp)),
        (Step::Mkd, "550 Create directory operation failed.", (PermissionDenied, GiveUp)),
        (Step::Rnfr, "550 RNFR command failed.", (ProtocolError, Wait)),
        (Step::Rnfr, "550 Permission denied.", (PermissionDenied, GiveUp)),
        (Step::Rnto, "550 Rename failed.", (PermissionDenied, GiveUp)),
        (Step::Rnto, "550 Cannot create a file when that file already exists.", (Unsupported, GiveUp)),
        (Step::Rnto, "553 file exists", (Unsupported, GiveUp)),
        (Step::Rnto, "451 Rename/move failure: Permission denied", (PermissionDenied, GiveUp)),
        (Step::Rnto, "451 Rename/move failure: No such file or directory", (ProtocolError, Wait)),
        (Step::Mdtm, "550 Could not get file modification time.", (SourceNotFound, GiveUp)),
        (Step::Dele, "550 Permission denied.", (PermissionDenied, GiveUp)),
    ] {
        assert_eq!(said(step, line), expected, "{line}");
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    for (step, line, expected) in [
        (Step::Retr, "425 Failed to establish connection.", (ConnectFailed, Wait)),
        (Step::Retr, "425 Security: Bad IP connecting.", (ConnectFailed, Wait)),
        (Step::Receiving, "426 Failure writing network stream.", (ProtocolError, Wait)),
        (Step::Receiving, "451 Failure reading local file.", (ProtocolError, Wait)),
        (Step::Receiving, "550 The specified network name is no longer available.", (ProtocolError, Wait)),
        (Step::Retr, "450 /in/a.txt: Device or resource busy", (ServerBusy, Wait)),
        (Step::Size, "421 Timeout.", (ProtocolError, Wait)),
        (Step::Epsv, "500 OOPS: child died", (ProtocolError, Wait)),
        (Step::Size, "226 Transfer complete.", (ProtocolError, Wait)),
    ] {
        assert_eq!(said(step, line), expected, "{line}");
    }
}

/// Words of servers that are not among those of the matrix, from their documentation and their users' reports; and
/// rarer ones of those that are.
#[test]
fn what_iis_filezilla_and_others_say_is_understood() {
    for (step, line, expected) in [
        // IIS
        (Step::Greeting, "421 Service not available, closing control connection.", (ServerBusy, LowerLimit)),
        (Step::Login, "530 User cannot log in, home directory inaccessible.", (AuthFailed, OpenBreaker)),
        (
            Step::Login,
            "530-User cannot log in.\r\n Win32 error: Access is denied.\r\n530 End",
            (AuthFailed, OpenBreaker),
        ),
        (Step::Login, "534-Policy requires SSL.\r\n534 End", (TlsFailed, OpenBreaker)),
        (Step::Retr, "550-The system cannot find the file specified.\r\n550 End", (SourceNotFound, GiveUp)),
        (Step::Retr, "550-Access is denied.\r\n550 End", (PermissionDenied, GiveUp)),
        (
            Step::Retr,
            "550 The process cannot access the file because it is being used by another process.",
            (ServerBusy, Wait),
        ),
        (Step::Stor, "550-There is not enough space on the disk.\r\n550 End", (StorageFull, Wait)),
        (Step::Receiving, "426 Connection closed; transfer aborted.", (ProtocolError, Wait)),
        (Step::Retr, "425 Cannot open data connection.", (ConnectFailed, Wait)),
        (Step::Size, "550-The system cannot find the path specified.\r\n550 End", (SourceNotFound, GiveUp)),
        // FileZilla Server
        (Step::Login, "421 Too many users are connected, please try again later.", (ServerBusy, LowerLimit)),
        (Step::Login, "503 Use AUTH first.", (ConnectFailed, OpenBreaker)),
        (Step::Retr, "550 Couldn't open the file", (SourceNotFound, GiveUp)),
        (Step::Retr, "550 Permission denied", (PermissionDenied, GiveUp)),
        (
            Step::Stor,
            "450 TLS session of data connection has not resumed or the session does not match the control connection",
            (TlsFailed, GiveUp),
        ),
        (Step::Retr, "425 Can't open data connection for transfer of \"/in/a.txt\"", (ConnectFailed, Wait)),
        (Step::Receiving, "426 Connection timed out, aborting transfer", (ProtocolError, Wait)),
        // Pure-FTPd
        (Step::Login, "421 Too many connections (3) from this IP", (ServerBusy, LowerLimit)),
        (Step::Sending, "552 Quota exceeded: [a.txt] won't be saved", (StorageFull, GiveUp)),
        (Step::Stor, "553 Can't open that file: No such file or directory", (PermissionDenied, GiveUp)),
        (Step::Size, "421 Timeout - try typing a little faster next time", (ProtocolError, Wait)),
        // ProFTPD
        (
            Step::Login,
            "530 Sorry, the maximum number of allowed clients (30) already connected.",
            (ServerBusy, LowerLimit),
        ),
        (Step::Receiving, "426 Transfer aborted. Data connection closed", (ProtocolError, Wait)),
        (Step::Sending, "452 Transfer aborted. Disk quota exceeded", (StorageFull, Wait)),
        (Step::Stor, "550 /in/a.txt: Operation not permitted", (PermissionDenied, GiveUp)),
        // vsftpd
        (
            Step::Login,
            "500 OOPS: vsftpd: refusing to run with writable root inside chroot()",
            (ConnectFailed, OpenBreaker),
        ),
        (Step::Receiving, "421 Data timeout. Reconnect. Sorry.", (ProtocolError, Wait)),
        (Step::Epsv, "421 Timeout.", (ProtocolError, Wait)),
        // wu-ftpd, AIX, z/OS
        (Step::Login, "530 User anna access denied.", (AuthFailed, OpenBreaker)),
        (Step::Retr, "550 /in/a.txt: not a plain file.", (SourceNotFound, GiveUp)),
        (
            Step::Stor,
            "452 Error writing file: There is not enough space in the file system.",
            (StorageFull, Wait),
        ),
    ] {
        assert_eq!(said(step, line), expected, "{line}");
    }
}

#[test]
fn what_the_server_cannot_do_is_given_up() {
    for line in [
        "500 Unknown command.",
        "501 Syntax error",
        "502 Not implemented",
        "503 Bad sequence",
        "504 No",
        "551 No",
    ] {
        assert_eq!(said(Step::Stor, line), (Unsupported, GiveUp), "{line}");
    }
    assert_eq!(said(Step::Retr, "530 Please login with USER and PASS."), (PermissionDenied, GiveUp));
    assert_eq!(said(Step::Retr, "599 What?"), (ProtocolError, GiveUp));
    let cut = "551 This socket has been ended by the other party";
    assert_eq!(said(Step::Retr, cut), (ProtocolError, Wait));
    assert_eq!(said(Step::Receiving, cut), (ProtocolError, Wait));
}

#[test]
fn a_session_that_died_while_it_was_idle_costs_no_attempt() {
    for fault in [
        Fault::Reply(reply("421 Timeout.")),
        Fault::Reply(reply("421 Idle timeout (600 seconds): closing control connection")),
        Fault::Reply(reply("530 Please login with USER and PASS.")),
        broken(io::ErrorKind::UnexpectedEof),
        broken(io::ErrorKind::ConnectionReset),
        broken(io::ErrorKind::BrokenPipe),
    ] {
        assert_eq!(classify(at(Step::Size, true), &fault).remedy, FreshSession, "{fault:?}");
        assert_ne!(classify(at(Step::Size, false), &fault).remedy, FreshSession, "{fault:?}");
    }
}

#[test]
fn a_server_that_cannot_be_reached_opens_the_breaker() {
    for step in [Step::Connect, Step::Greeting, Step::Login] {
        let error = classify(at(step, false), &broken(io::ErrorKind::ConnectionRefused));
        assert_eq!((error.failure.code, error.remedy), (ConnectFailed, OpenBreaker));
        let error = classify(at(step, false), &Fault::Garbled);
        assert_eq!((error.failure.code, error.remedy), (ProtocolError, OpenBreaker));
    }
    let error = classify(at(Step::Retr, false), &broken(io::ErrorKind::ConnectionReset));
    assert_eq!((error.failure.code, error.remedy), (ProtocolError, Wait));
}

#[test]
fn running_out_of_descriptors_is_not_the_servers_fault() {
    let error = io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
    let error = classify(at(Step::Connect, false), &Fault::Broken { what: "connecting".to_owned(), error });
    assert_eq!((error.failure.code, error.remedy), (Internal, Wait));
}

#[test]
fn a_timeout_names_the_wait_its_limit_and_its_key() {
    let limit = Duration::from_secs(30);
    let fault = Fault::TimedOut { waiting_for: "the greeting".to_owned(), wait: Wait::Login, limit };
    let error = classify(at(Step::Greeting, false), &fault);
    assert_eq!(
        error.failure.to_string(),
        "timeout: greeting (ftp.example.com:21): timed out after 30s waiting for the greeting (login_timeout)"
    );
    assert_eq!((error.failure.ftp_code, error.remedy), (None, OpenBreaker));
}

#[test]
fn a_message_names_command_path_and_reply() {
    let error = classify(at(Step::Retr, false), &Fault::Reply(reply("550 Failed to open file.")));
    assert_eq!(error.failure.message, "RETR /in/a.txt: the server said 550 Failed to open file.");
    assert_eq!(error.failure.ftp_code, Some(550));
}

proptest! {
    #[test]
    fn a_transient_reply_is_never_given_up_but_where_its_words_say_so(code in 400u16..500, text in "[a-z ]{0,40}") {
        let (_, remedy) = said(Step::Epsv, &format!("{code} {text}"));
        let hints = reply(&format!("{code} {text}")).hints(None);
        prop_assert!(remedy != GiveUp || hints.tls);
    }

    #[test]
    fn after_the_login_no_reply_opens_the_breaker(code in 100u16..600, text in "[a-z ]{0,40}") {
        for step in [Step::Size, Step::Retr, Step::Stor, Step::Receiving, Step::Sending, Step::Rnto] {
            prop_assert_ne!(said(step, &format!("{code} {text}")).1, OpenBreaker);
        }
    }
}
