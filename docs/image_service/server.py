"""An image service for Adwright, as an example: it paints where yours would run a diffusion model.

What to keep: the limits, the failures that are told apart, health, and that equal requests give equal images.
What to replace: `render`.
"""

import argparse
import hashlib
import io
import random
import signal
import threading
from concurrent import futures

import grpc
from adwright.v1 import image_pb2, image_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from PIL import Image

MAX_MESSAGE_BYTES = 64 << 20  # the protocol's
MAX_SIDE = 8192  # of a product, in pixels; the protocol's
MAX_DESCRIPTIONS = 8  # of one request: what fits on the device at once
MAX_CHARACTERS = 2000  # of a description
RETRY_AFTER_MS = "500"
PRODUCT_SHARE = 0.78  # of the canvas, for the longer side of the product

Image.MAX_IMAGE_PIXELS = MAX_SIDE * MAX_SIDE


class Refused(Exception):
    """A description that is not rendered."""


def render(product, description, noise_seed, side):
    """The picture and the placed cut-out, both `side` x `side`: the product on two colours that the description decides."""
    if not description.strip():
        raise Refused("it is empty")
    if len(description) > MAX_CHARACTERS:
        raise Refused(f"it has {len(description)} characters, at most {MAX_CHARACTERS} are taken")
    colours = hashlib.sha256(description.encode()).digest()
    noise = random.Random(noise_seed)  # the same for every description of a group
    picture = Image.new("RGB", (side, side), tuple(colours[:3]))
    picture.paste(tuple(colours[3:6]), (0, side * 2 // 3, side, side))
    for _ in range(side * side // 16):
        at = noise.randrange(side), noise.randrange(side)
        shade = noise.randrange(-12, 13)
        picture.putpixel(at, tuple(min(255, max(0, c + shade)) for c in picture.getpixel(at)))
    placed = place(product, side)
    picture.paste(placed, mask=placed.getchannel("A"))
    return picture, placed


def place(product, side):
    """The cut-out on a transparent canvas, centred."""
    box = product.getchannel("A").getbbox()
    cut = product.crop(box)
    scale = side * PRODUCT_SHARE / max(cut.size)
    cut = cut.resize([max(1, round(length * scale)) for length in cut.size])
    placed = Image.new("RGBA", (side, side))
    placed.paste(cut, [(side - length) // 2 for length in cut.size])
    return placed


def png(image):
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


class ImageService(image_pb2_grpc.ImageServiceServicer):
    def __init__(self, side, at_once):
        self.side = side
        self.room = threading.Semaphore(at_once)

    def GetImageGenerator(self, request, context):
        return image_pb2.ImageGenerator(name="example painter", max_descriptions=MAX_DESCRIPTIONS)

    def GenerateGroup(self, request, context):
        if not 1 <= len(request.descriptions) <= MAX_DESCRIPTIONS:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"descriptions: expected 1 to {MAX_DESCRIPTIONS}")
        if not self.room.acquire(blocking=False):
            context.set_trailing_metadata([("retry-after-ms", RETRY_AFTER_MS)])
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "as many groups as fit are being rendered")
        try:
            product = self.product(request.product, context)
            results = []
            for description in request.descriptions:
                if not context.is_active():  # nobody waits any more
                    context.abort(grpc.StatusCode.CANCELLED, "the caller is gone")
                results.append(self.result(product, description, request.noise_seed))
            return image_pb2.GenerateGroupResponse(results=results)
        finally:
            self.room.release()

    def product(self, encoded, context):
        try:
            image = Image.open(io.BytesIO(encoded), formats=["PNG"])
            if max(image.size) > MAX_SIDE:
                raise ValueError(f"{image.size} pixels are too many")
            product = image.convert("RGBA")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"product: {error}")
        if product.getchannel("A").getbbox() is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "product: nothing of it can be seen")
        return product

    def result(self, product, description, noise_seed):
        def failure(reason, error):
            return image_pb2.ImageResult(failure=image_pb2.ImageFailure(reason=reason, detail=str(error)))

        try:
            picture, placed = render(product, description, noise_seed, self.side)
        except Refused as error:
            return failure(image_pb2.IMAGE_FAILURE_REASON_DESCRIPTION, error)
        except Exception as error:  # a model may fail in any way; the caller tries the group again
            return failure(image_pb2.IMAGE_FAILURE_REASON_MODEL, error)
        return image_pb2.ImageResult(image=image_pb2.RenderedImage(image=png(picture), placed=png(placed)))


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--listen", default="127.0.0.1:7402", help="HOST:PORT; port 0 takes a free one")
    arguments.add_argument("--side", type=int, default=512, help="of the pictures, in pixels")
    arguments.add_argument("--at-once", type=int, default=2, help="groups that are rendered at the same time")
    options = arguments.parse_args()
    limits = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),  # a second server on the port is a mistake
    ]
    # More threads than groups, so that who finds no room is told at once.
    server = grpc.server(futures.ThreadPoolExecutor(options.at_once + 8), options=limits)
    image_pb2_grpc.add_ImageServiceServicer_to_server(ImageService(options.side, options.at_once), server)
    serving = health.HealthServicer()
    serving.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(serving, server)
    port = server.add_insecure_port(options.listen)
    server.start()
    print(f"listening on {options.listen.rsplit(':', 1)[0]}:{port}", flush=True)
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    stopped.wait()
    serving.enter_graceful_shutdown()
    server.stop(grace=5).wait()


if __name__ == "__main__":
    main()
