//! `offsets reset`: a halted partition goes on once somebody has said where.

use serde_json::json;

use super::Shell;
use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::download;
use crate::support::pod::Pod;
use crate::support::wait::wait_until;

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn lost_records_are_counted_and_the_partition_goes_on_after_a_reset() {
    let stage = Stage::new("offsets-reset");
    stage.server.put("f", b"content");
    let config = stage.config();
    let shell = Shell::new(&config);
    let task = |n: usize| download(&format!("t-{n}"), "remote", "f", &format!("in/{n}"));
    let pod = Pod::start(&config);
    stage.send((0..4).map(task));
    stage.answers().wait_for(4, LONG);
    assert!(pod.terminate(EXIT).success(), "{}", pod.log_tail(20));

    // Six come while no pod runs, and all that was there is deleted before a pod has seen them.
    stage.send((4..10).map(task));
    stage.kafka.delete_records(&stage.topics.tasks, 0, 10);
    stage.send((10..12).map(task));
    let lag = shell.run(&["lag", "--output", "json"]).json();
    let mut partitions = lag["partitions"].as_array().unwrap().iter();
    let input = partitions.find(|partition| partition["topic"] == stage.topics.tasks.as_str()).unwrap();
    assert_eq!(
        (&input["halted"], &input["lost"], &input["lag"]),
        (&json!(true), &json!(6), &json!(null)),
        "{lag}"
    );
    let table = shell.run(&["lag"]);
    assert!(table.stdout.contains("halted, 6 lost") && table.stderr.contains("offsets reset"), "{table:?}");

    let pod = Pod::spawn(&config);
    wait_until("the partition to be halted", LONG, || !pod.events("partition_halted").is_empty());
    let refused = shell.run(&["offsets", "reset"]);
    assert_eq!(refused.code, Some(65), "{refused:?}");
    assert!(refused.stderr.contains("stop the pods first"), "{refused:?}");
    pod.terminate(EXIT);

    let dry = shell.run(&["offsets", "reset", "--dry-run", "--output", "json"]).json();
    let row = json!({"topic": stage.topics.tasks, "partition": 0, "was": 4, "becomes": 10, "lost": 6});
    assert_eq!(dry["offsets"], json!([row]), "{dry}");
    wait_until("the group to be empty, and the offsets to be set", LONG, || {
        shell.run(&["offsets", "reset"]).code == Some(0)
    });
    let nothing = shell.run(&["offsets", "reset"]);
    assert!(nothing.stdout.contains("no partition's offset is out of range"), "{nothing:?}");
    let _pod = Pod::start(&config);
    let mut answers = stage.answers();
    answers.wait_for(6, LONG);
    assert!(answers.only("t-10").is_completed() && answers.only("t-11").is_completed());
}
