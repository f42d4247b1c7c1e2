//! Product catalogues and click logs: the traits a run is written against, importers for files, and the measures of how
//! far click labels can be trusted.
//!
//! Everything here is a plain value or a pure function of its arguments and the files it is given. No tensors, no
//! asynchronous code, no randomness without a seed. The built-in simulated shop implements these traits in its own crate.

mod catalogue;
mod click_log;
mod click_oracle;
mod corpus;
pub mod cutout;
mod image_generator;
mod import;
pub mod label_quality;
mod preferences;
mod product;

pub use catalogue::{CaigCatalogue, Catalogue, FEWEST_DIVIDED};
pub use click_log::{ClickCounts, ClickLog, Creative, FileClickLog};
pub use click_oracle::ClickOracle;
pub use corpus::{Corpus, CorpusImage, CorpusSample, LlavaCorpus, Modality, TaskFamily};
pub use cutout::CutoutError;
pub use image_generator::{GenerateError, GeneratedImage, ImageGenerator, NoImage};
pub use import::{FilePlaces, ImportError, RowProblem};
pub use preferences::{Preference, PreferenceFile, trl_line};
pub use product::{Product, Split};
