//! The image service's answer, checked: one result a description, or what is wrong with all of it.

use common::with_causes;
use data::cutout::{self, MAX_DECODED_BYTES};
use data::{GeneratedImage, NoImage};
use proto::{
    InvalidMessage,
    pb::{self, image_result},
    required,
};

/// The most memory that the pictures of one answer may take decoded, in bytes: 64 pictures of 1600 x 1600 pixels with their cut-outs. A few
/// kilobytes can be a picture of a hundred megabytes, and 64 of those are more than a machine has.
const MAX_PICTURES_BYTES: u64 = 4 * MAX_DECODED_BYTES;

/// Why nothing of an answer is used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableAnswer {
    /// It is not well formed.
    #[error(transparent)]
    Malformed(#[from] InvalidMessage),
    /// The service's model failed at a description.
    #[error("its model failed at description {position}: {detail}")]
    Model {
        /// Which description, from 0.
        position: usize,
        /// What the service says.
        detail: String,
    },
}

/// The results for so many descriptions. Decodes pictures: not for the async runtime.
pub(crate) fn images(
    descriptions: usize,
    response: pb::GenerateGroupResponse,
) -> Result<Vec<Result<GeneratedImage, NoImage>>, UnusableAnswer> {
    if response.results.len() != descriptions {
        let reason = format!("{} for {descriptions} descriptions", response.results.len());
        return Err(InvalidMessage::new("generate_group_response.results", reason).into());
    }
    let mut bytes = 0;
    let mut images = Vec::with_capacity(descriptions);
    for (position, result) in response.results.into_iter().enumerate() {
        images.push(match required("image_result.result", result.result)? {
            image_result::Result::Image(rendered) => picture(&rendered),
            image_result::Result::Failure(failure) => Err(no_image(position, failure)?),
        });
        bytes += images.last().map_or(0, decoded_bytes);
        if bytes > MAX_PICTURES_BYTES {
            let reason = format!("the pictures take more than {MAX_PICTURES_BYTES} bytes decoded");
            return Err(InvalidMessage::new("generate_group_response.results", reason).into());
        }
    }
    Ok(images)
}

fn picture(rendered: &pb::RenderedImage) -> Result<GeneratedImage, NoImage> {
    let invalid =
        |what: &str, error: &cutout::CutoutError| NoImage::Invalid(format!("{what}: {}", with_causes(error)));
    let image = cutout::decode_rgb(&rendered.image).map_err(|error| invalid("image", &error))?;
    let placed = match rendered.placed.is_empty() {
        true => None,
        false => Some(cutout::decode(&rendered.placed).map_err(|error| invalid("placed", &error))?),
    };
    if let Some(found) = placed.as_ref().map(|placed| placed.dimensions())
        && found != image.dimensions()
    {
        let ((width, height), (found_width, found_height)) = (image.dimensions(), found);
        return Err(NoImage::Invalid(format!(
            "placed: it has {found_width}x{found_height} pixels, the picture {width}x{height}"
        )));
    }
    Ok(GeneratedImage {
        image,
        placed,
        defects: rendered.defects,
    })
}

/// Why a description has no image; an error where that is not the description's.
fn no_image(position: usize, failure: pb::ImageFailure) -> Result<NoImage, UnusableAnswer> {
    use pb::ImageFailureReason as Reason;
    let reason = failure.reason();
    let detail = proto::said(&failure.detail).unwrap_or_default();
    match reason {
        Reason::InvalidImage => Ok(NoImage::Invalid(detail)),
        Reason::Guardrail => Ok(NoImage::Withheld(detail)),
        Reason::Description => Ok(NoImage::Description(detail)),
        Reason::Model => Err(UnusableAnswer::Model { position, detail }),
        Reason::Unspecified => Err(InvalidMessage::missing("image_failure.reason").into()),
    }
}

fn decoded_bytes(image: &Result<GeneratedImage, NoImage>) -> u64 {
    let Ok(image) = image else { return 0 };
    let placed = image.placed.as_ref().map_or(0, |placed| placed.as_raw().len());
    (image.image.as_raw().len() + placed) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage, RgbaImage};
    use pb::ImageFailureReason as Reason;
    use proptest::prelude::*;

    fn response(results: Vec<image_result::Result>) -> pb::GenerateGroupResponse {
        let results = results
            .into_iter()
            .map(|result| pb::ImageResult { result: Some(result) });
        pb::GenerateGroupResponse {
            results: results.collect(),
        }
    }

    fn image(image: Vec<u8>, placed: Vec<u8>) -> image_result::Result {
        image_result::Result::Image(pb::RenderedImage {
            image: image.into(),
            placed: placed.into(),
            defects: 3,
        })
    }

    fn shade(shade: u8, side: u32) -> Vec<u8> {
        cutout::encode_rgb_png(&RgbImage::from_pixel(side, side, Rgb([shade; 3])))
    }

    fn failure(reason: i32) -> image_result::Result {
        image_result::Result::Failure(pb::ImageFailure {
            reason,
            detail: "because".into(),
        })
    }

    #[test]
    fn each_description_has_its_own_result() {
        let cut_out = cutout::encode_png(&RgbaImage::new(4, 4));
        let answer = response(vec![
            image(shade(10, 4), cut_out),
            failure(Reason::Guardrail.into()),
            image(b"not a picture".to_vec(), vec![]),
            failure(Reason::Description.into()),
            image(shade(20, 6), vec![]),
            failure(Reason::InvalidImage.into()),
            image(shade(30, 4), cutout::encode_png(&RgbaImage::new(4, 5))),
            image(shade(30, 4), b"not a cut-out".to_vec()),
            image(vec![], vec![]),
        ]);
        let images = images(9, answer).unwrap();
        let first = images[0].as_ref().unwrap();
        assert_eq!((first.image.get_pixel(0, 0).0, first.defects), ([10; 3], 3));
        assert_eq!(first.placed.as_ref().unwrap().dimensions(), (4, 4));
        let fifth = images[4].as_ref().unwrap();
        assert_eq!((fifth.image.dimensions(), &fifth.placed), ((6, 6), &None));
        assert_eq!(images[1], Err(NoImage::Withheld("because".into())));
        assert_eq!(images[3], Err(NoImage::Description("because".into())));
        for (position, says) in [
            (2, "image: not"),
            (5, "because"),
            (6, "4x5"),
            (7, "placed: not"),
            (8, "image"),
        ] {
            let Err(NoImage::Invalid(reason)) = &images[position] else {
                panic!("{:?}", images[position])
            };
            assert!(reason.contains(says), "{reason}");
        }
    }

    #[test]
    fn what_the_service_says_of_a_failure_stays_on_one_line_and_is_cut() {
        let told = |reason: Reason| {
            let detail = format!("no\n\u{1b}[2J{}", "x".repeat(1 << 20));
            let reason = reason.into();
            let failed = image_result::Result::Failure(pb::ImageFailure { reason, detail });
            match images(1, response(vec![failed])) {
                Ok(images) => images[0].as_ref().unwrap_err().to_string(),
                Err(unusable) => unusable.to_string(),
            }
        };
        for reason in [
            Reason::InvalidImage,
            Reason::Guardrail,
            Reason::Description,
            Reason::Model,
        ] {
            let told = told(reason);
            assert!(
                told.len() < 5 << 10 && told.contains("no  [2Jx"),
                "{}",
                told.len()
            );
        }
    }

    #[test]
    fn an_answer_that_does_not_fit_the_question_is_not_used_at_all() {
        let none = pb::GenerateGroupResponse {
            results: vec![pb::ImageResult { result: None }],
        };
        for (answer, says) in [
            (response(vec![]), "0 for 1"),
            (
                response(vec![image(shade(1, 2), vec![]), image(shade(1, 2), vec![])]),
                "2 for 1",
            ),
            (none, "image_result.result"),
            (response(vec![failure(0)]), "image_failure.reason"),
            (response(vec![failure(99)]), "image_failure.reason"),
            (
                response(vec![failure(Reason::Model.into())]),
                "description 0: because",
            ),
        ] {
            let error = images(1, answer).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn pictures_that_would_fill_the_memory_are_refused_while_they_are_counted() {
        // A few kilobytes each, and 192 MiB decoded.
        let large = image(shade(0, 8192), vec![]);
        let error = images(6, response(vec![large; 6])).unwrap_err();
        assert!(error.to_string().contains("decoded"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_in_the_place_of_pictures_do_more_than_bar_a_candidate(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            placed in prop::collection::vec(any::<u8>(), 1..200),
        ) {
            let answer = response(vec![image(bytes, vec![]), image(shade(9, 2), placed)]);
            prop_assert!(images(2, answer).unwrap().iter().all(Result::is_err));
        }
    }
}
