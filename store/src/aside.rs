//! Work that is done on the runtime where it is short, and off it where it is not.

use tokio::task::JoinError;

/// How many bytes a runtime's thread may be held up to hash: half a millisecond. What is shorter costs less in place than handed
/// over.
pub const SHORT: usize = 1 << 20;

/// Does `work`, which takes about as long as hashing so many bytes.
///
/// # Errors
/// When it panicked off the runtime.
pub async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match bytes < SHORT {
        true => Ok(work()),
        false => tokio::task::spawn_blocking(work).await,
    }
}
