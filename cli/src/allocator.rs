//! What a service's allocator keeps of memory that was let go of: there is one heap, and its free pages go back to the system now and then.
//!
//! glibc gives back what is free at the end of a heap. Tensors of ever other sizes leave free pages between others, and a service that
//! trains or samples for days would grow by them (docs/results.md, "An hour's work"). Its threads have heaps of their own, eight for a core,
//! each of which keeps what was free at its end when it was last used. Mappings of their own for tensors would do as well, at up to twice
//! the processor time (there too). Other systems' allocators are left as they are.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) use glibc::{gives_back, share_one_heap};

/// Nothing is to be done.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn share_one_heap() {}

/// Nothing is to be done.
///
/// # Errors
/// None.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn gives_back() -> anyhow::Result<()> {
    Ok(())
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use anyhow::Context as _;
    use std::time::Duration;

    /// How often: what is needed again afterwards is cleared by the system first.
    const EVERY: Duration = Duration::from_secs(10);

    /// Gives free pages back from now on, on a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn gives_back() -> anyhow::Result<()> {
        let now_and_then = || loop {
            std::thread::sleep(EVERY);
            give_back();
        };
        std::thread::Builder::new()
            .name("allocator".to_owned())
            .spawn(now_and_then)
            .context("cannot start the allocator's thread")?;
        Ok(())
    }

    /// Has the threads that are started from now on share the process's heap. What a thread uses often it keeps beside it anyway.
    pub(crate) fn share_one_heap() {
        // SAFETY: two numbers are all that it takes, and any thread may call it. An allocator that does not know the setting says so, and
        // keeps a heap for each thread.
        #[allow(unsafe_code)]
        let _obeyed = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }

    fn give_back() {
        // SAFETY: a number is all that it takes, any thread may call it, and memory in use is not touched.
        #[allow(unsafe_code)]
        unsafe {
            libc::malloc_trim(0);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::demo::soak::parse_resident;

        /// Below what glibc makes a mapping of its own of.
        const BLOCK: usize = 64 << 10;

        fn resident() -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            parse_resident(&status).unwrap()
        }

        #[test]
        fn pages_that_are_free_between_others_go_back() {
            let mut blocks: Vec<Vec<u8>> = (0..2048).map(|_| vec![1; BLOCK]).collect();
            // Every second one is let go of: the heap's end stays in use.
            for block in blocks.iter_mut().step_by(2) {
                *block = vec![];
            }
            let before = resident();
            give_back();
            let after = resident();
            // Of 64 MiB; other tests allocate meanwhile.
            assert!(after + (32 << 20) < before, "{before} bytes, then {after}");
            assert!(blocks.iter().flatten().all(|&byte| byte == 1));
        }
    }
}
