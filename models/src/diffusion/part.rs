//! One network of a pipeline, read when it is needed.

use crate::error::ModelError;

/// A network and how to read it.
pub(super) struct Part<N> {
    read: Box<dyn Fn() -> Result<N, ModelError> + Send>,
    held: Option<N>,
    keeps: bool,
}

impl<N> Part<N> {
    /// Nothing is read yet. `keeps` says whether it stays once it has been.
    pub(super) fn new(read: impl Fn() -> Result<N, ModelError> + Send + 'static, keeps: bool) -> Self {
        Self {
            read: Box::new(read),
            held: None,
            keeps,
        }
    }

    /// Reads it unless it is there, and uses it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn with<R>(&mut self, run: impl FnOnce(&N) -> R) -> Result<R, ModelError> {
        let network = match self.held.take() {
            Some(network) => network,
            None => (self.read)()?,
        };
        let result = run(&network);
        self.held = self.keeps.then_some(network);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn reads_of_two_uses(keeps: bool) -> usize {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let read = move || Ok(counted.fetch_add(1, Ordering::Relaxed));
        let mut part = Part::new(read, keeps);
        part.with(|_| ()).unwrap();
        part.with(|_| ()).unwrap();
        count.load(Ordering::Relaxed)
    }

    #[test]
    fn a_part_is_read_at_first_use_and_again_only_when_it_was_released() {
        assert_eq!(reads_of_two_uses(true), 1);
        assert_eq!(reads_of_two_uses(false), 2);
    }

    #[test]
    fn a_part_that_cannot_be_read_says_so_each_time() {
        let read = || -> Result<(), _> {
            Err(ModelError::Tokenizer {
                reason: "torn".into(),
            })
        };
        let mut part = Part::new(read, true);
        assert!(part.with(|()| ()).is_err());
        assert!(part.with(|()| ()).is_err());
    }
}
