// The parts of kohya_translate.h, by theme (internal to compat/). Each sets its options of ours, and refuses what
// cannot be had.
#pragma once

#include <optional>
#include <string>

#include "compat/kohya_translate.h"

namespace millrace {

struct KohyaTranslator {
  const KohyaArguments& args;
  const KohyaSurroundings& around;
  Translation& out;

  TheirSetting from(const std::string& name) const;  // of --name, as given or by default
  // What sd-scripts writes of the optimizer into LoRA files; empty for one that is refused.
  std::string optimizer_text() const;
  // The learning rate is an argument's, not the optimizer's own.
  bool has_own_rate() const;
  double transformer_rate() const;
  double base_rate() const;  // the optimizer's: where the transformer's is 0, of text encoders or layers
  // Optimizer steps of an epoch.
  int64_t steps_per_epoch() const;

  void models();     // which files hold the four networks
  void data();       // the data sets, and caches of their encodings
  void network();    // what is trained: rank, alpha, layers, dropouts
  void objective();  // times, prediction, loss
  void optimizer();
  void schedule();
  void torch_schedule();  // of --lr_scheduler_type
  void steps();           // how long, in which batches, in which precision
  void saving();          // LoRA files and checkpoints
  void metadata();        // of LoRA files; what has an option of its own is set before
  void observing();       // samples, validation, logs
};

}  // namespace millrace
