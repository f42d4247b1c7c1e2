"""What every layout shares: images, tokenizer, random weights, checkpoint files, and the expected numbers."""
import io, json, math, os, zlib
import numpy as np
import sentencepiece as spm
import tokenizers
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, decoders, models, normalizers, processors
from transformers import (LlamaTokenizerFast, LlavaConfig, LlavaForConditionalGeneration,
                          LlavaNextConfig, LlavaNextForConditionalGeneration)
from transformers.tokenization_utils_base import generate_merges
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

torch.set_num_threads(1)
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "fixtures")
SP_VOCAB, IMAGE_ID, PAD_ID, HF_VOCAB = 376, 376, 377, 384
TILE, PATCH, PINPOINTS = 28, 7, [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
MEAN = CLIPImageProcessorPil.image_mean
STD = CLIPImageProcessorPil.image_std
SALT = {("llava-hf-1.5", 3): 1, ("llava-hf-1.6", 3): 1}  # another draw where two logits of a greedy step came too close
SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
          "detailed, and polite answers to the user's questions. ")


def write_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=1)
        f.write("\n")


# ---------------------------------------------------------------- images
def make_images():
    d = os.path.join(OUT, "images")
    os.makedirs(d, exist_ok=True)

    def picture(seed, w, h, noise=3):
        r = np.random.default_rng(seed)
        y, x = np.mgrid[0:h, 0:w]
        a = np.stack([127 + 120 * np.sin(x * r.uniform(.05, .4) + y * r.uniform(.05, .4) + r.uniform(0, 6))
                      for _ in range(3)], -1)
        for _ in range(3):  # a few hard-edged boxes
            x0, y0 = r.integers(0, w), r.integers(0, h)
            a[y0:y0 + max(2, h // 3), x0:x0 + max(2, w // 3)] = r.integers(0, 256, 3)
        return np.clip(np.rint(a + r.integers(-noise, noise + 1, a.shape)), 0, 255).astype(np.uint8)

    for i, (name, w, h) in enumerate([("square", 40, 40), ("tall", 20, 140), ("wide", 140, 20), ("land", 90, 60),
                                      ("port", 60, 90), ("tiny", 20, 20), ("thin", 96, 4)]):
        Image.fromarray(picture(i, w, h)).save(f"{d}/{name}.png")
    Image.fromarray(picture(20, 188, 47, 1)).save(f"{d}/round.png")  # the two unpad rules differ at 188x47
    rgb = picture(21, 44, 36)
    y, x = np.mgrid[0:36, 0:44]
    alpha = np.clip((x * 9 - 60), 0, 255).astype(np.uint8)
    alpha[:8, :8] = 0
    Image.fromarray(np.dstack([rgb, alpha])).save(f"{d}/rgba.png")
    Image.fromarray(picture(22, 30, 50)[..., 0]).save(f"{d}/grey.png")
    p = Image.fromarray(picture(23, 36, 30)).quantize(16)
    p.save(f"{d}/palette.png", transparency=int(np.asarray(p)[0, 0]))


def load_rgb(name):
    """Our rule: composite anything with transparency on int(mean * 255), the colour that LLaVA pads with, in integers, then RGB."""
    im = Image.open(os.path.join(OUT, "images", name + ".png"))
    if im.mode in ("RGBA", "LA") or "transparency" in im.info:
        a = np.asarray(im.convert("RGBA")).astype(np.int64)
        bg = np.array([int(m * 255) for m in MEAN])
        al = a[..., 3:]
        return Image.fromarray(((a[..., :3] * al + bg * (255 - al) + 127) // 255).astype(np.uint8))
    return im.convert("RGB")


# ---------------------------------------------------------------- tokenizer
CORPUS = [SYSTEM, "USER: What is in this image? ASSISTANT: A small red square on a table.",
          "Which part of this image is likely to be more attractive? The left part. The right part.",
          "Describe the picture in detail. Is there a cat or a dog? Yes, there is one.",
          "    return x  # two  spaces", "naïve café, Zürich. 2 + 3 = 5 jumps over the lazy dog"] * 4


class Tokens:
    def __init__(self):
        buf = io.BytesIO()
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS), model_writer=buf, model_type="bpe", vocab_size=SP_VOCAB, byte_fallback=True,
            character_coverage=1.0, normalization_rule_name="identity", remove_extra_whitespaces=False,
            add_dummy_prefix=True, split_digits=True, allow_whitespace_only_pieces=True, unk_id=0, bos_id=1, eos_id=2,
            pad_id=-1, num_threads=1, minloglevel=2)
        self.model = buf.getvalue()
        self.sp = spm.SentencePieceProcessor(model_proto=self.model)
        assert self.sp.get_piece_size() == SP_VOCAB
        d = os.path.join(OUT, "tokenizer")
        os.makedirs(d, exist_ok=True)
        open(f"{d}/tokenizer.model", "wb").write(self.model)
        # legacy: the tokenizer.json of the 4.x conversion (Prepend + Replace); metaspace: as this version writes it
        ids = {self.sp.id_to_piece(i): i for i in range(SP_VOCAB)}
        scores = {p: 0.0 if i < 3 else self.sp.get_score(i) for p, i in ids.items()}
        legacy = tokenizers.Tokenizer(models.BPE(ids, generate_merges(ids, scores), unk_token="<unk>", fuse_unk=True,
                                                 byte_fallback=True))
        legacy.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        legacy.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                            decoders.Strip(" ", 1, 0)])
        meta = LlamaTokenizerFast.from_pretrained(d, legacy=False)._tokenizer
        self.json = {}
        for name, t in (("legacy", legacy), ("metaspace", meta)):
            t.post_processor = processors.TemplateProcessing(
                single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
            t.add_special_tokens(["<unk>", "<s>", "</s>"])
            t.add_tokens([AddedToken("<image>", special=True, normalized=False),
                          AddedToken("<pad>", special=True, normalized=False)])
            assert t.token_to_id("<image>") == IMAGE_ID and t.token_to_id("<pad>") == PAD_ID
            t.save(f"{d}/tokenizer.{name}.json")
            self.json[name] = tokenizers.Tokenizer.from_file(f"{d}/tokenizer.{name}.json")

    def hf(self, text, kind, special=True):
        return self.json[kind].encode(text, add_special_tokens=special).ids

    def original(self, prompt):
        """The chunks around <image> are tokenised one by one; -200 stands between them."""
        ids = [1]
        for i, chunk in enumerate(prompt.split("<image>")):
            ids += ([-200] if i else []) + self.sp.encode(chunk)
        return ids

    def write_hf(self, d, kind, processor_class):
        with open(os.path.join(OUT, "tokenizer", f"tokenizer.{kind}.json"), "rb") as f:
            open(f"{d}/tokenizer.json", "wb").write(f.read())
        added = {str(i): dict(content=c, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
                 for i, c in [(0, "<unk>"), (1, "<s>"), (2, "</s>"), (IMAGE_ID, "<image>"), (PAD_ID, "<pad>")]}
        write_json(f"{d}/tokenizer_config.json", dict(
            add_bos_token=True, add_eos_token=False, added_tokens_decoder=added, bos_token="<s>",
            clean_up_tokenization_spaces=False, eos_token="</s>", extra_special_tokens={"image_token": "<image>"},
            image_token="<image>", legacy=kind == "legacy", model_max_length=2048, pad_token="<pad>",
            padding_side="left", processor_class=processor_class, tokenizer_class="LlamaTokenizer", unk_token="<unk>"))
        write_json(f"{d}/special_tokens_map.json", dict(bos_token="<s>", eos_token="</s>", image_token="<image>",
                                                        pad_token="<pad>", unk_token="<unk>"))

    def write_original(self, d):
        open(f"{d}/tokenizer.model", "wb").write(self.model)
        write_json(f"{d}/tokenizer_config.json", dict(
            add_bos_token=True, add_eos_token=False, bos_token="<s>", clean_up_tokenization_spaces=False,
            eos_token="</s>", legacy=False, model_max_length=2048, padding_side="right",
            tokenizer_class="LlamaTokenizer", unk_token="<unk>"))


# ---------------------------------------------------------------- models
TEXT = {1: dict(num_key_value_heads=4, num_hidden_layers=2, rms_norm_eps=1e-5),
        2: dict(num_key_value_heads=2, num_hidden_layers=2, rms_norm_eps=1e-6,
                rope_scaling={"rope_type": "linear", "factor": 2.0}),
        3: dict(num_key_value_heads=2, num_hidden_layers=3, rms_norm_eps=1e-5,
                rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                              "original_max_position_embeddings": 64})}
VISION = dict(model_type="clip_vision_model", hidden_size=24, num_hidden_layers=3, num_attention_heads=4,
              intermediate_size=40, patch_size=PATCH, image_size=TILE, projection_dim=16)


def new_model(kind, seed, nxt, dtype):
    """A random model whose weights are exactly representable in `dtype`."""
    text = dict(model_type="llama", hidden_size=32, num_attention_heads=4, intermediate_size=48, vocab_size=HF_VOCAB,
                max_position_embeddings=1024, rope_theta=10000.0, pad_token_id=PAD_ID,
                **json.loads(json.dumps(TEXT[seed])))
    cls, ccls, extra = ((LlavaNextForConditionalGeneration, LlavaNextConfig, dict(image_grid_pinpoints=PINPOINTS))
                        if nxt else (LlavaForConditionalGeneration, LlavaConfig, {}))
    cfg = ccls(vision_config=dict(VISION), text_config=text, image_token_index=IMAGE_ID, image_seq_length=16,
               vision_feature_layer=-2, vision_feature_select_strategy="default", pad_token_id=PAD_ID, **extra)
    cfg._attn_implementation = "eager"
    model = cls(cfg).eval()
    g = torch.Generator().manual_seed(zlib.crc32(f"{kind}/{seed}/{SALT.get((kind, seed), 0)}".encode()))
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            x = torch.randn(p.shape, generator=g)
            if "norm" in name and name.endswith("weight"):
                x = 1 + 0.2 * x
            elif name.endswith("bias"):
                x = 0.2 * x
            elif "lm_head" in name:
                x = 2.0 * x / math.sqrt(p.shape[1])
                x[SP_VOCAB:] *= 0.05  # never the argmax, as in trained models
            elif "embed" in name and "patch" not in name or "newline" in name:
                x = 0.7 * x
            else:
                x = (1.6 if "q_proj" in name or "k_proj" in name else 1.2) * x / math.sqrt(p[0].numel())
            p.copy_(x.to(dtype).float())
    return model


def rename(key, nesting):
    """transformers 5.x in-memory name -> the name on disk."""
    if nesting == "original":
        key = key.replace("model.language_model.", "model.").replace("model.vision_tower.",
                                                                     "model.vision_tower.vision_tower.vision_model.")
        return key.replace("model.multi_modal_projector.linear_1", "model.mm_projector.0").replace(
            "model.multi_modal_projector.linear_2", "model.mm_projector.2")
    if nesting == "new":  # 4.52 and later
        return key.replace("model.vision_tower.", "model.vision_tower.vision_model.")
    key = key.replace("model.language_model.", "language_model.model.").replace("lm_head.", "language_model.lm_head.")
    tower = "vision_tower.vision_model." if nesting == "old" else "vision_tower."  # "v5": as 5.24 writes
    return key.replace("model.vision_tower.", tower).replace("model.multi_modal_projector", "multi_modal_projector") \
        .replace("model.image_newline", "image_newline")


def write_weights(d, state, dtype, fmt="safetensors", shards=1):
    state = {k: v.detach().to(dtype).contiguous().clone() for k, v in sorted(state.items())}
    stem, ext = ("model", "safetensors") if fmt == "safetensors" else ("pytorch_model", "bin")
    save = (lambda s, p: save_file(s, p, metadata={"format": "pt"})) if fmt == "safetensors" else torch.save
    if shards == 1:
        return save(state, f"{d}/{stem}.{ext}")
    keys, where = list(state), {}
    for i in range(shards):
        name = f"{stem}-{i + 1:05d}-of-{shards:05d}.{ext}"
        part = {k: state[k] for k in keys[i::shards]}
        save(part, f"{d}/{name}")
        where.update({k: name for k in part})
    write_json(f"{d}/{stem}.{ext}.index.json", dict(
        metadata=dict(total_size=sum(v.nbytes for v in state.values())), weight_map=dict(sorted(where.items()))))


def read_weights(d):
    state = {}
    for n in sorted(os.listdir(d)):
        if n.endswith(".safetensors") and n.startswith("model"):
            state.update(load_file(f"{d}/{n}"))
        elif n.endswith(".bin"):
            state.update(torch.load(f"{d}/{n}", weights_only=True))
    return state


def old_rope(text):
    """rope_parameters (5.x) -> rope_theta + rope_scaling (4.x)"""
    p = dict(text.pop("rope_parameters"))
    text["rope_theta"] = p.pop("rope_theta")
    text["rope_scaling"] = None if p.get("rope_type", "default") == "default" else p


# ---------------------------------------------------------------- expected numbers
Q = ["What is in this image?", "Describe the picture in detail.", "Is there a cat  or a dog?\nAnswer yes or no."]
ANSWER = ["A small red square on a table.", "The café in Zürich 🙂", "Yes, there is one."]
INPUTS = {"short": ("USER: <image>\nWhat is it? ASSISTANT:", "land", "Yes."),
          "text": (SYSTEM + "USER: " + Q[2] + " ASSISTANT:", None, ANSWER[0])}
for _i, _n in enumerate("square rgba grey palette tall wide port tiny thin round".split()):
    INPUTS[_n] = (f"{SYSTEM}USER: <image>\n{Q[_i % 3]} ASSISTANT:", _n, ANSWER[_i % 3])
FEW = ["short", "text", "rgba", "wide", "round"]
SHAPES = ["short", "text", "rgba", "square", "tall", "wide", "port", "tiny", "thin", "round"]


@torch.no_grad()
def run_text(model, embeds):
    """-> ([spliced embeddings, output of layer 1, ..., of layer n], final-norm output, logits)"""
    lm, hidden = model.model.language_model, [embeds[None]]
    hooks = [l.register_forward_hook(lambda m, a, o: hidden.append(o[0] if isinstance(o, tuple) else o))
             for l in lm.layers]
    last = lm(inputs_embeds=embeds[None], use_cache=False).last_hidden_state
    for h in hooks:
        h.remove()
    return [h[0] for h in hidden], last[0], model.lm_head(last)[0]


def splice(model, ids, features, image_id):
    """ids holds one `image_id` where the picture goes"""
    emb = model.model.language_model.embed_tokens
    if features is None:
        return emb(torch.tensor(ids))
    at = ids.index(image_id)
    return torch.cat([emb(torch.tensor(ids[:at], dtype=torch.long)), features, emb(torch.tensor(ids[at + 1:]))])


def as_u8(pixels):
    """The 8-bit picture before (x / 255 - mean) / std: a quarter of the size."""
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    u8 = ((pixels * std + mean) * 255).round().to(torch.uint8)
    assert ((u8 / 255 - mean) / std - pixels).abs().max() < 2e-6
    return u8


@torch.no_grad()
def expect(model, tokenise, answer_ids, features_of, image_id, vocab, names=FEW, full=("short",), all_pixels=False,
           all_logits=False, rows=4, check=None):
    """-> (tensors, list of inputs). features_of(name) -> (pixel_values, features)"""
    tensors, listed = {}, []
    for name in names:
        prompt, image, answer = INPUTS[name]
        ids, answer = tokenise(prompt), answer_ids(answer) + [2]
        pixels, feats = features_of(image) if image else (None, None)
        at = ids.index(image_id) if image else None
        expanded = ids if not image else ids[:at] + [image_id] * len(feats) + ids[at + 1:]
        embeds = splice(model, ids, feats, image_id)
        hidden, last, logits = run_text(model, embeds)
        logits = logits[:, :vocab]
        if check:
            check(name, expanded, pixels, feats, logits)
        emb = model.model.language_model.embed_tokens
        with_answer = torch.cat([embeds, emb(torch.tensor(answer))])
        lp = run_text(model, with_answer)[2][len(embeds) - 1:-1, :vocab].double().log_softmax(-1)
        lp = lp[torch.arange(len(answer)), torch.tensor(answer)]
        greedy, gap, e = [], 9e9, embeds
        for _ in range(32):
            top = run_text(model, e)[2][-1, :vocab].topk(2)
            gap = min(gap, float(top.values[0] - top.values[1]))
            greedy.append(int(top.indices[0]))
            e = torch.cat([e, emb(torch.tensor(greedy[-1:]))])
        if gap < 3e-4:
            raise SystemExit(f"greedy steps too close ({name}, {gap}): change SALT")
        if image:
            tensors[f"{name}.features"] = feats
            if all_pixels:
                tensors[f"{name}.pixel_values"] = pixels
            elif name == "short" or names is not FEW:
                tensors[f"{name}.pixel_u8"] = as_u8(pixels)
        if name in full:
            for i, h in enumerate(hidden):
                tensors[f"{name}.hidden.{i}"] = h
            tensors[f"{name}.norm"] = last
        whole = all_logits and name == "short"
        tensors[f"{name}.logits"] = logits if whole else logits[-rows:]
        tensors[f"{name}.logprobs"] = lp
        listed.append(dict(name=name, image=image and image + ".png", prompt=prompt, completion=INPUTS[name][2],
                           ids=ids, expanded_ids=expanded, image_tokens=0 if feats is None else len(feats),
                           completion_ids=answer, logprob_sum=float(lp.sum()), greedy_ids=greedy,
                           greedy_min_gap=round(gap, 5), logits_rows="all" if whole else f"last {rows}",
                           full_hidden=name in full))
    return tensors, listed


def write_expected(d, tensors, info):
    tensors = {k: (v if v.dtype == torch.uint8 else v.detach().float()).contiguous().clone()
               for k, v in sorted(tensors.items())}
    assert all(torch.isfinite(v).all() for v in tensors.values())
    save_file(tensors, f"{d}/expected.safetensors")
    path = f"{d}/expected.json"
    with open(path, "w", encoding="utf-8") as f:  # one line per input: small, and still fit to read
        inputs = info.pop("inputs")
        head = json.dumps(info, ensure_ascii=False, indent=1)[:-2]
        f.write(head + ',\n "inputs": [\n' + ",\n".join(json.dumps(i, ensure_ascii=False) for i in inputs) + "\n]}\n")
    json.load(open(path, encoding="utf-8"))
