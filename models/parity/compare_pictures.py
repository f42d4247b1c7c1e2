"""How much two pictures differ: python compare_pictures.py A.png B.png"""
import sys
import numpy as np
from PIL import Image

if __name__ == "__main__":
    a, b = (np.asarray(Image.open(p).convert("RGB")).astype(int) for p in sys.argv[1:3])
    if a.shape != b.shape:
        raise SystemExit(f"{a.shape} and {b.shape}: expected pictures of one size")
    d = np.abs(a - b)
    print(f"largest difference {d.max()} of 255, in {(d > 0).mean():.2e} of all values")
