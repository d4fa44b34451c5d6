//! `make chaos`: tasks are answered once and files are whole, whatever dies.
//!
//! Pods (processes of their own), the broker and the FTP servers are killed, frozen and restarted while tasks
//! are worked on; then every answer and every file is audited. What happens follows from a seed; when it
//! happens depends on the machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "in a test a panic is the answer, and what it prints is its report"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a run has some thousands of tasks"
)]
#![allow(clippy::unused_self, reason = "a setting is asked for in one way, whether it is constant or not")]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod audit;
mod brokers;
mod events;
mod feeds;
mod figures;
mod fleet;
mod gaps;
mod nat;
mod network;
mod plan;
mod run;
mod sabotage;
mod settings;
mod site;

use std::sync::{Mutex, PoisonError};

use settings::Settings;

/// One broker, three FTP servers and the pods are enough for a machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
#[ignore = "needs Kafka and vsftpd: make test, make chaos"]
fn every_task_is_answered_once_whatever_dies() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    run::run(&Settings::from_environment());
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn every_task_is_answered_once_whatever_happens_to_three_brokers() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    run::run(&Settings::three_brokers());
}

#[test]
#[ignore = "needs Kafka, vsftpd and root: make test"]
fn every_task_is_answered_once_whatever_the_network_does() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(why) = support::far_network::FarNetwork::lay() {
        eprintln!("skipped: no network of the pods' own: {why}");
        return;
    }
    run::run(&Settings::network());
}

#[test]
#[ignore = "needs Kafka, vsftpd and root: make test"]
fn a_transfer_that_takes_longer_than_a_nat_gateway_remembers_is_done_the_first_time() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match support::far_network::FarNetwork::lay() {
        Ok(network) => nat::run(&network),
        Err(why) => eprintln!("skipped: no network of the pods' own: {why}"),
    }
}

#[test]
#[ignore = "needs Kafka, vsftpd and frp: make test"]
fn every_task_is_answered_once_whatever_happens_to_a_tunnel() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    run::run(&Settings::tunnel());
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test, make chaos"]
fn each_version_that_stood_still_is_moved_once_whatever_dies() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    feeds::run(&feeds::from_environment());
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_commit_that_lies_and_a_torn_file_are_found() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    sabotage::run();
}
