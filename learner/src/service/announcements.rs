//! Announcements as messages: which version there is, what it consists of, and from whom it comes.

use crate::actors::Following;
use crate::broadcast::{Broadcast, Manifest};
use crate::control::ControlPlane;
use crate::relays::Place;
use common::PolicyVersion;
use futures::stream;
use proto::pb;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The newest manifest after `after`, then each newer one, until the caller leaves or `stop`: a caller that holds its stream
/// open is still busy with the last version.
pub(super) fn announcements(
    control: Arc<ControlPlane>,
    place: Place,
    following: Option<Following>,
    after: Option<PolicyVersion>,
    stop: CancellationToken,
) -> impl stream::Stream<Item = Result<pb::PolicyManifest, Status>> {
    let newest = control.broadcast.subscribe();
    stream::unfold(
        (control, place, following, newest, after, stop),
        |(control, place, following, mut newest, after, stop)| async move {
            loop {
                let manifest = newest.borrow_and_update().clone();
                if after.is_none_or(|after| manifest.version > after) {
                    let message = manifest_message(&control.broadcast, &manifest, place.relay());
                    let after = Some(manifest.version);
                    return Some((Ok(message), (control, place, following, newest, after, stop)));
                }
                tokio::select! {
                    changed = newest.changed() => changed.ok()?,
                    () = stop.cancelled() => return None,
                }
            }
        },
    )
}

/// A manifest for those who follow the run: they have the base.
fn manifest_message(
    broadcast: &Broadcast,
    manifest: &Manifest,
    relay: Option<SocketAddr>,
) -> pb::PolicyManifest {
    let base = broadcast.base().map(pb::Artifact::named);
    pb::PolicyManifest {
        version: Some(manifest.version.into()),
        base: base.collect(),
        adapter: Some((&manifest.adapter).into()),
        adapter_config_json: broadcast.adapter_config_json().to_owned(),
        last: manifest.last,
        canary: manifest.canary.as_deref().map(Into::into),
        relays: relay.iter().map(ToString::to_string).collect(),
    }
}

/// A manifest for those who have nothing yet.
pub(super) fn whole_manifest(broadcast: &Broadcast, manifest: &Manifest) -> pb::PolicyManifest {
    let relay = broadcast.relays.for_newcomer();
    pb::PolicyManifest {
        base: broadcast.base().map(Into::into).collect(),
        ..manifest_message(broadcast, manifest, relay)
    }
}
