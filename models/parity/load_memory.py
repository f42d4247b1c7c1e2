"""How much memory reading a checkpoint takes: 470 million random weights in five bf16 shards, read as f32.

    python load_memory.py path/to/adwright
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

WORDS = "fixtures/llava-hf-1.5/1"
LIMIT = 1.3

VISION = CLIPVisionConfig(
    hidden_size=512, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=8, image_size=28, patch_size=7
)
TEXT = LlamaConfig(
    hidden_size=1536, intermediate_size=4096, num_hidden_layers=16, num_attention_heads=12, num_key_value_heads=12,
    vocab_size=384, max_position_embeddings=1024,
)  # fmt: skip


def main():
    with tempfile.TemporaryDirectory() as out:
        model = LlavaForConditionalGeneration(LlavaConfig(vision_config=VISION, text_config=TEXT, image_token_index=376))
        weights = sum(parameter.numel() for parameter in model.parameters())
        model.to(torch.bfloat16).save_pretrained(out, max_shard_size="200MB")
        for name in os.listdir(WORDS):
            if name.startswith(("tokenizer", "special", "preprocessor")):
                shutil.copy(os.path.join(WORDS, name), out)
        command = [sys.argv[1], "logprob", "--model", out, "--prompt", "a", "--completion", "b"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        print(f"{weights} weights, {4 * weights >> 20} MiB as f32; peak {peak >> 20} MiB, {peak / (4 * weights):.2f} of them")
        assert peak < LIMIT * 4 * weights


main()
