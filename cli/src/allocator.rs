//! What a service's allocator keeps of memory that was let go of: free pages go back to the system now and then.
//!
//! glibc gives back what is free at the end of a heap. Tensors of ever other sizes leave free pages between others, and a service that
//! trains or samples for days would grow by them (docs/results.md, "An hour's work"). Mappings of their own for tensors would do as well, at up to twice
//! the processor time (there too). Other systems' allocators are left as they are.

/// Gives free pages back from now on, on a thread of its own.
///
/// # Errors
/// When the system gives no thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn gives_back() -> anyhow::Result<()> {
    use anyhow::Context as _;

    /// How often: what is needed again afterwards is cleared by the system first.
    const EVERY: std::time::Duration = std::time::Duration::from_secs(10);
    let trim = || loop {
        std::thread::sleep(EVERY);
        // SAFETY: a number is all that it takes, any thread may call it, and memory in use is not touched.
        #[allow(unsafe_code)]
        unsafe {
            libc::malloc_trim(0);
        }
    };
    std::thread::Builder::new()
        .name("allocator".to_owned())
        .spawn(trim)
        .context("cannot start the allocator's thread")?;
    Ok(())
}

/// Nothing is to be done.
///
/// # Errors
/// None.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn gives_back() -> anyhow::Result<()> {
    Ok(())
}
