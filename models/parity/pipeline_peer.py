"""Renders one product with diffusers' pipeline as `adwright render` does with ours, CAIG's preprocessing and composite around it.

python pipeline_peer.py DIR --controlnet DIR --product F --prompt T --steps N --scheduler euler-a --seed S --num N --out DIR
"""
import argparse, os
import cv2, numpy as np, torch
from diffusers import (ControlNetModel, DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, StableDiffusionControlNetInpaintPipeline)
from safetensors.torch import load_file, save_file
from diffusion_pictures import CAIG_SCALE, composite, conditions, place

SCHEDULERS = {"euler-a": EulerAncestralDiscreteScheduler, "euler": EulerDiscreteScheduler, "ddim": DDIMScheduler,
              "dpmpp-2m": DPMSolverMultistepScheduler}


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("sd", help="diffusers directory of Stable Diffusion")
    for name in ("controlnet", "product", "prompt", "out"):
        a.add_argument(f"--{name}", required=True)
    a.add_argument("--negative", default="")
    a.add_argument("--steps", type=int, default=30)
    a.add_argument("--scheduler", choices=SCHEDULERS, default="euler-a")
    a.add_argument("--karras", action="store_true")
    a.add_argument("--seed", type=int, default=42, help="of the first picture; each further one has the next")
    a.add_argument("--num", type=int, default=1)
    a.add_argument("--width", type=int, default=512)
    a.add_argument("--height", type=int, default=512)
    a.add_argument("--image-scale", type=float, default=CAIG_SCALE)
    a.add_argument("--guidance", type=float, default=7.5)
    a.add_argument("--conditioning-scale", type=float, default=1.0)
    a.add_argument("--latents", help="safetensors with one tensor [1 or N,4,height/8,width/8]: noise before init_noise_sigma")
    a.add_argument("--threads", type=int, default=1)
    a.add_argument("--device", default="cpu")
    return a.parse_args()


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    pipe = StableDiffusionControlNetInpaintPipeline.from_pretrained(
        a.sd, controlnet=ControlNetModel.from_pretrained(a.controlnet, dtype=torch.float32), dtype=torch.float32, safety_checker=None)
    more = {"use_karras_sigmas": True} if a.karras else {}
    pipe.scheduler = SCHEDULERS[a.scheduler].from_config(pipe.scheduler.config, **more)
    pipe.to(a.device)
    cutout = cv2.imread(a.product, cv2.IMREAD_UNCHANGED)
    if cutout is None or cutout.ndim != 3 or cutout.dtype != np.uint8:
        raise SystemExit(f"{a.product}: not a colour picture of 8 bits")
    init, mask, control, repaint = conditions(place(cutout, a.width, a.height, a.image_scale))
    latents = None
    if a.latents:
        latents, = load_file(a.latents).values()
        latents = latents.expand(a.num, -1, -1, -1).to(a.device)
    last = []
    pictures = pipe(
        prompt=[a.prompt] * a.num, negative_prompt=[a.negative] * a.num, image=[init] * a.num, mask_image=[mask] * a.num,
        control_image=[control] * a.num, width=a.width, height=a.height, num_inference_steps=a.steps, guidance_scale=a.guidance,
        controlnet_conditioning_scale=a.conditioning_scale, strength=1.0, eta=0.0, latents=latents,
        generator=[torch.Generator("cpu").manual_seed(a.seed + i) for i in range(a.num)],
        callback_on_step_end=lambda p, i, t, k: last.append(k["latents"]) or {}).images
    os.makedirs(a.out, exist_ok=True)
    for name, picture in (("init", init), ("mask", mask), ("control", control), ("repaint", repaint)):
        picture.save(f"{a.out}/{name}.png")
    for i, picture in enumerate(pictures):
        picture.save(f"{a.out}/{i}.generated.png")
        composite(init, repaint, picture).save(f"{a.out}/{i}.png")
    save_file({"latents": last[-1].cpu().contiguous()}, f"{a.out}/latents.safetensors")
    print(f"{len(pictures)} pictures in {a.out}")


if __name__ == "__main__":
    main()
