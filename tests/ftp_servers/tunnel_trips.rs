//! Round trips through a tunnel, counted as in `round_trips`: the pod's side here, frps, the far client and the server
//! at the other end of the link.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ftp_pooler::app::CommandTunnels;
use ftp_pooler::config::{Config, ConfigSources, FilesInUse};

use crate::rig::Rig;
use crate::round_trips::{Bound, count};
use crate::support::link::{self, Link};
use crate::support::tunnel::{Plant, Relay};

const ROUND_TRIP: Duration = Duration::from_millis(40);

/// Of files in a row. A lone one also waits for what a row has asked for ahead.
const TUNNELLED: Bound = Bound { lone_download: 5.2, downloads: 3.6, lone_upload: 7.2, uploads: 3.1 };

#[test]
#[ignore = "needs FTP servers and frp: make test"]
fn a_row_of_files_through_a_tunnel_costs_no_more_than_directly() {
    if let Some(host) = link::inside() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(inside(&Plant::far_away(&host)));
    }
    let link = match Link::lay(ROUND_TRIP) {
        Ok(link) => link,
        Err(why) => return eprintln!("round trips are not counted here: {why}"),
    };
    let mut command = link.in_client(&std::env::current_exe().unwrap());
    let name = "tunnel_trips::a_row_of_files_through_a_tunnel_costs_no_more_than_directly";
    command.args(["--exact", "--ignored", "--nocapture", name]);
    assert!(command.status().unwrap().success(), "inside the link's namespace");
}

async fn inside(plant: &Plant) {
    frp_tunnels::process::exec_child::use_helper(env!("CARGO_BIN_EXE_ftp-pooler").into());
    let directory = tempfile::tempdir().unwrap();
    let config = configuration(directory.path(), plant);
    let tunnels = CommandTunnels::open(&config, None).await;
    let remote = Arc::clone(&config.connections.ftp["remote"]);
    let entered = tunnels.entering(&remote).await.unwrap();
    let place = plant.server.root().join("try");
    fs::create_dir_all(&place).unwrap();
    let mut rig = Rig::with((*entered).clone(), place.to_str().unwrap());
    "vsftpd through a tunnel".clone_into(&mut rig.name);
    let mut failed = Vec::new();
    count(&rig, "passive", &TUNNELLED, &mut failed).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

fn configuration(directory: &std::path::Path, plant: &Plant) -> Config {
    let mut ini = String::new();
    for (name, lines) in [("plant", plant.tunnel()), ("remote", plant.connection())] {
        let _ = writeln!(ini, "[{name}]");
        for (key, value) in lines {
            let _ = writeln!(ini, "{key} = {value}");
        }
    }
    let _ = writeln!(ini, "[local]\ntype = local\nbase_path = {}", directory.display());
    let file = directory.join("config.yaml");
    fs::write(&file, format!("tunnels: {{frpc: {}}}\n", Relay::frpc().display())).unwrap();
    fs::write(directory.join("connections.ini"), ini).unwrap();
    let (connections, environment) = (None, Vec::new());
    let sources = ConfigSources {
        config: file,
        connections,
        environment,
        property: |_, _| None,
        files: FilesInUse::All,
        also_searched: None,
    };
    Config::load(&sources).unwrap()
}
