"""Writes fixtures/diffusion/ from nothing. Deterministic: two runs give the same bytes."""
import os, shutil, stat
import diffusion_controlnet_file, diffusion_lora, diffusion_networks, diffusion_pipeline, diffusion_schedulers
import diffusion_single_file, diffusion_tiny
from diffusion_common import OUT

if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    diffusion_tiny.make_text()
    diffusion_tiny.make_networks()
    for part in (diffusion_networks, diffusion_schedulers, diffusion_pipeline, diffusion_lora, diffusion_single_file,
                 diffusion_controlnet_file):
        part.make()
        print(part.__name__, "done", flush=True)
    total = 0
    for folder, _, files in os.walk(OUT):
        for name in files:  # some libraries write files that only their owner reads
            os.chmod(f"{folder}/{name}", stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)
            total += os.path.getsize(f"{folder}/{name}")
    print(total, "bytes")
    assert total < 3_500_000
