//! Arguments → Config → App → exit code, nothing else.

use std::process::ExitCode;

use ftp_pooler::{app, cli};

fn main() -> ExitCode {
    // this program is also the intermediate step between fork and frpc
    app::become_child_if_requested();
    match cli::parse() {
        Ok(args) => cli::run(args),
        Err(code) => code,
    }
}
