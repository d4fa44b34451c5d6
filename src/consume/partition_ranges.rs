//! Partitions as a log line has them: `ftp-tasks[0-7,12]`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::offsets::TopicPartition;

/// By topic, in order, consecutive numbers as a range.
pub(crate) fn partition_ranges<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> String {
    let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for at in partitions {
        topics.entry(&at.topic).or_default().insert(at.partition);
    }
    let text = |(topic, numbers): (&str, BTreeSet<i32>)| format!("{topic}[{}]", ranges(&numbers));
    topics.into_iter().map(text).collect::<Vec<_>>().join(" ")
}

fn ranges(numbers: &BTreeSet<i32>) -> String {
    let mut text = String::new();
    let mut rest = numbers.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if_eq(&(last + 1)) {
            last = next;
        }
        let comma = if text.is_empty() { "" } else { "," };
        let _ = match last {
            _ if last == first => write!(text, "{comma}{first}"),
            _ => write!(text, "{comma}{first}-{last}"),
        }; // a String takes all of it
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_partitions_of_a_topic_are_one_range() {
        let at = |topic: &str, partition| TopicPartition { topic: topic.into(), partition };
        let tasks = [3, 0, 1, 2, 7, 10, 9].map(|partition| at("ftp-tasks", partition));
        assert_eq!(partition_ranges(&tasks), "ftp-tasks[0-3,7,9-10]");
        assert_eq!(partition_ranges(&[at("b", 1), at("a", 0)]), "a[0] b[1]");
        assert_eq!(partition_ranges(&[]), "");
    }
}
