//! What is measured on a finished picture before it may count: one file a measure, each a pure function with its units and
//! a default bound. Which bound makes a picture invalid is for the caller to decide.
//!
//! `placed` is the product on its canvas ([`crate::placement`]), `picture` the finished one of the same size.

pub mod blank;
pub mod halo;
pub mod leakage;
pub mod perceptual_hash;
pub mod visibility;
