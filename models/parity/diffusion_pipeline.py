"""Expected numbers of the whole pipeline, called as CAIG calls it."""
import cv2, torch
from diffusers import (AutoencoderKL, ControlNetModel, EulerAncestralDiscreteScheduler, StableDiffusionControlNetInpaintPipeline,
                       UNet2DConditionModel)
from PIL import Image
from diffusion_common import (CONTROLNET, EXPECTED, OUT, TINY, open_model, open_text_encoder, open_tokenizer, write_json,
                              write_tensors)
from diffusion_pictures import conditions, draw_product, place

PICTURES = f"{OUT}/pictures"
TWO = ["a bottle of perfume on a wooden desk surface, warm lighting, bokeh effect",
       "white marble table, soft morning light, it's a summer sale in Zürich"]
CASES = [dict(name="512x512", width=512, height=512, steps=4, prompts=TWO, latents_seed=7),
         dict(name="512x640", width=512, height=640, steps=3, prompts=TWO, latents_seed=8),
         dict(name="256x256", width=256, height=256, steps=3, prompts=TWO[:1], latents_seed=None)]
STRIDE = 7


def open_pipeline():
    pipe = StableDiffusionControlNetInpaintPipeline(
        open_model(AutoencoderKL, f"{TINY}/vae"), open_text_encoder(), open_tokenizer(),
        open_model(UNet2DConditionModel, f"{TINY}/unet"), open_model(ControlNetModel, CONTROLNET),
        EulerAncestralDiscreteScheduler.from_pretrained(f"{TINY}/scheduler"), None, None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_pictures():
    draw_product(f"{PICTURES}/product.png")
    cutout = cv2.imread(f"{PICTURES}/product.png", cv2.IMREAD_UNCHANGED)
    for case in CASES:
        for what, picture in zip(("init", "mask", "control", "repaint"), conditions(place(cutout, case["width"], case["height"]))):
            picture.save(f"{PICTURES}/{case['name']}.{what}.png", optimize=True)


class Draws:
    """Notes every torch.randn of a call; in f64 runs the numbers are the same, drawn in f32."""

    def __init__(self, generators, dtype=torch.float32):
        self.generators, self.dtype, self.rows, self.real = generators, dtype, [], torch.randn

    def __enter__(self):
        def randn(*shape, generator=None, dtype=None, **more):
            shape = list(shape[0]) if len(shape) == 1 else list(shape)
            self.rows.append(dict(shape=shape, generator=next(i for i, g in enumerate(self.generators) if g is generator)))
            return self.real(shape, generator=generator, dtype=torch.float32).to(self.dtype)
        torch.randn = randn
        return self

    def __exit__(self, *_):
        torch.randn = self.real


def render(pipe, case, dtype=torch.float32):
    """-> (pictures [n,h,w,3] in [0,1], final latents, latents after each step, draws)"""
    n, w, h = len(case["prompts"]), case["width"], case["height"]
    generators = [torch.Generator("cpu").manual_seed(42) for _ in range(n)]
    latents = None
    if case["latents_seed"] is not None:
        latents = torch.randn([n, 4, h // 8, w // 8], generator=torch.Generator("cpu").manual_seed(case["latents_seed"])).to(dtype)
    init, mask, control = (Image.open(f"{PICTURES}/{case['name']}.{what}.png") for what in ("init", "mask", "control"))
    steps = []
    with Draws(generators, dtype) as draws, torch.no_grad():
        images = pipe(
            prompt=case["prompts"], negative_prompt=[""] * n, image=[init] * n, mask_image=[mask] * n, control_image=[control] * n,
            width=w, height=h, num_inference_steps=case["steps"], guidance_scale=7.5, controlnet_conditioning_scale=1.0, strength=1.0,
            eta=0.0, generator=generators, latents=latents, output_type="np",
            callback_on_step_end=lambda p, i, t, more: steps.append(more["latents"].clone()) or {}).images
    return torch.from_numpy(images), steps[-1], steps, draws.rows


def named_draws(case, rows):
    """Who draws what, in the order of the calls; checked against the shapes that were seen."""
    n = len(case["prompts"])
    what = ["sample of the encoded picture"] + ["initial noise"] * (case["latents_seed"] is None) + [
        "sample of the encoded masked picture (unused with 4 channels)"] + [f"ancestral noise of step {i}" for i in range(case["steps"])]
    assert [r["generator"] for r in rows] == list(range(n)) * len(what)
    assert all(r["shape"] == [1, 4, case["height"] // 8, case["width"] // 8] for r in rows)
    return what


def make():
    make_pictures()
    pipe, tensors, rows = open_pipeline(), {}, []
    for case in CASES:
        images, last, steps, draws = render(pipe, case)
        key = case["name"]
        tensors[f"{key}.images_u16"] = (images[:, ::STRIDE, ::STRIDE] * 65535).round().to(torch.uint16)
        tensors[f"{key}.latents"] = last[-1:] if case["height"] > case["width"] else last
        if len(case["prompts"]) == 1:
            tensors.update({f"{key}.latents.{i}": x for i, x in enumerate(steps[:-1])})
        rows.append({**case, "draws": named_draws(case, draws)})
    write_tensors(f"{EXPECTED}/pipeline.safetensors", tensors)
    write_json(f"{EXPECTED}/pipeline.json", dict(
        call="StableDiffusionControlNetInpaintPipeline, Euler ancestral of tiny/scheduler, guidance 7.5, negative prompt '', conditioning scale 1, "
             "strength 1, eta 0, one CPU generator of seed 42 for each picture, the same init, mask and control picture for all of a batch",
        latents_seed="given latents: torch.randn([n,4,height/8,width/8]) of one generator of this seed, before init_noise_sigma; null: none given",
        draws="in this order; each by picture 0's generator, then picture 1's, [1,4,height/8,width/8] each",
        tensors="<name>.images_u16 [n,h/7,w/7,3]: round(65535 * picture in [0,1]) at every 7th row and column; <name>.latents: last ones, "
                "blended, not yet divided by the scaling factor (of 512x640 the second picture's alone); <name>.latents.N: after step N, blended",
        cases=rows), rows=["cases"])
