//! What was written for one key, before anybody has asked whether it fits.

/// One key's value as a file or the environment has it.
#[derive(Clone)]
pub(super) struct Entry {
    pub said: Said,
    pub at: At,
}

// No Debug: it may be a password.

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The key without a value (YAML's null).
    Nothing,
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum At {
    /// Counted from 1.
    Line(usize),
    /// The variable's name as it was written.
    Variable(String),
}
