//! The public wire: generated messages, and the checked doors between them and `common`'s values.
//!
//! A handler never looks into a generated message by hand: `TryFrom` is the only way in, and what comes out of it is
//! valid. The definitions under `proto/adwright/v1` are a documented public interface.

pub mod artifact_stream;
mod attached;
mod authorize;
mod budget;
#[cfg(test)]
#[path = "../build/compatibility.rs"]
mod compatibility;
#[cfg(test)]
mod compatibility_tests;
mod connections;
mod convert;
#[cfg(test)]
mod documented_tests;
mod gate;
mod header;
mod keep_alive;
mod network;
pub mod observe;
mod pauses;
mod remote;
mod role;
mod sparing_log;
pub mod tls;
mod told;
pub mod trace;
mod wire_error;

pub use attached::{Attached, Attachment};
pub use authorize::{AllowLoopback, AllowNetwork, AllowRoles, Authorizer, Call, Denied, Door, PeerDenied};
pub use budget::{ByteBudget, ByteCharge, NoRoom};
pub use connections::{ConnectionLimit, Limited, NoGreeting, Place, Placed, TooManyConnections};
pub use convert::{
    ActorStatus, ImageGenerator, InvalidMessage, MAX_ACTORS, MAX_BATCH, MAX_DESCRIPTIONS, MAX_STATUS_BYTES,
    Manifest, Outcomes, RewardServerStatus, RunStatus, ServedModel, VersionFigures, deciding_settings,
    fetched, required, reward, trajectory,
};
pub use gate::{Admission, Gate, Meter, QUESTION_BYTES};
pub use header::{Caller, header};
pub use keep_alive::KeepAlive;
pub use network::{Answering, Destination, Duplex, Incoming, Network, Tcp, channel, host_and_port};
pub use pauses::Pauses;
pub use remote::Remote;
pub use role::{NotCertifiable, PeerRole, RoleName};
pub use sparing_log::SparingLog;
pub use told::{figures, is_order, one_line, said};
pub use wire_error::WireError;

/// The generated messages, clients and servers of package `adwright.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod pb {
    tonic::include_proto!("adwright.v1");
}

/// KEDA's contract with an external scaler (`proto/keda/externalscaler.proto`): its messages, clients and servers.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod keda {
    tonic::include_proto!("externalscaler");
}

/// The version of the protocol that this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The largest message either side accepts, in bytes: a request with 64 groups of two 512 x 512 PNG images (about
/// 0.4 MB each) fits. tonic's own default of 4 MiB would not hold one lease's images.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The largest request that a learner accepts, in bytes. The largest possible outcome (64 candidates of 4096 tokens) takes
/// a third of it; an actor hands in more outcomes than fit in several requests.
pub const MAX_OUTCOMES_BYTES: usize = 16 << 20;

/// How much of a stream may be under way unread, in bytes: at HTTP/2's default of 64 KiB a long line would stand idle most of
/// the time, at this it is full up to 8 Gbit/s over 8 ms.
pub const BULK_WINDOW: u32 = 8 << 20;
