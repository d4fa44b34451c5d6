//! The command line's grammar.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use service_kit::logging;

use crate::client::ClientSettings;
use crate::server_settings::{
    Authentication, SecretSource, ServerAddress, ServerSettings, TlsSettings, TransportProtocol,
};
use crate::spec::{LocalService, Probe};

/// Tunnels through frp: made, watched and ended; connected means that something came through.
#[derive(Debug, Parser)]
#[command(name = "frp-tunnels", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: CliCommand,
    /// Of results on standard output
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,
    /// Which log lines are written to standard error, such as info or frpc=debug (default: `RUST_LOG`, else info)
    #[arg(long, global = true)]
    pub(crate) log: Option<logging::Filter>,
    /// How log lines look (default: human on a terminal, else json)
    #[arg(long, global = true, value_enum)]
    pub(crate) log_format: Option<logging::Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Text,
    /// One object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Make a local TCP service reachable at a port of the server
    Tcp(PortArgs),
    /// Make a local UDP service reachable at a port of the server
    Udp(PortArgs),
    /// Make a local web service reachable under a domain of the server
    Http(HttpArgs),
    /// Reach a secret tunnel of another client at a local address
    Visit(VisitArgs),
    /// Reach the FTP server of a far `serve` at a local address
    VisitFtp(VisitFtpArgs),
    /// Make one FTP server, and nothing else, reachable for those that know a key
    Serve(ServeArgs),
    /// Run all tunnels of a file; SIGHUP or a change of the file takes over what is new
    Up(UpArgs),
    /// List the tunnels of a running `up`
    Ls(ApiArgs),
    /// Show the tunnels of a running `up`, and again whenever they change
    Status(StatusArgs),
    /// Print frpc's own configuration for a file, without secrets
    Config(ConfigArgs),
    /// The server's side: frps
    #[command(subcommand)]
    Server(ServerCommand),
    /// Keep the tunnels that are declared as resources of a Kubernetes namespace
    #[cfg(feature = "operator")]
    Operator(Box<super::operator_command::OperatorArgs>),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    Man {
        /// Write the pages of all commands into this directory instead
        #[arg(long)]
        directory: Option<PathBuf>,
    },
}

/// Where frps is, and who this client is.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArgs {
    /// HOST[:PORT] of frps; given again: the next one where one is away
    #[arg(long, required = true, env = "FRP_TUNNELS_SERVER", value_delimiter = ',')]
    pub(crate) server: Vec<ServerAddress>,
    /// File with the token of frps
    #[arg(long, env = "FRP_TUNNELS_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with this client's own token, where frps asks `server plugin`
    #[arg(long)]
    pub(crate) client_token_file: Option<PathBuf>,
    /// Prefix of this client's names at frps
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// CA certificates that frps' certificate must come from; without it nothing is checked
    #[arg(long)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The name in frps' certificate, where it is not the host
    #[arg(long)]
    pub(crate) tls_server_name: Option<String>,
    /// Client certificate, where frps asks for one
    #[arg(long, requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    #[arg(long, requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// tcp, kcp, quic, websocket or wss
    #[arg(long, default_value = "tcp")]
    pub(crate) protocol: TransportProtocol,
    /// frpc's path (default: `FRP_TUNNELS_FRPC`, beside this program, PATH, /usr/local/bin, /opt/frp, ~/bin)
    #[arg(long)]
    pub(crate) frpc: Option<PathBuf>,
    /// The host under which others reach the server's ports
    #[arg(long)]
    pub(crate) public_host: Option<String>,
}

impl ConnectionArgs {
    pub(crate) fn settings(&self) -> ClientSettings {
        let first = self.server.first().cloned();
        let mut server = ServerSettings::new(first.unwrap_or(ServerAddress { host: String::new(), port: 0 }));
        server.servers.clone_from(&self.server);
        server.user.clone_from(&self.user);
        if let Some(token) = &self.token_file {
            server.authentication = Authentication::Token(SecretSource::File(token.clone()));
        }
        server.client_token = self.client_token_file.clone().map(SecretSource::File);
        server.protocol = self.protocol;
        server.tls = TlsSettings {
            enabled: true,
            ca: self.tls_ca.clone(),
            server_name: self.tls_server_name.clone(),
            certificate: self.tls_certificate.clone(),
            key: self.tls_key.clone(),
        };
        let mut client = ClientSettings::new(server);
        client.frpc.clone_from(&self.frpc);
        client.public_host.clone_from(&self.public_host);
        client
    }
}

/// What all tunnels of the command line share.
#[derive(Debug, Args)]
pub(crate) struct TunnelArgs {
    /// The tunnel's name (default: from type and target)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What shows that it works: accepted, local, open, `greeting[:TEXT]` or `http:PATH[=STATUS]`
    #[arg(long)]
    pub(crate) probe: Option<Probe>,
    /// End with exit code 69 when the tunnel cannot be connected, instead of trying on
    #[arg(long)]
    pub(crate) exit_on_failure: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// PORT, HOST:PORT or unix:PATH
    pub(crate) local: LocalService,
    /// Port of frps (default: frps chooses)
    #[arg(long)]
    pub(crate) remote_port: Option<u16>,
    #[command(flatten)]
    pub(crate) tunnel: TunnelArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HttpArgs {
    /// PORT, HOST:PORT or unix:PATH
    pub(crate) local: LocalService,
    #[arg(long)]
    pub(crate) domain: Vec<String>,
    /// A label under the server's own domain
    #[arg(long)]
    pub(crate) subdomain: Option<String>,
    /// Only these paths, by whole segments; `*` stands for one segment
    #[arg(long)]
    pub(crate) path: Vec<String>,
    /// Take the matched path off before the service sees it
    #[arg(long)]
    pub(crate) strip_path: bool,
    /// Ask clients for this user, with the password of --password-file
    #[arg(long, requires = "password_file")]
    pub(crate) http_user: Option<String>,
    #[arg(long, requires = "http_user")]
    pub(crate) password_file: Option<PathBuf>,
    /// The Host that the service sees
    #[arg(long)]
    pub(crate) host_header: Option<String>,
    #[command(flatten)]
    pub(crate) tunnel: TunnelArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VisitArgs {
    /// The far tunnel's name
    pub(crate) server_name: String,
    /// The far client's user
    #[arg(long)]
    pub(crate) server_user: Option<String>,
    /// File with the key that both sides know
    #[arg(long)]
    pub(crate) secret_file: PathBuf,
    /// Local address to listen at
    #[arg(long)]
    pub(crate) bind: SocketAddr,
    #[command(flatten)]
    pub(crate) tunnel: TunnelArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VisitFtpArgs {
    /// Names of the visitors begin with it
    #[arg(long, default_value = "ftp")]
    pub(crate) name: String,
    /// The far client's user
    #[arg(long)]
    pub(crate) server_user: Option<String>,
    /// File with the key that both sides know
    #[arg(long)]
    pub(crate) secret_file: PathBuf,
    /// Local address and port for the control connection; without --passive-ports, of the HTTP proxy
    #[arg(long)]
    pub(crate) bind: SocketAddr,
    /// FIRST-LAST, as on the far side; without it the far side's CONNECT proxy is reached
    #[arg(long)]
    pub(crate) passive_ports: Option<PortRange>,
    /// HOST:PORT for /health, /ready, /metrics and the tunnels' JSON
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// HOST:PORT of the FTP server
    #[arg(long)]
    pub(crate) ftp: String,
    /// File with the key that visitors need
    #[arg(long)]
    pub(crate) secret_file: PathBuf,
    /// FIRST-LAST, as the FTP server is set up; without it a CONNECT proxy to the FTP server is offered
    #[arg(long)]
    pub(crate) passive_ports: Option<PortRange>,
    /// With the CONNECT proxy: ports that the FTP server may give for data connections
    #[arg(long, default_value = "1024-65535", conflicts_with = "passive_ports")]
    pub(crate) data_ports: PortRange,
    /// With the CONNECT proxy: further names of the FTP server in its clients' configuration
    #[arg(long, conflicts_with = "passive_ports")]
    pub(crate) ftp_name: Vec<String>,
    /// Users whose visitors may come in; `*`: all that know the key (default: only the own user's)
    #[arg(long)]
    pub(crate) allow_user: Vec<String>,
    /// HOST:PORT for /health, /ready, /metrics and the tunnels' JSON
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The file of tunnels
    pub(crate) file: PathBuf,
    /// Only check the file
    #[arg(long)]
    pub(crate) check: bool,
    /// HOST:PORT for /health, /ready, /metrics and the tunnels' JSON
    #[arg(long, default_value = DEFAULT_API)]
    pub(crate) listen: SocketAddr,
}

/// Where `up` listens and `ls` asks.
pub(crate) const DEFAULT_API: &str = "127.0.0.1:7420";

#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    /// HOST:PORT where `up` listens
    #[arg(long, default_value = DEFAULT_API)]
    pub(crate) api: String,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    /// Show it once; exit code 69 unless every tunnel is connected
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The file of tunnels
    pub(crate) file: PathBuf,
    /// Print the secrets, too
    #[arg(long)]
    pub(crate) show_secrets: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Write frps.toml and a token
    Init(ServerInitArgs),
    /// Run frps; it is started anew when its certificate or configuration changes
    Run(ServerRunArgs),
    /// Show a running frps: process, clients, tunnels, traffic
    Status(ServerStatusArgs),
    /// Answer frps' plugin requests: a token for each client, rules, audit log
    Plugin(ServerPluginArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServerTemplate {
    /// A token and a port; for trials and private networks
    Basic,
    /// TLS with a certificate, allowed ports, limits, log files, metrics
    Production,
}

#[derive(Debug, Args)]
pub(crate) struct ServerInitArgs {
    #[arg(long, value_enum, default_value_t = ServerTemplate::Basic)]
    pub(crate) template: ServerTemplate,
    /// Where frps.toml and the token go; existing files are kept
    #[arg(long, default_value = ".")]
    pub(crate) directory: PathBuf,
    #[arg(long, default_value_t = 7000)]
    pub(crate) port: u16,
    /// Ports that clients may take, such as 6000-6099,7022 (production: none unless given)
    #[arg(long, value_delimiter = ',')]
    pub(crate) allow_ports: Vec<PortRange>,
    /// Port for domains of http tunnels
    #[arg(long)]
    pub(crate) http_port: Option<u16>,
    /// Port for domains of https tunnels
    #[arg(long)]
    pub(crate) https_port: Option<u16>,
    /// The domain whose labels are given out as subdomains
    #[arg(long)]
    pub(crate) subdomain_host: Option<String>,
    /// Certificate of frps (PEM)
    #[arg(long, required_if_eq("template", "production"))]
    pub(crate) certificate: Option<PathBuf>,
    #[arg(long, required_if_eq("template", "production"))]
    pub(crate) key: Option<PathBuf>,
    /// Ask clients for certificates of this CA
    #[arg(long)]
    pub(crate) client_ca: Option<PathBuf>,
    /// HOST:PORT of `server plugin`
    #[arg(long)]
    pub(crate) plugin: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct ServerRunArgs {
    #[arg(long, default_value = "frps.toml")]
    pub(crate) config: PathBuf,
    /// frps' path (default: `FRP_TUNNELS_FRPS`, beside this program, PATH, /usr/local/bin, /opt/frp, ~/bin)
    #[arg(long)]
    pub(crate) frps: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServerStatusArgs {
    /// The configuration that frps runs with: it says where its API is
    #[arg(long, default_value = "frps.toml")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ServerPluginArgs {
    /// Clients and their rules
    #[arg(long)]
    pub(crate) clients: PathBuf,
    /// frps asks here
    #[arg(long, default_value = "127.0.0.1:7410")]
    pub(crate) listen: SocketAddr,
    /// One JSON object a line (default: standard output)
    #[arg(long)]
    pub(crate) audit_log: Option<PathBuf>,
}

pub(crate) use crate::frps::PortRange;
