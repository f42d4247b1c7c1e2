#!/usr/bin/env python3
"""What the successive adapters of a run would take compressed, and what that costs.

    adapter_delta.py STORE/runs/RUN/checkpoints

Prints Markdown: bytes of each form against the adapter as it is, CPU seconds of one core a GB for packing and unpacking, and whether
that is faster than sending the adapter as it is over a line of a gigabit. All forms are lossless. Needs numpy and zstandard.
"""
import json
import pathlib
import sys
import time

import numpy
import zstandard

LINE = 125e6  # bytes a second
LEVELS = (1, 3)


def adapters(directory):
    """Each version's adapter, oldest first; one of a later start replaces one of the same number."""
    found = {}
    for path in directory.glob("manifest-*.json"):
        manifest = json.loads(path.read_text())
        version = manifest["version"]
        digest = manifest["adapter"].removeprefix("blake3:")
        key = version["number"]
        if key not in found or found[key][0] < version["epoch"]:
            found[key] = (version["epoch"], directory / "parts" / digest)
    return [(number, found[number][1].read_bytes()) for number in sorted(found)]


def words(data):
    """The tensors as words of four bytes: a safetensors file pads its header to eight bytes."""
    return numpy.frombuffer(data[: len(data) // 4 * 4], dtype="<u4")


def shuffled(array):
    """All first bytes, then all second bytes, ..."""
    return numpy.ascontiguousarray(array.view(numpy.uint8).reshape(-1, 4).T).tobytes()


def unshuffled(data):
    planes = numpy.frombuffer(data, dtype=numpy.uint8).reshape(4, -1)
    return numpy.ascontiguousarray(planes.T).view("<u4").reshape(-1)


FORMS = {
    "as it is": (lambda new, old: new.tobytes(), lambda data, old: numpy.frombuffer(data, dtype="<u4")),
    "bytes shuffled": (lambda new, old: shuffled(new), lambda data, old: unshuffled(data)),
    "xor with the version before": (
        lambda new, old: (new ^ old).tobytes(),
        lambda data, old: numpy.frombuffer(data, dtype="<u4") ^ old,
    ),
    "xor, bytes shuffled": (lambda new, old: shuffled(new ^ old), lambda data, old: unshuffled(data) ^ old),
    "difference of words, bytes shuffled": (
        lambda new, old: shuffled(new - old),
        lambda data, old: unshuffled(data) + old,
    ),
}


def timed(work):
    """The shortest of five times, of this process's CPU."""
    best, result = float("inf"), None
    for _ in range(5):
        begun = time.process_time()
        result = work()
        best = min(best, time.process_time() - begun)
    return result, best


def main():
    versions = [(number, words(data)) for number, data in adapters(pathlib.Path(sys.argv[1]))]
    # The first version is the untrained adapter, half of it zeros.
    pairs = [(old, new) for (a, old), (b, new) in zip(versions, versions[1:]) if b == a + 1 and a > 0]
    raw = sum(new.nbytes for _, new in pairs)
    print(f"{len(pairs)} successive pairs of adapters of {pairs[0][1].nbytes} bytes\n")
    print("| form, zstd level | share of the bytes | saved | pack, s/GB | unpack, s/GB | over 1 Gbit/s, s/GB |")
    print("|---|---|---|---|---|---|")
    print(f"| not compressed | 1.000 | | | | {1e9 / LINE:.1f} |")
    for name, (make, unmake) in FORMS.items():
        for level in LEVELS:
            packer, unpacker = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
            size = packing = unpacking = 0
            for old, new in pairs:
                packed, took = timed(lambda: packer.compress(make(new, old)))
                size, packing = size + len(packed), packing + took
                back, took = timed(lambda: unmake(unpacker.decompress(packed), old))
                unpacking += took
                assert numpy.array_equal(back, new), name
            share, giga = size / raw, raw / 1e9
            pack, unpack = packing / giga, unpacking / giga
            total = share * 1e9 / LINE + pack + unpack
            print(f"| {name}, {level} | {share:.3f} | {1 - share:.1%} | {pack:.1f} | {unpack:.1f} | {total:.1f} |")


main()
