// The validation loss. torchtitan's [validation] and the MLPerf branch's [eval] are both this section.
#pragma once

#include <cstdint>
#include <string>

#include "config/dataset_kind.h"
#include "config/option.h"

namespace millrace {

struct ValidationConfig {
  bool enable = false;
  std::string dataset;
  std::string dataset_path;
  int64_t local_batch_size = 8;
  int64_t freq = 10;
  int64_t freq_samples = 0;  // when not 0, replaces freq
  int64_t steps = -1;
  double target_loss = 0;  // 0: train to the end
  bool all_timesteps = false;
  std::string save_img_folder;
  int64_t save_img_count = 16;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(enable, {.name = "enable", .meaning = "validate during training; eval.dataset switches it on as well"});
    visit(dataset, {.name = "dataset",
                    .meaning = "kind of the validation data, as in training.dataset; empty: the same kind",
                    .choices = validation_dataset_names(),
                    .none_is_empty = true,
                    .aliases = {"eval.dataset"},
                    .torchtitan_default = "c4_validation"});
    visit(dataset_path, {.name = "dataset_path",
                         .meaning = "where the validation data is",
                         .none_is_empty = true,
                         .aliases = {"eval.dataset_path"}});
    visit(local_batch_size, {.name = "local_batch_size",
                             .unit = "samples",
                             .meaning = "samples that one rank computes at a time",
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
    visit(all_timesteps, {.name = "all_timesteps", .meaning = "every sample at all 8 timesteps, not at one of them"});
    visit(save_img_folder,
          {.name = "save_img_folder",
           .meaning = "folder in job.dump_folder for a grid of pictures at each validation, drawn as [sample] says "
                      "from the first captions of the validation data; empty: none",
           .none_is_empty = true,
           .aliases = {"eval.save_img_folder"},
           .torchtitan_default = "img"});
    visit(save_img_count, {.name = "save_img_count",
                           .unit = "pictures",
                           .meaning = "how many captions validation.save_img_folder gets a picture of",
                           .at_least = 0,
                           .at_most = 1024,
                           .torchtitan_default = "1; of the MLPerf branch a batch of each rank"});
  }
  bool operator==(const ValidationConfig&) const = default;
};

}  // namespace millrace
