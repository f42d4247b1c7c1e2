//! CAIG's reward model: class logits and click-through rates.

use burn::tensor::{DType, Device};
use serde::Deserialize;

use super::{TOLERANCE, fixtures, picture};
use crate::ctr::CaigReward;
use crate::directory::{read, read_json};
use crate::weights::from_safetensors;

/// Both orders of every pair.
#[test]
fn parity_of_the_reward_model() {
    #[derive(Deserialize)]
    struct Pairs {
        inputs: Vec<Pair>,
    }
    #[derive(Deserialize)]
    struct Pair {
        name: String,
        left: String,
        right: String,
        prompt: String,
    }
    println!("| checkpoint | class logits | click-through rates |\n|---|---|---|");
    for seed in 1..=3 {
        let (name, device) = (format!("caig-reward/{seed}"), Device::flex());
        let dir = fixtures().join(&name);
        let model = CaigReward::load(&dir, &device, DType::F32, &mut |_, _| ()).unwrap();
        let numbers = from_safetensors(&read(&dir.join("expected.safetensors")).unwrap()).unwrap();
        let mut worst = [0.0f64; 2];
        for pair in read_json::<Pairs>(&dir.join("expected.json")).unwrap().inputs {
            let question = pair
                .prompt
                .strip_prefix("<image>\n")
                .and_then(|text| text.strip_suffix(" ASSISTANT:"));
            let ours = model
                .compare(&picture(&pair.left), &picture(&pair.right), question.unwrap())
                .unwrap();
            assert_eq!(ours.ctr.is_some(), seed != 2);
            let outputs = [("score", Some(ours.logits)), ("ctr", ours.ctr)];
            for (worst, (output, ours)) in worst.iter_mut().zip(outputs) {
                let Some(ours) = ours else { continue };
                let expected: Vec<f64> = numbers[&format!("{}.{output}", pair.name)].iter().collect();
                let scale = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
                for (ours, expected) in ours.iter().zip(&expected) {
                    let share = (ours - expected).abs() / scale;
                    assert!(
                        share < TOLERANCE,
                        "{name} {} {output}: {ours} {expected}",
                        pair.name
                    );
                    *worst = worst.max(share);
                }
            }
        }
        println!("| {name} | {:.0e} | {:.0e} |", worst[0], worst[1]);
    }
}
