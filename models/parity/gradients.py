"""The product-centric loss in every mode and its gradient for every LoRA factor, by PyTorch's autograd, on a few pairs.

Writes fixtures/gradients/<mode>.json (rows and settings), <mode>.safetensors (gradients under peft's names) and the masked
pictures. The base is llava-hf-1.5/2, the adapter peft/2, which stands beside the head too and whose A and B are both random.
"""

import json
import os

import numpy as np
import torch
from peft import PeftModel
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "fixtures")
OUT = os.path.join(FIXTURES, "gradients")
# About the mean of the vocabulary of 384, so that many tokens lie on either side.
THRESHOLD = 0.0025
SETTINGS = dict(beta=0.2, pcpo_beta=0.1, pcpo_weight=1.5, nll_weight=2.0, support_weight=3.0, support_threshold=THRESHOLD)
# The modes in which tokens count by what they speak for their product; in the others all count alike.
EVIDENCE = {"joint_swap", "mask_only"}
END = 2

# Product picture, caption, chosen, rejected.
PAIRS = [
    ("land", "a red lamp", "A small red square on a table.", "Yes."),
    ("tall", "a blue vase", "A cat.", "No, it is a dog on a table."),
    ("square", "an oak desk", "Warm light.", "A dog."),
]


def masked(name):
    """The picture with three quarters of its squares black."""
    picture = np.array(Image.open(f"{FIXTURES}/images/{name}.png").convert("RGB"))
    for number, (y, x) in enumerate(np.ndindex(4, 4)):
        if number % 4 != 1:
            h, w = picture.shape[0] // 4, picture.shape[1] // 4
            picture[y * h : (y + 1) * h, x * w : (x + 1) * w] = 0
    Image.fromarray(picture).save(f"{OUT}/masked_{name}.png")
    return f"gradients/masked_{name}.png"


def rows(mode):
    """Chosen, rejected and negative row of every pair: picture, caption, completion."""
    result = []
    for index, (picture, caption, chosen, rejected) in enumerate(PAIRS):
        other = PAIRS[(index + 1) % len(PAIRS)]
        whole = f"images/{picture}.png"
        negative = {
            "dpo": None,
            "joint_swap": (f"images/{other[0]}.png", other[1], chosen),
            "paper": (masked(picture), other[1], chosen),
            "mask_only": (masked(picture), caption, chosen),
            "caption_only": (whole, other[1], chosen),
            # The reference's coin: a mask, or another pair's caption and completion under the own picture.
            "compat": (masked(picture), caption, chosen) if index == 0 else (whole, other[1], other[2]),
        }[mode]
        result.append([(whole, caption, chosen), (whole, caption, rejected), negative])
    return result


def main():
    torch.manual_seed(0)
    os.makedirs(OUT, exist_ok=True)
    base = f"{FIXTURES}/llava-hf-1.5/2"
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).eval()
    model = PeftModel.from_pretrained(model, f"{FIXTURES}/peft/2", is_trainable=True).eval()
    processor = AutoProcessor.from_pretrained(base, backend="pil")

    def log_probs(row):
        picture, caption, completion = row
        prompt = f"USER: <image>\nA background for {caption}. ASSISTANT:"
        image = Image.open(f"{FIXTURES}/{picture}").convert("RGB")
        inputs = processor(images=image, text=prompt, return_tensors="pt")
        ids = processor.tokenizer(completion, add_special_tokens=False)["input_ids"] + [END]
        length = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([ids])], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        table = model(**inputs).logits[0, length - 1 : -1].log_softmax(-1)
        return table[torch.arange(len(ids)), torch.tensor(ids)], prompt, ids, table

    for mode in ["dpo", "joint_swap", "paper", "mask_only", "caption_only", "compat"]:
        model.zero_grad()
        evidence = mode in EVIDENCE
        total, described = 0.0, []
        for pair in rows(mode):
            policy = [log_probs(row) if row else None for row in pair]
            with torch.no_grad(), model.disable_adapter():
                reference = [log_probs(row) if row else None for row in pair]
            ratio = [p[0].sum() - r[0].sum() if p else None for p, r in zip(policy, reference)]
            loss = -torch.nn.functional.logsigmoid(SETTINGS["beta"] * (ratio[0] - ratio[1]))
            if pair[2]:
                apart = ratio[0] - ratio[2]
                if evidence:
                    p, q = reference[0][0].exp(), reference[2][0].exp()
                    weights = ((p - q) / (p + q)).clamp(min=0)
                    assert (weights == 0).any() and (weights > 0).any(), "some tokens speak for the product and some do not"
                    apart = (weights * ((policy[0][0] - reference[0][0]) - (policy[2][0] - reference[2][0]))).sum()
                margin = SETTINGS["pcpo_beta"] * apart
                loss = loss - SETTINGS["pcpo_weight"] * torch.nn.functional.logsigmoid(margin)
                possible = reference[2][3].exp() >= THRESHOLD
                assert 0.1 < possible.float().mean() < 0.9, "the threshold tells tokens apart"
                mass = policy[2][3].masked_fill(~possible, -torch.inf).logsumexp(-1)
                loss = loss - SETTINGS["support_weight"] * mass.sum()
            loss = loss - SETTINGS["nll_weight"] * policy[0][0].mean()
            total = total + loss
            described.append([dict(image=row[0], prompt=p[1], completion_ids=p[2]) if row else None for row, p in zip(pair, policy)])
        total.backward()
        gradients = {n.replace(".default", ""): p.grad.contiguous() for n, p in model.named_parameters() if p.grad is not None}
        assert all(g.norm() > 0 for g in gradients.values()), "every factor has a gradient"
        save_file(gradients, f"{OUT}/{mode}.safetensors")
        content = dict(mode=mode, loss=total.item(), pcpo_evidence=evidence, pairs=described, **SETTINGS)
        json.dump(content, open(f"{OUT}/{mode}.json", "w"), indent=1)
        print(mode, total.item(), len(gradients))


main()
