//! Who is let in: callers that may, of this run, and that know its newest start.

use super::{Service, requests};
use common::ActorId;
use failpoint::Mutation;
use proto::{Call, Caller, Remote, WireError, pb, trace};
use tonic::Request;
use tracing::Span;

/// Where in a request the header is.
type HeaderOf<T> = fn(&mut T) -> Option<pb::RequestHeader>;

impl Service {
    /// Lets a caller in: who it is, what it asks, and the span its trace belongs to.
    pub(super) fn admit<T>(
        &self,
        method: &'static str,
        request: Request<T>,
        header: HeaderOf<T>,
    ) -> Result<(Caller, T, Span), WireError> {
        let span = trace::span(method, request.metadata());
        let peer = Remote::of(&request);
        let mut message = request.into_inner();
        let caller = Caller::try_from(header(&mut message))?;
        self.authorizer.authorize(&Call {
            method,
            caller: &caller.id,
            peer: &peer,
        })?;
        self.check_run(&caller)?;
        Ok((caller, message, span))
    }

    /// Lets a caller in that takes part in the run.
    pub(super) fn admit_actor<T>(
        &self,
        method: &'static str,
        request: Request<T>,
        header: HeaderOf<T>,
    ) -> Result<(ActorId, T, Span), WireError> {
        let (caller, message, span) = self.admit(method, request, header)?;
        let (actor, known) = requests::participant(caller)?;
        // Whoever only looks on, or joins, learns of a later start by the answer; who takes part must know it.
        let own = self.control.epoch();
        if known < own && !failpoint::breaks(Mutation::NoEpochCheck) {
            return Err(WireError::StaleEpoch { own, caller: known });
        }
        Ok((actor, message, span))
    }

    fn check_run(&self, caller: &Caller) -> Result<(), WireError> {
        let (run, epoch) = (&self.control.identity.run, self.control.epoch());
        match (&caller.run, caller.epoch) {
            (Some(found), _) if found != run => Err(WireError::WrongRun {
                expected: run.clone(),
                found: found.clone(),
            }),
            (_, Some(caller)) if caller > epoch => Err(WireError::Fenced { own: epoch, caller }),
            _ => Ok(()),
        }
    }
}
