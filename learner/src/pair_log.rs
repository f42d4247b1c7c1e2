//! The pairs that a run is trained on, as they are: a file in the form that TRL's DPO trainer takes, and the products'
//! pictures beside it.

use crate::assortment::Assortment;
use crate::error::LearnerError;
use crate::training_pair::{PairBatch, PairSource, TrainingPair};
use common::PolicyVersion;
use data::{Preference, trl_line};
use models::tokenizer::Tokenizer;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of pairs.
const PAIRS: &str = "pairs.jsonl";

/// Where the pictures are.
const IMAGES: &str = "images";

/// A directory with pairs.
pub(crate) struct PairLog {
    directory: PathBuf,
    file: File,
    assortment: Arc<Assortment>,
    tokenizer: Tokenizer,
    /// Pictures written, by product.
    images: BTreeMap<usize, String>,
}

/// A source whose pairs are written down as they are taken.
pub(crate) struct Recorded<S> {
    /// The source.
    pub(crate) source: S,
    /// Where they are written; `None` for nowhere.
    pub(crate) log: Option<PairLog>,
}

impl PairLog {
    /// Writes into `directory`, which is made; pairs that were there are replaced.
    ///
    /// # Errors
    /// [`LearnerError::File`] when it cannot be written to.
    pub(crate) fn open(
        directory: &Path,
        assortment: Arc<Assortment>,
        tokenizer: Tokenizer,
    ) -> Result<Self, LearnerError> {
        let (images, pairs) = (directory.join(IMAGES), directory.join(PAIRS));
        fs::create_dir_all(&images).map_err(LearnerError::file("make", &images))?;
        Ok(Self {
            file: File::create(&pairs).map_err(LearnerError::file("make", &pairs))?,
            directory: directory.to_owned(),
            assortment,
            tokenizer,
            images: BTreeMap::new(),
        })
    }

    fn record(&mut self, batch: &PairBatch) -> Result<(), LearnerError> {
        for pair in &batch.pairs {
            let Some(line) = self.line(pair)? else { continue };
            writeln!(self.file, "{line}")
                .map_err(LearnerError::file("write", &self.directory.join(PAIRS)))?;
        }
        Ok(())
    }

    /// `None` where other tokens spell the same words: who reads them could not tell them apart.
    fn line(&mut self, pair: &TrainingPair) -> Result<Option<String>, LearnerError> {
        let subject = self.assortment.subject(pair.task);
        let preference = Preference {
            chosen: self.tokenizer.decode(&pair.chosen.token_ids)?,
            rejected: self.tokenizer.decode(&pair.rejected.token_ids)?,
        };
        if preference.chosen == preference.rejected {
            return Ok(None);
        }
        let prompt = self.assortment.instruction(subject);
        let image = self.image(subject.product)?;
        Ok(Some(trl_line(&image, &prompt, &preference)))
    }

    /// The path of a product's picture, relative to the directory; written when it is first asked for.
    fn image(&mut self, product: usize) -> Result<String, LearnerError> {
        if let Some(path) = self.images.get(&product) {
            return Ok(path.clone());
        }
        let png = data::cutout::encode_png(&self.assortment.product(product).image);
        let relative = format!("{IMAGES}/{}.png", blake3::hash(&png).to_hex());
        let path = self.directory.join(&relative);
        fs::write(&path, png).map_err(LearnerError::file("write", &path))?;
        self.images.insert(product, relative.clone());
        Ok(relative)
    }
}

impl<S: PairSource> PairSource for Recorded<S> {
    fn next_batch(&mut self, version: PolicyVersion) -> Result<PairBatch, LearnerError> {
        let batch = self.source.next_batch(version)?;
        if let Some(log) = &mut self.log {
            log.record(&batch)?;
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::{pair_of, version};
    use crate::test_policy::{assortment, policy};
    use data::{Catalogue as _, PreferenceFile};

    /// One batch.
    struct Once(Option<PairBatch>);

    impl PairSource for Once {
        fn next_batch(&mut self, _: PolicyVersion) -> Result<PairBatch, LearnerError> {
            self.0.take().ok_or(LearnerError::Cancelled)
        }
    }

    #[test]
    fn pairs_are_written_with_their_words_and_pictures_and_read_again() {
        let (directory, policy) = (tempfile::tempdir().unwrap(), policy());
        let assortment = Arc::new(assortment(3));
        let ids = |text: &str| policy.completion_ids(text).unwrap();
        let (desk, lamp) = (ids("oak desk"), ids("the lamp"));
        let pairs = (0..6).map(|task| (&pair_of(task, 0, [&lamp, &desk])).into());
        let batch = PairBatch {
            version: version(0),
            pairs: pairs.collect(),
            sampled: None,
        };
        let log = PairLog::open(directory.path(), assortment.clone(), policy.tokenizer.clone()).unwrap();
        let mut recorded = Recorded {
            source: Once(Some(batch.clone())),
            log: Some(log),
        };
        assert_eq!(recorded.next_batch(version(0)).unwrap(), batch);
        assert!(recorded.next_batch(version(1)).is_err());
        let read = PreferenceFile::load(&directory.path().join(PAIRS)).unwrap();
        assert_eq!(read.preferences().len(), 6);
        for (task, (product, preference)) in read.products().iter().zip(read.preferences()).enumerate() {
            let subject = assortment.subject(common::TaskId(task as u64));
            assert_eq!(product.caption, assortment.instruction(subject));
            assert_eq!(product.image, assortment.product(subject.product).image);
            assert_eq!(
                (&preference.chosen[..], &preference.rejected[..]),
                ("oak desk", "the lamp")
            );
        }
        let pictures = fs::read_dir(directory.path().join(IMAGES)).unwrap().count();
        assert_eq!(pictures, 3);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let nowhere = Path::new("/proc/nowhere");
        let error = PairLog::open(nowhere, Arc::new(assortment(1)), policy().tokenizer)
            .err()
            .unwrap();
        assert!(error.to_string().contains("/proc/nowhere"), "{error}");
    }
}
