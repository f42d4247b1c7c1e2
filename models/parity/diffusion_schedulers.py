"""Expected numbers of torch's generator and of each scheduler over its steps, with a formula in the network's place."""
import torch
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler)
from diffusion_common import EXPECTED, write_json, write_tensors

PUBLISHED = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, clip_sample=False,
                 set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, trained_betas=None)  # Stable Diffusion 1.5's
SCHEDULERS = {
    "euler-a": (EulerAncestralDiscreteScheduler, {}), "euler": (EulerDiscreteScheduler, {}),
    "euler-karras": (EulerDiscreteScheduler, dict(use_karras_sigmas=True)), "ddim": (DDIMScheduler, {}),
    "ddim-alpha-one": (DDIMScheduler, dict(set_alpha_to_one=True)),
    "dpmpp-2m": (DPMSolverMultistepScheduler, {}), "dpmpp-2m-karras": (DPMSolverMultistepScheduler, dict(use_karras_sigmas=True))}
KEPT = {30: [1, 2, 15, 29, 30], 7: [1, 6, 7]}  # 7 is below 15, where DPM++ takes a lower order for the last step
DRAWS = [  # seed, the shapes drawn from one generator in a row
    (0, [[1, 4, 8, 8]]), (42, [[1, 4, 8, 8], [1, 4, 8, 8]]), (42, [[1, 4, 7, 9], [1, 4, 7, 9], [16]]), (42, [[15], [15], [1, 4, 8, 8]]),
    (0, [[1], [2], [17], [3], [31]]), (7, [[3], [5], [4, 4, 4], [1]]), (2 ** 32 + 5, [[1, 4, 8, 8]]), (5, [[16]]),
    (2 ** 63 + 11, [[1, 4, 5, 5], [15]]), (42, [[1, 4, 16, 16]])]


def draws():
    out = {}
    for i, (seed, shapes) in enumerate(DRAWS):
        g = torch.Generator("cpu").manual_seed(seed)
        out.update({f"{i}.{j}": torch.randn(s, generator=g, dtype=torch.float32) for j, s in enumerate(shapes)})
    return out


def scheduler(name, prediction, spacing):
    cls, more = SCHEDULERS[name]
    return cls.from_config({**PUBLISHED, "prediction_type": prediction, "timestep_spacing": spacing, **more})


def network(x, t):
    return torch.sin(3 * x) * 0.8 + t / 1000 * 0.1


def run(s, steps, noise=None, dtype=torch.float32):
    """-> (latents after the steps that are kept, noise as drawn)"""
    g = torch.Generator("cpu").manual_seed(42)
    drawn = [torch.randn([1, 4, 4, 4], generator=g)]
    s.set_timesteps(steps)
    x, kept = (drawn[0] * s.init_noise_sigma).to(dtype), []
    for i, t in enumerate(s.timesteps):
        out = network(s.scale_model_input(x, t), t)
        if isinstance(s, EulerAncestralDiscreteScheduler):
            before = g.get_state()
            drawn.append(torch.randn([1, 4, 4, 4], generator=g))
            g.set_state(before)
        x = s.step(out, t, x, **({"generator": g} if "generator" in s.step.__code__.co_varnames else {})).prev_sample
        if i + 1 in KEPT[steps]:
            kept.append(x)
    return torch.cat(kept), torch.cat(drawn)


def behind(s, steps):
    """What the inpainting pipeline lays behind the mask after each step that is kept: the product's latents, as noisy as the next
    step expects them, and clean after the last one."""
    clean, noise = (torch.randn([1, 4, 4, 4], generator=torch.Generator("cpu").manual_seed(seed)) for seed in (43, 42))
    s.set_timesteps(steps)
    if hasattr(s, "set_begin_index"):
        s.set_begin_index(0)  # as the pipeline does; from then on steps are counted, and no longer looked up
    x, kept = noise * s.init_noise_sigma, []
    for i, t in enumerate(s.timesteps):
        x = s.step(network(s.scale_model_input(x, t), t), t, x).prev_sample
        if i + 1 in KEPT[steps]:
            kept.append(s.add_noise(clean, noise, s.timesteps[i + 1:i + 2]) if i + 1 < steps else clean)
    return torch.cat(kept).reshape(-1, 64)


def schedules():
    out, rows = {}, []
    for name in SCHEDULERS:
        for spacing in ("leading",) if name == "ddim-alpha-one" else ("linspace", "leading", "trailing"):
            for steps in KEPT:
                s = scheduler(name, "epsilon", spacing)
                s.set_timesteps(steps)
                key = f"{name}.{spacing}.{steps}"
                out[f"{key}.timesteps"] = s.timesteps
                if hasattr(s, "sigmas"):
                    out[f"{key}.sigmas"] = s.sigmas
                rows.append(dict(key=key, scheduler=name, spacing=spacing, steps=steps, init_noise_sigma=float(s.init_noise_sigma)))
                for prediction in ("epsilon", "v_prediction"):
                    kept, drawn = run(scheduler(name, prediction, spacing), steps)
                    assert torch.isfinite(kept).all()
                    out[f"{key}.{prediction}"] = kept.reshape(-1, 64)
                    blended = behind(scheduler(name, prediction, spacing), steps)
                    # The levels are the same whatever the network tells.
                    assert torch.equal(out.setdefault(f"{key}.behind", blended), blended)
                    if name == "euler-a" and steps == 30:
                        out["noise"] = drawn
    return out, rows


def make():
    write_tensors(f"{EXPECTED}/randn.safetensors", draws())
    write_json(f"{EXPECTED}/randn.json", dict(
        what='torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)), f32; shapes of a row are drawn from one generator '
             "in this order; tensors are named <row>.<draw>", cpu=torch.backends.cpu.get_cpu_capability(),
        draws=[dict(seed=str(seed), shapes=shapes) for seed, shapes in DRAWS]), rows=["draws"])
    tensors, rows = schedules()
    write_tensors(f"{EXPECTED}/schedulers.safetensors", tensors)
    write_json(f"{EXPECTED}/schedulers.json", dict(
        config=PUBLISHED, more={k: v[1] for k, v in SCHEDULERS.items()}, network="sin(3*x)*0.8 + t/1000*0.1 of the scaled input x",
        noise="[31,4,4,4]: of one generator, seed 42: first the initial noise (times init_noise_sigma), then one for each step, euler-a only",
        kept={str(k): v for k, v in KEPT.items()},
        tensors="<key>.timesteps, <key>.sigmas (not DDIM), <key>.<epsilon|v_prediction> [kept steps, 64]: latents [1,4,4,4] after them; "
                "<key>.behind [kept steps, 64]: add_noise of clean latents (seed 43) and noise (seed 42) at the next timestep, clean after the last",
        schedules=rows), rows=["schedules"])
