"""A whole Stable Diffusion 1.5 in miniature, its ControlNet, and the other forms in which such files come."""
import os, shutil
import torch
from diffusers import (AutoencoderKL, ControlNetModel, EulerAncestralDiscreteScheduler, StableDiffusionPipeline,
                       UNet2DConditionModel)
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel
from diffusion_common import (CONTROLNET, OUT, TINY, open_text_encoder, open_tokenizer, randomise, read_json,
                              write_json, write_tensors, write_tokenizer)

BETAS = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
WEIGHTS = "diffusion_pytorch_model.safetensors"
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def unet(channels=(8, 8, 8, 12), **more):
    return UNet2DConditionModel(**{**dict(
        sample_size=64, in_channels=4, out_channels=4, block_out_channels=channels, layers_per_block=2, norm_num_groups=4,
        attention_head_dim=[1, 2, 2, 2], cross_attention_dim=16, act_fn="silu", flip_sin_to_cos=True, freq_shift=0,
        down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3), **more})


def text_encoder(vocab):
    model = randomise(CLIPTextModel(CLIPTextConfig(
        vocab_size=vocab, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=16, bos_token_id=0, eos_token_id=2,
        pad_token_id=1)), "text_encoder")
    model.save_pretrained(f"{TINY}/text_encoder")
    state = model.state_dict()
    published = {"text_model." + k: v for k, v in state.items()}  # as Stable Diffusion 1.5's file names them
    write_tensors(f"{TINY}/text_encoder/model.safetensors", published)
    d = f"{OUT}/text-encoder-bin"  # as older files are: a pickle, with the positions, which are no weight; in f16
    os.makedirs(d, exist_ok=True)
    shutil.copy(f"{TINY}/text_encoder/config.json", d)
    torch.save({**{k: v.half() for k, v in published.items()}, "text_model.embeddings.position_ids": torch.arange(77)[None]},
               f"{d}/pytorch_model.bin")
    d = f"{OUT}/text-encoder-f16"  # as transformers 5 names them
    os.makedirs(d, exist_ok=True)
    write_json(f"{d}/config.json", {**read_json(f"{TINY}/text_encoder/config.json"), "dtype": "float16"})
    write_tensors(f"{d}/model.safetensors", state, torch.float16)


def make_text():
    text_encoder(write_tokenizer(f"{TINY}/tokenizer"))


def make_networks():
    net = randomise(unet(), "unet")
    net.save_pretrained(f"{TINY}/unet")
    control = ControlNetModel.from_unet(net, conditioning_embedding_out_channels=(4, 4, 8, 8), load_weights_from_unet=False)
    randomise(control, "controlnet").save_pretrained(CONTROLNET)
    write_tensors(f"{CONTROLNET}/{WEIGHTS}", control.state_dict(), torch.float16)
    vae = randomise(AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=[4, 8, 8, 8], layers_per_block=2,
        norm_num_groups=4, sample_size=512, scaling_factor=0.18215, down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4), "vae")
    with torch.no_grad():  # little noise in the sample of a picture, as in trained ones
        vae.quant_conv.weight[4:] *= 0.25
        vae.quant_conv.bias[4:] = (vae.quant_conv.bias[4:] - 3).half().float()
    vae.save_pretrained(f"{TINY}/vae")
    scheduler = EulerAncestralDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="linspace")
    StableDiffusionPipeline(
        vae, open_text_encoder(), open_tokenizer(), net, scheduler, None, None, requires_safety_checker=False
    ).scheduler.save_pretrained(f"{TINY}/scheduler")
    write_json(f"{TINY}/model_index.json", {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": read_json(f"{TINY}/unet/config.json")["_diffusers_version"],
        "feature_extractor": [None, None], "requires_safety_checker": False, "safety_checker": [None, None],
        "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]})
    make_variants()


def make_variants():
    d = f"{OUT}/vae-old-names"  # as diffusers before 0.15 named the attention, in f16
    os.makedirs(d, exist_ok=True)
    shutil.copy(f"{TINY}/vae/config.json", d)
    state = {}
    for k, v in load_file(f"{TINY}/vae/{WEIGHTS}").items():
        for new, old in OLD_NAMES.items():
            k = k.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
        state[k] = v
    write_tensors(f"{d}/{WEIGHTS}", state, torch.float16)
    d = f"{OUT}/sd2"  # as Stable Diffusion 2 is: linear projections around the transformer, v-prediction
    net = randomise(unet((8, 12), layers_per_block=1, norm_num_groups=4, use_linear_projection=True, attention_head_dim=[1, 2],
                         down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
                         up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"]), "unet-sd2")
    net.save_pretrained(f"{d}/unet")
    write_tensors(f"{d}/unet/{WEIGHTS}", net.state_dict(), torch.float16)
    write_json(f"{d}/scheduler/scheduler_config.json", {
        "_class_name": "DDIMScheduler", "_diffusers_version": "0.8.0", **BETAS, "clip_sample": False,
        "prediction_type": "v_prediction", "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
        "trained_betas": None})
