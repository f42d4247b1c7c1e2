//! What a caught panic said.

use std::any::Any;

/// The message of a panic's payload; `panic!` with a format gives a `String`, with a literal a `&str`.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<String>(), payload.downcast_ref::<&str>()) {
        (Some(message), _) => message.clone(),
        (None, Some(message)) => (*message).to_owned(),
        (None, None) => "panic without a message".to_owned(),
    }
}
