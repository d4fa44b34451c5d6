//! `ftp-pooler health`: asks a running pod how it is, so that an image needs neither a shell nor curl.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use crate::config::Listen;

/// What is read of an answer; `/health` says less than this.
const MAX_ANSWER: u64 = 64 * 1024;

/// What is asked, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    authority: String,
    path: String,
}

/// How the pod is, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// It said 200.
    pub is_well: bool,
    pub body: String,
}

impl Endpoint {
    /// `http://HOST[:PORT][/PATH]`; without a path it is `/health`.
    ///
    /// # Errors
    /// What is wrong with it, for the terminal.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or("expected http://HOST:PORT/health")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '@';
        if authority.is_empty() || url.contains(is_odd) {
            return Err("expected http://HOST:PORT/health".into());
        }
        let has_port = authority.rsplit(']').next().is_some_and(|behind| behind.contains(':'));
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Endpoint { authority, path: if path.is_empty() { "/health".into() } else { path.into() } })
    }

    /// That of the pod on this machine that runs with this configuration.
    pub fn of(api: &Listen, path: &str) -> Self {
        // Who listens everywhere listens here; a socket connects to no wildcard on every system.
        let host = match api.host.as_str() {
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        let authority = if host.contains(':') {
            format!("[{host}]:{}", api.port)
        } else {
            format!("{host}:{}", api.port)
        };
        Endpoint { authority, path: path.into() }
    }

    /// Asks; all of it ends within `deadline`.
    ///
    /// # Errors
    /// Nobody listens, nothing came in time, or what came is no HTTP.
    pub fn ask(&self, deadline: Duration) -> io::Result<Answer> {
        let end = Instant::now() + deadline;
        let mut stream = self.connect(end)?;
        stream.set_write_timeout(Some(left_until(end)?))?;
        // 1.0: the answer is never chunked, and ends with the connection.
        let request = format!("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", self.path, self.authority);
        stream.write_all(request.as_bytes())?;
        let answer = read_until_end(&mut stream, end)?;
        parse_answer(&String::from_utf8_lossy(&answer))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
    }

    fn connect(&self, end: Instant) -> io::Result<TcpStream> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left_until(end)?) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// Never zero, which a socket would take for "no timeout".
fn left_until(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
}

/// What comes until the other side closes. Each read may take what is left of the time, so that one who sends
/// a byte now and then does not hold it up.
fn read_until_end(stream: &mut TcpStream, end: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while (answer.len() as u64) < MAX_ANSWER {
        stream.set_read_timeout(Some(left_until(end)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => answer.extend(chunk.iter().take(read)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

fn parse_answer(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut first = head.lines().next()?.split(' ');
    first.next().filter(|version| version.starts_with("HTTP/1."))?;
    let status: u16 = first.next()?.parse().ok()?;
    Some(Answer { is_well: status == 200, body: body.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn endpoint(url: &str) -> String {
        Endpoint::parse(url).map_or_else(|problem| problem, |endpoint| endpoint.to_string())
    }

    /// A server that answers one request with this, then closes.
    fn server(answer: &'static str) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        Endpoint::parse(&format!("http://{address}")).unwrap()
    }

    #[test]
    fn a_url_has_a_host_and_may_have_a_port_and_a_path() {
        assert_eq!(endpoint("http://pod:8080/ready"), "http://pod:8080/ready");
        assert_eq!(endpoint("http://pod:8080"), "http://pod:8080/health");
        assert_eq!(endpoint("http://pod"), "http://pod:80/health");
        assert_eq!(endpoint("http://[::1]:8080"), "http://[::1]:8080/health");
        assert_eq!(endpoint("http://[::1]"), "http://[::1]:80/health");
        for wrong in ["pod:8080", "https://pod", "http://", "http:///health", "http://a b", "http://u:p@pod"]
        {
            assert_eq!(endpoint(wrong), "expected http://HOST:PORT/health", "{wrong}");
        }
        assert!(Endpoint::parse("http://pod/\r\nX: y").is_err(), "no header is slipped in");
    }

    #[test]
    fn a_pod_that_listens_everywhere_is_asked_here() {
        let at = |host: &str| Endpoint::of(&Listen { host: host.into(), port: 8080 }, "/health").to_string();
        assert_eq!(at("0.0.0.0"), "http://127.0.0.1:8080/health");
        assert_eq!(at("::"), "http://[::1]:8080/health");
        assert_eq!(at("10.1.2.3"), "http://10.1.2.3:8080/health");
    }

    #[test]
    fn it_is_well_if_it_says_200_and_only_then() {
        let well = server("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}").ask(SOON).unwrap();
        assert_eq!(well, Answer { is_well: true, body: "{}".into() });
        let stuck = server("HTTP/1.0 503 Service Unavailable\r\n\r\nstuck").ask(SOON).unwrap();
        assert_eq!(stuck, Answer { is_well: false, body: "stuck".into() });
        let other = server("220 an FTP server\r\n\r\n").ask(SOON);
        assert_eq!(other.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_pod_that_says_nothing_is_not_waited_for_any_longer() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
        let asked = endpoint.ask(Duration::from_millis(50));
        assert_eq!(asked.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
