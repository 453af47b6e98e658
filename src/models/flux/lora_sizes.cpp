// config_from_adapters(): what the names and shapes of a LoRA file tell of the model it is for.
#include <algorithm>
#include <optional>
#include <regex>

#include "adapters/read_adapters.h"
#include "models/flux/lora_export.h"

namespace millrace::flux {
namespace {

bool ends_with_one_of(const std::string& module, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](const std::string& ending) {
    return module.size() >= ending.size() && module.compare(module.size() - ending.size(), ending.size(), ending) == 0;
  });
}

}  // namespace

FluxConfig config_from_adapters(const std::vector<AdapterTensors>& in_file) {
  FluxConfig config;
  config.guidance_embed = true;  // a file for schnell has no adapters there
  config.depth = config.depth_single_blocks = 0;
  static const std::regex block("(single_)?(?:transformer_blocks|double_blocks|blocks)[._](\\d+)[._]");
  std::optional<int64_t> hidden_size, mlp_size, linear1_rows, linear2_columns;
  for (const AdapterTensors& adapter : in_file) {
    const std::string& module = adapter.module;
    std::smatch found;
    if (!std::regex_search(module, found, block)) continue;
    int64_t& depth = found[1].matched ? config.depth_single_blocks : config.depth;
    depth = std::max<int64_t>(depth, std::stoll(found[2].str()) + 1);
    const AdapterSizes sizes = sizes_of(adapter);
    if (ends_with_one_of(module, {"attn_qkv",       "attn.qkv",       "attn_proj",
                                  "attn.proj",      "mod_lin",        "mod.lin",
                                  "modulation_lin", "modulation.lin", "mlp_0",
                                  "mlp.0",          "linear1",        "to_q",
                                  "to_k",           "to_v",           "to_out.0",
                                  "to_add_out",     "_proj",          "proj_mlp",
                                  "norm.linear",    "norm1.linear",   "norm1_context.linear",
                                  "net.0.proj",     "qkv.q",          "linear1.q"})) {
      hidden_size = sizes.in_features;
    }
    if (ends_with_one_of(module, {"mlp_2", "mlp.2", "linear2", "net.2", "proj_out"})) hidden_size = sizes.out_features;
    if (ends_with_one_of(module, {"mlp_0", "mlp.0", "net.0.proj", "proj_mlp", "linear1.mlp"}))
      mlp_size = sizes.out_features;
    if (ends_with_one_of(module, {"mlp_2", "mlp.2", "net.2"})) mlp_size = sizes.in_features;
    if (ends_with_one_of(module, {"linear1"}) && adapter.row_end < 0) linear1_rows = sizes.out_features;
    if (ends_with_one_of(module, {"linear2", "proj_out"})) linear2_columns = sizes.in_features;
  }
  if (!hidden_size) return config;
  config.hidden_size = *hidden_size;
  if (!mlp_size && linear1_rows) mlp_size = *linear1_rows - 3 * *hidden_size;
  if (!mlp_size && linear2_columns) mlp_size = *linear2_columns - *hidden_size;
  if (mlp_size) config.mlp_ratio = static_cast<double>(*mlp_size) / static_cast<double>(*hidden_size);
  return config;
}

}  // namespace millrace::flux
