//! Tracks where WebSocket frames begin and end (RFC 6455, section 5.2): a Close of the router's own may be inserted
//! between two of them, never within one. Payloads are not inspected.

/// The longest frame header: two bytes, eight of length, four of mask.
const MAX_HEAD: usize = 14;

/// Follows one direction of a WebSocket.
#[derive(Debug, Default, Clone)]
pub struct FrameTracker {
    head: [u8; MAX_HEAD],
    head_len: usize,
    payload_left: u64,
    closed: bool,
}

impl FrameTracker {
    /// Processes bytes that were passed on.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
                self.payload_left -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let Some((first, rest)) = bytes.split_first() else { return };
            if let Some(place) = self.head.get_mut(self.head_len) {
                *place = *first;
            }
            self.head_len += 1;
            bytes = rest;
            if let Some(payload) = self.complete_head() {
                self.closed |= self.head.first().is_some_and(|byte| byte & 0x0f == 8);
                self.payload_left = payload;
                self.head_len = 0;
            }
        }
    }

    /// Whether the next byte begins a frame.
    pub fn is_between_frames(&self) -> bool {
        self.head_len == 0 && self.payload_left == 0
    }

    /// A Close has passed: nothing may follow it.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The payload's length, once the header is complete.
    fn complete_head(&self) -> Option<u64> {
        let [_, second, rest @ ..] = self.head;
        let extended: usize = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if self.head_len < 2 + extended + mask {
            return None;
        }
        let big_endian = |bytes: &[u8]| bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        Some(match extended {
            0 => u64::from(second & 0x7f),
            length => big_endian(rest.get(..length).unwrap_or_default()),
        })
    }
}

/// A Close frame with status 1001, "going away", as sent by a server.
pub const CLOSE_TO_CLIENT: [u8; 4] = [0x88, 2, 0x03, 0xe9];
/// The same as sent by a client: masked, here with zeros (masks do not exist to protect the pod).
pub const CLOSE_TO_POD: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, payload: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match payload {
            0..126 => frame.push(mask | u8::try_from(payload).unwrap()),
            126..65_536 => {
                frame.push(mask + 126);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask + 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend(vec![7; if masked { 4 } else { 0 } + payload]);
        frame
    }

    proptest! {
        #[test]
        fn frames_end_where_they_end_however_they_are_cut(
            sizes in prop::collection::vec((prop_oneof![0usize..200, 65_530usize..65_540], any::<bool>()), 1..6),
            cuts in prop::collection::vec(1usize..5_000, 1..60),
        ) {
            let mut ends = vec![0];
            let mut bytes = Vec::new();
            for (size, masked) in sizes {
                bytes.extend(frame(2, size, masked));
                ends.push(bytes.len());
            }
            let (mut tracker, mut at) = (FrameTracker::default(), 0);
            for cut in cuts.iter().cycle() {
                prop_assert_eq!(tracker.is_between_frames(), ends.contains(&at));
                if at == bytes.len() { break; }
                let end = (at + cut).min(bytes.len());
                tracker.advance(&bytes[at..end]);
                at = end;
            }
            prop_assert!(!tracker.is_closed());
            tracker.advance(&CLOSE_TO_CLIENT);
            prop_assert!(tracker.is_closed() && tracker.is_between_frames());
        }

        #[test]
        fn garbage_does_not_panic(bytes: Vec<u8>) {
            FrameTracker::default().advance(&bytes);
        }
    }
}
