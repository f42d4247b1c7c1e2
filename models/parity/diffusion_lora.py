"""A LoRA on the U-net and one on the text encoder, each in the two namings that are published, and what they make of those."""
import json, math, os, re, struct
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file
from diffusion_common import EXPECTED, OUT, TINY, open_model, open_text_encoder, read_json, write_json, write_tensors
from diffusion_networks import TIMESTEPS

LORA, KOHYA = f"{OUT}/lora/pytorch_lora_weights.safetensors", f"{OUT}/lora/kohya.safetensors"
TEXT_LORA, TEXT_KOHYA = f"{OUT}/lora/text_encoder.safetensors", f"{OUT}/lora/text_encoder_kohya.safetensors"
RANK, ALPHA, SCALES = 4, 6, (1.0, 0.5)
TARGETS = r"(down_blocks\.0|mid_block|up_blocks\.1)\..*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"
TEXT_TARGETS = r"encoder\.layers\.\d\.(self_attn\.(q_proj|v_proj|out_proj)|mlp\.fc[12])"
NOTED = ("r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "use_dora", "lora_bias")


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
            k: config[k] for k in NOTED})
    sort_header(LORA)
    write_kohya(KOHYA, "lora_unet_", layers)


def write_kohya(path, prefix, layers):
    kohya = {}
    for key, value in layers.items():
        module, half = re.fullmatch(r"(.*)\.lora_([AB])\.weight", key).groups()
        name = prefix + module.replace(".", "_")
        kohya[f"{name}.lora_{'down' if half == 'A' else 'up'}.weight"] = value
        kohya[f"{name}.alpha"] = torch.tensor(float(ALPHA))
    write_tensors(path, kohya, torch.float16)


@torch.no_grad()
def text_numbers():
    """Writes the text encoder's adapter; -> the encoder's last states with it, computed by PEFT."""
    model, g = open_text_encoder(), torch.Generator().manual_seed(12)
    settings = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TEXT_TARGETS, init_lora_weights=False)
    inject_adapter_in_model(settings, model)
    for name, p in sorted(model.named_parameters()):
        if ".lora_" in name:
            p.copy_((torch.randn(p.shape, generator=g) / math.sqrt(p.shape[1])).half().float())
    layers = {"text_model." + k: v.contiguous() for k, v in sorted(get_peft_model_state_dict(model).items())}  # the published level
    config = settings.to_dict()
    StableDiffusionPipeline.save_lora_weights(
        os.path.dirname(TEXT_LORA), text_encoder_lora_layers=layers, weight_name=os.path.basename(TEXT_LORA),
        text_encoder_lora_adapter_metadata={k: config[k] for k in NOTED})
    sort_header(TEXT_LORA)
    write_kohya(TEXT_KOHYA, "lora_te_", layers)
    mixed, out = next(p for p in read_json(f"{EXPECTED}/text.json")["prompts"] if p["name"] == "mixed"), {}
    for scale in SCALES:
        for module in model.modules():
            if hasattr(module, "set_scale"):
                module.set_scale("default", scale)
        out[f"mixed.scale.{scale}"] = model(torch.tensor([mixed["padded"]])).last_hidden_state[0]
    return out


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
    text, plain = text_numbers(), load_file(f"{EXPECTED}/text.safetensors")["mixed.last"]
    assert all(float((v - plain).abs().max()) > 0.05 for v in text.values())
    write_tensors(f"{EXPECTED}/lora-text.safetensors", text)
    write_json(f"{EXPECTED}/lora.json", dict(
        files=["lora/pytorch_lora_weights.safetensors", "lora/kohya.safetensors"], rank=RANK, alpha=ALPHA,
        what="both hold the same numbers: weight + scale * alpha / rank * B A; alpha is in the first file's __metadata__ "
             "(lora_adapter_metadata, JSON, unet.lora_alpha), in the second's <module>.alpha",
        tensors="square.scale.<scale> [2,4,16,16]: the U-net on expected/unet.safetensors' square.latents, .context, without residuals",
        text="lora/text_encoder.safetensors and lora/text_encoder_kohya.safetensors likewise hold one of the text encoder; lora-text.safetensors: "
             "mixed.scale.<scale> [77,16], its last states, after the last norm, of text.json's mixed"))
