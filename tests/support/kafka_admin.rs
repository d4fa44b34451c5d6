//! Requests to Kafka that librdkafka has no call for, in Kafka's own protocol: where partitions have their replicas, who
//! leads them, and who coordinates.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::kafka::Kafka;

const FIND_COORDINATOR: (i16, i16) = (10, 4);
const ELECT_LEADERS: (i16, i16) = (43, 2);
const ALTER_PARTITION_REASSIGNMENTS: (i16, i16) = (45, 0);
/// For a broker to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Whose coordinator is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinated {
    Group,
    Transaction,
}

impl Kafka {
    /// The index of the broker that coordinates this group or transactional id; `None` while there is none.
    pub fn coordinator(&self, of: Coordinated, key: &str) -> Option<usize> {
        let mut body = vec![u8::from(of == Coordinated::Transaction), 2];
        put_string(&mut body, key);
        body.push(0);
        let answer = self.ask(FIND_COORDINATOR, &body)?;
        let rest = answer.get(4..)?; // the throttle time
        let (_, rest) = uvarint(rest)?;
        let (length, rest) = uvarint(rest)?;
        let rest = rest.get(length.checked_sub(1)?..)?;
        let id = i32::from_be_bytes(rest.get(..4)?.try_into().ok()?);
        usize::try_from(id).ok()?.checked_sub(1)
    }

    /// Gives a partition its replicas at these brokers, by index, the first of which is to lead it. False where the
    /// brokers refuse, or none answers.
    pub fn reassign(&self, topic: &str, partition: i32, brokers: &[usize]) -> bool {
        let mut body = 60_000_i32.to_be_bytes().to_vec();
        body.push(2);
        put_string(&mut body, topic);
        body.push(2);
        body.extend(partition.to_be_bytes());
        put_length(&mut body, brokers.len());
        for broker in brokers {
            body.extend(i32::try_from(broker + 1).expect("a broker's id").to_be_bytes());
        }
        body.extend([0, 0, 0]); // no tagged fields: of the partition, the topic, the request
        let answer = self.ask(ALTER_PARTITION_REASSIGNMENTS, &body);
        answer.and_then(|answer| answer.get(4..6).map(|code| code == [0, 0])).unwrap_or(false)
    }

    /// Lets each partition's first replica lead it.
    pub fn elect_preferred_leaders(&self) -> bool {
        let mut body = vec![0, 0]; // preferred; all partitions
        body.extend(60_000_i32.to_be_bytes());
        body.push(0);
        self.ask(ELECT_LEADERS, &body).is_some()
    }

    /// The answer's body of the first broker that gives one.
    fn ask(&self, (key, version): (i16, i16), body: &[u8]) -> Option<Vec<u8>> {
        self.awake().split(',').find_map(|broker| ask(broker, key, version, body).ok())
    }
}

fn ask(broker: &str, key: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let addr = broker.parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&addr, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(7_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes()); // no client id
    request.push(0); // no tagged fields
    request.extend(body);
    stream.write_all(&u32::try_from(request.len()).map_err(io::Error::other)?.to_be_bytes())?;
    stream.write_all(&request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut answer = vec![0; length.min(1 << 20)];
    stream.read_exact(&mut answer)?;
    // The correlation id, and no tagged fields.
    answer.get(5..).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn put_length(body: &mut Vec<u8>, length: usize) {
    let mut rest = length + 1;
    while rest >= 0x80 {
        body.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    body.push(u8::try_from(rest).expect("seven bits"));
}

fn put_string(body: &mut Vec<u8>, text: &str) {
    put_length(body, text.len());
    body.extend(text.as_bytes());
}

fn uvarint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (mut value, mut shift) = (0, 0);
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}
