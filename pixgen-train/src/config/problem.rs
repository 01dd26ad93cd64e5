//! What makes a configuration unusable.

/// A configuration that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
#[non_exhaustive]
pub struct ConfigProblem {
    /// Dotted key at fault.
    pub key: String,
    /// What is wrong.
    pub reason: String,
    /// What to try.
    pub hint: Option<String>,
}

/// The key at fault and what is wrong with it.
pub(super) fn problem(key: &str, reason: impl ToString) -> ConfigProblem {
    ConfigProblem { key: key.to_owned(), reason: reason.to_string(), hint: None }
}
