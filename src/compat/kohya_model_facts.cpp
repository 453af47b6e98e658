#include "compat/kohya_model_facts.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

#include "base/error.h"
#include "base/text.h"
#include "config/number_text.h"
#include "formats/element.h"
#include "formats/weight_store.h"

namespace millrace {
namespace {

// One option of [model], the tensor whose shape has it, in which naming, and FLUX.1's value.
struct SizeRow {
  const char* option;
  const char* bfl_tensor;
  const char* diffusers_tensor;
  size_t dim;
  int64_t usual;
};
constexpr std::array kSizes = std::to_array<SizeRow>({
    {"model.hidden_size", "img_in.weight", "x_embedder.weight", 0, 3072},
    {"model.in_channels", "img_in.weight", "x_embedder.weight", 1, 64},
    {"model.context_in_dim", "txt_in.weight", "context_embedder.weight", 1, 4096},
    {"model.vec_in_dim", "vector_in.in_layer.weight", "time_text_embed.text_embedder.linear_1.weight", 1, 768},
});
constexpr int64_t kUsualHeads = 24, kUsualDoubleBlocks = 19, kUsualSingleBlocks = 38;

// One more than the largest number behind prefix.
int64_t count_blocks(const WeightStore& store, std::string_view prefix) {
  int64_t count = 0;
  for (const TensorView& tensor : store.tensors()) {
    if (!starts_with(tensor.name, prefix)) continue;
    const std::string rest = tensor.name.substr(prefix.size());
    const auto number = parse_integer(rest.substr(0, rest.find('.')));
    if (number) count = std::max(count, *number + 1);
  }
  return count;
}

int64_t size_of(const WeightStore& store, const std::string& tensor, size_t dim) {
  const TensorView* found = store.find(tensor);
  return found == nullptr || found->shape.size() <= dim ? 0 : found->shape[dim];
}

}  // namespace

KohyaModelFacts read_model_facts(const std::filesystem::path& path) {
  KohyaModelFacts facts;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return facts;
  const std::filesystem::path folder = path / "transformer";
  WeightStore store(std::filesystem::is_directory(folder, ignored) ? folder : path);
  store.narrow_to(kTransformerPrefix);
  const bool is_bfl = store.find("img_in.weight") != nullptr;
  if (!is_bfl && store.find("x_embedder.weight") == nullptr) {
    throw ModelError(
        "[" + path.string() +
        "] expected FLUX's transformer, in the naming of Black Forest Labs or diffusers, got other tensors");
  }
  facts.is_known = true;
  facts.double_blocks = count_blocks(store, is_bfl ? "double_blocks." : "transformer_blocks.");
  facts.single_blocks = count_blocks(store, is_bfl ? "single_blocks." : "single_transformer_blocks.");
  facts.has_guidance = store.find(is_bfl ? "guidance_in.in_layer.weight"
                                         : "time_text_embed.guidance_embedder.linear_1.weight") != nullptr;
  const auto add = [&](const char* option, int64_t value, int64_t usual) {
    if (value > 0 && value != usual) facts.sizes.emplace_back(option, value);
  };
  for (const SizeRow& row : kSizes) {
    add(row.option, size_of(store, is_bfl ? row.bfl_tensor : row.diffusers_tensor, row.dim), row.usual);
  }
  const int64_t hidden = size_of(store, is_bfl ? "img_in.weight" : "x_embedder.weight", 0);
  const int64_t head_dim = size_of(
      store, is_bfl ? "double_blocks.0.img_attn.norm.query_norm.scale" : "transformer_blocks.0.attn.norm_q.weight", 0);
  if (head_dim > 0) add("model.num_heads", hidden / head_dim, kUsualHeads);
  add("model.depth", facts.double_blocks, kUsualDoubleBlocks);
  add("model.depth_single_blocks", facts.single_blocks, kUsualSingleBlocks);
  return facts;
}

std::optional<int64_t> count_encoder_blocks(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  const WeightStore store(path);
  for (const char* prefix : {"text_model.encoder.layers.", "encoder.layers.", "encoder.block."}) {
    if (const int64_t count = count_blocks(store, prefix); count > 0) return count;
  }
  return std::nullopt;
}

KohyaWeightsFacts read_weights_facts(const std::filesystem::path& path) {
  constexpr std::string_view kDown = ".lora_down.weight", kAlpha = ".alpha";
  const SafetensorsFile file(path);
  KohyaWeightsFacts facts;
  std::map<std::string, double> alphas;
  for (const TensorView& tensor : file.tensors()) {
    if (ends_with(tensor.name, kDown) && !tensor.shape.empty()) {
      facts.modules[tensor.name.substr(0, tensor.name.size() - kDown.size())].rank = tensor.shape[0];
    } else if (ends_with(tensor.name, kAlpha) && element_count(tensor.shape) == 1) {
      double& alpha = alphas[tensor.name.substr(0, tensor.name.size() - kAlpha.size())];
      for_each_element(tensor.dtype, tensor.bytes.data(), 1, [&](double value) { alpha = value; });
    }
  }
  if (facts.modules.empty()) {
    throw ModelError("[" + path.string() + "] expected a LoRA file with lora_down.weight tensors, got others");
  }
  std::map<int64_t, int> ranks;
  std::map<double, int> counts;
  for (auto& [name, module] : facts.modules) {
    const auto alpha = alphas.find(name);
    module.alpha = alpha != alphas.end() ? alpha->second : static_cast<double>(module.rank);
    ++ranks[module.rank];
    ++counts[module.alpha];
  }
  const auto by_count = [](const auto& a, const auto& b) { return a.second < b.second; };
  facts.rank = std::max_element(ranks.begin(), ranks.end(), by_count)->first;
  facts.alpha = std::max_element(counts.begin(), counts.end(), by_count)->first;
  return facts;
}

}  // namespace millrace
