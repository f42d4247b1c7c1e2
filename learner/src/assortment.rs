//! The products a run trains on, as tasks name them: catalogue entries with the digest of their stored cut-out.
//!
//! It fills tasks and instructions; it draws nothing (`task_order.rs`, `negatives.rs`).

use crate::config::Partner;
use crate::error::LearnerError;
use crate::partners::Partners;
use crate::task_order::{TaskOrder, TaskSubject};
use common::{Digest, ProductTask, TaskId};
use data::{Catalogue, Product};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Store;

/// The kind under which product cut-outs are stored.
pub(crate) const PRODUCTS: &str = "products";

/// How much longer encoding a byte as PNG takes than hashing it.
const PNG_EFFORT: usize = 32;

/// What stands for the caption in an instruction.
const CAPTION: &str = "{caption}";

/// The training products of a catalogue and the order of tasks over them.
pub(crate) struct Assortment {
    catalogue: Arc<dyn Catalogue>,
    /// By product index; training products only.
    images: BTreeMap<usize, Digest>,
    order: TaskOrder,
}

impl Assortment {
    /// Stores every training product's cut-out (PNG) and remembers its digest. There is at least one training product and
    /// one instruction.
    ///
    /// # Errors
    /// [`LearnerError::Store`] when a cut-out cannot be stored.
    pub(crate) async fn open(
        catalogue: Arc<dyn Catalogue>,
        store: &Store,
        run_seed: u64,
    ) -> Result<Self, LearnerError> {
        let train = catalogue.split().train;
        let mut images = BTreeMap::new();
        for index in train.clone() {
            let source = catalogue.clone();
            let png = move || data::cutout::encode_png(&source.products()[index].image);
            let pixels = catalogue.products()[index].image.as_raw().len();
            let png = store::aside(pixels.saturating_mul(PNG_EFFORT), png)
                .await
                .map_err(|e| LearnerError::panicked("encoding", &e))?;
            images.insert(index, store.put_content(PRODUCTS, png).await?);
        }
        let order = TaskOrder::new(run_seed, train, catalogue.instructions().len());
        Ok(Self {
            catalogue,
            images,
            order,
        })
    }

    /// The same with nothing stored: there are no tasks to be leased.
    pub(crate) fn unstored(catalogue: Arc<dyn Catalogue>, run_seed: u64) -> Self {
        let order = TaskOrder::new(run_seed, catalogue.split().train, catalogue.instructions().len());
        Self {
            catalogue,
            images: BTreeMap::new(),
            order,
        }
    }

    /// The task of a number.
    pub(crate) fn task(&self, id: TaskId) -> ProductTask {
        let subject = self.order.subject(id);
        let product = self.product(subject.product);
        ProductTask {
            id,
            product: product.id.clone(),
            caption: product.caption.clone(),
            instruction: self.instruction(subject),
            image: self.images[&subject.product],
        }
    }

    /// What a task is about.
    pub(crate) fn subject(&self, id: TaskId) -> TaskSubject {
        self.order.subject(id)
    }

    /// The instruction of a subject with its product's caption filled in.
    pub(crate) fn instruction(&self, subject: TaskSubject) -> String {
        let instruction = &self.catalogue.instructions()[subject.instruction];
        filled(instruction, &self.product(subject.product).caption)
    }

    /// A product by its index in the catalogue.
    pub(crate) fn product(&self, index: usize) -> &Product {
        &self.catalogue.products()[index]
    }

    /// Whether some products of the catalogue are kept out of training.
    pub(crate) fn holds_out(&self) -> bool {
        self.catalogue.split().has_held_out()
    }

    /// The catalogue.
    pub(crate) fn catalogue(&self) -> &dyn Catalogue {
        self.catalogue.as_ref()
    }

    /// Which products may stand in for each other.
    pub(crate) fn partners(&self, rule: Partner) -> Partners {
        Partners::new(self.catalogue.as_ref(), rule)
    }
}

/// An instruction with a caption filled in. Quotation marks are left out of captions, as CAIG's `inference_llava.py` does;
/// where there is no instruction around it, the caption is somebody's own prompt and stays as it is.
pub(crate) fn filled(instruction: &str, caption: &str) -> String {
    if instruction == CAPTION {
        return caption.to_owned();
    }
    instruction.replace(CAPTION, &caption.replace('"', ""))
}

#[cfg(test)]
pub(crate) mod test_catalogue {
    //! A handful of one-coloured products.

    use data::{Catalogue, Product, Split};
    use image::{Rgba, RgbaImage};
    use std::collections::BTreeMap;

    /// Products, all of which are trained on unless some are [held out](TestCatalogue::holding_out).
    pub(crate) struct TestCatalogue {
        products: Vec<Product>,
        split: Split,
        instructions: Vec<String>,
    }

    /// One product a category given; `None` has no category. Colours repeat after 64 products.
    pub(crate) fn catalogue(categories: &[Option<&str>]) -> TestCatalogue {
        let product = |(i, category): (usize, &Option<&str>)| Product {
            id: common::ProductId::new(format!("p{i}")).unwrap(),
            caption: format!("the \"{i}\" lamp"),
            category: category.map(str::to_owned),
            attributes: BTreeMap::new(),
            image: RgbaImage::from_pixel(64, 64, Rgba([(i as u8).wrapping_mul(20), 90, 200, 255])),
        };
        TestCatalogue {
            products: categories.iter().enumerate().map(product).collect(),
            split: Split::shared(categories.len()),
            instructions: vec![
                "suggest a background for {caption}".into(),
                "rewrite: {caption}".into(),
            ],
        }
    }

    /// One product a caption given.
    pub(crate) fn with_captions(captions: &[&str]) -> TestCatalogue {
        let mut all = catalogue(&vec![None; captions.len()]);
        for (product, caption) in all.products.iter_mut().zip(captions) {
            product.caption = (*caption).to_owned();
        }
        all
    }

    impl TestCatalogue {
        /// The same with the last `share` of its products held out.
        pub(crate) fn holding_out(mut self, share: f64) -> Self {
            self.split = Split::held_out(self.products.len(), share);
            self
        }

        /// The same with a picture of so many pixels, width and height, of each product.
        pub(crate) fn pictured(mut self, sizes: &[(u32, u32)]) -> Self {
            for (product, &(width, height)) in self.products.iter_mut().zip(sizes) {
                product.image = RgbaImage::new(width, height);
            }
            self
        }
    }

    impl Catalogue for TestCatalogue {
        fn name(&self) -> &str {
            "test catalogue"
        }

        fn products(&self) -> &[Product] {
            &self.products
        }

        fn split(&self) -> Split {
            self.split.clone()
        }

        fn instructions(&self) -> &[String] {
            &self.instructions
        }
    }
}

#[cfg(test)]
mod tests {
    use super::test_catalogue::catalogue;
    use super::*;

    async fn open(categories: &[Option<&str>]) -> (Assortment, Store) {
        let store = Store::open("memory:///").unwrap();
        (
            Assortment::open(Arc::new(catalogue(categories)), &store, 5)
                .await
                .unwrap(),
            store,
        )
    }

    #[tokio::test]
    async fn a_task_names_a_stored_cutout_and_a_filled_instruction() {
        let (assortment, store) = open(&[None, None, None]).await;
        let task = assortment.task(TaskId(4));
        let bytes = store.get_content(PRODUCTS, &task.image).await.unwrap();
        let index = assortment.subject(TaskId(4)).product;
        assert_eq!(
            data::cutout::decode(&bytes).unwrap(),
            assortment.product(index).image
        );
        assert!(
            task.instruction.contains(&format!("the {index} lamp")),
            "{}",
            task.instruction
        );
        assert_eq!(assortment.task(TaskId(4)), task);
    }
}
