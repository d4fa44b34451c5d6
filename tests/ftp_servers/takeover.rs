//! What a frozen pod's connection still brings does no harm to the file that the next owner has gone on with.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::rig::{Rig, sent_by_another};
use crate::support::ftp_server::{Make, PASSWORD, Security, Settings, USER};
use crate::support::wait::wait_until;

const SIZE: usize = 8 << 20;
const HALF: usize = 5 << 20;

/// A control connection of another process.
struct Frozen {
    control: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Frozen {
    fn log_in(address: SocketAddr) -> Frozen {
        let control = TcpStream::connect(address).unwrap();
        control.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut frozen = Frozen { control: BufReader::new(control), address };
        frozen.reply();
        for line in [format!("USER {USER}"), format!("PASS {PASSWORD}"), "TYPE I".to_owned()] {
            frozen.say(&line);
        }
        frozen
    }

    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.control.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    fn say(&mut self, line: &str) -> String {
        self.control.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    /// The data connection of an upload.
    fn store(&mut self, path: &str) -> TcpStream {
        let reply = self.say("EPSV");
        let port = reply.rsplit('|').nth(1).unwrap().parse().unwrap();
        let data = TcpStream::connect((self.address.ip(), port)).unwrap();
        assert!(self.say(&format!("STOR {path}")).starts_with("150"));
        data
    }
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn what_a_frozen_pod_has_under_way_comes_late_and_does_no_harm() {
    for make in [Make::Vsftpd, Make::Proftpd, Make::PureFtpd] {
        let Some(rig) = Rig::start(make, Settings::new(Security::Plain)) else { continue };
        let content: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
        rig.write_aged_source(&content);
        let task = rig.upload("target");
        let temp = sent_by_another(&rig, 7, &task).await;
        let mut frozen = Frozen::log_in(rig.connection_address());
        let mut data = frozen.store(&format!("try/{temp}"));
        data.write_all(&content[..HALF]).unwrap();
        wait_until("the begin is there", Duration::from_secs(30), || {
            std::fs::metadata(rig.at_server(&temp)).is_ok_and(|there| there.len() == HALF as u64)
        });

        let mut session = rig.session().await;
        let done = rig.run_at(&mut session, &task, 7).await;
        let done = done.unwrap_or_else(|error| panic!("{make:?}: {error}\n{}", rig.log()));
        // vsftpd locks a file as long as it is sent: it does not let it go while the connection stands.
        let from = if make == Make::Vsftpd { None } else { Some(HALF as u64) };
        assert_eq!(done.details.resumed_from, from, "{make:?}");
        assert!(rig.get("target") == content, "{make:?}");

        // Written before it froze, and under way since.
        let _ = data.write_all(&content[HALF..HALF + 100_000]);
        drop(data);
        frozen.reply();
        assert!(rig.get("target") == content, "{make:?}: what came late is in the file");
        rig.clean_up(&mut session).await;
        let left: Vec<_> =
            std::fs::read_dir(rig.at_server("")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["target"], "{make:?}");
    }
}
