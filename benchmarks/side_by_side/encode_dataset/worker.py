"""The same work with transformers, diffusers, PIL and datasets; see run.py.

    worker.py CONFIG.toml OUTPUT      lines on stdin: t5, clip, autoencoder or whole
"""

import io
import json
import pathlib
import resource
import sys
import tarfile
import time
import tomllib

import datasets
import numpy
import torch
from datasets.arrow_writer import ArrowWriter
from diffusers import AutoencoderKL
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from process_peak import peak_bytes  # noqa: E402


def main():
    with open(sys.argv[1], "rb") as file:
        config = tomllib.load(file)
    encoder, training = config["encoder"], config["training"]
    t5_tokenizer = T5Tokenizer.from_pretrained(encoder["t5_encoder"])
    clip_tokenizer = CLIPTokenizer.from_pretrained(encoder["clip_encoder"])
    dtype = getattr(torch, training["mixed_precision_param"])
    t5 = T5EncoderModel.from_pretrained(encoder["t5_encoder"], dtype=dtype).eval()
    clip = CLIPTextModel.from_pretrained(encoder["clip_encoder"], dtype=dtype).eval()
    autoencoder = AutoencoderKL.from_pretrained(encoder["autoencoder_path"], torch_dtype=dtype).eval()
    autoencoder.decoder = None
    batch, size = training["batch_size"], training["img_size"]
    samples = []
    with tarfile.open(training["dataset_path"]) as tar:
        offsets = [(member.name, member.offset_data, member.size) for member in tar.getmembers()]
    members = {}
    for name, offset, length in offsets:
        key, extension = name.split(".")
        members.setdefault(key, {})[extension] = (offset, length)
    samples = sorted(members.items())
    features = datasets.Features(
        {"__key__": datasets.Value("string"), "t5_encodings": datasets.Value("binary"), "clip_encodings": datasets.Value("binary"),
         "mean": datasets.Value("binary"), "logvar": datasets.Value("binary"), "timestep": datasets.Value("int32")})  # fmt: skip

    def encode_t5(captions):
        ids = t5_tokenizer(captions, max_length=encoder["max_t5_encoding_len"], padding="max_length", truncation=True, return_tensors="pt")
        return t5(input_ids=ids.input_ids).last_hidden_state

    def encode_clip(captions):
        ids = clip_tokenizer(captions, max_length=77, padding="max_length", truncation=True, return_tensors="pt")
        return clip(input_ids=ids.input_ids).pooler_output

    def moments(pictures):
        return autoencoder.encoder(pictures.to(dtype)).chunk(2, dim=1)

    def blob(tensor):
        buffer = io.BytesIO()
        numpy.save(buffer, tensor.bfloat16().view(torch.int16).numpy().view(numpy.uint16))
        return buffer.getvalue()

    def whole(begin):
        pictures, captions = [], []
        with open(training["dataset_path"], "rb") as tar:
            for _, fields in samples[begin : begin + batch]:
                tar.seek(fields["png"][0])
                picture = Image.open(io.BytesIO(tar.read(fields["png"][1]))).convert("RGB")
                pictures.append(torch.from_numpy(numpy.asarray(picture).copy()).permute(2, 0, 1).float() / 255 * 2 - 1)
                tar.seek(fields["txt"][0])
                captions.append(tar.read(fields["txt"][1]).decode())
        t5_encodings, clip_encodings = encode_t5(captions), encode_clip(captions)
        mean, logvar = moments(torch.stack(pictures))
        with ArrowWriter(path=sys.argv[2], features=features) as writer:
            for i, (key, _) in enumerate(samples[begin : begin + batch]):
                writer.write({"__key__": key, "t5_encodings": blob(t5_encodings[i]), "clip_encodings": blob(clip_encodings[i]),
                              "mean": blob(mean[i]), "logvar": blob(logvar[i]), "timestep": None})  # fmt: skip
            writer.finalize()

    captions = [f"a photograph of the number {i} on a wooden table" for i in range(batch)]
    pictures = torch.rand(batch, 3, size, size) * 2 - 1
    print(json.dumps({"ready": True}), flush=True)
    begin = 0
    with torch.inference_mode():
        for line in sys.stdin:
            wall, usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
            match line.strip():
                case "t5":
                    encode_t5(captions)
                case "clip":
                    encode_clip(captions)
                case "autoencoder":
                    moments(pictures)
                case "whole":
                    begin = begin if begin + batch <= len(samples) else 0
                    whole(begin)
                    begin += batch
            wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_SELF)
            cpu = after.ru_utime - usage.ru_utime + after.ru_stime - usage.ru_stime
            print(json.dumps({"seconds": wall, "cpu": cpu, "peak": peak_bytes()}), flush=True)


if __name__ == "__main__":
    main()
