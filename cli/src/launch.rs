//! A Kustomize overlay that builds on one of the manifests' own and differs from it in what was asked for: keys of the
//! configuration, image, namespace, and what names the run or its namespace elsewhere.
//!
//! The manifests are those of a directory and not part of this program: what a cluster is given lies in its team's hands, under
//! version control, and an overlay names it by a relative path. Nothing is rendered here: `kubectl` does that.

mod kustomization;
mod overlay;
mod patches;

pub(crate) use kustomization::{Manifests, config_of, image_of};
pub(crate) use overlay::{Image, Overlay};
