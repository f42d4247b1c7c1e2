//! What a check found, as a value: how bad, where, what would be right.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// The job may run; somebody should know.
    Warning,
    /// The job would fail.
    Error,
}

impl Level {
    /// Its word in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Who can put an error right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// Whoever wrote the configuration.
    Configuration,
    /// Whoever runs the machine, the network or the store.
    Environment,
}

/// What one check found in one place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// The check: `compute`, `store`, `model` and so on.
    pub(crate) check: &'static str,
    /// The key or thing it is about; may be empty.
    pub(crate) subject: String,
    /// How bad it is.
    pub(crate) level: Level,
    /// What is there.
    pub(crate) found: String,
    /// What would be right; none where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) right: Option<String>,
    /// Of errors: who can put it right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Fault>,
}

impl Finding {
    /// Something as it should be.
    pub(crate) fn ok(check: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            check,
            subject: subject.into(),
            level: Level::Ok,
            found: found.into(),
            right: None,
            fault: None,
        }
    }

    /// Something that does not keep the job from running.
    pub(crate) fn warning(check: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::ok(check, subject, found)
        }
    }

    /// Something in the machine, the network or the store that would make the job fail.
    pub(crate) fn error(check: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            fault: Some(Fault::Environment),
            ..Self::ok(check, subject, found)
        }
    }

    /// Something in the configuration that would make the job fail.
    pub(crate) fn mistake(check: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            fault: Some(Fault::Configuration),
            ..Self::error(check, subject, found)
        }
    }

    /// With what would be right.
    #[must_use]
    pub(crate) fn right(self, right: impl Into<String>) -> Self {
        Self {
            right: Some(right.into()),
            ..self
        }
    }
}
