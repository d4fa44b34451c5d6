//! The server's side: frps' configuration, its run, what it says of itself, and the plugin that guards it.
//!
//! ```text
//! template       frps.toml for a new server, with its reasons as comments
//! configuration  what this program needs to know of an existing frps.toml
//! supervisor     frps as a child process: started, kept running, restarted when its files have changed
//! plugin         frps' HTTP plugin protocol: tokens, rules, the audit log
//! status         what frps and the system say of its process
//! proc_files     the process that listens on a port, found in /proc
//! ports          ranges of ports, as people write them
//! ```

mod configuration;
mod plugin;
mod ports;
mod proc_files;
mod status;
mod supervisor;
mod template;

pub use configuration::{FrpsConfiguration, FrpsConfigurationError};
pub use plugin::{
    AuditRecord, ClientRules, ClientRulesError, PluginDecision, PluginRequest, decide, read_client_rules,
};
pub use ports::PortRange;
pub use proc_files::{ProcessFigures, process_listening_at};
pub use status::{FrpsStatus, FrpsStatusError, ask_status};
pub use supervisor::{FrpsError, FrpsSupervisor};
pub use template::{FrpsTemplate, render_template};
