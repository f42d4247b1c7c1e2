//! Who is let in: callers that may, of this run, and that know its newest start.

use super::Service;
use super::requests::{Asking, Sender};
use common::{DecidingSettings, OtherSetting};
use failpoint::Mutation;
use proto::{Call, Caller, Remote, WireError, trace};
use tonic::Request;
use tracing::Span;

impl Service {
    /// Lets a caller in: who it is, what it asks, and the span its trace belongs to. Nothing of a request counts before all of it is
    /// checked.
    pub(super) fn admit<M: Asking>(
        &self,
        request: Request<M>,
    ) -> Result<(M::Sender, M::Asked, Span), WireError> {
        let span = trace::span(M::METHOD, request.metadata());
        let peer = Remote::of(&request);
        let mut message = request.into_inner();
        let caller = Caller::try_from(message.take_header())?;
        self.authorizer.authorize(&Call {
            method: M::METHOD,
            caller: &caller.id,
            peer: &peer,
        })?;
        self.check_run(&caller)?;
        let (sender, known) = M::Sender::of(caller)?;
        let own = self.control.epoch();
        if let Some(known) = known
            && known < own
            && !failpoint::breaks(Mutation::NoEpochCheck)
        {
            return Err(WireError::StaleEpoch { own, caller: known });
        }
        Ok((sender, message.asked()?, span))
    }

    /// Refuses a caller whose settings would make something else of a task than the run's do.
    pub(super) fn check_settings(
        &self,
        caller: &Caller,
        settings: &DecidingSettings,
    ) -> Result<(), WireError> {
        let compared = self.control.settings.taking_part(settings, &self.control.ledger);
        compared.map_err(|others| refused(caller, others))
    }

    /// Refuses a caller who would measure versions on other products than the run holds out.
    pub(super) fn check_measuring(
        &self,
        caller: &Caller,
        settings: &DecidingSettings,
    ) -> Result<(), WireError> {
        let compared = self.control.settings.measuring(settings);
        compared.map_err(|others| refused(caller, others))
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

/// Says that a caller is refused.
fn refused(caller: &Caller, others: Vec<OtherSetting>) -> WireError {
    let keys: Vec<_> = others.iter().map(|other| other.key.as_str()).collect();
    tracing::warn!(
        caller = caller.id,
        ?keys,
        "refused: other settings than the run's"
    );
    let caller = caller.id.clone();
    WireError::OtherSettings { caller, others }
}
