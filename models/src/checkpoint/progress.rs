//! Who is told how far the weights of a checkpoint are.

/// Told the numbers of a checkpoint that are loaded so far, and all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Numbers below which a checkpoint is read too soon to be told of.
const SOON: u64 = 100_000_000;

/// In percent, how often the log tells of a larger one.
const STEP: u64 = 10;

/// Progress of reading `what` for a process that nobody watches: lines of the log, none for a small model.
pub fn in_log(what: &'static str) -> impl FnMut(u64, u64) {
    let mut told = 0;
    move |done, all| {
        let percent = done.saturating_mul(100) / all.max(1);
        if all >= SOON && percent >= told + STEP {
            told = percent - percent % STEP;
            tracing::info!(percent, "reading {what}");
        }
    }
}
