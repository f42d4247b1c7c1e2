//! A learner that does not answer while its run is watched: it is borne for as long as a restart may take, and then named with what
//! was last known of it. Nothing is asked here.

use super::{View, line};
use crate::peer::Trouble;
use anyhow::anyhow;
use std::time::Duration;
use tokio::time::Instant;

/// How long it is borne: a learner that is started anew, or moved by an orchestrator, is back by then.
const BORNE: Duration = Duration::from_secs(30);

/// Since when a learner has not answered.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// It answers.
    pub(crate) fn over(&mut self) {
        self.since = None;
    }

    /// Whether it was heard at the last reading.
    pub(crate) fn is_new(&self) -> bool {
        self.since.is_none()
    }

    /// The learner at `url` was asked in vain until `now`, after `last` was known of its run; answers with what to say meanwhile.
    ///
    /// # Errors
    /// When the trouble is none that passes, or has lasted for too long.
    pub(crate) fn missed(
        &mut self,
        url: &str,
        trouble: &Trouble,
        last: &View,
        now: Instant,
    ) -> anyhow::Result<String> {
        let lasted = now - *self.since.get_or_insert(now);
        let seconds = lasted.as_secs();
        let may_pass = trouble.is_absence() || matches!(trouble, Trouble::Failed(_));
        if may_pass && lasted < BORNE {
            let said = "the learner does not answer";
            return Ok(format!("{said} since {seconds} s: {trouble}"));
        }
        Err(anyhow!(
            "the learner at {url} does not answer since {seconds} s: {trouble}; last known: {}",
            line(last)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::view::tests::reading;

    #[test]
    fn an_outage_is_borne_for_a_while_from_its_own_begin_and_ends_with_what_was_last_known() {
        let last = View::of(&reading(1.0, 20, 5), None);
        let (begun, mut outage) = (Instant::now(), Outage::default());
        let after = |outage: &mut Outage, seconds| {
            let now = begun + Duration::from_secs(seconds);
            outage.missed("http://there:1", &Trouble::Refused, &last, now)
        };
        assert!(outage.is_new());
        assert!(after(&mut outage, 0).unwrap().contains("refused"));
        assert!(after(&mut outage, 29).unwrap().contains("29 s"));
        assert!(!outage.is_new());
        outage.over();
        assert!(after(&mut outage, 40).is_ok() && after(&mut outage, 69).is_ok());
        let ended = after(&mut outage, 70).unwrap_err().to_string();
        for part in ["http://there:1", "30 s", "night version v1.7", "pairs 20"] {
            assert!(ended.contains(part), "{ended}");
        }
    }

    #[test]
    fn a_caller_that_is_refused_waits_for_nothing() {
        let last = View::of(&reading(1.0, 20, 5), None);
        let denied = Trouble::Denied("observer.night may not".into());
        let ended = Outage::default().missed("http://there:1", &denied, &last, Instant::now());
        assert!(ended.unwrap_err().to_string().contains("observer.night may not"));
    }
}
