"""Opens every checkpoint of transformers' own layouts the way a user would, in one plain forward call, and compares."""
import json, os
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch, transformers
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (AutoModelForImageTextToText, AutoProcessor, CLIPVisionConfig, CLIPVisionModel, LlamaConfig,
                          LlamaForCausalLM)
import common
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def compare(model, processor, d, answers):
    want, worst = load_file(f"{d}/expected.safetensors"), 0.0
    for i in json.load(open(f"{d}/expected.json", encoding="utf-8"))["inputs"]:
        more = dict(images=common.load_rgb(i["image"][:-4])) if i["image"] else {}
        x = processor(text=i["prompt"], return_tensors="pt", **more)
        if "expanded_ids" in i:
            assert x["input_ids"][0].tolist() == i["expanded_ids"], i["name"]
        with torch.no_grad():
            got = model(**x, output_hidden_states=True, use_cache=False)
        w = want[i["name"] + ".logits"]
        worst = max(worst, float((got.logits[0, -len(w):] - w).abs().max()))
        if i["name"] + ".norm" in want:
            assert torch.allclose(got.hidden_states[0][0], want[i["name"] + ".hidden.0"], atol=1e-4)
            assert torch.allclose(got.hidden_states[1][0], want[i["name"] + ".hidden.1"], atol=1e-4)
            assert torch.allclose(got.hidden_states[-1][0], want[i["name"] + ".norm"], atol=1e-4)
        if answers:  # completion log-probs: the loss with the prompt masked
            full = torch.tensor([i["expanded_ids"] + i["completion_ids"]])
            x["input_ids"], x["attention_mask"] = full, torch.ones_like(full)
            x.pop("token_type_ids", None)
            x.pop("mm_token_type_ids", None)
            labels = full.clone()
            labels[0, :len(i["expanded_ids"])] = -100
            with torch.no_grad():
                loss = model(**x, labels=labels).loss
            assert abs(-float(loss) * len(i["completion_ids"]) - i["logprob_sum"]) < 2e-3, i["name"]
    return worst


for seed in (1, 2, 3):
    for layout in ("llava-hf-1.5", "llava-hf-1.6"):
        d = f"{common.OUT}/{layout}/{seed}"
        model = AutoModelForImageTextToText.from_pretrained(d, dtype=torch.float32, attn_implementation="eager").eval()
        processor = AutoProcessor.from_pretrained(d, backend="pil")
        print(layout, seed, model.config.text_config.rope_parameters, "worst", compare(model, processor, d, True))
        if layout == "llava-hf-1.5":
            p = f"{common.OUT}/peft/{seed}"
            print("peft", seed, "worst", compare(PeftModel.from_pretrained(model, p).eval(), processor, p, False))


def bare(d):
    """The files of an original checkpoint, put into LlamaForCausalLM and CLIPVisionModel by their own config.json."""
    cfg = json.load(open(f"{d}/config.json"))
    keys = ("hidden_size intermediate_size num_attention_heads num_key_value_heads num_hidden_layers rms_norm_eps rope_theta "
            "rope_scaling max_position_embeddings vocab_size").split()
    lm = LlamaForCausalLM(LlamaConfig(**{k: cfg[k] for k in keys}, attn_implementation="eager")).eval()
    disk = {k: v.float() for k, v in common.read_weights(d).items()}
    body = {k: v for k, v in disk.items() if k.startswith(("model.layers", "model.norm", "model.embed", "lm_head"))}
    body.setdefault("lm_head.weight", torch.zeros(cfg["vocab_size"], cfg["hidden_size"]))
    lm.load_state_dict(body)
    mark = "model.vision_tower.vision_tower.vision_model."
    tower = {k[len(mark):]: v for k, v in disk.items() if k.startswith(mark)}
    if tower:
        vision = CLIPVisionModel(CLIPVisionConfig.from_pretrained(f"{d}/vision_tower")).eval()
        vision.load_state_dict(tower)
    else:
        vision = CLIPVisionModel.from_pretrained(f"{d}/vision_tower").eval()
    return lm, vision, disk


@torch.no_grad()
def compare_original(d):
    (lm, vision, disk), worst = bare(d), 0.0
    want = load_file(f"{d}/expected.safetensors")
    mean, std = (torch.tensor(v)[:, None, None] for v in (common.MEAN, common.STD))
    for i in json.load(open(f"{d}/expected.json", encoding="utf-8"))["inputs"]:
        n = i["name"]
        feats = want.get(n + ".features")
        if n + ".pixel_u8" in want:  # the whole picture is the first 16 rows of the features
            px = (want[n + ".pixel_u8"] / 255 - mean) / std
            h = vision(px.reshape(-1, 3, 28, 28)[:1], output_hidden_states=True).hidden_states[-2][0, 1:]
            for j in (0, 2):
                h = h @ disk[f"model.mm_projector.{j}.weight"].T + disk[f"model.mm_projector.{j}.bias"]
                h = torch.nn.functional.gelu(h) if j == 0 else h
            worst = max(worst, float((h - feats[:16]).abs().max()))
        ids = torch.tensor(i["expanded_ids"])
        e = lm.model.embed_tokens(ids.clamp(min=0))
        if feats is not None:
            e[ids == -200] = feats
        out = lm.model(inputs_embeds=e[None]).last_hidden_state[0]
        got = {"norm_last": out[-1], "logits": lm.lm_head(out), "norm": out}
        if "score.weight" in disk:
            got["score"] = disk["score.weight"] @ out[-1]
            if "sku_ctr_linear_fc.0.weight" in disk:
                got["ctr"] = disk["sku_ctr_linear_fc.0.weight"] @ out[-1]
        for k, v in got.items():
            if f"{n}.{k}" in want:
                w = want[f"{n}.{k}"]
                worst = max(worst, float((v[-len(w):] - w).abs().max()))
        if "greedy_ids" in i:
            full = torch.cat([e, lm.model.embed_tokens(torch.tensor(i["greedy_ids"]))])
            again = lm(inputs_embeds=full[None]).logits[0, len(e) - 1:-1].argmax(-1)
            assert again.tolist() == i["greedy_ids"], n
    return worst


for layout in ("llava-original", "caig-reward"):
    for seed in (1, 2, 3):
        print(layout, seed, "worst", compare_original(f"{common.OUT}/{layout}/{seed}"))
