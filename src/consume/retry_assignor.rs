//! Which partitions of the retry topic this pod reads. Pure.
//!
//! The group distributes the input topic's partitions only: if both topics were distributed as one sum, all of one
//! topic might go to one pod and all of the other to another. The retry topic's partition `n` is read by the owner of
//! the input topic's partition `n`, which the group's coordinator does not know. So in each generation each pod asks it
//! for all members' assignments. Within a generation everyone gets the same answer, so two pods never commit for the
//! same partition: in another generation the coordinator refuses the commit (KIP-447).
//!
//! A member of an older version subscribes to both topics. A partition of the retry topic that the group itself has
//! assigned belongs to that member.

use std::collections::BTreeSet;

use crate::kafka::GroupDescription;

/// What decides it, in one generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupView<'a> {
    pub group: &'a GroupDescription,
    /// This member's id.
    pub member: &'a str,
    pub input_topic: &'a str,
    pub retry_topic: &'a str,
    /// Partitions of the input topic, as far as is known.
    pub input_partitions: usize,
    /// Partitions of the retry topic.
    pub retry_partitions: usize,
}

/// The input topic's partition that a retry topic's partition follows: the one with the same number, or the first if
/// there is none (a retry topic with more partitions than the input topic).
pub(super) fn input_partition_of(retry: i32, input_partitions: usize) -> i32 {
    if usize::try_from(retry).is_ok_and(|retry| retry < input_partitions) { retry } else { 0 }
}

impl GroupView<'_> {
    /// This pod's partitions of the retry topic, given that it had `held`. One whose input partition has just been
    /// revoked and has no owner yet stays until its transfers have finished.
    pub fn assigned_retry_partitions(&self, held: &BTreeSet<i32>) -> BTreeSet<i32> {
        let of_topic = |topic: &str, is_wanted: &dyn Fn(&str) -> bool| -> BTreeSet<i32> {
            let members = self.group.members.iter().filter(|member| is_wanted(&member.id));
            let assigned = members.flat_map(|member| &member.assigned);
            assigned.filter(|(name, _)| name == topic).map(|(_, partition)| *partition).collect()
        };
        let mine = of_topic(self.input_topic, &|id| id == self.member);
        let others = of_topic(self.input_topic, &|id| id != self.member);
        let taken = of_topic(self.retry_topic, &|_| true);
        // An assigned partition exists, even if this client's metadata is older.
        let last_assigned = mine.iter().chain(&others).max().copied().unwrap_or(-1);
        let input_partitions = self.input_partitions.max(usize::try_from(last_assigned + 1).unwrap_or(0));
        let retry_partitions = i32::try_from(self.retry_partitions).unwrap_or(i32::MAX);
        (0..retry_partitions)
            .filter(|retry| !taken.contains(retry))
            .filter(|retry| {
                let input = input_partition_of(*retry, input_partitions);
                // Partitions after the last assigned one: a member that does not know of them yet takes those that
                // follow the first partition.
                let is_free = !others.contains(&input) && (*retry <= last_assigned || !others.contains(&0));
                mine.contains(&input) || (held.contains(retry) && is_free)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kafka::GroupMember;

    fn member(id: &str, input: &[i32], retry: &[i32]) -> GroupMember {
        let of = |topic: &str, partitions: &[i32]| -> Vec<(String, i32)> {
            partitions.iter().map(|partition| (topic.to_owned(), *partition)).collect()
        };
        let assigned = [of("input", input), of("retry", retry)].concat().into_iter().collect();
        GroupMember { id: id.to_owned(), assigned, ..GroupMember::default() }
    }

    fn group(members: Vec<GroupMember>) -> GroupDescription {
        GroupDescription { is_stable: true, members, may_read: None }
    }

    fn followers(group: &GroupDescription, member: &str, sizes: (usize, usize), held: &[i32]) -> Vec<i32> {
        let (input_partitions, retry_partitions) = sizes;
        let view = GroupView {
            group,
            member,
            input_topic: "input",
            retry_topic: "retry",
            input_partitions,
            retry_partitions,
        };
        view.assigned_retry_partitions(&held.iter().copied().collect()).into_iter().collect()
    }

    #[test]
    fn each_retry_partition_follows_the_input_partition_of_its_number() {
        let group = group(vec![member("a", &[0, 2], &[]), member("b", &[1, 3], &[])]);
        assert_eq!(followers(&group, "a", (4, 4), &[]), [0, 2]);
        assert_eq!(followers(&group, "b", (4, 2), &[]), [1]);
        assert_eq!(
            followers(&group, "a", (4, 6), &[]),
            [0, 2, 4, 5],
            "what follows no number follows the first"
        );
        assert_eq!(followers(&group, "c", (4, 4), &[]), [0; 0]);
    }

    #[test]
    fn what_a_member_of_an_older_version_is_assigned_is_that_members() {
        let group = group(vec![member("old", &[0], &[1, 2]), member("new", &[1, 2, 3], &[])]);
        assert_eq!(followers(&group, "new", (4, 4), &[1]), [3]);
        assert_eq!(followers(&group, "old", (4, 4), &[]), [0]);
    }

    #[test]
    fn a_partition_that_is_revoked_is_kept_until_another_has_what_it_follows() {
        let between = group(vec![member("a", &[0, 2], &[]), member("b", &[], &[])]);
        assert_eq!(followers(&between, "a", (3, 3), &[0, 1, 2]), [0, 1, 2]);
        assert_eq!(followers(&between, "b", (3, 3), &[]), [0; 0]);
        let after = group(vec![member("a", &[0, 2], &[]), member("b", &[1], &[])]);
        assert_eq!(followers(&after, "a", (3, 3), &[0, 1, 2]), [0, 2]);
        assert_eq!(followers(&after, "b", (3, 3), &[]), [1]);
    }

    proptest! {
        /// Whatever each of them believes of the topics' sizes, and whichever of the unowned only one had before.
        #[test]
        fn no_two_members_have_the_same_partition(
            owners in prop::collection::vec(prop::option::of(0_usize..3), 1..12),
            old in prop::collection::btree_set(0_i32..16, 0..4),
            sizes in prop::collection::vec((0_usize..16, 0_usize..16), 3),
            had in prop::collection::vec(0_usize..3, 16),
        ) {
            let numbered = |owner: usize| -> Vec<i32> {
                (0..).zip(&owners).filter(|(_, of)| **of == Some(owner)).map(|(n, _)| n).collect()
            };
            let old: Vec<i32> = old.into_iter().collect();
            let mut members: Vec<_> =
                (0..3).map(|n| member(&n.to_string(), &numbered(n), &[])).collect();
            members.push(member("old", &[], &old));
            let group = group(members);
            let mut seen = BTreeSet::new();
            for (n, sizes) in sizes.into_iter().enumerate() {
                let held: Vec<i32> = (0..).zip(&had).filter(|(_, of)| **of == n).map(|(n, _)| n).collect();
                for retry in followers(&group, &n.to_string(), sizes, &held) {
                    prop_assert!(!old.contains(&retry), "{retry} is the old member's");
                    prop_assert!(seen.insert(retry), "{retry} is read twice");
                }
            }
        }
    }
}
