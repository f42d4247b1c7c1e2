"""What CAIG makes of a cut-out before diffusion: placed on the canvas, where to repaint, its edges. Pictures are OpenCV's (BGRA)."""
import os
import cv2
import numpy as np
from PIL import Image, ImageDraw

cv2.setNumThreads(1)
CAIG_SCALE = 0.78


def place(cutout, width, height, scale=CAIG_SCALE):
    """The bounding box of alpha >= .5, its last row and column left out as CAIG does, centred at `scale` of the canvas."""
    if cutout.shape[-1] == 3:  # without alpha: white is background
        cutout = np.dstack([cutout, np.where((cutout == 255).all(2), 0, 255).astype(np.uint8)])
    ys, xs = (np.flatnonzero((cutout[..., 3] >= 128).any(axis)) for axis in (1, 0))
    if len(xs) == 0 or len(ys) == 0 or xs[0] == xs[-1] or ys[0] == ys[-1]:
        crop = cutout
    else:
        crop = cutout[ys[0]:ys[-1], xs[0]:xs[-1]]
    (h, w), most_w, most_h = crop.shape[:2], int(width * scale), int(height * scale)
    if h >= w:
        new_h = min(most_h, int(most_w / w * h))
        new_w = int(new_h / h * w)
    else:
        new_w = min(most_w, int(most_h / h * w))
        new_h = int(new_w / w * h)
    left, top = max(0, (width - new_w) // 2), int(height // 2 - new_h / 2)
    canvas = np.zeros((height, width, 4), np.uint8)
    canvas[top:top + new_h, left:left + new_w] = cv2.resize(crop, (new_w, new_h), interpolation=cv2.INTER_AREA)
    return canvas


def conditions(canvas):
    """-> PIL pictures: (init RGB, latent mask L, control RGB, repaint mask L)"""
    alpha = canvas[..., 3]
    repaint = 255 - alpha
    mask = cv2.dilate(repaint, np.ones((20, 20), np.uint8), iterations=1)
    shown = canvas[..., :3].copy()
    shown[alpha < 128] = 0
    edges = cv2.Canny(shown, 100, 200)
    return (Image.fromarray(cv2.cvtColor(canvas[..., :3], cv2.COLOR_BGR2RGB)), Image.fromarray(mask),
            Image.fromarray(np.dstack([edges] * 3)), Image.fromarray(repaint))


def composite(init, repaint, generated):
    """CAIG's last step, its arithmetic and rounding (half to even)."""
    m = np.asarray(repaint)[..., None].astype(np.float32) / 255.0
    return Image.fromarray(((1 - m) * np.asarray(init) + m * np.asarray(generated)).round().astype(np.uint8))


def draw_product(path):
    """A bottle with soft edges, drawn four times too large."""
    im = Image.new("RGBA", (4 * 200, 4 * 260), (0, 0, 0, 0))
    d = ImageDraw.Draw(im)
    for kind, box, colour in [("rounded_rectangle", (160, 280, 640, 980), (196, 64, 52, 255)), ("rectangle", (320, 120, 480, 300), (60, 62, 70, 255)),
                              ("ellipse", (280, 60, 520, 180), (230, 190, 60, 255)), ("rectangle", (220, 460, 580, 760), (245, 240, 225, 255)),
                              ("ellipse", (300, 520, 500, 700), (40, 110, 160, 255)), ("ellipse", (560, 820, 760, 1020), (90, 160, 80, 150))]:
        getattr(d, kind)(box, fill=colour, **({"radius": 90} if kind == "rounded_rectangle" else {}))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    im.reduce(4).save(path, optimize=True)
