// Adapters as they are configured: the section [lora].
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "adapters/adapter_kind.h"
#include "adapters/layer_numbers.h"
#include "config/option.h"
#include "config/problems.h"

namespace millrace {

constexpr std::array<Choice<AdapterKind>, 4> choices_of(AdapterKind) {
  return {{{"lora", AdapterKind::kLora},
           {"dora", AdapterKind::kDora},
           {"loha", AdapterKind::kLoha},
           {"lokr", AdapterKind::kLokr}}};
}

struct LoraConfig {
  AdapterKind kind = AdapterKind::kLora;
  int64_t rank = 16;
  std::optional<double> alpha = {};  // None: rank
  bool rank_stabilised = false;
  std::vector<std::string> targets = {"all"};
  std::vector<std::string> rank_patterns = {}, alpha_patterns = {}, lr_patterns = {};  // "pattern=number"
  std::optional<double> loraplus_ratio = {};
  std::optional<int64_t> lokr_factor = {};
  bool lokr_decompose_both = false;

  double dropout = 0, rank_dropout = 0, module_dropout = 0;
  std::optional<double> scale_weight_norms = {};

  std::string initial_adapter = {};
  std::vector<std::string> base_weights = {}, base_weights_multiplier = {};
  std::string base_dtype = "auto";
  std::string offload_blocks = "0";  // "auto" or a number

  std::string save_dtype = "auto";
  std::string training_comment = {};
  std::vector<std::string> metadata = {};  // "key=text"
  bool no_metadata = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(kind, {.name = "kind",
                 .meaning = "lora: a product of two thin matrices; dora: that, with the length of each row trained "
                            "apart; loha: the elementwise product of two such products; lokr: a Kronecker product"});
    visit(rank, {.name = "rank",
                 .meaning = "rank of each adapter: the width between its two matrices",
                 .at_least = 1,
                 .at_most = 1 << 16});
    visit(alpha, {.name = "alpha",
                  .meaning = "adapters are scaled by alpha / rank; None: alpha = rank, a scale of 1",
                  .above = 0});
    visit(rank_stabilised,
          {.name = "rank_stabilised", .meaning = "scale by alpha / sqrt(rank), so that large ranks learn as fast"});
    visit(targets, {.name = "targets",
                    .meaning = "layers that get an adapter: all (every linear layer of the blocks), attention, or "
                               "patterns of layer names: double_blocks.*.img_mlp.*, single_blocks.{0,8-12}.*, or "
                               "after re: a regular expression that a part of the name matches"});
    visit(rank_patterns, {.name = "rank_patterns",
                          .meaning = "ranks of their own for layers by name, as \"double_blocks.*.img_mod.*=4\" or "
                                     "\"re:_(attn|mlp)=4\"; the first pattern that fits counts; 0: no adapter there"});
    visit(alpha_patterns, {.name = "alpha_patterns",
                           .meaning = "an alpha of their own for layers by name, likewise; the first pattern that fits "
                                      "counts"});
    visit(lr_patterns, {.name = "lr_patterns",
                        .meaning = "factors on optimizer.lr for layers by name, as \"single_blocks.*=0.5\"; the first "
                                   "pattern that fits counts; 0: not trained"});
    visit(loraplus_ratio, {.name = "loraplus_ratio",
                           .meaning = "LoRA+: factor on the learning rate of up matrices; None: 1",
                           .above = 0});
    visit(lokr_factor, {.name = "lokr_factor",
                        .meaning = "size of lokr's first matrix, where it divides that of the layer; None: as near as "
                                   "possible to the second's",
                        .at_least = 2});
    visit(lokr_decompose_both, {.name = "lokr_decompose_both",
                                .meaning = "lokr's first matrix is a product of two of the rank, too, if it is large"});
    visit(dropout, {.name = "dropout",
                    .meaning = "part of the numbers that a training pass leaves out: between down and up matrix, of "
                               "language models those that adapters read",
                    .at_least = 0,
                    .below = 1});
    visit(rank_dropout, {.name = "rank_dropout",
                         .meaning = "part of the ranks that each sample leaves out, in each layer",
                         .at_least = 0,
                         .below = 1});
    visit(module_dropout, {.name = "module_dropout",
                           .meaning = "part of the adapters that each sample leaves out",
                           .at_least = 0,
                           .below = 1});
    visit(scale_weight_norms, {.name = "scale_weight_norms",
                               .meaning = "the largest Frobenius norm of what an adapter adds to its layer: both "
                                          "matrices shrink after each step where it is above; None: no limit",
                               .above = 0});
    visit(initial_adapter, {.name = "initial_adapter",
                            .meaning = "a LoRA file (kohya's, PEFT's, diffusers') whose matrices training starts from",
                            .none_is_empty = true});
    visit(base_weights,
          {.name = "base_weights", .meaning = "LoRA files that are added to the frozen weights before training"});
    visit(base_weights_multiplier,
          {.name = "base_weights_multiplier", .meaning = "how much of each of base_weights is added; none given: 1"});
    visit(base_dtype, {.name = "base_dtype",
                       .meaning = "how the large frozen matrices are stored: auto (in the dtype of the computation), "
                                  "8 or 4 bits, or gguf (the blocks of a GGUF file)",
                       .choices = {"auto", "fp8", "fp8_unscaled", "int8", "nf4", "nf4_torchao", "gguf"}});
    visit(offload_blocks, {.name = "offload_blocks",
                           .unit = "blocks",
                           .meaning = "how many frozen blocks lie in host memory, each fetched to the GPU while the "
                                      "one before it computes; auto: as few as fit (on a CPU: 0)"});
    visit(save_dtype, {.name = "save_dtype",
                       .meaning = "of lora.safetensors; auto: the dtype of the computation",
                       .choices = {"auto", "fp32", "bf16", "fp16"}});
    visit(
        training_comment,
        {.name = "training_comment", .meaning = "a text for the metadata of lora.safetensors", .none_is_empty = true});
    visit(metadata, {.name = "metadata",
                     .meaning = "facts for the metadata of lora.safetensors, as \"author=A. Name\": title, author, "
                                "description, license, tags, usage_hint, thumbnail, merged_from, trigger_phrase, "
                                "preprocessor, is_negative_embedding, output_name, optimizer, "
                                "lr_scheduler, or any as ss_NAME"});
    visit(no_metadata,
          {.name = "no_metadata", .meaning = "lora.safetensors says no more than what programs recognise it by"});
  }
  bool operator==(const LoraConfig&) const = default;
};

// Adds a problem for every option whose text cannot be read, or that has no effect beside the others.
void check_lora(const LoraConfig& config, Problems& problems);

// What the product of an adapter's matrices is multiplied by: alpha / rank, or with rank_stabilised over its root.
double scale_of_rank(const LoraConfig& config, int64_t rank);  // of layers without an alpha of their own
class LoraScales {
 public:
  explicit LoraScales(const LoraConfig& config);
  double alpha_of(const std::string& layer, int64_t rank) const;
  double of(const std::string& layer, int64_t rank) const;

 private:
  std::optional<double> alpha_;
  bool rank_stabilised_;
  LayerNumbers own_alphas_;
};

// lora.offload_blocks; none: auto. Throws ConfigError for what is neither.
std::optional<int64_t> offload_blocks_of(const LoraConfig& config);
// One factor for each of base_weights.
std::vector<double> base_multipliers(const LoraConfig& config);

}  // namespace millrace
