"""The five layouts. Each writes checkpoints, loads them back from disk, and computes the expected numbers."""
import json, math, os
import numpy as np
import torch
from PIL import Image
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer
from safetensors.torch import load_file, save_file
from transformers import (CLIPVisionModel, LlamaTokenizerFast, LlavaForConditionalGeneration,
                          LlavaNextForConditionalGeneration, LlavaNextProcessor, LlavaProcessor)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from common import (HF_VOCAB, IMAGE_ID, INPUTS, MEAN, OUT, PATCH, PINPOINTS, SHAPES, SP_VOCAB, TILE, as_u8, expect, load_rgb,
                    new_model, old_rope, read_weights, rename, run_text, splice, write_expected, write_json,
                    write_weights)

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
SIZE = dict(size={"shortest_edge": TILE}, crop_size={"height": TILE, "width": TILE})
SIDE = TILE // PATCH


def folder(layout, seed):
    d = os.path.join(OUT, layout, str(seed))
    os.makedirs(d, exist_ok=True)
    return d


def same_weights(a, b):
    for (k, x), y in zip(a.state_dict().items(), b.state_dict().values()):
        assert torch.equal(x, y), k


# ---------------------------------------------------------------- llava-hf, 1.5 and 1.6
HF15 = {1: dict(nesting="v5", dtype=F32, shards=1, tok="legacy"),
        2: dict(nesting="new", dtype=F16, shards=3, tok="metaspace"),
        3: dict(nesting="old", dtype=BF16, shards=1, tok="legacy")}
HF16 = {1: dict(nesting="old", dtype=F16, shards=1, tok="legacy"),
        2: dict(nesting="old", dtype=BF16, shards=2, fmt="bin", tok="legacy"),
        3: dict(nesting="new", dtype=BF16, shards=1, tok="metaspace")}


def hf(tokens, seed, nxt):
    spec, layout = (HF16 if nxt else HF15)[seed], "llava-hf-1.6" if nxt else "llava-hf-1.5"
    d, dtype = folder(layout, seed), spec["dtype"]
    made = new_model(layout, seed, nxt, dtype)
    cls, pcls = (LlavaNextForConditionalGeneration, LlavaNextProcessor) if nxt else \
        (LlavaForConditionalGeneration, LlavaProcessor)
    made.to(dtype).save_pretrained(d)  # config.json, and model.safetensors in the nesting of this version
    made.float()
    by_us = {rename(k, spec["nesting"]): v for k, v in made.state_dict().items()}
    if spec["nesting"] == "v5":
        assert {k: v.shape for k, v in load_file(f"{d}/model.safetensors").items()} == \
            {k: v.shape for k, v in by_us.items()}
    else:
        os.remove(f"{d}/model.safetensors")
        write_weights(d, by_us, dtype, spec.get("fmt", "safetensors"), spec["shards"])
    # processor: as this version saves it; seeds 1 and 3 get the file names and keys of 4.x besides
    image_processor = (LlavaNextImageProcessorPil(image_grid_pinpoints=PINPOINTS, **SIZE) if nxt
                       else CLIPImageProcessorPil(**SIZE))
    tokens.write_hf(d, spec["tok"], pcls.__name__)
    tok = LlamaTokenizerFast.from_pretrained(d)
    processor = pcls(image_processor, tok, patch_size=PATCH, vision_feature_select_strategy="default",
                     num_additional_image_tokens=1)
    processor.save_pretrained(d)
    if seed != 2:  # seed 2 keeps tokenizer.json and tokenizer_config.json as this version wrote them
        tokens.write_hf(d, spec["tok"], pcls.__name__)
    if os.path.exists(f"{d}/chat_template.jinja"):
        os.remove(f"{d}/chat_template.jinja")
    if seed != 2:
        image_processor.save_pretrained(d)  # preprocessor_config.json
        write_json(f"{d}/processor_config.json", dict(
            image_token="<image>", num_additional_image_tokens=1, patch_size=PATCH, processor_class=pcls.__name__,
            vision_feature_select_strategy="default"))
        cfg = json.load(open(f"{d}/config.json"))
        old_rope(cfg["text_config"])
        cfg["torch_dtype"] = cfg.pop("dtype")
        write_json(f"{d}/config.json", cfg)
    # reload
    from_file = Tokenizer.from_file(f"{d}/tokenizer.json")
    for prompt, _, answer in INPUTS.values():
        for t in (prompt, answer):
            assert from_file.encode(t).ids == tokens.hf(t, spec["tok"]), t
    model = cls.from_pretrained(d, dtype=F32, attn_implementation="eager").eval()
    same_weights(made, model)

    @torch.no_grad()
    def features(name):
        image = load_rgb(name)
        px = torch.tensor(np.array(image_processor(image, return_tensors="np")["pixel_values"]))
        more = dict(image_sizes=torch.tensor([[image.height, image.width]])) if nxt else {}
        return px[0], model.get_image_features(px, **more).pooler_output[0]

    @torch.no_grad()
    def check(name, expanded, px, feats, logits):
        """The whole model, and the processor, say the same as our split computation."""
        prompt, image, _ = INPUTS[name]
        more = {}
        if image:
            im = load_rgb(image)
            both = processor(images=im, text=prompt, return_tensors="pt")
            assert both["input_ids"][0].tolist() == expanded, name
            assert torch.equal(both["pixel_values"][0].float(), px)
            more = {k: both[k] for k in ("pixel_values", "image_sizes") if k in both}
        whole = model(input_ids=torch.tensor([expanded]), use_cache=False, **more).logits[0]
        assert torch.allclose(whole, logits, atol=2e-5), (name, (whole - logits).abs().max())

    which = {} if seed > 1 else dict(names=SHAPES) if nxt else dict(
        names=list(INPUTS), full=("short", "square"), all_pixels=True, all_logits=True, rows=8)
    tensors, inputs = expect(model, lambda t: tokens.hf(t, spec["tok"]), lambda t: tokens.hf(t, spec["tok"], False),
                             features, IMAGE_ID, HF_VOCAB, check=check, **which)
    check_batch(model, processor, inputs)
    check_generate(model, features, inputs)
    write_expected(d, tensors, dict(
        layout=layout, seed=seed, nesting=spec["nesting"], dtype=str(dtype)[6:], shards=spec["shards"],
        tokenizer=spec["tok"], image_token_id=IMAGE_ID, batches=[["rgba", "wide"]], inputs=inputs))
    return model


@torch.no_grad()
def check_batch(model, processor, inputs):
    """Left-padded rows give what each row alone gives."""
    pair = [next(i for i in inputs if i["name"] == n) for n in ("rgba", "wide")]
    both = processor(images=[load_rgb(i["name"]) for i in pair], text=[i["prompt"] for i in pair], padding=True,
                     return_tensors="pt")
    assert both["attention_mask"][:, 0].tolist().count(0) == 1
    logits = model(**both, use_cache=False).logits
    for row, i in zip(range(2), pair):
        n = len(i["expanded_ids"])
        im = processor(images=load_rgb(i["name"]), text=i["prompt"], return_tensors="pt")
        alone = model(**im, use_cache=False).logits[0]
        assert torch.allclose(logits[row, -n:], alone, atol=1e-4), (i["name"], (logits[row, -n:] - alone).abs().max())


@torch.no_grad()
def check_generate(model, features, inputs):
    i = next(i for i in inputs if i["name"] == "short")
    more = {}
    px = features(i["image"][:-4])[0]
    if hasattr(model.config, "image_grid_pinpoints"):
        im = load_rgb(i["image"][:-4])
        more["image_sizes"] = torch.tensor([[im.height, im.width]])
    ids = torch.tensor([i["expanded_ids"]])
    out = model.generate(input_ids=ids, pixel_values=px[None], attention_mask=torch.ones_like(ids), do_sample=False,
                         max_new_tokens=32, min_new_tokens=32, eos_token_id=-1, pad_token_id=0, **more)
    assert out[0, ids.shape[1]:].tolist() == i["greedy_ids"]


# ---------------------------------------------------------------- the original project's picture rules
CLIP = CLIPImageProcessorPil(**SIZE)


def clip(image):
    return torch.tensor(np.array(CLIP(image, return_tensors="np")["pixel_values"]))[0]


def pad_square(image):
    side = max(image.size)
    out = Image.new("RGB", (side, side), tuple(int(m * 255) for m in MEAN))
    out.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return out


def best_size(width, height):
    """Pinpoints are (width, height) here; most pixels kept wins, then least waste, then the first."""
    def rank(p):
        s = min(p[0] / width, p[1] / height)
        kept = min(int(width * s) * int(height * s), width * height)
        return (-kept, p[0] * p[1] - kept)
    return min(PINPOINTS, key=rank)


def tiles(image):
    tw, th = best_size(*image.size)
    sw, sh = tw / image.width, th / image.height
    w, h = ((tw, min(math.ceil(image.height * sw), th)) if sw < sh else (min(math.ceil(image.width * sh), tw), th))
    board = Image.new("RGB", (tw, th))
    board.paste(image.resize((w, h)), ((tw - w) // 2, (th - h) // 2))
    crops = [board.crop((x, y, x + TILE, y + TILE)) for y in range(0, th, TILE) for x in range(0, tw, TILE)]
    return torch.stack([clip(i) for i in [image.resize((TILE, TILE))] + crops])


@torch.no_grad()
def tower(model, pixels):
    hidden = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2]
    return model.model.multi_modal_projector(hidden[:, 1:])


@torch.no_grad()
def original_features(model, image, anyres):
    if not anyres:
        px = clip(pad_square(image))
        return px, tower(model, px[None])[0]
    px = tiles(image)
    f = tower(model, px)
    tw, th = best_size(*image.size)
    nx, ny = tw // TILE, th // TILE
    rows, cols = ny * SIDE, nx * SIDE
    grid = f[1:].view(ny, nx, SIDE, SIDE, -1).permute(0, 2, 1, 3, 4).reshape(rows, cols, -1)
    # the padding comes off; the kept side is truncated (transformers rounds to 7 places before it truncates)
    if image.width / image.height > cols / rows:
        cut = (rows - int(image.height * (cols / image.width))) // 2
        grid = grid[cut:rows - cut]
    else:
        cut = (cols - int(image.width * (rows / image.height))) // 2
        grid = grid[:, cut:cols - cut]
    line = model.model.image_newline.expand(grid.shape[0], 1, -1)
    return px, torch.cat([f[0], torch.cat([grid, line], 1).flatten(0, 1)])


def original_config(d, model, seed, anyres, dtype, model_type, architecture):
    t = model.config.text_config
    rope = dict(t.to_dict())
    old_rope(rope)
    scaling = rope["rope_scaling"]
    if scaling and scaling["rope_type"] == "linear":
        scaling = {"type": "linear", "factor": 2.0}  # the key of that time
    cfg = dict(
        architectures=[architecture], bos_token_id=1, eos_token_id=2, freeze_mm_mlp_adapter=False,
        freeze_mm_vision_resampler=False, hidden_act="silu", hidden_size=32,
        image_aspect_ratio="anyres" if anyres else "pad", initializer_range=0.02, intermediate_size=48,
        max_length=1024, max_position_embeddings=1024, mm_hidden_size=24, mm_projector_type="mlp2x_gelu",
        mm_resampler_type=None, mm_use_im_patch_token=False, mm_use_im_start_end=False, mm_vision_select_feature="patch",
        mm_vision_select_layer=-2, mm_vision_tower="vision_tower", model_type=model_type,
        mm_patch_merge_type="spatial_unpad" if anyres else "flat", num_attention_heads=4,
        num_hidden_layers=t.num_hidden_layers, num_key_value_heads=t.num_key_value_heads, pad_token_id=0,
        pretraining_tp=1, rms_norm_eps=t.rms_norm_eps, rope_theta=rope["rope_theta"], rope_scaling=scaling,
        tie_word_embeddings=False, torch_dtype=str(dtype)[6:], transformers_version="4.31.0",
        tune_mm_mlp_adapter=False, tune_mm_vision_resampler=False, unfreeze_mm_vision_tower=anyres, use_cache=True,
        use_mm_proj=True, vocab_size=SP_VOCAB)
    if anyres:
        cfg.update(image_crop_resolution=224, image_grid_pinpoints=PINPOINTS, image_split_resolution=224,
                   mm_vision_tower_lr=2e-6, tokenizer_padding_side="right")
    write_json(f"{d}/config.json", dict(sorted(cfg.items())))


def write_tower(d, model, weights):
    """Shape and preprocessing of the tower stand beside; its weights only where the checkpoint has none."""
    t = f"{d}/vision_tower"
    os.makedirs(t, exist_ok=True)
    vision = model.model.vision_tower
    vision.config.save_pretrained(t)
    CLIP.save_pretrained(t)
    if weights:
        write_weights(t, {"vision_model." + k: v for k, v in vision.state_dict().items()}, F32)
        back = CLIPVisionModel.from_pretrained(t, dtype=F32)
        same_weights(vision, back)


def original_state(model, extra):
    state = {rename(k, "original"): v for k, v in model.state_dict().items()}
    for k in ("model.embed_tokens.weight", "lm_head.weight"):
        state[k] = state[k][:SP_VOCAB]  # <image> is no row of the original's vocabulary
    return state | extra


def reload_original(model, d, layout, seed, nxt):
    """A fresh model filled only from the files."""
    disk, fresh = read_weights(d), new_model(layout + "/other", seed, nxt, F32)
    state = fresh.state_dict()
    for k, v in state.items():
        name = rename(k, "original")
        if "vision_tower" in name and name not in disk:
            disk[name] = read_weights(f"{d}/vision_tower")[name.split("vision_tower.vision_tower.")[1]]
        if name == "lm_head.weight" and name not in disk:
            continue
        w = disk.pop(name).float()
        v[:len(w)] = w
    fresh.load_state_dict(state)
    want = model.state_dict()
    for k, v in state.items():
        n = SP_VOCAB if "lm_head" in k or "embed_tokens" in k else len(v)
        assert (k == "lm_head.weight" and layout == "caig-reward") or torch.equal(v[:n], want[k][:n]), k
    return fresh, disk


ORIGINAL = {1: dict(anyres=False, inside=True, fmt="bin", shards=2, dtype=F16, model_type="llava"),
            2: dict(anyres=False, inside=False, fmt="safetensors", shards=1, dtype=BF16, model_type="llava"),
            3: dict(anyres=True, inside=True, fmt="safetensors", shards=2, dtype=BF16, model_type="llava_llama")}


def write_original(tokens, layout, seed, s, extra, architecture):
    d = folder(layout, seed)
    model = new_model(layout, seed, s["anyres"], s["dtype"])
    state = original_state(model, extra)
    if layout == "caig-reward":
        del state["lm_head.weight"]
    write_tower(d, model, not s["inside"])
    if not s["inside"]:
        state = {k: v for k, v in state.items() if "vision_tower" not in k}
    write_weights(d, state, s["dtype"], s["fmt"], s["shards"])
    original_config(d, model, seed, s["anyres"], s["dtype"], s["model_type"], architecture)
    tokens.write_original(d)
    return d, *reload_original(model, d, layout, seed, s["anyres"])


def original(tokens, seed):
    s = ORIGINAL[seed]
    d, model, rest = write_original(tokens, "llava-original", seed, s, {}, "LlavaLlamaForCausalLM")
    assert not rest
    which = {1: dict(names=list(INPUTS)), 2: {}, 3: dict(names=SHAPES)}[seed]
    tensors, inputs = expect(model, tokens.original, tokens.sp.encode,
                             lambda n: original_features(model, load_rgb(n), s["anyres"]), -200, SP_VOCAB, **which)
    write_expected(d, tensors, dict(
        layout="llava-original", seed=seed, anyres=s["anyres"], vision_tower_inside=s["inside"],
        dtype=str(s["dtype"])[6:], image_token_id=-200, batches=[["rgba", "wide"]], inputs=inputs))


# ---------------------------------------------------------------- caig-reward
REWARD = {1: dict(ORIGINAL[1], dtype=BF16, fmt="safetensors", shards=1, ctr=True),
          2: dict(ORIGINAL[3], dtype=BF16, fmt="safetensors", shards=1, ctr=False, model_type="llava"),
          3: dict(ORIGINAL[1], dtype=F16, fmt="bin", shards=1, ctr=True)}
REWARD_PROMPT = "<image>\nWhich part of this image is likely to be more attractive? ASSISTANT:"


@torch.no_grad()
def reward(tokens, seed):
    s = REWARD[seed]
    g = torch.Generator().manual_seed(900 + seed)
    heads = {"score.weight": torch.randn(2, 32, generator=g) / 5}
    if s["ctr"]:
        heads["sku_ctr_linear_fc.0.weight"] = torch.randn(2, 32, generator=g) / 5
    d, model, rest = write_original(tokens, "caig-reward", seed, s, heads, "LlavaLlamaForSequenceClassification")
    assert set(rest) == set(heads)
    ids, tensors, inputs = tokens.original(REWARD_PROMPT), {}, []
    for a, b in [("square", "land"), ("land", "square"), ("rgba", "grey"), ("grey", "rgba")]:
        wide = Image.new("RGB", (1024, 512))
        for i, n in enumerate((a, b)):
            wide.paste(load_rgb(n).resize((512, 512), Image.Resampling.BICUBIC), (512 * i, 0))
        px, feats = original_features(model, wide, s["anyres"])
        last = run_text(model, splice(model, ids, feats, -200))[1][-1]
        name, at = f"{a}+{b}", ids.index(-200)
        tensors.update({f"{name}.pixel_u8": as_u8(px), f"{name}.features": feats, f"{name}.norm_last": last,
                        f"{name}.score": rest["score.weight"].float() @ last})
        if s["ctr"]:
            tensors[f"{name}.ctr"] = rest["sku_ctr_linear_fc.0.weight"].float() @ last
        inputs.append(dict(name=name, left=a + ".png", right=b + ".png", prompt=REWARD_PROMPT, ids=ids,
                           expanded_ids=ids[:at] + [-200] * len(feats) + ids[at + 1:], image_tokens=len(feats)))
    write_expected(d, tensors, dict(layout="caig-reward", seed=seed, anyres=s["anyres"], ctr=s["ctr"],
                                    dtype=str(s["dtype"])[6:], image_token_id=-200, inputs=inputs))


# ---------------------------------------------------------------- peft
SUFFIXES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
REGEX = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
PEFT = {1: dict(target_modules=REGEX), 2: dict(target_modules=REGEX + r"|(.*\.)?lm_head", use_rslora=True),
        3: dict(target_modules=SUFFIXES, exclude_modules=r".*vision_tower.*")}


@torch.no_grad()
def peft(tokens, seed):
    base, d, tok = os.path.join(OUT, "llava-hf-1.5", str(seed)), folder("peft", seed), HF15[seed]["tok"]

    def load():
        return LlavaForConditionalGeneration.from_pretrained(base, dtype=F32, attn_implementation="eager").eval()
    m = get_peft_model(load(), LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                                          **PEFT[seed]))
    g = torch.Generator().manual_seed(700 + seed)
    for n, p in sorted(m.named_parameters()):
        if "lora_" in n:
            p.copy_(torch.randn(p.shape, generator=g) * (0.2 if "lora_A" in n else 0.1))
            assert "language_model" in n or "lm_head" in n
    m.save_pretrained(d)
    cfg = json.load(open(f"{d}/adapter_config.json"))
    cfg["base_model_name_or_path"] = f"../../llava-hf-1.5/{seed}"
    for k in ("target_modules", "exclude_modules"):
        if isinstance(cfg.get(k), list):
            cfg[k] = sorted(cfg[k])  # peft writes a set, in any order
    write_json(f"{d}/adapter_config.json", cfg)
    if os.path.exists(f"{d}/README.md"):
        os.remove(f"{d}/README.md")
    if seed == 3:  # the module names an adapter got from transformers before 4.52
        path = f"{d}/adapter_model.safetensors"
        old = {k.replace(".model.language_model.layers", ".language_model.model.layers"): v
               for k, v in load_file(path).items()}
        save_file(old, path, metadata={"format": "pt"})
        new = {k.replace(".language_model.model.layers", ".model.language_model.layers"): v for k, v in old.items()}
        for k, v in new.items():
            assert torch.equal(m.state_dict()[k.replace(".weight", ".default.weight")], v)
    else:
        m2 = PeftModel.from_pretrained(load(), d).eval()
        same_weights(m, m2)
        m = m2

    def outputs(model):
        tensors, inputs = {}, []
        for name in ("short", "text", "rgba"):
            prompt, image, _ = INPUTS[name]
            ids = tokens.hf(prompt, tok)
            feats = model.get_image_features(clip(load_rgb(image))[None]).pooler_output[0] if image else None
            hidden, last, logits = run_text(model, splice(model, ids, feats, IMAGE_ID))
            tensors[f"{name}.logits"] = logits[-4:]
            if name == "short":
                tensors |= {f"short.hidden.{i}": h for i, h in enumerate(hidden)} | {"short.norm": last}
            inputs.append(dict(name=name, prompt=prompt, image=image and image + ".png", ids=ids))
        return tensors, inputs
    plain = outputs(load())[0]
    tensors, inputs = outputs(m.base_model.model)
    merged = outputs(m.merge_and_unload())[0]
    worst = max(float((merged[k] - tensors[k]).abs().max()) for k in tensors)
    assert worst < 1e-4 and (plain["text.logits"] - tensors["text.logits"]).abs().max() > 0.1, worst
    write_expected(d, tensors, dict(layout="peft", seed=seed, base=f"llava-hf-1.5/{seed}", merged_differs_by=worst,
                                    logits_rows="last 4", inputs=inputs))
