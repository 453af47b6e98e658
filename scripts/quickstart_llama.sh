#!/usr/bin/env bash
# What `./quickstart.sh llama` and `./quickstart.sh pirate` do once the program is built: fetch a small language model, make
# its data, train LoRA adapters, and ask it the same questions before and after.
#
#   scripts/quickstart_llama.sh llama|pirate [--section.key=value ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

what=$1
shift
config=configs/quickstart_$what.toml
data=data/quickstart_$what
run=outputs/quickstart_$what
for argument in "$@"; do
  if [[ $argument == --job.dump_folder=* ]]; then run=${argument#*=}; fi
done

scripts/fetch_smollm2.sh
if [[ $what == llama ]]; then
  sentences=(configs/quickstart_sentences.txt --count 480 --held-out 100)
  answers=()
  prompt="The wizard gave the ghost a balloon."
else
  sentences=(configs/quickstart_pirate_sentences.txt --count 162 --held-out 20)
  answers=(--by-start) # only the beginning of a pirate's answer is known
  prompt="What is a language model?"
fi
if [[ ! -e $data ]]; then build/millrace prepare sentences "${sentences[@]}" --output "$data"; fi

build/millrace train "$config" "$@"
echo
echo "What was not trained, before and after:"
build/millrace evaluate "$run" --answers "${answers[@]}"
echo
echo "All of them:           $run/report.html"
echo "Your own words:        build/millrace sample $run --prompt \"$prompt\""
echo "The adapters for PEFT: $run/adapter"
