// Which layers sd-scripts' network_args train, and how, as options of [lora]. What works it out knows FLUX's layers
// (tasks/flux_lora/kohya_network.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace millrace {

// An adapter of a file.
struct KohyaModule {
  int64_t rank = 0;
  double alpha = 0;
};

struct KohyaNetworkArguments {
  int64_t dim = 4;
  double alpha = 1;
  double learning_rate = 0;                   // the optimizer's, to which factors refer; 0: nothing but ranks is wanted
  std::optional<double> transformer_lr = {};  // of its layers without one of their own; none: learning_rate
  // The same of CLIP's and T5's layers; none: they are not trained.
  std::optional<double> clip_lr = {}, t5_lr = {};
  std::optional<int64_t> clip_blocks = {}, t5_blocks = {};  // of these encoders; none: as FLUX.1's
  bool trains_transformer = true;
  std::map<std::string, std::string> network_args;
  // With --dim_from_weights, by their names in the file: they alone are trained, each with its own rank and alpha.
  std::map<std::string, KohyaModule> modules = {};
};

struct KohyaLayers {
  std::vector<std::string> targets = {"all"};
  std::vector<std::string> rank_patterns, alpha_patterns, lr_patterns;
  std::optional<double> loraplus_ratio, text_encoder_loraplus_ratio;
  double rank_dropout = 0, module_dropout = 0;
  bool split_qkv = false, train_t5xxl = false;
  std::vector<std::string> notes;  // arguments that were read and change nothing
};

// Throws ConfigError naming the argument.
using KohyaLayersOf = std::function<KohyaLayers(const KohyaNetworkArguments& arguments)>;

}  // namespace millrace
