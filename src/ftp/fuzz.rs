//! Replies that no server should send. For `make fuzz`, and for the tests, which replay its corpus.

use std::time::Duration;

use super::classify::{ErrorContext, classify};
use super::command::Step;
use super::fault::{Fault, Wait};
use super::features::ServerFeatures;
use super::reply::Reply;

/// How much of a reply a failure's message may show, with room for its path.
const SHOWN_AT_MOST: usize = 4096;

const SECRET: &str = "s3cret";

const STEPS: &[Step] = &[
    Step::Greeting,
    Step::Auth,
    Step::Login,
    Step::Type,
    Step::Feat,
    Step::Epsv,
    Step::Pasv,
    Step::DataConnect,
    Step::Size,
    Step::Mdtm,
    Step::Rest,
    Step::Retr,
    Step::Receiving,
    Step::Stor,
    Step::Sending,
    Step::Mkd,
    Step::Rnfr,
    Step::Rnto,
    Step::Dele,
    Step::List,
    Step::Noop,
];

/// Any bytes are either a reply that is safe to show and has a meaning at each step, or none.
///
/// # Panics
/// If the result is neither.
pub fn reply(body: &[u8]) {
    let _ = ServerFeatures::parse(body);
    let Some(reply) = Reply::parse(body, SECRET) else { return };
    assert!((100..600).contains(&reply.code));
    let shown = reply.to_string();
    assert!(shown.len() <= SHOWN_AT_MOST && !shown.contains(char::is_control));
    assert!(!shown.contains(SECRET), "{shown}");
    let _ = (reply.size(), reply.passive_address());
    assert_ne!(reply.extended_passive_port(), Some(0));
    for &step in STEPS {
        for stale in [false, true] {
            let path = (!step.is_opening()).then_some("/in/a.txt");
            let at = ErrorContext { step, server: "ftp.example.com:21", path, stale, renewable: stale };
            let error = classify(at, &Fault::Reply(reply.clone()));
            assert_eq!(error.failure.ftp_code, Some(reply.code));
            assert!(error.failure.message.len() <= SHOWN_AT_MOST);
        }
    }
    let fault = Fault::TimedOut { waiting_for: shown, wait: Wait::Reply, limit: Duration::from_secs(1) };
    let _ = classify(
        ErrorContext { step: Step::Size, server: "", path: None, stale: false, renewable: false },
        &fault,
    );
}

#[cfg(test)]
#[test]
fn the_corpus_finds_nothing() {
    assert!(crate::corpus::each("reply", reply) > 0);
}
