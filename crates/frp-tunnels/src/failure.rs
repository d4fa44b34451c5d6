//! Classes of failure: frp says what is wrong in words, which are classified here, once.

use std::fmt;

/// Why a tunnel, or the session that carries it, does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// No frpc was found, or it is too old.
    BinaryUnusable,
    /// frpc refused the configuration.
    ConfigurationInvalid,
    /// frpc could not open its administration port.
    AdminPortTaken,
    ServerNameUnknown,
    ServerUnreachable,
    /// The TLS handshake failed, or frps closed the connection before it answered the login.
    TlsRefused,
    AuthenticationFailed,
    /// Another frpc with this client id is online.
    ClientIdInUse,
    /// A server plugin said no.
    RejectedByServer,
    NameTaken,
    PortTaken,
    PortNotAllowed,
    PortLimit,
    RouteConflict,
    GroupMismatch,
    /// frps has no port for this kind of tunnel.
    KindNotEnabled,
    LocalServiceDown,
    /// The address of a visitor is in use on this machine.
    BindAddressTaken,
    /// No frpc offers the tunnel that a visitor wants.
    FarSideMissing,
    SecretKeyWrong,
    UserNotAllowed,
    /// The tunnel works, but the answer through it is not what the probe expects.
    ProbeFailed,
    /// Nothing was said within the time.
    TimedOut,
    /// frpc ended and said nothing that is known.
    ProcessEnded,
    Unknown,
}

/// The words of frp 0.61 to 0.71, in the order in which they are tried.
const WORDS: &[(&str, FailureClass)] = &[
    ("refused by policy", FailureClass::RejectedByServer), // the word of `server plugin`
    ("token in login doesn't match", FailureClass::AuthenticationFailed),
    ("authorization failed", FailureClass::AuthenticationFailed),
    ("invalid OIDC token", FailureClass::AuthenticationFailed),
    ("is already online", FailureClass::ClientIdInUse),
    ("visitor connection of", FailureClass::SecretKeyWrong), // narrowed below
    ("custom listener for", FailureClass::FarSideMissing),
    ("already exists", FailureClass::NameTaken),
    ("is already in use", FailureClass::NameTaken),
    ("port unavailable", FailureClass::PortTaken),
    ("port already used", FailureClass::PortTaken),
    ("no available port", FailureClass::PortTaken),
    ("port not allowed", FailureClass::PortNotAllowed),
    ("exceed the max_ports_per_client", FailureClass::PortLimit),
    ("router config conflict", FailureClass::RouteConflict),
    ("group auth failed", FailureClass::GroupMismatch),
    ("group should have same remote port", FailureClass::GroupMismatch),
    ("group params invalid", FailureClass::GroupMismatch),
    ("not supported when", FailureClass::KindNotEnabled),
    ("is not supported in frps", FailureClass::KindNotEnabled),
    ("connect to local service", FailureClass::LocalServiceDown),
    ("no such host", FailureClass::ServerNameUnknown),
    ("server misbehaving", FailureClass::ServerNameUnknown),
    ("x509:", FailureClass::TlsRefused),
    ("tls:", FailureClass::TlsRefused),
    ("session shutdown", FailureClass::TlsRefused),
    ("EOF", FailureClass::TlsRefused),
    ("connection refused", FailureClass::ServerUnreachable),
    ("i/o timeout", FailureClass::ServerUnreachable),
    ("i/o deadline reached", FailureClass::ServerUnreachable),
    ("no route to host", FailureClass::ServerUnreachable),
    ("network is unreachable", FailureClass::ServerUnreachable),
    ("connection reset by peer", FailureClass::ServerUnreachable),
    ("cannot assign requested address", FailureClass::BindAddressTaken),
    ("address already in use", FailureClass::BindAddressTaken),
    ("permission denied", FailureClass::BindAddressTaken),
];

/// What frpc prints, without a time stamp, when it refuses its configuration.
const CONFIGURATION_WORDS: &[&str] = &[
    "json:",
    "toml:",
    "yaml:",
    "template:",
    "unknown field",
    "is duplicated",
    "invalid",
    "unmarshal",
    "validate",
    "should be",
    "is required",
];

impl FailureClass {
    /// Each of them.
    pub const ALL: [Self; 25] = [
        Self::BinaryUnusable,
        Self::ConfigurationInvalid,
        Self::AdminPortTaken,
        Self::ServerNameUnknown,
        Self::ServerUnreachable,
        Self::TlsRefused,
        Self::AuthenticationFailed,
        Self::ClientIdInUse,
        Self::RejectedByServer,
        Self::NameTaken,
        Self::PortTaken,
        Self::PortNotAllowed,
        Self::PortLimit,
        Self::RouteConflict,
        Self::GroupMismatch,
        Self::KindNotEnabled,
        Self::LocalServiceDown,
        Self::BindAddressTaken,
        Self::FarSideMissing,
        Self::SecretKeyWrong,
        Self::UserNotAllowed,
        Self::ProbeFailed,
        Self::TimedOut,
        Self::ProcessEnded,
        Self::Unknown,
    ];

    /// The class of an error that frpc or frps put into these words.
    pub fn of_words(words: &str) -> Self {
        let found = WORDS.iter().find(|(known, _)| words.contains(known)).map(|(_, class)| *class);
        match found {
            Some(Self::SecretKeyWrong) if words.contains("not allowed") => Self::UserNotAllowed,
            Some(class) => class,
            None => Self::Unknown,
        }
    }

    /// The class of the exit of an frpc whose last words these are.
    pub fn of_exit(last_lines: &[String]) -> Self {
        for line in last_lines.iter().rev() {
            if line.contains("bind: address already in use") {
                return Self::AdminPortTaken;
            }
            match Self::of_words(line) {
                Self::Unknown => {}
                class => return class,
            }
            if CONFIGURATION_WORDS.iter().any(|word| line.contains(word)) {
                return Self::ConfigurationInvalid;
            }
        }
        Self::ProcessEnded
    }

    /// The same attempt would fail the same way until something is changed here.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::BinaryUnusable | Self::ConfigurationInvalid)
    }

    /// Worth an attempt of our own before frpc's next one (30 s): what is taken may be free soon.
    pub fn may_pass_soon(self) -> bool {
        matches!(
            self,
            Self::NameTaken | Self::PortTaken | Self::GroupMismatch | Self::RouteConflict | Self::Unknown
        )
    }

    /// A fault of the session with frps: it concerns every tunnel of the client.
    pub fn is_of_session(self) -> bool {
        matches!(
            self,
            Self::BinaryUnusable
                | Self::ConfigurationInvalid
                | Self::AdminPortTaken
                | Self::ServerNameUnknown
                | Self::ServerUnreachable
                | Self::TlsRefused
                | Self::AuthenticationFailed
                | Self::ClientIdInUse
                | Self::ProcessEnded
        )
    }

    /// The word for it in output, metrics and alerts.
    pub fn label(self) -> &'static str {
        match self {
            Self::BinaryUnusable => "binary_unusable",
            Self::ConfigurationInvalid => "configuration_invalid",
            Self::AdminPortTaken => "admin_port_taken",
            Self::ServerNameUnknown => "server_name_unknown",
            Self::ServerUnreachable => "server_unreachable",
            Self::TlsRefused => "tls_refused",
            Self::AuthenticationFailed => "authentication_failed",
            Self::ClientIdInUse => "client_id_in_use",
            Self::RejectedByServer => "rejected_by_server",
            Self::NameTaken => "name_taken",
            Self::PortTaken => "port_taken",
            Self::PortNotAllowed => "port_not_allowed",
            Self::PortLimit => "port_limit",
            Self::RouteConflict => "route_conflict",
            Self::GroupMismatch => "group_mismatch",
            Self::KindNotEnabled => "kind_not_enabled",
            Self::LocalServiceDown => "local_service_down",
            Self::BindAddressTaken => "bind_address_taken",
            Self::FarSideMissing => "far_side_missing",
            Self::SecretKeyWrong => "secret_key_wrong",
            Self::UserNotAllowed => "user_not_allowed",
            Self::ProbeFailed => "probe_failed",
            Self::TimedOut => "timed_out",
            Self::ProcessEnded => "process_ended",
            Self::Unknown => "unknown",
        }
    }

    /// What to do about it, in one sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Self::BinaryUnusable => "install frpc 0.61 or newer, or name it by --frpc",
            Self::ConfigurationInvalid => "correct the configuration; it is not retried until it changes",
            Self::AdminPortTaken => "another port is chosen automatically",
            Self::ServerNameUnknown => "check the server's name and this machine's DNS",
            Self::ServerUnreachable => "check that frps runs and that its port is open to this machine",
            Self::TlsRefused => {
                "check the CA, the server name and, where frps asks for one, the client certificate"
            }
            Self::AuthenticationFailed => {
                "the token must be that of frps; a token file is read again at each attempt"
            }
            Self::ClientIdInUse => "give each client its own id",
            Self::RejectedByServer => "a plugin of the server refuses it; its audit log says why",
            Self::NameTaken => {
                "another client of the same user has a tunnel of this name: give it its own user"
            }
            Self::PortTaken => "choose another remote port, or none, so that frps chooses",
            Self::PortNotAllowed => "choose a port within allowPorts of frps",
            Self::PortLimit => "end other tunnels, or raise maxPortsPerClient of frps",
            Self::RouteConflict => "another tunnel has this domain and path",
            Self::GroupMismatch => "all tunnels of a group need the same key and the same remote port",
            Self::KindNotEnabled => {
                "frps needs vhostHTTPPort, vhostHTTPSPort or tcpmuxHTTPConnectPort for this kind"
            }
            Self::LocalServiceDown => "start the local service, or correct its address",
            Self::BindAddressTaken => "choose another address for the visitor",
            Self::FarSideMissing => "start the far frpc, and compare its user and the tunnel's name",
            Self::SecretKeyWrong => "both sides need the same secret key",
            Self::UserNotAllowed => "the far side's allow_users must name this user",
            Self::ProbeFailed => {
                "check the service behind the tunnel, and firewalls between here and frps' port"
            }
            Self::TimedOut => "check the service behind the tunnel, and the path to frps",
            Self::ProcessEnded => "check the last lines of frpc's output",
            Self::Unknown => "check the message and the log of frps",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.label())
    }
}

/// A failure with its class, in frp's own words or ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({class}: {})", class.advice())]
pub struct Failure {
    pub class: FailureClass,
    pub message: String,
}

impl Failure {
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }

    /// One that frp put into words.
    pub fn of_words(words: &str) -> Self {
        Self::new(FailureClass::of_words(words), words.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frps_words_have_their_class() {
        for (words, class) in [
            (
                "login to the server failed: token in login doesn't match token from configuration. With loginFailExit enabled",
                FailureClass::AuthenticationFailed,
            ),
            ("dial tcp 127.0.0.1:1: connect: connection refused", FailureClass::ServerUnreachable),
            ("dial tcp: lookup nowhere.test: no such host", FailureClass::ServerNameUnknown),
            ("session shutdown", FailureClass::TlsRefused),
            ("port unavailable", FailureClass::PortTaken),
            ("port already used", FailureClass::PortTaken),
            ("port not allowed", FailureClass::PortNotAllowed),
            ("exceed the max_ports_per_client", FailureClass::PortLimit),
            ("proxy [x] already exists", FailureClass::NameTaken),
            ("type [http] not supported when vhost http port is not set", FailureClass::KindNotEnabled),
            ("router config conflict", FailureClass::RouteConflict),
            ("custom listener for [n] doesn't exist", FailureClass::FarSideMissing),
            ("visitor connection of [n] auth failed", FailureClass::SecretKeyWrong),
            ("visitor connection of [n] user [] not allowed", FailureClass::UserNotAllowed),
            ("listen tcp 127.0.0.1:21: bind: address already in use", FailureClass::BindAddressTaken),
            ("something else", FailureClass::Unknown),
        ] {
            assert_eq!(FailureClass::of_words(words), class, "{words}");
        }
    }

    #[test]
    fn an_exit_is_classified_by_the_last_line_that_is_known() {
        let exit = |lines: &[&str]| {
            FailureClass::of_exit(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            exit(&["listen tcp 127.0.0.1:7400: bind: address already in use"]),
            FailureClass::AdminPortTaken
        );
        assert_eq!(exit(&["json: unknown field \"foo\"", ""]), FailureClass::ConfigurationInvalid);
        assert_eq!(exit(&["proxy name [a] is duplicated"]), FailureClass::ConfigurationInvalid);
        assert_eq!(exit(&[]), FailureClass::ProcessEnded);
    }
}
