"""The miniature's ControlNet in one file under the names of its original code: as a `.pth` that begins each with `control_model.`,
as they were published, and as safetensors that leaves that out, as user interfaces extract them."""
import re
import torch
from diffusers import ControlNetModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import load_file
from diffusion_common import CONTROLNET, OUT, open_model, write_tensors
from diffusion_single_file import unet_name

FILE, PICKLED, PREFIX = f"{OUT}/controlnet_file.safetensors", f"{OUT}/controlnet_file.pth", "control_model."


def name(key, per_level):
    place, leaf = key.rsplit(".", 1)
    if found := re.fullmatch(r"controlnet_down_blocks\.(\d+)", place):
        return f"zero_convs.{found[1]}.0.{leaf}"
    if place == "controlnet_mid_block":
        return f"middle_block_out.0.{leaf}"
    if found := re.fullmatch(r"controlnet_cond_embedding\.(conv_in|conv_out|blocks\.(\d))", place):
        # Eight convolutions with a SiLU behind each but the last.
        index = {"conv_in": 0, "conv_out": 14}.get(found[1])
        return f"input_hint_block.{2 * int(found[2]) + 2 if index is None else index}.{leaf}"
    return unet_name(key, per_level, None)


def make():
    network = open_model(ControlNetModel, CONTROLNET)
    state = {name(k, network.config.layers_per_block): v.half() for k, v in network.state_dict().items()}
    write_tensors(FILE, state)
    torch.save({PREFIX + k: v.contiguous().clone() for k, v in sorted(state.items())}, PICKLED)
    check(network)


def check(network):
    """diffusers' own converter gives back every weight of both, and nothing else."""
    want = network.state_dict()
    for disk in (load_file(FILE), torch.load(PICKLED, weights_only=True)):
        got = convert_controlnet_checkpoint(disk, network.config)
        assert len(disk) == len(want) and got.keys() == want.keys(), got.keys() ^ want.keys()
        for k, v in want.items():
            assert got[k].dtype == torch.float16 and torch.equal(got[k].float(), v), k
    return len(want)
