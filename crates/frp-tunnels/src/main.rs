//! The command. All that it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // this program is also the step between fork and frpc
    frp_tunnels::process::exec_child::run_if_requested();
    frp_tunnels::cli::main()
}
