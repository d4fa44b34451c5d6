//! The application's side in Rust: a ticket for `https://PORT-ID.domain/.router/enter?ticket=…`.
//!
//! `ROUTER_SECRET=… cargo run --example sign_ticket -- ID PORT USER NONCE`

use std::time::{SystemTime, UNIX_EPOCH};

use pattern_router::ticket::{TicketClaims, TicketKey, TicketPort, TicketUse};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [id, port, user, nonce] = arguments.as_slice() else {
        return Err("expected ID PORT USER NONCE".into());
    };
    let key =
        TicketKey::new(std::env::var("ROUTER_SECRET")?.into_bytes()).ok_or("ROUTER_SECRET is too short")?;
    let claims = TicketClaims {
        usage: TicketUse::Enter,
        id: id.clone(),
        port: TicketPort::One(port.parse()?),
        user: user.clone(),
        roles: vec![],
        nonce: nonce.clone(),
        expires: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 30,
    };
    let ticket = key.sign(&claims).ok_or("the ticket could not be signed")?;
    std::io::Write::write_all(&mut std::io::stdout(), format!("{ticket}\n").as_bytes())?;
    Ok(())
}
