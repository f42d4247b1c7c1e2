//! Pixel work of the image pipeline: where a product stands, what is repainted around it, what the ControlNet sees, how
//! the finished picture is put together, and what is measured on it.
//!
//! Everything here is a pure function of 8-bit pictures. It knows no tensors, files or products; decoding is in `data`.
//! What says `compat` in its name follows CAIG's reference to the pixel, and with it OpenCV.

pub mod area;
mod around;
pub mod canny;
pub mod composite;
pub mod control;
pub mod dilate;
mod error;
pub mod guardrails;
mod lab;
mod luma;
pub mod masks;
#[cfg(test)]
mod parity;
pub mod placement;
mod region;
mod resample;
pub mod soft_edge;

pub use error::ImagingError;
pub use region::Region;
