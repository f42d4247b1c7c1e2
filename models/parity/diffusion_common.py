"""What every fixture of diffusion shares: where things lie, random weights, the tokenizer, and how numbers are written."""
import json, math, os, re, zlib
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import diffusers, torch, transformers
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
diffusers.logging.set_verbosity_error()
diffusers.logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "fixtures", "diffusion")
TINY, CONTROLNET, EXPECTED = f"{OUT}/tiny", f"{OUT}/controlnet", f"{OUT}/expected"


def write_json(path, value, rows=()):
    """`rows`: keys of lists that stand with one element a line."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    one = lambda v: json.dumps(v, ensure_ascii=False)
    body = [f" {one(k)}: " + ("[\n  " + ",\n  ".join(one(x) for x in v) + "\n ]" if k in rows else
                              json.dumps(v, ensure_ascii=False, indent=1).replace("\n", "\n ") if not isinstance(v, list)
                              else one(v)) for k, v in value.items()]
    with open(path, "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join(body) + "\n}\n")


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def write_tensors(path, tensors, dtype=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    state = {k: (v.to(dtype) if dtype and v.is_floating_point() else v).detach().contiguous().clone()
             for k, v in sorted(tensors.items())}
    save_file(state, path, metadata={"format": "pt"})


def randomise(model, kind):
    """Random weights that keep values of order 1 and that f16 holds exactly, so that f16 files need no expectations of their own."""
    g = torch.Generator().manual_seed(zlib.crc32(kind.encode()))
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            x = torch.randn(p.shape, generator=g)
            leaf = name.split(".")[-2] if "." in name else name
            if name.endswith("bias"):
                x = (0.2 if "norm" in leaf else 0.1) * x
            elif "norm" in leaf:
                x = 1 + 0.2 * x
            elif "position_embedding" in name or "token_embedding" in name:
                x = 0.7 * x
            else:
                gain = (1.6 if leaf in ("q_proj", "k_proj") else
                        1.55 if "cond_embedding" in name else  # its SiLUs weaken what edges say
                        0.4 if "attn2.to_out" in name else  # guidance multiplies what the description does
                        0.6 if leaf == "conv_out" and kind.startswith("vae") and "decoder" in name else
                        0.5 if "controlnet_" in name and "embedding" not in name else 1.0)
                x = gain * x / math.sqrt(p[0].numel())
            p.copy_(x.half().float())
    return model.eval()


def grid_noise(seed, *shape):
    """Numbers for inputs that are stored beside what comes out."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- tokenizer
CORPUS = ["A bottle of perfume on a wooden desk surface, warm lighting, bokeh effect, shallow depth of field",
          "white marble table, soft morning light, green leaves, blurred background, product photography",
          "The running shoe stands on wet stone; sunset over the ocean, golden hour, high resolution, 8k",
          "a kitchen counter with fresh fruit, bright window, pastel wall, minimal, clean, professional advertising photo",
          "it's a café terrace in Zürich, don't miss the summer sale, they're 50% off"] * 3
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
PATTERN = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+")


def byte_names():
    """GPT-2's printable name of each byte, in CLIP's order."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [b for b in range(256) if b not in shown]
    return {**{b: chr(b) for b in shown}, **{b: chr(256 + i) for i, b in enumerate(hidden)}}


def train_tokenizer(merges_wanted):
    """Byte-pair merges by count, ties by name; -> (vocabulary in CLIP's order, merges)"""
    name, words = byte_names(), {}
    for text in CORPUS:
        for w in PATTERN.findall(text.lower()):
            chars = [name[b] for b in w.encode()]
            chars[-1] += "</w>"
            words[tuple(chars)] = words.get(tuple(chars), 0) + 1
    merges = []
    while len(merges) < merges_wanted:
        pairs = {}
        for w, n in words.items():
            for p in zip(w, w[1:]):
                pairs[p] = pairs.get(p, 0) + n
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        joined = {}
        for w, n in words.items():
            out, i = [], 0
            while i < len(w):
                if w[i:i + 2] == best:
                    out.append(w[i] + w[i + 1])
                    i += 2
                else:
                    out.append(w[i])
                    i += 1
            joined[tuple(out)] = joined.get(tuple(out), 0) + n
        words = joined
    singles = list(name.values())
    tokens = singles + [s + "</w>" for s in singles] + ["".join(m) for m in merges] + [BOS, EOS]
    assert len(set(tokens)) == len(tokens)
    return {t: i for i, t in enumerate(tokens)}, merges


def write_tokenizer(d):
    """The four files of Stable Diffusion 1.5's `tokenizer/`."""
    vocab, merges = train_tokenizer(86)
    os.makedirs(d, exist_ok=True)
    with open(f"{d}/vocab.json", "w", encoding="utf-8") as f:
        json.dump(vocab, f, ensure_ascii=False)
    with open(f"{d}/merges.txt", "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = lambda c: dict(content=c, lstrip=False, normalized=True, rstrip=False, single_word=False)
    write_json(f"{d}/special_tokens_map.json", dict(bos_token=special(BOS), eos_token=special(EOS), pad_token=EOS,
                                                    unk_token=special(EOS)))
    typed = lambda c: {"__type": "AddedToken", **special(c)}
    write_json(f"{d}/tokenizer_config.json", dict(
        add_prefix_space=False, bos_token=typed(BOS), do_lower_case=True, eos_token=typed(EOS), errors="replace",
        model_max_length=77, pad_token=EOS, tokenizer_class="CLIPTokenizer", unk_token=typed(EOS)))
    return len(vocab)


# ---------------------------------------------------------------- opening
def open_tokenizer():
    return CLIPTokenizer.from_pretrained(f"{TINY}/tokenizer")


def open_text_encoder(d=f"{TINY}/text_encoder"):
    return CLIPTextModel.from_pretrained(d, dtype=torch.float32, attn_implementation="eager").eval()


def open_model(cls, d):
    return cls.from_pretrained(d, dtype=torch.float32).eval()
