// Converts weights between namings: a model's tensor names here and in other programs' files, as data.
//
// A model's folder defines the rules (weight_names.h); this file applies them in both directions. Reading is strict:
// every tensor of the model must be in the file with the right shape, and every tensor of the file must be known.
// Failures are ModelErrors that count the differences and name the first few.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <torch/nn/module.h>
#include <torch/types.h>

#include "formats/weight_store.h"
#include "nn/tensor_io.h"

namespace millrace {

// Whose names a file uses; each model knows some of them. BFL is Black Forest Labs, FLUX's authors.
enum class Naming { kBfl, kDiffusers, kTorchtitan, kHuggingFace };
std::string_view naming_name(Naming naming);  // "bfl", "diffusers", "torchtitan", "huggingface"
Naming parse_naming(std::string_view text);   // throws ConfigError naming the nearest

// One tensor of a file and its place in one of our parameters.
struct WeightRule {
  std::string ours;
  std::string theirs;
  // The rows (dimension 0) of ours that theirs holds; -1 is the last. Several rules may together cover one
  // parameter.
  int64_t row_begin = 0;
  int64_t row_end = -1;
  bool swap_halves = false;  // theirs has the two halves of dimension 0 in the other order
  bool squeeze_1x1 = false;  // ours is a 1x1 convolution [C, D, 1, 1], theirs a linear layer [C, D]
};
using WeightRules = std::vector<WeightRule>;

// Names that a reader skips without complaint: exact, or a prefix if they end in '.'.
using IgnorableNames = std::vector<std::string>;

using ShapeMap = std::map<std::string, std::vector<int64_t>>;
ShapeMap shapes_of(const WeightStore& store);
ShapeMap shapes_of(const torch::nn::Module& module);
ShapeMap shapes_of(const TensorMap& tensors);

// Identity rules, for a file in our own naming.
WeightRules identity_rules(const ShapeMap& ours);

// Throws ModelError unless the store holds exactly the tensors that the rules name, in floating point, with shapes that
// give `ours`. what: the model's name for the message.
void check_weights(const std::string& what, const ShapeMap& ours, const WeightStore& store, const WeightRules& rules,
                   const IgnorableNames& ignorable = {});

// Checks, then copies every tensor into the module's parameters, converting to their dtype and device.
void load_weights(torch::nn::Module& module, const WeightStore& store, const WeightRules& rules,
                  const IgnorableNames& ignorable = {});

// Checks, then returns the tensors under our names, in the file's dtypes, bit for bit. Where possible they share the
// mapped file's read-only memory.
TensorMap import_weights(const std::string& what, const ShapeMap& ours, const WeightStore& store,
                         const WeightRules& rules, const IgnorableNames& ignorable = {});

// The same for one of our tensors, for when not all of them fit in memory or are wanted. rules: of that tensor; the
// store must have passed check_weights().
std::map<std::string, WeightRules> rules_by_parameter(const WeightRules& rules);
torch::Tensor import_tensor(const WeightStore& store, const WeightRules& rules);

// Our tensors (weights, or gradients) under their names: the exact inverse. Tensors missing from `ours` are left out,
// so that frozen parameters need no gradients. Results share memory with `ours` where possible.
TensorMap export_weights(const TensorMap& ours, const WeightRules& rules);

TensorMap parameters_of(const torch::nn::Module& module);

struct SaveWeightsOptions {
  // A folder gets <base_name>.safetensors, or, above max_shard_bytes, Hugging Face's numbered shards
  // <base_name>-00001-of-00003.safetensors and <base_name>.safetensors.index.json.
  std::string base_name = "model";
  uint64_t max_shard_bytes = uint64_t{5} * 1000 * 1000 * 1000;
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  // If set, makes each tensor when it is written; the given ones then only tell shapes and types. See save_tensors().
  TensorSource source = nullptr;
};

// Writes one file when path ends in ".safetensors", else a folder. The index is written last: a reader never finds an
// index whose shards are missing.
void save_weights(const std::filesystem::path& path, const TensorMap& tensors, const SaveWeightsOptions& options = {});

}  // namespace millrace
