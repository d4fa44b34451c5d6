use std::cell::RefCell;

use jiff::Timestamp;

use super::*;
use crate::admission::TaskBudget;
use crate::failure::{Code, Failure};
use crate::lease::Lease;
use crate::outcome::{AdmittedOutcome, Completed, Outcome, Verdict};
use crate::record::{Origin, Record};

fn pending(reply_to: Option<&str>, verdict: Verdict) -> PendingAnswer {
    let header = |value: &str| Header { key: REPLY_HEADER.to_owned(), value: Some(value.into()) };
    let record = Box::new(Record {
        origin: Origin { topic: "t".into(), partition: 0, offset: 0 },
        key: None,
        headers: reply_to.map(header).into_iter().collect(),
        payload: None,
        timestamp_ms: None,
        retry: None,
        lease: Lease::default(),
    });
    let outcome =
        Outcome { record, task_id: Some("id".into()), attempts: 1, at: Timestamp::UNIX_EPOCH, verdict };
    PendingAnswer::new(AdmittedOutcome { outcome, admission: TaskBudget::new(1, 1).admit(0) })
}

fn result(reply_to: &str) -> PendingAnswer {
    pending(Some(reply_to), Verdict::Completed(Completed::default()))
}

fn topics() -> ReplyTopics {
    ReplyTopics::new(&["orders".to_owned(), "replies-*".to_owned()], vec!["ftp-tasks".to_owned()])
}

fn text(pending: &PendingAnswer) -> String {
    String::from_utf8(pending.encode(10_000).payload).unwrap()
}

#[test]
fn an_answer_without_the_header_has_no_reply_and_one_with_it_goes_where_that_is_allowed() {
    let mut batch = vec![
        pending(None, Verdict::Completed(Completed::default())),
        result("orders"),
        result("replies-7"),
        result("ftp-tasks"),
        result("__consumer_offsets"),
        result("elsewhere"),
        result("no name"),
    ];
    let looked = RefCell::new(Vec::new());
    let look = |topic: &str| {
        looked.borrow_mut().push(topic.to_owned());
        TopicLookup::There
    };
    assert!(topics().decide(&mut batch, Instant::now(), look).is_empty());
    let to: Vec<_> = batch.iter().map(PendingAnswer::reply_topic).collect();
    assert_eq!(to, [None, Some("orders"), Some("replies-7"), None, None, None, None]);
    assert_eq!(*looked.borrow(), ["orders", "replies-7"]);
    assert!(!text(&batch[0]).contains("notes") && !text(&batch[1]).contains("notes"));
    for (index, why) in [
        (3, "of the pool's own"),
        (4, "topic of Kafka's"),
        (5, "kafka.reply_topics"),
        (6, "not a valid topic name"),
    ] {
        assert!(text(&batch[index]).contains(why), "{}", text(&batch[index]));
    }
}

#[test]
fn a_topic_that_is_not_there_costs_the_reply_and_is_looked_for_again_later() {
    let (mut topics, now) = (topics(), Instant::now());
    let failure = Verdict::Failed(Failure::new(Code::Timeout, "slow"));
    let mut batch = vec![result("orders"), pending(Some("orders"), failure)];
    topics.decide(&mut batch, now, |_| TopicLookup::Missing);
    for pending in &batch {
        assert!(pending.reply_topic().is_none() && text(pending).contains("`orders` does not exist"));
    }
    let mut batch = vec![result("orders")];
    topics.decide(&mut batch, now, |_| panic!("it is remembered"));
    assert_eq!(batch[0].reply_topic(), None);
    let mut batch = vec![result("orders")];
    topics.decide(&mut batch, now + MISSING_FOR, |_| TopicLookup::There);
    assert_eq!(batch[0].reply_topic(), Some("orders"), "the next answer, a second later, has its reply");
}

#[test]
fn a_topic_that_may_not_be_written_is_looked_up_once_a_minute() {
    let (mut topics, now) = (topics(), Instant::now());
    topics.decide(&mut vec![result("orders")], now, |_| TopicLookup::Forbidden);
    let later = now + MISSING_FOR;
    topics.decide(&mut vec![result("orders")], later, |_| panic!("it is remembered"));
    let mut batch = vec![result("orders")];
    topics.decide(&mut batch, now + REFUSED_FOR, |_| TopicLookup::There);
    assert_eq!(batch[0].reply_topic(), Some("orders"));
}

#[test]
fn a_batch_looks_for_so_many_topics_and_leaves_the_others_to_the_next() {
    let (mut topics, now) = (topics(), Instant::now());
    let mut batch: Vec<_> = (0..40).map(|n| result(&format!("replies-{n}"))).collect();
    let mut sizes = Vec::new();
    while !batch.is_empty() {
        let rest = topics.decide(&mut batch, now, |_| TopicLookup::There);
        sizes.push(batch.len());
        batch = rest;
    }
    assert_eq!(sizes, [LOOKUPS_PER_BATCH, LOOKUPS_PER_BATCH, 40 - 2 * LOOKUPS_PER_BATCH]);
}

const OK: Result<(), RDKafkaErrorCode> = Ok(());

fn joined(
    topics: &mut ReplyTopics,
    batch: &mut [PendingAnswer],
    answers: &[Result<(), RDKafkaErrorCode>],
    code: RDKafkaErrorCode,
) -> Vec<bool> {
    let replies: Vec<_> = batch.iter().map(|one| one.reply_topic().map(|_| Err(code))).collect();
    let bytes = vec![100; batch.len()];
    let joined = topics.join(batch, &bytes, answers.to_vec(), &replies, Instant::now());
    joined.iter().map(Result::is_ok).collect()
}

fn decided(topics: &mut ReplyTopics, replies: &[&str]) -> Vec<PendingAnswer> {
    let mut batch: Vec<_> = replies.iter().map(|topic| result(topic)).collect();
    topics.decide(&mut batch, Instant::now(), |_| TopicLookup::Unknown);
    batch
}

#[test]
fn a_reply_that_is_refused_is_given_up_and_its_answer_sent_without() {
    use RDKafkaErrorCode as Kafka;
    for code in [
        Kafka::TopicAuthorizationFailed,
        Kafka::UnknownTopic,
        Kafka::PolicyViolation,
        Kafka::MessageSizeTooLarge,
    ] {
        let mut topics = topics();
        let mut batch = decided(&mut topics, &["orders"]);
        assert_eq!(joined(&mut topics, &mut batch, &[OK], code), [false]);
        assert!(batch[0].reply_topic().is_none() && text(&batch[0]).contains("no reply was sent"), "{code}");
        assert_eq!(joined(&mut topics, &mut batch, &[OK], code), [true], "without it");
    }
}

#[test]
fn a_way_that_is_lost_is_tried_again_and_not_for_ever() {
    let code = RDKafkaErrorCode::MessageTimedOut;
    let mut topics = topics();
    let mut batch = decided(&mut topics, &["orders"]);
    assert_eq!(joined(&mut topics, &mut batch, &[Err(code)], code), [false]);
    assert_eq!(batch[0].reply_topic(), Some("orders"), "Kafka itself is away: that says nothing");
    for _ in 0..MAX_TRIES {
        assert_eq!(joined(&mut topics, &mut batch, &[OK], code), [false]);
    }
    assert!(text(&batch[0]).contains("did not take it"), "{}", text(&batch[0]));
    let mut next = vec![result("orders")];
    topics.decide(&mut next, Instant::now(), |_| panic!("it is remembered"));
    assert_eq!(next[0].reply_topic(), None, "no other answer is held up");
}

#[test]
fn replies_that_are_too_large_together_go_in_smaller_batches() {
    let mut topics = topics();
    let mut batch = decided(&mut topics, &["orders"; 4]);
    let code = RDKafkaErrorCode::MessageSizeTooLarge;
    assert_eq!(joined(&mut topics, &mut batch, &[OK; 4], code), [false; 4]);
    assert!(batch.iter().all(|one| one.reply_topic().is_some()), "each may fit alone");
    let encoded: Vec<_> = batch.iter().map(|one| one.encode(10_000)).collect();
    assert!(topics.fitting(&batch, &encoded) < 4);
    drop(encoded);
    let mut tries = 0;
    while batch[0].reply_topic().is_some() && tries < 20 {
        tries += 1;
        let encoded: Vec<_> = batch.iter().map(|one| one.encode(10_000)).collect();
        let fitting = topics.fitting(&batch, &encoded);
        drop(encoded);
        joined(&mut topics, &mut batch[..fitting], &vec![OK; fitting], code);
    }
    assert!(text(&batch[0]).contains("of this size") && tries < 10, "{tries}");
}
