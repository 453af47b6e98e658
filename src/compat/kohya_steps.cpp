// How long a run is, in which batches, and in which precision.
#include "base/text.h"
#include "compat/kohya_parts.h"

namespace millrace {

void KohyaTranslator::steps() {
  if (const auto epochs = args.integer("max_train_epochs")) {
    const int64_t of_epoch = steps_per_epoch();
    out.set("training.steps", *epochs * of_epoch, from("max_train_epochs"));
    out.note(from("max_train_epochs"), Fate::kBecame, "epochs of " + with_thousands(of_epoch) + " steps");
    if (args.has("max_train_steps")) {
      out.note(from("max_train_steps"), Fate::kNoEffect, "there as here, --max_train_epochs takes its place");
    }
  } else {
    out.set("training.steps", *args.integer("max_train_steps"), from("max_train_steps"));
  }
  const int64_t accumulated = *args.integer("gradient_accumulation_steps");
  const int64_t batch = around.batch_size;
  const TheirSetting batch_from = from(args.has("train_batch_size") ? "train_batch_size" : "dataset_config");
  out.set("training.local_batch_size", batch, batch_from);
  if (accumulated < 1) {
    out.refuse(from("gradient_accumulation_steps"), "expected at least 1, got " + std::to_string(accumulated));
  } else {
    out.set("training.global_batch_size", batch * accumulated * around.world_size, from("gradient_accumulation_steps"));
  }
  if (const auto seed = args.integer("seed")) {
    out.set("training.seed", *seed, from("seed"));
  } else {
    out.note(from("seed"), Fate::kBecame, "training.seed = 0: a run can be repeated (sd-scripts draws one)");
  }
  out.set("activation_checkpoint.mode", args.has("gradient_checkpointing") ? "full" : "none",
          from("gradient_checkpointing"));
  if (args.has("cpu_offload_checkpointing")) {
    if (args.has("gradient_checkpointing")) {
      out.set("activation_checkpoint.offload", true, from("cpu_offload_checkpointing"));
    } else {
      out.note(from("cpu_offload_checkpointing"), Fate::kNoEffect,
               "there as here, it does nothing without --gradient_checkpointing");
    }
  }

  const std::string precision = *args.text("mixed_precision");
  if (precision == "no") {
    out.set("training.mixed_precision_param", "float32", from("mixed_precision"));
  } else if (precision == "bf16" || precision == "fp16") {
    out.set("training.mixed_precision_param", "bfloat16", from("mixed_precision"));
    if (precision == "fp16") {
      out.note(from("mixed_precision"), Fate::kBecame, "16 bits with the exponents of float32, which cannot overflow");
    }
  } else {
    out.refuse(from("mixed_precision"), "expected one of no, bf16, fp16, got " + json_escape(precision));
  }
  if (args.has("full_bf16")) out.set("training.dtype", "bfloat16", from("full_bf16"));

  for (const char* name : {"initial_epoch", "initial_step"}) {
    const auto number = args.integer(name);
    if (number && *number > 0) {
      out.refuse(from(name), std::string("expected none, got ") + std::to_string(*number) +
                                 ": a run resumes where its newest checkpoint is, and knows the step by itself");
    }
  }
  if (args.has("skip_until_initial_step")) {
    out.note(from("skip_until_initial_step"), Fate::kSameResult, "a resumed run never repeats what it trained on");
  }
}

}  // namespace millrace
