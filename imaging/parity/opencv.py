"""Writes the pictures under fixtures/ and what OpenCV makes of them. Needs the versions in requirements.txt.

    python3 opencv.py                   writes fixtures/
    python3 opencv.py --of FILE.. DIR   writes the same for cut-outs of your own; with target/opencv as DIR,
                                        `cargo test -p imaging -- --ignored` compares them

A file's name says what it is: NAME.png is an input; NAME.canny.png, NAME.canny-gray.png, NAME.dilate-SIDE.png,
NAME.area-WxH.png and NAME.place-WxH-SCALE.png are OpenCV's answers.
"""

import argparse
import pathlib

import cv2
import numpy as np

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
THRESHOLDS = (100, 200)


def write(path, picture):
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def gradient(width, height):
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    channels = [(x * 7) % 256, (y * 11) % 256, (x * y) % 256, (x * 9 + y * 5) % 256]
    return np.stack(channels, axis=-1).astype(np.uint8)


def noise(width, height, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)


def blobs(width, height, seed):
    coarse = noise(width // 8 + 2, height // 8 + 2, seed)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def text(width, height):
    picture = np.zeros((height, width, 4), np.uint8)
    picture[:] = (200, 220, 240, 0)
    for row, word in enumerate(["Advert", "R8 &", "#%@gQ"]):
        place = (2, 18 + 18 * row)
        colour = (40 * row, 90, 250 - 60 * row, 255)
        cv2.putText(picture, word, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 1, cv2.LINE_AA)
    return picture


def ties(width, height):
    """Channels whose gradients have one magnitude and different directions, so that the order of channels shows."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    steps = [(x // 4 % 2) * 120, (y // 4 % 2) * 120, ((x + y) // 4 % 2) * 120, 255 * np.ones_like(x)]
    return np.stack(steps, axis=-1).astype(np.uint8)


def thin(width, height):
    picture = np.zeros((height, width, 4), np.uint8)
    cv2.line(picture, (1, 1), (width - 2, height - 2), (255, 255, 255, 255), 1)
    cv2.line(picture, (width // 2, 0), (width // 2, height - 1), (0, 128, 255, 255), 1)
    cv2.line(picture, (0, 3), (width - 1, 3), (90, 10, 200, 128), 1)
    cv2.circle(picture, (width // 3, height // 2), 9, (10, 200, 90, 127), 1)
    return picture


def bottle(width, height):
    """A cut-out with a soft edge and another colour hidden behind it."""
    large = np.zeros((height * 4, width * 4), np.uint8)
    cv2.ellipse(large, (width * 2, height * 2), (width, int(height * 1.7)), 20, 0, 360, 255, -1)
    alpha = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    picture = blobs(width, height, 5)
    picture[alpha == 0] = (255, 255, 255, 0)
    picture[..., 3] = alpha
    return picture


def rod(width, height):
    """One row of alpha: the reference's box, which leaves out the last row, is empty."""
    picture = gradient(width, height)
    picture[..., 3] = 0
    picture[height // 2, 2:-2, 3] = 255
    return picture


PICTURES = {
    "gradient": gradient(61, 47),
    "noise": noise(40, 33, 1),
    "noise-wide": noise(64, 7, 2),
    "blobs": blobs(90, 70, 3),
    "text": text(83, 61),
    "ties": ties(49, 50),
    "thin": thin(53, 41),
    "bottle": bottle(72, 96),
    "rod": rod(30, 21),
    "column": noise(1, 19, 4),
    "row": noise(23, 1, 6),
    "dot": noise(1, 1, 7),
}

# Halves, whole factors, other reductions, one side that grows, enlargements, one pixel.
AREAS = {
    "noise-wide": [(32, 7), (16, 7), (64, 1), (63, 6), (5, 9), (70, 3), (129, 14)],
    "blobs": [(45, 35), (30, 10), (18, 14), (89, 69), (71, 41), (13, 70), (101, 90)],
    "noise": [(20, 11), (31, 17), (8, 3), (40, 40), (55, 20), (80, 66), (1, 1)],
    "bottle": [(36, 48), (24, 32), (50, 67), (9, 96)],
    "gradient": [(60, 46), (17, 13), (62, 48), (61, 47)],
    "column": [(1, 7), (3, 19), (2, 40)],
    "row": [(9, 1), (40, 2)],
    "dot": [(4, 3)],
}

# Canvases of other shapes, odd sides, and a scale that CAIG does not use.
PLACES = {
    "bottle": [(64, 64, 0.78), (80, 64, 0.78), (51, 77, 0.5), (120, 60, 1.0)],
    "text": [(64, 64, 0.78), (96, 48, 0.9)],
    "thin": [(64, 64, 0.78)],
    "rod": [(64, 64, 0.78)],
    "noise": [(48, 80, 0.78)],
}


def place(picture, width, height, scale):
    """What CAIG's golden_ratio_center_zoom comes to."""
    rows, columns = np.where(picture[..., 3] / 255 >= 0.5)
    crop = picture
    if len(rows) and rows.min() < rows.max() and columns.min() < columns.max():
        crop = picture[rows.min() : rows.max(), columns.min() : columns.max()]
    crop_height, crop_width = crop.shape[:2]
    most_width, most_height = int(width * scale), int(height * scale)
    if crop_height >= crop_width:
        new_height = min(most_height, int(most_width / crop_width * crop_height))
        new_width = int(new_height / crop_height * crop_width)
    else:
        new_width = min(most_width, int(most_height / crop_height * crop_width))
        new_height = int(new_width / crop_width * crop_height)
    canvas = np.zeros((height, width, 4), np.uint8)
    left, top = (width - new_width) // 2, int(height // 2 - new_height / 2)
    small = cv2.resize(crop, (new_width, new_height), interpolation=cv2.INTER_AREA)
    canvas[top : top + new_height, left : left + new_width] = small
    return canvas


def answers(name, picture, areas, places, folder):
    write(folder / f"{name}.png", picture)
    colours = np.ascontiguousarray(picture[..., :3])
    write(folder / f"{name}.canny.png", cv2.Canny(colours, *THRESHOLDS))
    green = np.ascontiguousarray(picture[..., 1])
    write(folder / f"{name}.canny-gray.png", cv2.Canny(green, *THRESHOLDS))
    alpha = np.ascontiguousarray(picture[..., 3])
    for side in (20, 5):
        dilated = cv2.dilate(alpha, np.ones((side, side), np.uint8), iterations=1)
        write(folder / f"{name}.dilate-{side}.png", dilated)
    for width, height in areas:
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        write(folder / f"{name}.area-{width}x{height}.png", resized)
    for width, height, scale in places:
        placed = place(picture, width, height, scale)
        write(folder / f"{name}.place-{width}x{height}-{scale}.png", placed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", nargs="+", metavar="FILE", help="cut-outs, and the folder to write into as the last one")
    of = parser.parse_args().of
    if of:
        folder = pathlib.Path(of.pop())
        folder.mkdir(parents=True, exist_ok=True)
        for file in of:
            picture = cv2.imread(file, cv2.IMREAD_UNCHANGED)
            sizes = [(399, 399), (400, 400), (267, 511), (900, 700)]
            places = [(512, 512, 0.78), (512, 640, 0.78)]
            answers(pathlib.Path(file).stem, picture, sizes, places, folder)
        return
    FIXTURES.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        answers(name, picture, AREAS.get(name, []), PLACES.get(name, []), FIXTURES)


if __name__ == "__main__":
    main()
