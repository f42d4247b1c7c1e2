//! A Kustomize overlay that builds on one of the manifests' own and differs from it in what was asked for: keys of the
//! configuration, image, namespace, and whatever else of the manifests follows these.
//!
//! The manifests are those of a directory and not part of this program: what a cluster is given lies in its team's hands, under
//! version control, and an overlay names it by a relative path. Nothing is rendered here: `kubectl` does that.

mod configured;
mod fit;
mod kustomization;
mod objects;
mod overlay;
mod patches;
mod places;
mod ways;

pub(crate) use configured::Configured;
pub(crate) use fit::{check_read, fitting, unfit};
pub(crate) use kustomization::{Manifests, image_of, namespace_of};
pub(crate) use objects::Objects;
pub(crate) use overlay::{Added, Image, Overlay};
pub(crate) use patches::Patch;
pub(crate) use places::Moved;
pub(crate) use ways::Ways;
