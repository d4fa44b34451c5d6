//! Through frp: the pooler with `via`, and rclone at plain frpc's visitors, beside both without a tunnel. frps stands beside
//! the server, at the far end of the link. Over loopback there is nothing to measure: a visitor there would take the ports of
//! the server itself.

use std::net::{Ipv4Addr, SocketAddr};

use crate::load::Ground;
use crate::peers::Peer;
use crate::support::kafka::Kafka;
use crate::support::link;
use crate::support::tunnel::Relay;
use crate::table::Table;
use crate::{Wanted, fed, pooler};

/// Where the visitors listen that rclone uses.
const VISITORS: Ipv4Addr = Ipv4Addr::new(127, 88, 0, 1);

pub fn measure(kafka: &Kafka, wanted: &Wanted) {
    let Some(host) = link::inside() else {
        println!("Nothing is measured through tunnels without the link, which takes root.");
        return;
    };
    let ground = Ground::behind_tunnels(&host);
    let (ports, proxy) =
        (Relay::far_away(ground.addr(), &host, true), Relay::far_away(ground.addr(), &host, false));
    let visitors = ports.visitors(VISITORS);
    let entrance = SocketAddr::from((VISITORS, ground.addr().port()));
    let rclone = if wanted.alone { None } else { Peer::rclone_alone() };
    let mut table = Table::new(&ground);
    for case in wanted.cases() {
        for round in 1..=wanted.rounds {
            eprintln!("{}: {case}, round {round} of {}", ground.name, wanted.rounds);
            table.add(&case, "pooler, direct", fed::run(kafka, &ground, &case, pooler::start));
            for (who, relay) in [("pooler, stcp", &ports), ("pooler, http_proxy", &proxy)] {
                let through = fed::run(kafka, &ground, &case, |fed| pooler::start_through(fed, relay));
                table.add(&case, who, through);
            }
            if let Some(rclone) = &rclone {
                table.add(&case, "rclone, direct", rclone.run(kafka, &ground, &case));
                table.add(&case, "rclone, stcp", rclone.run_rclone_at(&ground, &case, entrance));
            }
        }
    }
    drop(visitors);
    println!("\n{table}");
}
