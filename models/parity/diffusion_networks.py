"""Expected numbers of the networks, one at a time."""
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusion_common import (CONTROLNET, EXPECTED, OUT, TINY, grid_noise, open_model, open_text_encoder, open_tokenizer,
                              write_json, write_tensors)

LONG = "a bottle of perfume, " * 16
PROMPTS = dict(
    empty="", short="a bottle of perfume on a wooden desk",
    unicode="Café  Zürich – 夏のセール 🙂\tnai\u0308ve\n½ ﬁne", mixed="It's THE Shoe; don't, they'RE 50% OFF!!! (wet-stone) <|endoftext|> we'll I'd e.g.",
    exact=None, long=LONG + "and a café terrace")
# Emphasised text by hand: the parts that it stands for, and the weight of each.
EMPHASISED = dict(
    nested=("a (wooden desk:1.3), [blurred] bokeh, (soft ((light)))",
            [("a ", 1), ("wooden desk", 1.3), (", ", 1), ("blurred", 1 / 1.1), (" bokeh, ", 1), ("soft ", 1.1), ("light", 1.1 ** 3)]),
    # The emphasis reaches over a chunk's end.
    across=("a bottle of perfume, " * 5 + "(golden hour, sunset over the ocean:1.4) on [[wet]] stone",
            [("a bottle of perfume, " * 5, 1), ("golden hour, sunset over the ocean", 1.4), (" on ", 1), ("wet", 1 / 1.21), (" stone", 1)]))
SHAPES = {"square": (16, 16), "wide": (16, 24)}  # rows, columns of the latents
TIMESTEPS = [981, 21]
STRIDE = {"square": 1, "wide": 3}  # what is kept of the decoded picture


def prompts(tokenizer):
    """`exact` has exactly 75 tokens between the first and the last."""
    count = lambda t: len(tokenizer(t, add_special_tokens=False).input_ids)
    text = LONG
    while count(text) > 75:
        text = text.rsplit(" ", 1)[0]
    while count(text) < 75:
        text += "."[:1] if count(text + " .") <= count(text) else " ."
    assert count(text) == 75
    return {**PROMPTS, "exact": text}


@torch.no_grad()
def text_numbers(model, tokenizer):
    rows, tensors = [], {}
    for name, text in prompts(tokenizer).items():
        ids = tokenizer(text).input_ids
        padded = tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
        rows.append(dict(name=name, text=text, ids=ids, padded=padded))
        out = model(torch.tensor([padded]), output_hidden_states=True)
        tensors[f"{name}.last"] = out.last_hidden_state[0]
        if name == "mixed":
            tensors.update({f"{name}.hidden.{i}": h[0] for i, h in enumerate(out.hidden_states)})
    return rows, tensors


@torch.no_grad()
def emphasis_numbers(model, tokenizer):
    """Chunks of 75 tokens, begin and end around each, the last filled with the padding; each chunk's output is multiplied by the
    weights, 1 for what is no text, and brought back to the mean it had."""
    rows, tensors = [], {}
    for name, (text, parts) in EMPHASISED.items():
        tokens = [(i, w) for part, w in parts for i in tokenizer(part, add_special_tokens=False).input_ids]
        chunks = []
        for at in range(0, len(tokens), 75):
            here = tokens[at:at + 75]
            ids = [tokenizer.bos_token_id, *(i for i, _ in here), tokenizer.eos_token_id]
            weights = [1.0, *(w for _, w in here), 1.0]
            filled = 77 - len(ids)
            z = model(torch.tensor([ids + [tokenizer.pad_token_id] * filled])).last_hidden_state[0]
            weighted = z * torch.tensor(weights + [1.0] * filled)[:, None]
            chunks.append(weighted * (z.mean() / weighted.mean()))
        rows.append(dict(name=name, text=text, chunks=len(chunks)))
        tensors[f"{name}.weighted"] = torch.cat(chunks)
    ids = tokenizer(EMPHASISED["nested"][0], padding="max_length", max_length=77).input_ids
    assert len(ids) == 77
    tensors["nested.as_text"] = model(torch.tensor([ids])).last_hidden_state[0]
    return rows, tensors


def picture(n, h, w):
    """u8 [n,3,h,w] in whole numbers, so that it needs no file."""
    n, c, y, x = (torch.arange(k).reshape([-1 if i == j else 1 for j in range(4)]) for i, k in enumerate((n, 3, h, w)))
    return ((x * (5 + c) + y * (9 - 2 * c) + 37 * n + ((x * y) >> 3)) & 255).to(torch.uint8)


@torch.no_grad()
def unet_numbers(unet, control, inputs=None):
    """Inputs are made, or taken from `inputs`."""
    out, t = {}, torch.tensor(TIMESTEPS)
    out["time.sinusoids"] = unet.time_proj(t)
    out["time.embedding"] = unet.time_embedding(unet.time_proj(t))
    for seed, (shape, (h, w)) in enumerate(SHAPES.items()):
        x, ctx = ((inputs[f"{shape}.latents"], inputs[f"{shape}.context"]) if inputs else
                  (grid_noise(100 + seed, 2, 4, h, w), grid_noise(200 + seed, 2, 77, 16)))
        down, mid = control(x, t, ctx, picture(2, h * 8, w * 8) / 255, conditioning_scale=1.0, return_dict=False)
        out.update({f"{shape}.latents": x, f"{shape}.context": ctx, f"{shape}.plain": unet(x, t, ctx).sample,
                    f"{shape}.mid": mid, f"{shape}.guided": unet(
                        x, t, ctx, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample})
        out.update({f"{shape}.down.{i}": d for i, d in enumerate(down) if shape == "square"})
    out["square.control_embedding"] = control.controlnet_cond_embedding(picture(2, 128, 128) / 255)
    return out


@torch.no_grad()
def sd2_numbers(unet, inputs=None):
    x, ctx = ((inputs["latents"], inputs["context"]) if inputs else (grid_noise(110, 2, 4, 8, 12), grid_noise(210, 2, 77, 16)))
    return dict(latents=x, context=ctx, plain=unet(x, torch.tensor(TIMESTEPS), ctx).sample)


@torch.no_grad()
def vae_numbers(vae, inputs=None):
    out = {}
    for seed, (shape, (h, w)) in enumerate({"square": (8, 8), "wide": (8, 12)}.items()):
        moments = vae.encode(picture(2, h * 8, w * 8)[1:] / 127.5 - 1).latent_dist
        z = inputs[f"{shape}.latents"] if inputs else 3 * grid_noise(400 + seed, 1, 4, h, w)
        out.update({f"{shape}.mean": moments.mean, f"{shape}.logvar": moments.logvar, f"{shape}.latents": z,
                    f"{shape}.decoded": vae.decode(z).sample[..., ::STRIDE[shape], ::STRIDE[shape]]})
    return out


@torch.no_grad()
def tiled_numbers(vae, inputs=None):
    """With enable_tiling: tiles of 16 latents, 128 pixels; the last ones are cut off by the picture's edge."""
    vae.enable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size = 16, 128
    z = inputs["tiled.latents"] if inputs else 3 * grid_noise(410, 1, 4, 20, 37)
    out = {"tiled.latents": z, "tiled.decoded": vae.decode(z).sample[..., ::7, ::7],
           "tiled.mean": vae.encode(picture(2, 160, 296)[1:] / 127.5 - 1).latent_dist.mean}
    vae.disable_tiling()
    return out


def make_text():
    rows, tensors = text_numbers(open_text_encoder(), open_tokenizer())
    write_json(f"{EXPECTED}/text.json", dict(
        ids="of the whole text with <|startoftext|> and <|endoftext|>", padded="cut and padded to 77, what the encoder reads",
        tensors="<name>.last [77,16]: after the last norm; <name>.hidden.N [77,16]: embeddings (0), after layer N", prompts=rows),
        rows=["prompts"])
    write_tensors(f"{EXPECTED}/text.safetensors", tensors)
    rows, tensors = emphasis_numbers(open_text_encoder(), open_tokenizer())
    write_json(f"{EXPECTED}/emphasis.json", dict(
        tensors="<name>.weighted [chunks * 77,16]; nested.as_text [77,16]: brackets are brackets", prompts=rows), rows=["prompts"])
    write_tensors(f"{EXPECTED}/emphasis.safetensors", tensors)


def make():
    make_text()
    write_tensors(f"{EXPECTED}/unet.safetensors", unet_numbers(
        open_model(UNet2DConditionModel, f"{TINY}/unet"), open_model(ControlNetModel, CONTROLNET)))
    write_tensors(f"{EXPECTED}/unet-sd2.safetensors", sd2_numbers(open_model(UNet2DConditionModel, f"{OUT}/sd2/unet")))
    vae = open_model(AutoencoderKL, f"{TINY}/vae")
    write_tensors(f"{EXPECTED}/vae.safetensors", {**vae_numbers(vae), **tiled_numbers(vae)})
    write_json(f"{EXPECTED}/networks.json", dict(
        picture="u8 [n,3,h,w] = (x*(5+c) + y*(9-2*c) + 37*n + ((x*y)>>3)) & 255, never stored",
        timesteps=TIMESTEPS,
        unet="<shape>.latents [2,4,h,w], .context [2,77,16] -> .plain; with .down.0-11 and .mid (the ControlNet's outputs; of wide .mid alone is kept) "
             "-> .guided",
        controlnet="same latents and context, control image = picture(2, 8h, 8w) / 255, scale 1 -> .down.N, .mid; "
                   "square.control_embedding: after controlnet_cond_embedding",
        time="time.sinusoids [2,8], time.embedding [2,32] of the timesteps, unet",
        sd2="unet-sd2.safetensors: latents [2,4,8,12], context, plain (sd2/unet, f16 weights computed in f32)",
        vae="encode picture(2, 8h, 8w)[1:] / 127.5 - 1 -> <shape>.mean, .logvar (clamped to [-30,20]); "
            "<shape>.latents (already divided by the scaling factor) -> .decoded, before clamping to [-1,1]; of wide every third row and column; "
            "tiled.*: with enable_tiling, tiles of 16 latents, of picture(2, 160, 296) and of 20 x 37 latents; of the decoded every 7th row and column"))
