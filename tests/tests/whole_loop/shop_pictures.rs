//! The guardrails' defaults leave the built-in shop's pictures alone, the worst ones too: what a run of the demo comes to does not
//! depend on them.

use data::{Catalogue as _, ClickLog as _, ImageGenerator as _};
use image::RgbaImage;
use imaging::guardrails::blank::backdrop;
use shopworld::{ShopWorld, ShopWorldConfig};

#[test]
fn no_picture_of_the_shop_is_blank() {
    for (creative_size, seed) in [(48, 1), (8, 2), (16, 3), (96, 4)] {
        let config = ShopWorldConfig {
            products: 24,
            creative_size,
            ..ShopWorldConfig::default()
        };
        let world = ShopWorld::new(config, seed).expect("the settings are in range");
        let (catalogue, renderer, log) = (world.catalogue(), world.renderer(), world.click_log());
        let logged = log.creatives().iter().map(|creative| creative.image.clone());
        let not_understood = catalogue.products().iter().map(|product| {
            let rendered = renderer.generate_one(&product.image, "nothing at all", seed);
            rendered.expect("the shop's products are visible").image
        });
        for picture in logged.chain(not_understood) {
            // The shop does not tell where the product stands: the whole picture is looked at.
            let nowhere = RgbaImage::new(picture.width(), picture.height());
            let found = backdrop(&picture, &nowhere)
                .expect("both have one size")
                .expect("there are pixels");
            assert!(
                !found.is_blank(),
                "{creative_size} pixels, seed {seed}: {found:?}"
            );
        }
    }
}
