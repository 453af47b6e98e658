// The validation loss. torchtitan's [validation] and the MLPerf branch's [eval] are both this section.
#pragma once

#include <cstdint>
#include <string>

#include "config/option.h"

namespace millrace {

struct ValidationConfig {
  bool enable = false;
  int64_t local_batch_size = 8;
  int64_t freq = 10;
  int64_t freq_samples = 0;  // when not 0, replaces freq
  int64_t steps = -1;
  double target_loss = 0;  // 0: train to the end
  int64_t patience = 0;    // validations; 0: train to the end

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(enable, {.name = "enable", .meaning = "validate during training; eval.dataset also switches it on"});
    visit(local_batch_size, {.name = "local_batch_size",
                             .unit = "samples",
                             .meaning = "samples that one rank processes at a time",
                             .at_least = 1,
                             .at_most = 1 << 24,
                             .aliases = {"eval.batch_size"},
                             .torchtitan_default = "16 in the MLPerf branch"});
    visit(freq, {.name = "freq", .unit = "steps", .meaning = "steps between two validations", .at_least = 1});
    visit(freq_samples, {.name = "freq_samples",
                         .unit = "samples",
                         .meaning = "training samples between two validations, rounded up to whole steps; 0: freq",
                         .at_least = 0,
                         .aliases = {"eval.eval_freq"}});
    visit(steps, {.name = "steps",
                  .unit = "batches",
                  .meaning = "batches of one validation; -1: the whole data set",
                  .at_least = -1});
    visit(target_loss, {.name = "target_loss",
                        .meaning = "stop when the validation loss is at most this; 0: train to the end",
                        .at_least = 0,
                        .aliases = {"eval.target_eval_loss"},
                        .torchtitan_default = "0.586 in the MLPerf branch"});
    visit(patience, {.name = "patience",
                     .unit = "validations",
                     .meaning = "stop after so many validations without a better loss than the best so far; 0: train "
                                "to the end",
                     .at_least = 0});
  }
  bool operator==(const ValidationConfig&) const = default;
};

}  // namespace millrace
