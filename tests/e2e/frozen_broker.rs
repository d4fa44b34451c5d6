//! exploratory

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use serde_json::json;

use crate::support::client::download;
use crate::support::kafka::Kafka;
use crate::support::kafka_admin::Coordinated;
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::scratch::Scratch;
use crate::support::vsftpd::Vsftpd;

fn var(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn explore_frozen() {
    let kafka = &Kafka::cluster(3, Ipv4Addr::LOCALHOST);
    let topics = &kafka.topics("frozen", 6);
    let server = Vsftpd::with(&[]);
    let base = Scratch::new("frozen");
    for i in 0..20 {
        server.put(&format!("f{i}"), &vec![b'x'; 2_000]);
    }
    let debug = std::env::var("DEBUG_KAFKA").unwrap_or_default();
    let pods = var("PODS", 1);
    let config = PodConfig::new(kafka, topics).local("local", base.path()).ftp(
        "remote",
        server.addr(),
        &[("max_sessions", "2")],
    );
    let config = if debug.is_empty() {
        config
    } else {
        config.env("RUST_LOG", "info,ftp_pooler=debug,librdkafka=debug")
    };
    let config = if debug.is_empty() {
        config
    } else {
        config.set(
            "kafka.properties",
            json!({"session.timeout.ms": "6000", "heartbeat.interval.ms": "1000", "debug": debug}),
        )
    };
    let pods: Vec<Pod> = (0..pods)
        .map(|pod| Pod::start(&config.clone().set("pod.name", json!(format!("pod-{pod}")))))
        .collect();
    for pod in &pods {
        eprintln!("pod {} log {:?}", pod.pid(), pod.config_file());
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
                .set("bootstrap.servers", kafka.bootstrap())
                .set("acks", "all")
                .set("socket.timeout.ms", "2000")
                .set("topic.metadata.refresh.interval.ms", "1000")
                .set("log_level", "2")
                .create()
                .unwrap();
            let mut n = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                let task =
                    download(&n.to_string(), "remote", &format!("f{}", n % 20), &format!("f{n}")).to_string();
                let record = BaseRecord::<[u8], [u8]>::to(&topics.tasks)
                    .partition((n % 6) as i32)
                    .payload(task.as_bytes());
                let _ = producer.send(record);
                n += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("group.id", "assigned")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "50")
            .set("socket.timeout.ms", "2000")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("log_level", "2")
            .create()
            .unwrap();
        consumer.assign(&kafka.answers_from_the_beginning(topics)).unwrap();
        let span = var("FREEZE", 45);
        let only = std::env::var("BROKER").ok().and_then(|v| v.parse::<usize>().ok());
        let begun = Instant::now();
        let watch = |what: &str, until: Duration| {
            let mut end = Instant::now() + until;
            let mut read = 0;
            let mut last = Instant::now();
            let mut longest = Duration::ZERO;
            let mut next = Instant::now() + Duration::from_secs(1);
            let mut line = String::new();
            while Instant::now() < end {
                while let Some(message) = consumer.poll(Duration::from_millis(20)) {
                    if message.as_ref().is_ok_and(|m| m.payload().is_some()) {
                        read += 1;
                        longest = longest.max(last.elapsed());
                        last = Instant::now();
                    }
                    if Instant::now() >= next {
                        break;
                    }
                }
                if Instant::now() >= next {
                    next += Duration::from_secs(1);
                    line.push_str(&format!(" {read}"));
                    read = 0;
                }
            }
            longest = longest.max(last.elapsed());
            end = Instant::now();
            let _ = end;
            eprintln!(
                "{:6.1} {what}: longest gap {longest:?}; by second:{line}",
                begun.elapsed().as_secs_f64()
            );
        };
        watch("before", Duration::from_secs(8));
        for broker in (0..3).filter(|b| only.is_none_or(|o| o == *b)).cycle().take(var("ROUNDS", 3) as usize)
        {
            let broker = if std::env::var("COORD").is_ok() {
                kafka.coordinator(Coordinated::Group, &topics.group).unwrap()
            } else {
                broker
            };
            let leads: Vec<_> = (0..6).filter(|p| kafka.leader(&topics.tasks, *p) == Some(broker)).collect();
            let retry: Vec<_> = (0..6).filter(|p| kafka.leader(&topics.retry, *p) == Some(broker)).collect();
            let results = kafka.leader(&topics.results, 0) == Some(broker);
            let group = kafka.coordinator(Coordinated::Group, &topics.group) == Some(broker);
            let txn: Vec<_> = (0..pods.len())
                .filter(|pod| {
                    kafka.coordinator(Coordinated::Transaction, &format!("{}-pod-{pod}", topics.group))
                        == Some(broker)
                })
                .collect();
            let time = jiff::Timestamp::now();
            eprintln!(
                "{time} freezing broker {broker} ({}): leads tasks {leads:?}, retry {retry:?}, results {results}, group {group}, txn {txn:?}",
                kafka.bootstrap().split(',').nth(broker).unwrap()
            );
            kafka.signal_broker(broker, Signal::STOP);
            watch("frozen", Duration::from_secs(span));
            kafka.signal_broker(broker, Signal::CONT);
            watch("thawed", Duration::from_secs(var("THAWED", 15)));
            kafka.wait_until_in_sync();
            kafka.elect_preferred_leaders();
            watch("in sync", Duration::from_secs(6));
        }
        stop.store(true, Ordering::Relaxed);
    });
    for pod in &pods {
        std::fs::write(format!("/tmp/h18-{}.log", pod.pid()), pod.log()).unwrap();
    }
}
