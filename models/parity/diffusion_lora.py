"""A LoRA on the U-net in the two namings that are published, and what it makes of the U-net."""
import json, math, os, re, struct
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import load_file
from diffusion_common import EXPECTED, OUT, TINY, open_model, write_json, write_tensors
from diffusion_networks import TIMESTEPS

LORA, KOHYA = f"{OUT}/lora/pytorch_lora_weights.safetensors", f"{OUT}/lora/kohya.safetensors"
RANK, ALPHA, SCALES = 4, 6, (1.0, 0.5)
TARGETS = r"(down_blocks\.0|mid_block|up_blocks\.1)\..*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"


def open_unet():
    return open_model(UNet2DConditionModel, f"{TINY}/unet")


def sort_header(path):
    """The library writes the metadata's two keys in either order."""
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(size)), f.read()
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def write_files():
    unet, g = open_unet(), torch.Generator().manual_seed(11)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, init_lora_weights=False))
    with torch.no_grad():
        for name, p in sorted(unet.named_parameters()):
            if ".lora_" in name:
                p.copy_((torch.randn(p.shape, generator=g) / math.sqrt(p.shape[1])).half().float())
    os.makedirs(os.path.dirname(LORA), exist_ok=True)
    layers = {k.replace(".default.", "."): p.detach().contiguous() for k, p in sorted(unet.named_parameters()) if ".lora_" in k}
    config = unet.peft_config["default"].to_dict()
    StableDiffusionPipeline.save_lora_weights(
        os.path.dirname(LORA), unet_lora_layers=layers, unet_lora_adapter_metadata={
            k: config[k] for k in ("r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "use_dora", "lora_bias")})
    sort_header(LORA)
    kohya = {}
    for key, value in layers.items():
        module, half = re.fullmatch(r"(.*)\.lora_([AB])\.weight", key).groups()
        name = "lora_unet_" + module.replace(".", "_")
        kohya[f"{name}.lora_{'down' if half == 'A' else 'up'}.weight"] = value
        kohya[f"{name}.alpha"] = torch.tensor(float(ALPHA))
    write_tensors(KOHYA, kohya, torch.float16)


@torch.no_grad()
def lora_numbers(path):
    unet = open_unet()
    state, alphas, metadata = StableDiffusionPipeline.lora_state_dict(path, unet_config=unet.config, return_lora_metadata=True)
    StableDiffusionPipeline.load_lora_into_unet(state, network_alphas=alphas, unet=unet, adapter_name="ad", metadata=metadata)
    want, out = load_file(f"{EXPECTED}/unet.safetensors"), {}
    for scale in SCALES:
        unet.set_adapters(["ad"], [scale])
        out[f"square.scale.{scale}"] = unet(want["square.latents"], torch.tensor(TIMESTEPS), want["square.context"]).sample
    return out


def make():
    write_files()
    ours, kohya = lora_numbers(LORA), lora_numbers(KOHYA)
    plain = load_file(f"{EXPECTED}/unet.safetensors")["square.plain"]
    for k in ours:
        assert torch.equal(ours[k], kohya[k]) and float((ours[k] - plain).abs().max()) > 0.05, k
    write_tensors(f"{EXPECTED}/lora.safetensors", ours)
    write_json(f"{EXPECTED}/lora.json", dict(
        files=["lora/pytorch_lora_weights.safetensors", "lora/kohya.safetensors"], rank=RANK, alpha=ALPHA,
        what="both hold the same numbers: weight + scale * alpha / rank * B A; alpha is in the first file's __metadata__ "
             "(lora_adapter_metadata, JSON, unet.lora_alpha), in the second's <module>.alpha",
        tensors="square.scale.<scale> [2,4,16,16]: the U-net on expected/unet.safetensors' square.latents, .context, without residuals"))
