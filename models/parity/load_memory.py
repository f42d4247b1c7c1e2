"""How much memory reading a checkpoint takes: 470 million random weights in five bf16 shards, read as f32.

    python load_memory.py path/to/adwright
"""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS = os.path.join(HERE, "fixtures/llava-hf-1.5/1")
LIMIT = 1.3


def make(out):
    import shutil

    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=512, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=8, image_size=28, patch_size=7
    )
    text = LlamaConfig(
        hidden_size=1536, intermediate_size=4096, num_hidden_layers=16, num_attention_heads=12, num_key_value_heads=12,
        vocab_size=384, max_position_embeddings=1024,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=376))
    model.to(torch.bfloat16).save_pretrained(out, max_shard_size="200MB")
    for name in os.listdir(WORDS):
        if name.startswith(("tokenizer", "special", "preprocessor")):
            shutil.copy(os.path.join(WORDS, name), out)
    with open(os.path.join(out, "count"), "w") as file:
        file.write(str(sum(parameter.numel() for parameter in model.parameters())))


def main():
    with tempfile.TemporaryDirectory() as out:
        # In a process of its own: what is measured begins as a copy of this one.
        subprocess.run([sys.executable, __file__, "--make", out], check=True)
        weights = int(open(os.path.join(out, "count")).read())
        command = [sys.argv[1], "logprob", "--model", out, "--prompt", "a", "--completion", "b"]
        _, status, usage = os.wait4(subprocess.Popen(command, stderr=subprocess.DEVNULL).pid, 0)
        peak = usage.ru_maxrss * 1024
        print(f"{weights} weights, {4 * weights >> 20} MiB as f32; peak {peak >> 20} MiB, {peak / (4 * weights):.2f} of them")
        assert status == 0 and peak < LIMIT * 4 * weights


make(sys.argv[2]) if sys.argv[1] == "--make" else main()
