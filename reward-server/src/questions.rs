//! Whether what CAIG's reward model would be asked about each product fits it: seen before anything takes time, because a product
//! that it cannot be asked about would end a training or a measurement when its turn comes.

use crate::error::RewardError;
use common::{InvalidConfig, InvalidSetting};
use data::{FilePlaces, Product};
use models::ctr::CaigReward;

/// Checks the question about each of these products, given by their index. `places` are those of a file's products.
///
/// # Errors
/// [`RewardError::Config`] when the question does not fit about any product; [`RewardError::Rows`] with every row of a file about
/// which it does not, [`RewardError::Question`] with the first such product where there is no file.
pub(crate) fn check_questions<'a>(
    model: &CaigReward,
    question: &str,
    products: impl IntoIterator<Item = (usize, &'a Product)>,
    places: Option<&FilePlaces>,
) -> Result<(), RewardError> {
    if let Some(fault) = fault(model, question, "") {
        let problems = vec![InvalidSetting {
            key: "reward_server.question".into(),
            value: format!("{question:?}"),
            reason: format!("it does not fit the reward model, whatever the product: {fault}"),
        }];
        return Err(InvalidConfig { problems }.into());
    }
    let faults = products
        .into_iter()
        .filter_map(|(index, product)| Some((index, product, fault(model, question, &product.caption)?)));
    let faults: Vec<_> = faults.collect();
    let Some((_, product, reason)) = faults.first() else {
        return Ok(());
    };
    let Some(places) = places else {
        return Err(RewardError::Question {
            product: product.id.to_string(),
            reason: reason.clone(),
        });
    };
    let told = |(index, product, reason): &(usize, &Product, String)| {
        let id = &product.id;
        let fault = format!("product {id}: the question about it does not fit the reward model: {reason}");
        (*index, fault)
    };
    Err(places.refusal(faults.iter().map(told)).into())
}

/// What is wrong with the question about a caption.
fn fault(model: &CaigReward, question: &str, caption: &str) -> Option<String> {
    let prompt = match model.prompt_ids(&CaigReward::question_about(question, caption)) {
        Ok(prompt) => prompt,
        Err(error) => return Some(error.to_string()),
    };
    model.check_prompt(&prompt).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy_log::{self, ToyLog};
    use burn::tensor::{DType, Device};
    use data::{ClickLog as _, FileClickLog};
    use image::buffer::ConvertBuffer as _;
    use std::path::Path;

    fn model(fixture: &str) -> CaigReward {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/fixtures");
        CaigReward::load(
            &fixtures.join(fixture),
            &Device::flex(),
            DType::F32,
            &mut |_, _| (),
        )
        .unwrap()
    }

    #[test]
    fn what_passes_the_check_can_be_laid_out_and_what_does_not_cannot() {
        for fixture in ["caig-reward/1", "caig-reward/2"] {
            let model = model(fixture);
            let square = CaigReward::square(model.processor(), &toy_log::flat(90).convert());
            let mut prompt = model.prompt_ids("Which?").unwrap();
            while model.check_prompt(&prompt).is_ok() {
                prompt.push(prompt[prompt.len() - 1]);
            }
            let pair = [(&square, &square)];
            assert!(model.lay_out(&pair, &[&prompt]).is_err(), "{fixture}");
            assert!(model.lay_out(&pair, &[&prompt[1..]]).is_ok(), "{fixture}");
        }
    }

    #[test]
    fn products_of_a_file_are_told_by_their_rows_and_others_by_their_ids() {
        let folder = tempfile::tempdir().unwrap();
        toy_log::flat(90).save(folder.path().join("a.png")).unwrap();
        let line = |product: &str, caption: &str| {
            format!(
                r#"{{"product_id":"{product}","caption":"{caption}","image":"a.png","impressions":9,"clicks":1}}"#
            )
        };
        let long = "№".repeat(1300);
        let lines = [
            line("desk", "desk"),
            line("lamp", &long),
            line("desk", "desk"),
            line("lamp", &long),
        ];
        let path = folder.path().join("clicks.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let log = FileClickLog::load(&path, 0.5).unwrap();
        let (model, products) = (model("caig-reward/1"), || log.products().iter().enumerate());
        let question = "{caption} or {caption} or {caption}";
        let refused = |places| check_questions(&model, question, products(), places).unwrap_err();
        let of_file = refused(log.places());
        let words =
            "clicks.jsonl: 1 mistake(s)\n  row 2, caption: product lamp: the question about it does not fit";
        assert!(of_file.to_string().contains(words), "{of_file}");
        let made = refused(None);
        assert!(
            matches!(&made, RewardError::Question { product, .. } if product == "lamp"),
            "{made}"
        );
        assert!(of_file.is_configuration() && made.is_configuration());
        let endless = question.repeat(200).replace("{caption}", "which part of it");
        let of_all = check_questions(&model, &endless, products(), log.places()).unwrap_err();
        assert!(
            of_all.is_configuration() && of_all.to_string().starts_with("reward_server.question = "),
            "{of_all}"
        );
        let short = ToyLog::new(4);
        check_questions(&model, question, short.products().iter().enumerate(), None).unwrap();
    }
}
