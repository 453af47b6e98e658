"""T5, CLIP and autoencoders of the published forms and tiny sizes, with random weights, as their own libraries save them."""

import gzip
import json
import random
from pathlib import Path

import open_clip
import sentencepiece
import torch
from diffusers import AutoencoderKL
from forward_parity import randomize
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

CLIP_VOCABULARY = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
WORDS = "a the red green blue cat dog apple picture photo of on in under small large two three house tree sky".split()


def write_t5_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [" ".join(random.Random(i).choices(WORDS, k=9)) for i in range(400)] + ["abcdefghijklmnopqrstuvwxyz .,!?0123456789"] * 9
    with open(folder / "spiece.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=file, vocab_size=120, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
            model_type="unigram", hard_vocab_limit=False, minloglevel=2)  # fmt: skip


def write_clip_tokenizer(folder: Path) -> None:
    """vocab.json and merges.txt as on the hub, from open_clip's vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = gzip.open(CLIP_VOCABULARY).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    symbols = list(open_clip.tokenizer.bytes_to_unicode().values())
    tokens = symbols + [s + "</w>" for s in symbols] + ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def make_t5(folder: Path, seed: int = 0, **sizes) -> T5EncoderModel:
    config = dict(d_model=24, d_kv=6, d_ff=40, num_layers=3, num_heads=3, vocab_size=256, feed_forward_proj="gated-gelu")
    module = randomize(T5EncoderModel(T5Config(**(config | sizes), dropout_rate=0.0)), seed)
    module.save_pretrained(folder)
    write_t5_tokenizer(folder)
    return module


def make_clip(folder: Path, seed: int = 0, **sizes) -> CLIPTextModel:
    config = dict(hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, vocab_size=49408,
                  max_position_embeddings=77, hidden_act="quick_gelu", eos_token_id=2, bos_token_id=0, pad_token_id=1)  # fmt: skip
    module = randomize(CLIPTextModel(CLIPTextConfig(**(config | sizes))), seed)
    module.save_pretrained(folder)
    write_clip_tokenizer(folder)
    return module


def make_autoencoder(folder: Path, seed: int = 0, channels=(32, 32), **sizes) -> AutoencoderKL:
    module = AutoencoderKL(
        block_out_channels=list(channels), down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels), use_quant_conv=False, use_post_quant_conv=False,
        **(dict(layers_per_block=1, latent_channels=4, norm_num_groups=32, scaling_factor=0.3611, shift_factor=0.1159) | sizes),
    )  # fmt: skip
    module = randomize(module, seed)
    module.save_pretrained(folder)
    return module


def bfloat16_units(tensor: torch.Tensor) -> torch.Tensor:
    """One unit in the last place of bfloat16, for each element."""
    return 2.0 ** (torch.floor(torch.log2(tensor.abs().clamp_min(1e-30))) - 7)
