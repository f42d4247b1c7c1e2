"""What transformers and peft make of our files: an adapter, a merged and a converted checkpoint.

    adwright export --adapter ADAPTER --model MODEL --out exported
    adwright export --adapter ADAPTER --model MODEL --out merged --merge
    adwright convert ORIGINAL --to llava-hf --out converted
    python verify_ours.py path/to/adwright MODEL exported merged converted

compares log-probabilities of a completion: ours with the adapter and peft's, ours merged or converted and transformers'.
"""

import json
import subprocess
import sys

import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

IMAGE = "fixtures/images/land.png"
PROMPT = "USER: <image>\nWhat is it? ASSISTANT:"
COMPLETION = "A small red square on a table."
TOLERANCE = 1e-4


def ours(adwright, model, adapter=None):
    command = [adwright, "logprob", "--model", model, "--image", IMAGE, "--raw-prompt", "--prompt", PROMPT]
    command += ["--completion", COMPLETION, "--json"] + (["--adapter", adapter] if adapter else [])
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def theirs(model, processor, token_ids):
    inputs = processor(images=Image.open(IMAGE).convert("RGB"), text=PROMPT, return_tensors="pt")
    completion = torch.tensor([token_ids])
    length = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], completion], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        logits = model(**inputs).logits[0, length - 1 : -1].float()
    return logits.log_softmax(-1)[torch.arange(len(token_ids)), completion[0]].tolist()


def main():
    adwright, base, adapter, merged, *converted = sys.argv[1:]
    load = lambda name: AutoModelForImageTextToText.from_pretrained(name, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(base, backend="pil")
    rows = {"peft on the base": (ours(adwright, base, adapter), PeftModel.from_pretrained(load(base), adapter))}
    rows["transformers on the merged"] = (ours(adwright, merged), load(merged))
    for name, (mine, model) in rows.items():
        found = theirs(model, processor, mine["token_ids"])
        worst = max(abs(a - b) for a, b in zip(mine["log_probs"], found))
        print(f"{name}: largest difference of a log-probability {worst:.1e}")
        assert worst < TOLERANCE, (mine["log_probs"], found)
    for directory in converted:
        mine, words = ours(adwright, directory), AutoProcessor.from_pretrained(directory, backend="pil")
        worst = max(abs(a - b) for a, b in zip(mine["log_probs"], theirs(load(directory), words, mine["token_ids"])))
        print(f"transformers on the converted: largest difference of a log-probability {worst:.1e}")
        assert worst < TOLERANCE
    plain = theirs(load(base), processor, mine["token_ids"])
    assert max(abs(a - b) for a, b in zip(plain, found)) > 1e-3, "the adapter changes nothing"


main()
