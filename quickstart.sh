#!/usr/bin/env bash
# From scratch to a small FLUX that draws emoji: sets up, builds, prepares a captioned picture set from this machine's
# emoji font (no download), trains on it and writes pictures and a report to outputs/quickstart/.
#
#   ./quickstart.sh [--section.key=value ...]
#   ./quickstart.sh lora [...]      then teaches that model a new style from twelve pictures: outputs/quickstart_lora/
#   ./quickstart.sh llama [...]     fetches a language model of 98 MB and teaches it to answer in emoji, or with
#   ./quickstart.sh pirate [...]    to talk like a pirate: outputs/quickstart_llama/, outputs/quickstart_pirate/
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

what=model
if [[ "${1:-}" =~ ^(lora|llama|pirate)$ ]]; then
  what=$1
  shift
fi

scripts/setup.sh
scripts/build.sh release millrace
if [[ $what == llama || $what == pirate ]]; then exec scripts/quickstart_llama.sh "$what" "$@"; fi
# 200 emoji that stay recognisable at 32 x 32 pixels.
if [[ ! -e data/quickstart ]]; then
  build/millrace prepare emoji --output data/quickstart --only configs/quickstart_emoji.txt --size 32
fi

if [[ $what == model ]]; then
  build/millrace train configs/quickstart.toml "$@"
  echo
  echo "Pictures through time: outputs/quickstart/samples/ and outputs/quickstart/report.html"
  echo 'Your own prompt:       build/millrace sample outputs/quickstart --prompt "red heart"'
  echo "A new style for it:    ./quickstart.sh lora"
  exit
fi

build/millrace train configs/quickstart.toml # resumes, or finds nothing left to do
build/millrace export outputs/quickstart outputs/quickstart.safetensors
build/millrace prepare emoji --output data/quickstart_duotone --only configs/quickstart_lora_emoji.txt --size 32 \
  --style duotone
build/millrace train configs/quickstart_lora.toml "$@"
build/millrace sample outputs/quickstart_lora --lora-strength 0,0.5,1 --output outputs/quickstart_lora/strengths
echo
echo "Prompts that were not among the twelve, with LoRA at 0, 0.5 and 1: outputs/quickstart_lora/strengths/grid.png"
echo "The adapters for other programs:                                   outputs/quickstart_lora/lora.safetensors"
