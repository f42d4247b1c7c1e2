"""The miniature's weights in one file under the names of the original latent-diffusion code, as community checkpoints come: as
safetensors, and as the `.ckpt` that Lightning wrote."""
import re, sys, types
import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (convert_ldm_clip_checkpoint, convert_ldm_unet_checkpoint,
                                                 convert_ldm_vae_checkpoint)
from safetensors.torch import load_file
from diffusion_common import OUT, TINY, open_model, open_text_encoder, write_tensors

FILE, CHECKPOINT = f"{OUT}/single_file.safetensors", f"{OUT}/single_file.ckpt"
UNET_HEAD = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
             "conv_norm_out": "out.0", "conv_out": "out.2"}
UNET_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
               "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(key, per_level, attentive_up):
    """`per_level`: layers_per_block; `attentive_up`: whether a level on the way up attends."""
    module, leaf = key.rsplit(".", 1)
    if module in UNET_HEAD:
        return f"{UNET_HEAD[module]}.{leaf}"
    side, rest = key.split("_block", 1)
    if side == "mid":
        kind, i, rest = re.fullmatch(r"\.(\w+)\.(\d)\.(.*)", rest).groups()
        place = f"middle_block.{2 * int(i) if kind == 'resnets' else 1}"
    else:
        level, kind, i, rest = re.fullmatch(r"s\.(\d)\.(\w+)\.(\d)\.(.*)", rest).groups()
        level, i = int(level), int(i)
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (per_level + 1)}.0.op.{leaf}"
        if kind == "upsamplers":  # after the attention where there is one
            return f"output_blocks.{(level + 1) * (per_level + 1) - 1}.{2 if attentive_up(level) else 1}.conv.{leaf}"
        index = 1 + level * (per_level + 1) + i if side == "down" else level * (per_level + 1) + i
        place = f"{'input' if side == 'down' else 'output'}_blocks.{index}.{0 if kind == 'resnets' else 1}"
    if kind == "resnets":
        module = rest.rsplit(".", 1)[0]
        rest = f"{UNET_RESNET[module]}.{leaf}"
    return f"{place}.{rest}"


def vae_name(key, levels):
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample.", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", key)
    key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f"up.{levels - 1 - int(m[1])}.upsample.", key)
    key = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", key)
    found = re.fullmatch(r"(.*)mid_block\.attentions\.0\.(.*)\.(weight|bias)", key)
    return f"{found[1]}mid.attn_1.{VAE_ATTENTION[found[2]]}.{found[3]}" if found else key


def make():
    unet, vae = open_model(UNet2DConditionModel, f"{TINY}/unet"), open_model(AutoencoderKL, f"{TINY}/vae")
    attentive = lambda level: "CrossAttn" in unet.config.up_block_types[level]
    out = {f"model.diffusion_model.{unet_name(k, unet.config.layers_per_block, attentive)}": v for k, v in unet.state_dict().items()}
    for k, v in vae.state_dict().items():
        new = vae_name(k, len(vae.config.block_out_channels))
        out[f"first_stage_model.{new}"] = v[:, :, None, None] if ".attn_1." in new and v.dim() == 2 else v
    text = load_file(f"{TINY}/text_encoder/model.safetensors")
    out.update({f"cond_stage_model.transformer.{k}": v for k, v in text.items()})
    out = {k: v.half() for k, v in out.items()}
    out["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    betas = torch.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000, dtype=torch.float64) ** 2
    out["alphas_cumprod"] = torch.cumprod(1 - betas, 0).float()  # as published files hold; no weight
    out["model_ema.num_updates"] = torch.tensor(0, dtype=torch.int32)
    write_tensors(FILE, out)
    write_checkpoint(out)
    check(unet, vae)


def write_checkpoint(state_dict):
    """With what Lightning puts beside a state dict: a class, of which the file holds the name alone, and a number of numpy's."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    callback = type("ModelCheckpoint", (), {"__module__": name})
    modules = {".".join(name.split(".")[:n]): types.ModuleType(name) for n in (1, 2, 3)}
    modules[name].ModelCheckpoint = callback
    sys.modules.update(modules)
    state = {k: v.contiguous().clone() for k, v in sorted(state_dict.items())}
    score = dict(monitor="val/loss", best_model_score=torch.tensor(0.25), last_score=np.float64(0.25), best_model_path="")
    torch.save({"epoch": 0, "global_step": 7, "pytorch-lightning_version": "1.4.2", "state_dict": state, "callbacks": {callback: score},
                "optimizer_states": [], "lr_schedulers": []}, CHECKPOINT)
    back = torch.load(CHECKPOINT, weights_only=False)["state_dict"]
    disk = load_file(FILE)
    assert back.keys() == disk.keys() and all(torch.equal(back[k], v) for k, v in disk.items())
    for module in modules:
        del sys.modules[module]


def check(unet, vae):
    """diffusers' own converters give back every weight, and nothing else."""
    disk = load_file(FILE)
    for model, got in ((unet, convert_ldm_unet_checkpoint(disk, unet.config)), (vae, convert_ldm_vae_checkpoint(disk, vae.config)),
                       (open_text_encoder(), {k.removeprefix("text_model."): v for k, v in convert_ldm_clip_checkpoint(disk).items()
                                              if "position_ids" not in k})):
        want = model.state_dict()
        assert got.keys() == want.keys(), got.keys() ^ want.keys()
        for k, v in want.items():
            assert got[k].dtype == torch.float16 and torch.equal(got[k].float(), v), k
    return len(disk)
