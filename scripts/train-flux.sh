#!/usr/bin/env bash
# Trains a LoRA on FLUX.1-dev with sd-scripts' arguments, from environment variables (docs/compat.md). Started by
# scripts/train-main.sh, or by itself; what stands behind the script's name comes last, and so overrides. CLIP is trained, too, unless
# --network_train_unet_only stands there.
#
#   MODEL_PATH                   /workspace/flux: flux_dev.safetensors, clip_l.safetensors, t5xxl_fp16.safetensors,
#                                ae.safetensors, and the tokenizers, as `millrace download flux-dev-lora-set` leaves them
#   OUTPUT_PATH                  /workspace/output: LoRA files, samples, logs
#   OUTPUT_NAME                  of the LoRA file, without its ending. By default a hash of the data set file and the time of
#                                the first start, as in `runpodctl send /workspace/output/7318cd4a8c75-1740076123.safetensors`:
#                                files of several runs do not meet under one name. A restarted run keeps it
#   DATASET_CONFIG               data set file of sd-scripts
#   SAMPLE_PROMPTS               file of prompts; empty: no sample pictures
#   PARAMS_OPTIMIZER_TYPE        prodigy
#   PARAMS_OPTIMIZER_ARGS        more arguments of the optimizer, blanks between them: "d0=1e-5 betas=0.9,0.99"
#   PARAMS_D_COEF                1; of Prodigy and ProdigyPlusScheduleFree, has no effect on others, and a warning says so
#   PARAMS_WEIGHT_DECAY          0.01
#   PARAMS_LEARNING_RATE         1; right for Prodigy
#   PARAMS_LEARNING_SCHEDULER    cosine
#   PARAMS_NUM_CYCLES            1; of schedules that have cycles
#   PARAMS_MAX_EPOCHS            10
#   PARAMS_NETWORK_DIM           8
#   PARAMS_NETWORK_ALPHA         8
#   PARAMS_NOISE_OFFSET          empty; has no effect on FLUX, and a warning says so
#   PARAMS_SPLIT_QKV             False; True: a pair of matrices each for q, k, v and the MLP of a fused layer
#   PARAMS_SAVE_EVERY_N_STEPS    100
#   PARAMS_SAMPLE_EVERY_N_STEPS  100
#   PARAMS_RESUME_FROM           a checkpoint in OUTPUT_PATH, such as /workspace/output/checkpoint/step-00000100, to which the run goes
#                                back once: newer ones are set aside in OUTPUT_PATH/set_aside-TIME, so that a pod that is started
#                                again resumes from its newest. Empty: the newest
#   PARAMS_SEED                  42
#   NGPU                         1; ranks on this machine
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=${MILLRACE:-$here/../build/millrace}
if [[ ! -x $program ]]; then program=$(command -v millrace || true); fi
if [[ -z $program ]]; then
  echo "train-flux: [MILLRACE] expected the program, got none (try scripts/build.sh)" >&2
  exit 2
fi

PARAMS_SPLIT_QKV=${PARAMS_SPLIT_QKV:-False}
case ${PARAMS_SPLIT_QKV,,} in
  true | 1 | yes | on | false | 0 | no | off | none) ;;
  *)
    echo "train-flux: [PARAMS_SPLIT_QKV] expected True or False, got $PARAMS_SPLIT_QKV" >&2
    exit 2
    ;;
esac

MODEL_PATH=${MODEL_PATH:-/workspace/flux}
OUTPUT_PATH=${OUTPUT_PATH:-/workspace/output}
optimizer=${PARAMS_OPTIMIZER_TYPE:-prodigy}

# A pod that is started again resumes its run, and so must keep the name.
name_file=$OUTPUT_PATH/output_name.txt
if [[ -z ${OUTPUT_NAME:-} && -s $name_file ]]; then OUTPUT_NAME=$(< "$name_file"); fi
if [[ -z ${OUTPUT_NAME:-} ]]; then
  hash=$(cat -- "${DATASET_CONFIG:-/dev/null}" 2> /dev/null | sha256sum | cut -c 1-12 || true)  # which may not be there
  OUTPUT_NAME=$hash-$(date +%s)
  if [[ -z ${DRY_RUN:-} ]]; then
    mkdir -p -- "$OUTPUT_PATH"
    echo "$OUTPUT_NAME" > "$name_file"
  fi
fi

# A pod that is started again has the same variables, and must not go back again.
resume_from=${PARAMS_RESUME_FROM:-}
while [[ $resume_from == */ ]]; do resume_from=${resume_from%/}; done
went_back=$OUTPUT_PATH/resumed_from.txt
if [[ -n $resume_from && -s $went_back && $(< "$went_back") == "$resume_from" ]]; then resume_from=; fi
back_to=
if [[ ${resume_from##*/} =~ step-?([0-9]+)(-state)?$ && $(realpath -m -- "$resume_from") == "$(realpath -m -- "$OUTPUT_PATH")"/* ]]; then
  back_to=$(printf 'step-%08d' "$((10#${BASH_REMATCH[1]}))")
fi
if [[ -n $back_to && -z ${DRY_RUN:-} && -d $OUTPUT_PATH/checkpoint/$back_to ]]; then
  aside=$OUTPUT_PATH/set_aside-$(date +%s)
  for folder in "$OUTPUT_PATH"/checkpoint/step-*; do
    if [[ ${folder##*/} > $back_to ]]; then
      mkdir -p -- "$aside"
      mv -- "$folder" "$aside/"
    fi
  done
  echo "$resume_from" > "$went_back"
fi

optimizer_args=("weight_decay=${PARAMS_WEIGHT_DECAY:-0.01}")
rule=${optimizer##*.}
case ${rule,,} in
  prodigy) optimizer_args+=("d_coef=${PARAMS_D_COEF:-1}") ;;
  prodigyplusschedulefree) if [[ -n ${PARAMS_D_COEF:-} ]]; then optimizer_args+=("d_coef=$PARAMS_D_COEF"); fi ;;
  *) if [[ -n ${PARAMS_D_COEF:-} ]]; then echo "train-flux: warning: [PARAMS_D_COEF] has no effect on $optimizer" >&2; fi ;;
esac
if [[ -n ${PARAMS_OPTIMIZER_ARGS:-} ]]; then
  read -r -a more <<< "$PARAMS_OPTIMIZER_ARGS"
  optimizer_args+=("${more[@]}")
fi

arguments=(
  --pretrained_model_name_or_path "$MODEL_PATH/flux_dev.safetensors"
  --clip_l "$MODEL_PATH/clip_l.safetensors"
  --t5xxl "$MODEL_PATH/t5xxl_fp16.safetensors"
  --ae "$MODEL_PATH/ae.safetensors"
  --dataset_config "${DATASET_CONFIG:-}"
  --output_dir "$OUTPUT_PATH"
  --output_name "$OUTPUT_NAME"
  --logging_dir "$OUTPUT_PATH/logs"
  --network_module networks.lora_flux
  --network_dim "${PARAMS_NETWORK_DIM:-8}"
  --network_alpha "${PARAMS_NETWORK_ALPHA:-8}"
  --optimizer_type "$optimizer"
  --optimizer_args "${optimizer_args[@]}"
  --learning_rate "${PARAMS_LEARNING_RATE:-1}"
  --lr_scheduler "${PARAMS_LEARNING_SCHEDULER:-cosine}"
  --lr_scheduler_num_cycles "${PARAMS_NUM_CYCLES:-1}"
  --max_train_epochs "${PARAMS_MAX_EPOCHS:-10}"
  --save_every_n_steps "${PARAMS_SAVE_EVERY_N_STEPS:-100}"
  --save_precision bf16
  --seed "${PARAMS_SEED:-42}"
  --timestep_sampling flux_shift
  --model_prediction_type raw
  --guidance_scale 1.0
  --mixed_precision bf16
  --fp8_base
  --gradient_checkpointing
  --cache_latents_to_disk
  --cache_text_encoder_outputs_to_disk
)
if [[ -n ${SAMPLE_PROMPTS:-} ]]; then
  arguments+=(--sample_prompts "$SAMPLE_PROMPTS" --sample_every_n_steps "${PARAMS_SAMPLE_EVERY_N_STEPS:-100}")
fi
if [[ -n ${PARAMS_NOISE_OFFSET:-} ]]; then arguments+=(--noise_offset "$PARAMS_NOISE_OFFSET"); fi
case ${PARAMS_SPLIT_QKV,,} in
  true | 1 | yes | on) arguments+=(--network_args split_qkv=True) ;;
esac
if [[ -n $resume_from ]]; then arguments+=(--resume "$resume_from"); fi

command=("$program")
if ((${NGPU:-1} > 1)); then command+=(launch -n "$NGPU"); fi
command+=(kohya flux_train_network "${arguments[@]}" "$@")
if [[ -n ${DRY_RUN:-} ]]; then
  printf '%q ' "${command[@]}"
  echo
  exit
fi
echo "train-flux: the LoRA file will be $OUTPUT_PATH/$OUTPUT_NAME.safetensors" >&2
exec "${command[@]}"
