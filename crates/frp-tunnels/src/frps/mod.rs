//! The server's side: frps' configuration, its run, what it says of itself, and the plugin that guards it.

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
