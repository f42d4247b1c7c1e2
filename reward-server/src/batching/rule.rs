//! Which groups go through the network together, and when. Pure: the time is an argument.

use std::time::Duration;
use tokio::time::Instant;

/// Who may share a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Nobody: a group goes alone, so that its scores are a function of it and the model, to the last bit.
    Alone,
    /// The groups of one request.
    Request,
    /// Groups of different requests; an idle model waits so long for them.
    Everybody {
        /// How long, from the arrival of the first.
        wait: Duration,
    },
}

/// When a batch is full, and who may be in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchRule {
    /// Who may share a pass.
    pub(crate) sharing: Sharing,
    /// Units of a batch; a group of more goes alone.
    pub(crate) max_units: usize,
}

/// What the rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    /// The request that it came with.
    pub(crate) request: u64,
    /// What it counts for.
    pub(crate) units: usize,
    /// When it came.
    pub(crate) arrived: Instant,
}

/// What an idle model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Takes so many of the prepared groups, at least one.
    Go(usize),
    /// Waits for others to come, until then.
    Until(Instant),
    /// Waits for a group to be prepared.
    Wait,
}

impl BatchRule {
    /// What to do with the groups that are `ready`, in their order of arrival, when the next behind them, which is not ready
    /// yet, is of the request `behind`.
    pub(crate) fn next<'a>(
        &self,
        ready: impl Iterator<Item = &'a Member>,
        behind: Option<u64>,
        now: Instant,
    ) -> Next {
        let mut ready = ready.peekable();
        let Some(&first) = ready.peek() else {
            return Next::Wait;
        };
        let may_share = |member: &Member| match self.sharing {
            Sharing::Alone => false,
            Sharing::Request => member.request == first.request,
            Sharing::Everybody { .. } => true,
        };
        let (mut count, mut units) = (1, first.units);
        let rest = ready.skip(1);
        for member in rest {
            units += member.units;
            if units > self.max_units || !may_share(member) {
                return Next::Go(count);
            }
            count += 1;
        }
        if units >= self.max_units {
            return Next::Go(count);
        }
        match self.sharing {
            Sharing::Alone => Next::Go(1),
            // What has arrived already is waited for: it is being decoded.
            Sharing::Request if behind == Some(first.request) => Next::Wait,
            Sharing::Request => Next::Go(count),
            Sharing::Everybody { .. } if behind.is_some() => Next::Wait,
            Sharing::Everybody { wait } => match first.arrived + wait {
                until if until > now => Next::Until(until),
                _ => Next::Go(count),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WAIT: Duration = Duration::from_millis(10);

    fn rule(sharing: Sharing) -> BatchRule {
        BatchRule {
            sharing,
            max_units: 10,
        }
    }

    fn members(now: Instant, groups: &[(u64, usize)]) -> Vec<Member> {
        let member = |&(request, units): &(u64, usize)| Member {
            request,
            units,
            arrived: now,
        };
        groups.iter().map(member).collect()
    }

    fn next(sharing: Sharing, groups: &[(u64, usize)], behind: Option<u64>, waited: Duration) -> Next {
        let now = Instant::now();
        rule(sharing).next(members(now, groups).iter(), behind, now + waited)
    }

    #[test]
    fn an_idle_model_waits_for_strangers_and_no_longer_than_it_may() {
        let shared = Sharing::Everybody { wait: WAIT };
        let two = [(1, 3), (2, 3)];
        assert!(matches!(next(shared, &two, None, Duration::ZERO), Next::Until(_)));
        assert_eq!(next(shared, &two, None, WAIT), Next::Go(2));
        // What is being decoded has come already.
        assert_eq!(next(shared, &two, Some(2), WAIT), Next::Wait);
        assert_eq!(next(shared, &[], Some(1), WAIT), Next::Wait);
    }

    #[test]
    fn a_full_batch_goes_at_once_and_a_group_that_is_larger_goes_alone() {
        let shared = Sharing::Everybody { wait: WAIT };
        for (groups, count) in [
            (&[(1, 4), (1, 4), (2, 4)][..], 2),
            (&[(1, 4), (2, 6)], 2),
            (&[(1, 50), (2, 1)], 1),
            (&[(1, 50)], 1),
        ] {
            assert_eq!(
                next(shared, groups, Some(9), Duration::ZERO),
                Next::Go(count),
                "{groups:?}"
            );
        }
    }

    #[test]
    fn without_sharing_requests_stay_apart_and_in_a_deterministic_run_groups_do() {
        let groups = [(1, 2), (1, 2), (2, 2)];
        assert_eq!(next(Sharing::Request, &groups, None, Duration::ZERO), Next::Go(2));
        assert_eq!(
            next(Sharing::Request, &groups[..2], Some(1), Duration::ZERO),
            Next::Wait
        );
        assert_eq!(
            next(Sharing::Request, &groups[..2], Some(2), Duration::ZERO),
            Next::Go(2)
        );
        assert_eq!(
            next(Sharing::Alone, &groups, Some(1), Duration::ZERO),
            Next::Go(1)
        );
    }

    proptest! {
        #[test]
        fn whatever_waits_goes_within_its_wait_in_order_and_within_the_bound(
            groups in prop::collection::vec((0u64..3, 1usize..16), 1..20),
            sharing in prop_oneof![
                Just(Sharing::Alone), Just(Sharing::Request), Just(Sharing::Everybody { wait: WAIT })
            ],
        ) {
            let now = Instant::now();
            let mut ready = members(now, &groups);
            while !ready.is_empty() {
                let Next::Go(count) = rule(sharing).next(ready.iter(), None, now + WAIT) else {
                    return Err(TestCaseError::fail("it waits for nobody"));
                };
                let batch: Vec<Member> = ready.drain(..count).collect();
                let units: usize = batch.iter().map(|member| member.units).sum();
                prop_assert!(count == 1 || units <= 10);
                prop_assert!(sharing != Sharing::Alone || count == 1);
                let one_request = batch.iter().all(|member| member.request == batch[0].request);
                let mixed = matches!(sharing, Sharing::Everybody { .. });
                prop_assert!(mixed || one_request);
            }
        }
    }
}
