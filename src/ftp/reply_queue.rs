//! Which replies are outstanding, in the order of their commands. Pure.
//!
//! FTP answers commands in order, and nothing in a reply names its command (RFC 959, 5.4). So the queue is what shows
//! whether a session can be used again: it can if no reply is outstanding and no unexpected one has arrived. A command
//! is entered before its first byte is written and leaves when its final reply has been read completely; a future that
//! is dropped in between (timeout, cancellation) leaves it here. lftp's `RespQueue` is the model.

use std::collections::VecDeque;

use super::command::Step;

/// The replies that are outstanding on one control connection.
#[derive(Debug, Default)]
pub(super) struct ReplyQueue {
    pending: VecDeque<PendingReply>,
    /// Why the session must not be used again, even if nothing is outstanding.
    violation: Option<&'static str>,
}

#[derive(Debug)]
struct PendingReply {
    step: Step,
    /// The preliminary reply (1xx) has arrived.
    is_accepted: bool,
}

/// What a reply means to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyRole {
    /// The command is in progress; its final reply follows.
    Accepted,
    /// The command is complete, or the reply answers none.
    Final,
}

impl ReplyQueue {
    /// A command is about to be written.
    pub fn expect(&mut self, step: Step) {
        self.pending.push_back(PendingReply { step, is_accepted: false });
    }

    /// The latest command was not written after all.
    pub fn withdraw(&mut self) {
        self.pending.pop_back();
    }

    /// The command that the next reply answers.
    pub fn next(&self) -> Option<Step> {
        self.pending.front().map(|reply| reply.step)
    }

    /// A reply with this code was read.
    pub fn received(&mut self, code: u16) -> ReplyRole {
        if code == 421 {
            self.violated("the server ended the session (421)");
        }
        match self.pending.front_mut() {
            None => self.violated("a reply that no command asked for"),
            Some(reply) if code < 200 => {
                if !std::mem::replace(&mut reply.is_accepted, true) {
                    return ReplyRole::Accepted;
                }
                self.violated("a second preliminary reply");
            }
            Some(_) => {
                self.pending.pop_front();
            }
        }
        ReplyRole::Final
    }

    /// Marks the session as not reusable.
    pub fn violated(&mut self, why: &'static str) {
        self.violation.get_or_insert(why);
    }

    /// Whether every command was answered, and nothing was violated.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.violation.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_outstanding_until_its_final_reply() {
        let mut replies = ReplyQueue::default();
        assert!(replies.is_settled());
        replies.expect(Step::Retr);
        replies.expect(Step::Epsv);
        assert_eq!((replies.received(150), replies.next()), (ReplyRole::Accepted, Some(Step::Retr)));
        assert_eq!((replies.received(226), replies.next()), (ReplyRole::Final, Some(Step::Epsv)));
        assert!(!replies.is_settled());
        replies.received(229);
        assert!(replies.is_settled());
        replies.expect(Step::Size);
        replies.withdraw();
        assert!(replies.is_settled());
    }

    #[test]
    fn what_does_not_fit_ends_the_session_for_good() {
        for codes in [&[421, 200][..], &[200, 200], &[150, 150, 226]] {
            let mut replies = ReplyQueue::default();
            replies.expect(Step::Noop);
            for &code in codes {
                replies.received(code);
            }
            replies.expect(Step::Noop);
            replies.received(200);
            assert!(!replies.is_settled(), "{codes:?}");
        }
    }
}
