"""A GGUF file of ours in llama.cpp: it tokenizes the same, and its probabilities are those of transformers."""

import json
import shutil
import urllib.request
from pathlib import Path

import pytest
import sentencepiece
import torch
import xllamacpp
from forward_parity import randomize
from mixed_text import TEKKEN
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

BASE = Path(__file__).resolve().parents[1] / "golden" / "llama" / "recipes" / "base"
VOCAB_SIZE = 492
# Wavelengths are stretched from 16 positions on, so that a wrong stretch shows at once.
ROPE = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 5e5}
SIZES = dict(vocab_size=VOCAB_SIZE, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=512, rms_norm_eps=1e-5)
MODELS = {
    "llama3, tied": dict(num_key_value_heads=2, tie_word_embeddings=True, rope_parameters=ROPE),
    "llama, a head of 32": dict(num_key_value_heads=4, head_dim=32),
}
# Absolute, of log probabilities over the whole vocabulary. llama.cpp multiplies matrices of 16 and 8 bits by
# activations that it rounds to as many; the values seen are 8.6e-6, 3.0e-3 and 0.13.
TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "q8_0": 0.4}
TEXTS = ["Where is the river?", "I'LL don't 12345 1.5\n\n  x\ty", "Привет, мир! 你好世界", "🙂👩‍💻", " ", "\n\n \n", "a" * 50, "<|eot_id|>"]


def serve(path):
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx, settings.n_parallel, settings.n_gpu_layers = 128, 1, 0
    settings.cpuparams.n_threads, settings.warmup, settings.verbosity = 1, False, -1
    # Its other attention computes in 16 bits.
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    return xllamacpp.Server(settings)


def log_probabilities(server, ids):
    """Of the next token, over the whole vocabulary. The bias makes it choose a token that is text on its own."""
    request = {"prompt": ids, "n_predict": 1, "temperature": 0.0, "n_probs": VOCAB_SIZE, "cache_prompt": False, "logit_bias": [[66, 1000.0]]}
    answer = server.handle_completions(request)
    answer = json.loads(answer) if isinstance(answer, str) else answer
    listed = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    result = torch.empty(VOCAB_SIZE)
    result[[token["id"] for token in listed]] = torch.tensor([token["logprob"] for token in listed])
    assert len({token["id"] for token in listed}) == VOCAB_SIZE
    return result


def tokenize(server, text):
    body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
    request = urllib.request.Request(f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["tokens"]


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_those_of_transformers(millrace, tmp_path, name):
    module = randomize(LlamaForCausalLM(LlamaConfig(**SIZES, **MODELS[name], attn_implementation="eager")))
    module.save_pretrained(tmp_path / "model")
    for file in ("tokenizer.json", "generation_config.json"):
        shutil.copy(BASE / file, tmp_path / "model")
    generator = torch.Generator().manual_seed(3)
    prompts = [torch.randint(3, 450, (length,), generator=generator).tolist() for length in (1, 5, 40, 100)]
    with torch.no_grad():
        expected = [torch.log_softmax(module(torch.tensor([ids])).logits[0, -1], -1) for ids in prompts]
    for dtype, tolerance in TOLERANCES.items():
        path = tmp_path / f"{dtype}.gguf"
        millrace("export", tmp_path / "model", path, "--model", "llama", "--format", "gguf", "--dtype", dtype)
        server = serve(path)
        for ids, theirs in zip(prompts, expected, strict=True):
            assert (log_probabilities(server, ids) - theirs).abs().max() <= tolerance, (dtype, len(ids))


def test_texts_become_the_same_tokens(millrace, tmp_path):
    path = tmp_path / "model.gguf"
    millrace("export", BASE, path, "--model", "llama", "--format", "gguf", "--dtype", "q8_0")
    server = serve(path)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    ours = [json.loads(line)["ids"] for line in millrace("tokenize", "--tokenizer", path, input=lines).stdout.splitlines()]
    assert [tokenize(server, text) for text in TEXTS] == ours
    with urllib.request.urlopen(f"{server.listening_address}/props", timeout=60) as answer:
        properties = json.load(answer)
    assert (properties["bos_token"], properties["eos_token"]) == ("<|begin_of_text|>", "<|end_of_text|>")


# Mistral's two kinds of vocabulary


def model_with(folder, tokenizer):
    """The base model with another tokenizer of as many tokens at most."""
    folder.mkdir()
    for file in BASE.iterdir():
        shutil.copy(file, folder)
    (folder / "tokenizer.json").write_text(tokenizer)
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    return folder


def ids_in_gguf(millrace, model, path):
    """Of each of the texts, from the vocabulary in a GGUF file: llama.cpp's and ours."""
    millrace("export", model, path, "--model", "llama", "--format", "gguf", "--dtype", "q8_0")
    server = serve(path)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    ours = [json.loads(line)["ids"] for line in millrace("tokenize", "--tokenizer", path, input=lines).stdout.splitlines()]
    return [tokenize(server, text) for text in TEXTS], ours


CORPUS = ["The cat dreams of a river, 12345 times!", "Where is the CAT's dream? HTTPServer", "Привет, мир! river//\n\n  cat"] * 50


def test_tekken_becomes_the_same_tokens(millrace, tmp_path):
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(TEKKEN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, special_tokens=["<unk>", "<s>", "</s>"]))  # fmt: skip
    theirs, ours = ids_in_gguf(millrace, model_with(tmp_path / "model", tokenizer.to_str()), tmp_path / "model.gguf")
    assert theirs == ours == [one.ids for one in tokenizer.encode_batch(TEXTS)]


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_becomes_the_same_tokens(millrace, tmp_path, prefix):
    with open(tmp_path / "tokenizer.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS), model_writer=file, vocab_size=400, model_type="bpe", byte_fallback=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix,
            allow_whitespace_only_pieces=True, split_digits=True, minloglevel=2)  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    tokens = [pieces.id_to_piece(i) for i in range(pieces.vocab_size())]
    scores = {token: pieces.get_score(i) for i, token in enumerate(tokens) if not (pieces.is_control(i) or pieces.is_byte(i) or pieces.is_unknown(i))}
    merges = [(score, [token[:cut], token[cut:]]) for token, score in scores.items() for cut in range(1, len(token)) if token[:cut] in scores and token[cut:] in scores]
    merges.sort(key=lambda merge: -merge[0])
    normalizer = [normalizers.Prepend("▁")] * prefix + [normalizers.Replace(" ", "▁")]
    tokenizer = Tokenizer(models.BPE(dict(zip(tokens, range(len(tokens)))), [tuple(pair) for _, pair in merges], byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(normalizer)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *[decoders.Strip(" ", 1, 0)] * prefix])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    theirs, ours = ids_in_gguf(millrace, model_with(tmp_path / "model", tokenizer.to_str()), tmp_path / "model.gguf")
    assert theirs == ours == pieces.encode(TEXTS)
