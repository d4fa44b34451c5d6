fn main() {
    frp_tunnels::process::exec_child::run_if_requested();
}
