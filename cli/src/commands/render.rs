//! `adwright render`: pictures of a product around which a diffusion model paints what a prompt asks for.

use crate::args::RenderArgs;
use crate::config::Config;
use crate::diffusion;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::progress::Progress;
use crate::{locations, output, role, telemetry};
use ::actor::{GuardrailsConfig, Measures, Painter};
use anyhow::{Context as _, anyhow};
use data::{GenerateError, GeneratedImage, NoImage, cutout};
use models::diffusion::pipeline::{GivenNoise, Wanted};
use serde::Serialize;
use std::fs;
use std::path::PathBuf;

/// What `--json` prints.
#[derive(Serialize)]
struct Rendered {
    images: Vec<Image>,
}

#[derive(Serialize)]
struct Image {
    path: PathBuf,
    /// BLAKE3 of the file.
    digest: String,
    seed: u64,
    guardrails: Measures,
}

/// Runs the command.
pub(super) fn run(args: &RenderArgs) -> Outcome<()> {
    let config = super::layers(&args.config, &args.compute)
        .flag("--sd", "diffusion.model", args.sd.clone())
        .flag("--controlnet", "diffusion.controlnet", args.controlnet.clone())
        .flag("--lora", "diffusion.lora", args.lora.clone())
        .flag("--steps", "diffusion.steps", args.steps)
        .flag("--scheduler", "diffusion.sampler", args.scheduler.clone())
        .flag("--width", "diffusion.width", args.width)
        .flag("--height", "diffusion.height", args.height)
        .sets(&args.config.sets)
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::QUIET)?;
    let _kernels = role::runtime(&config)?;
    let product = super::model::read_picture("--product", &args.product)?;
    let given = given_noise(args, &config)?;
    let settings = Settings {
        steps: config.diffusion.steps,
        batch: config.diffusion.batch,
        guardrails: config.actor.guardrails.clone(),
    };
    locations::check_fillable(&args.out, "--out")?;
    let mut painter = painter(args, config, given.as_ref())?;
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))
        .or_configuration()?;
    let wanted: Vec<Wanted> = (0..args.num)
        .map(|number| Wanted {
            description: args.prompt.clone(),
            seed: args.seed.wrapping_add(number),
        })
        .collect();
    let mut stage = Progress::detect().stage("pictures");
    let (mut images, steps) = (vec![], settings.steps * wanted.len());
    // Each batch is written before the next is begun: what is painted is not lost, and not held.
    for (part, wanted) in wanted.chunks(settings.batch).enumerate() {
        let first = part * settings.batch;
        let given = given.as_ref().map(|given| given.part(first, wanted.len()));
        let pictures = painter.paint(&product, wanted, given.as_ref(), &mut |step| {
            let done = first * settings.steps + step.done;
            stage.update(done as u64, steps as u64, "");
        });
        let pictures = pictures.map_err(|error| blame(error, args))?;
        for (picture, wanted) in pictures.into_iter().zip(wanted) {
            let picture = match picture {
                Err(error @ NoImage::Invalid(_)) => return Err(Failure::Run(error.into())),
                other => other.context("--prompt").or_configuration()?,
            };
            images.push(written(&picture, wanted, args, &settings.guardrails)?);
        }
    }
    drop(stage);
    if args.json {
        output::json(&Rendered { images })?;
        return Ok(());
    }
    for image in images {
        output::line(&image.path.display().to_string())?;
    }
    Ok(())
}

/// What of the configuration is needed beside the painter.
struct Settings {
    steps: usize,
    batch: usize,
    guardrails: GuardrailsConfig,
}

/// Writes a picture and says what is measured on it.
fn written(
    picture: &GeneratedImage,
    wanted: &Wanted,
    args: &RenderArgs,
    guardrails: &GuardrailsConfig,
) -> Outcome<Image> {
    let png = cutout::encode_rgb_png(&picture.image);
    let path = args.out.join(format!("{}-{}.png", stem(args), wanted.seed));
    fs::write(&path, &png).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Image {
        digest: blake3::hash(&png).to_string(),
        path,
        seed: wanted.seed,
        guardrails: Measures::of(picture, guardrails).context("cannot measure the picture")?,
    })
}

fn given_noise(args: &RenderArgs, config: &Config) -> Outcome<Option<GivenNoise>> {
    let Some(path) = &args.latents else {
        return Ok(None);
    };
    let device = config.compute.placement().or_configuration()?.device;
    let given = GivenNoise::read(path, &device)
        .context("--latents")
        .or_configuration()?;
    let count = given.count() as u64;
    if count != 1 && count != args.num {
        return Err(anyhow!(
            "--latents: {} has noise for {count} pictures, expected 1 or {}, as --num",
            path.display(),
            args.num
        ))
        .or_configuration();
    }
    Ok(Some(given))
}

/// The networks, told to paint pictures of the size that the given noise is for, unless a flag says otherwise.
fn painter(args: &RenderArgs, mut config: Config, given: Option<&GivenNoise>) -> Outcome<Painter> {
    let placement = config.compute.placement().or_configuration()?;
    if let (Some(given), None, None) = (given, args.width, args.height) {
        (config.diffusion.width, config.diffusion.height) = given.picture_size();
        config
            .diffusion
            .validate()
            .context("--latents")
            .or_configuration()?;
    }
    if let Some(given) = given {
        let (found, asked) = (
            given.picture_size(),
            (config.diffusion.width, config.diffusion.height),
        );
        if found != asked {
            return Err(anyhow!(
                "--latents: noise for pictures of {}x{}, expected {}x{}",
                found.0,
                found.1,
                asked.0,
                asked.1
            ))
            .or_configuration();
        }
    }
    let files = diffusion::files(&config)?;
    Painter::open(&files, config.diffusion, &placement).or_configuration()
}

/// The product's file name without its ending.
fn stem(args: &RenderArgs) -> String {
    let stem = args.product.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// A product that cannot be placed is the user's to put right.
fn blame(error: GenerateError, args: &RenderArgs) -> Failure {
    let is_lasting = error.is_lasting();
    let error = anyhow!(error).context(args.product.display().to_string());
    match is_lasting {
        true => Failure::Configuration(error),
        false => Failure::Run(error),
    }
}
