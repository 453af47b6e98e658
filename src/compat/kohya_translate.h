// sd-scripts' flux_train_network in our words: the options of the task flux_lora.
//
// What sd-scripts does where an option is absent counts here, too (timestep_sampling sigma, network_dim 4, ...), not
// our own defaults.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "compat/kohya_arguments.h"
#include "compat/kohya_layers.h"
#include "compat/kohya_model_facts.h"
#include "compat/translation.h"

namespace millrace {

struct KohyaSurroundings {
  int64_t world_size = 1;
  KohyaModelFacts model;
  std::optional<int64_t> clip_blocks = {}, t5_blocks = {};  // count_encoder_blocks()
  // Batches of an epoch, of all data sets and ranks: asked for only where an option counts in epochs. May throw.
  std::function<int64_t()> batches_per_epoch;
  int64_t batch_size = 1;  // the most samples that a batch of one rank holds
  KohyaLayersOf layers;
  std::optional<KohyaWeightsFacts> weights;  // of --network_weights, for --dim_from_weights
  bool has_validation_split = false;         // of a data set, wherever it is said
  // What training.dataset_path is: the data set file, or the one that is written of the command line's options.
  std::string dataset_path;
};

// Throws ConfigError that lists every setting that cannot be had here, or that contradicts another.
Translation translate_kohya(const KohyaArguments& arguments, const KohyaSurroundings& surroundings);

}  // namespace millrace
