"""Opens every fixture of diffusion afresh, the way a user would, and compares."""
import os
import cv2, numpy as np, torch
from diffusers import (AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionControlNetInpaintPipeline,
                       UNet2DConditionModel)
from PIL import Image
from safetensors.torch import load_file
import diffusion_controlnet_file, diffusion_lora, diffusion_networks, diffusion_pipeline, diffusion_schedulers, diffusion_single_file
from diffusion_common import CONTROLNET, EXPECTED, OUT, TINY, open_model, open_text_encoder, open_tokenizer, read_json
from diffusion_pictures import conditions, place


def compare(what, got, want, tolerance):
    assert got.keys() == want.keys(), (what, got.keys() ^ want.keys())
    worst = 0.0
    for k, w in want.items():
        assert got[k].shape == w.shape, (what, k)
        worst = max(worst, float((got[k].double() - w.double()).abs().max()))
    print(f"{what}: {len(want)} tensors, worst {worst:.1e}")
    assert worst <= tolerance, what


def expected(name):
    return load_file(f"{EXPECTED}/{name}.safetensors")


def text():
    prompts, want = read_json(f"{EXPECTED}/text.json")["prompts"], expected("text")
    for d in (f"{TINY}/text_encoder", f"{OUT}/text-encoder-bin", f"{OUT}/text-encoder-f16"):
        rows, tensors = diffusion_networks.text_numbers(open_text_encoder(d), open_tokenizer())
        assert rows == prompts
        compare(os.path.relpath(d, OUT), tensors, want, 1e-5)
    rows, tensors = diffusion_networks.emphasis_numbers(open_text_encoder(), open_tokenizer())
    assert rows == read_json(f"{EXPECTED}/emphasis.json")["prompts"] and [r["chunks"] for r in rows] == [1, 2]
    compare("emphasis", tensors, expected("emphasis"), 1e-5)
    lengths = {p["name"]: len(p["ids"]) for p in prompts}
    assert lengths["empty"] == 2 and lengths["exact"] == 77 and lengths["long"] > 77 and len(prompts) == 6


def networks():
    want = expected("unet")
    compare("unet, controlnet", diffusion_networks.unet_numbers(
        open_model(UNet2DConditionModel, f"{TINY}/unet"), open_model(ControlNetModel, CONTROLNET), want), want, 1e-5)
    want = expected("unet-sd2")
    compare("sd2/unet", diffusion_networks.sd2_numbers(open_model(UNet2DConditionModel, f"{OUT}/sd2/unet"), want), want, 1e-5)
    assert DDIMScheduler.from_pretrained(f"{OUT}/sd2/scheduler").config.prediction_type == "v_prediction"
    want = expected("vae")
    for d in (f"{TINY}/vae", f"{OUT}/vae-old-names"):
        vae = open_model(AutoencoderKL, d)
        compare(os.path.relpath(d, OUT), {**diffusion_networks.vae_numbers(vae, want), **diffusion_networks.tiled_numbers(vae, want)}, want, 1e-5)


def schedulers():
    compare("randn", diffusion_schedulers.draws(), expected("randn"), 2e-6)
    tensors, rows = diffusion_schedulers.schedules()
    assert rows == read_json(f"{EXPECTED}/schedulers.json")["schedules"]
    compare("schedulers", tensors, expected("schedulers"), 1e-5)


def pipeline():
    pipe = StableDiffusionControlNetInpaintPipeline.from_pretrained(
        TINY, controlnet=open_model(ControlNetModel, CONTROLNET), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    cutout, want, got = cv2.imread(f"{diffusion_pipeline.PICTURES}/product.png", cv2.IMREAD_UNCHANGED), expected("pipeline"), {}
    for case in read_json(f"{EXPECTED}/pipeline.json")["cases"]:
        name = case["name"]
        for what, picture in zip(("init", "mask", "control", "repaint"), conditions(place(cutout, case["width"], case["height"]))):
            assert np.array_equal(np.asarray(picture), np.asarray(Image.open(f"{diffusion_pipeline.PICTURES}/{name}.{what}.png"))), what
        images, last, steps, draws = diffusion_pipeline.render(pipe, case)
        assert case["draws"] == diffusion_pipeline.named_draws(case, draws)
        grid = want.pop(f"{name}.images_u16").double() / 65535
        s = diffusion_pipeline.STRIDE
        assert float((images[:, ::s, ::s].double() - grid).abs().max()) < 2e-5, name
        got[f"{name}.latents"] = last[-len(want[f"{name}.latents"]):]
        got.update({f"{name}.latents.{i}": x for i, x in enumerate(steps) if f"{name}.latents.{i}" in want})
    compare("pipeline", got, want, 1e-3)


def lora():
    for path in (diffusion_lora.LORA, diffusion_lora.KOHYA):
        compare(os.path.relpath(path, OUT), diffusion_lora.lora_numbers(path), expected("lora"), 1e-5)
    for path in (diffusion_lora.TEXT_LORA, diffusion_lora.TEXT_KOHYA):
        compare(os.path.relpath(path, OUT), folded_into_text(path), expected("lora-text"), 1e-5)


@torch.no_grad()
def folded_into_text(path):
    """By hand: weight + scale * alpha / rank * B A. diffusers' loader wants a newer PEFT for a text encoder than it does for a U-net."""
    factors, out = load_file(path), {}
    ids = next(p["padded"] for p in read_json(f"{EXPECTED}/text.json")["prompts"] if p["name"] == "mixed")
    for scale in diffusion_lora.SCALES:
        model, folded = open_text_encoder(), 0
        for name, module in model.named_modules():
            peft, kohya = "text_encoder.text_model." + name, "lora_te_text_model_" + name.replace(".", "_")
            down = factors.get(f"{peft}.lora_A.weight", factors.get(f"{kohya}.lora_down.weight"))
            up = factors.get(f"{peft}.lora_B.weight", factors.get(f"{kohya}.lora_up.weight"))
            if down is not None:
                module.weight += scale * diffusion_lora.ALPHA / diffusion_lora.RANK * (up.float() @ down.float())
                folded += 1
        assert folded == 10
        out[f"mixed.scale.{scale}"] = model(torch.tensor([ids])).last_hidden_state[0]
    return out


def single_file():
    keys = diffusion_single_file.check(open_model(UNet2DConditionModel, f"{TINY}/unet"), open_model(AutoencoderKL, f"{TINY}/vae"))
    print("single_file:", keys, "keys, every weight equal")
    keys = diffusion_controlnet_file.check(open_model(ControlNetModel, CONTROLNET))
    print("controlnet_file:", keys, "keys, every weight equal")


if __name__ == "__main__":
    for part in (text, networks, schedulers, pipeline, lora, single_file):
        part()
