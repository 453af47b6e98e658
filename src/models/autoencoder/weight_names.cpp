#include "models/autoencoder/weight_names.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "models/autoencoder/model.h"

namespace millrace::autoencoder {
namespace {

// "down.0.block.1.conv1.weight" -> {"down", "0", "block", "1", "conv1", "weight"}, after "encoder." or "decoder.".
using Path = std::vector<std::string>;

std::string renamed_norm(const std::string& part) {
  return part == "norm_out" ? "conv_norm_out" : part;
}

// The parts of a residual block: only the shortcut has a different name.
std::string block_part(const Path& path, size_t from) {
  const std::string part = path[from] == "nin_shortcut" ? "conv_shortcut" : path[from];
  return part + "." + path[from + 1];
}

std::string attention_part(const std::string& part) {
  if (part == "norm") return "group_norm";
  if (part == "proj_out") return "to_out.0";
  return "to_" + part;
}

// mid.block_1.conv1.weight, mid.attn_1.q.weight
std::string middle(const Path& path) {
  if (path[1] == "attn_1") return "mid_block.attentions.0." + attention_part(path[2]) + "." + path[3];
  return str("mid_block.resnets.", path[1] == "block_1" ? "0." : "1.", block_part(path, 2));
}

// down.0.block.1.conv1.weight, down.0.downsample.conv.weight, and the same with up
std::string level(const Path& path, int64_t levels) {
  const bool down = path[0] == "down";
  // Black Forest Labs numbers the decoder's levels by resolution, diffusers in the order of use.
  const int64_t number = down ? std::stoll(path[1]) : levels - 1 - std::stoll(path[1]);
  const std::string blocks = (down ? "down_blocks." : "up_blocks.") + std::to_string(number);
  if (path[2] == "block") return blocks + ".resnets." + path[3] + "." + block_part(path, 4);
  return blocks + (down ? ".downsamplers.0.conv." : ".upsamplers.0.conv.") + path[4];
}

std::string diffusers_name(const std::string& ours, int64_t levels) {
  const size_t dot = ours.find('.');
  const Path path = split(ours.substr(dot + 1), '.');
  const std::string half = ours.substr(0, dot + 1);  // "encoder." or "decoder."
  if (path[0] == "mid") return half + middle(path);
  if (path[0] == "down" || path[0] == "up") return half + level(path, levels);
  return half + renamed_norm(path[0]) + "." + path[1];
}

}  // namespace

Naming detect_naming(const ShapeMap& theirs, const std::string& place) {
  if (theirs.count("decoder.mid.block_1.conv1.weight")) return Naming::kBfl;
  if (theirs.count("decoder.mid_block.resnets.0.conv1.weight")) return Naming::kDiffusers;
  throw ModelError("[" + place + "] expected the autoencoder's tensors in Black Forest's or diffusers' naming, got " +
                   (theirs.empty() ? "none" : "others, such as " + theirs.begin()->first));
}

WeightRules weight_rules(const AutoencoderConfig& config, Naming naming) {
  const ShapeMap ours = shapes_of(Autoencoder(config, torch::TensorOptions(torch::kMeta)));
  if (naming == Naming::kBfl || naming == Naming::kTorchtitan) return identity_rules(ours);
  if (naming != Naming::kDiffusers) throw ModelError("[autoencoder] expected naming bfl, torchtitan or diffusers");
  WeightRules rules;
  for (const auto& [name, shape] : ours) {
    WeightRule rule{name, diffusers_name(name, config.levels())};
    // The middle attention's 1x1 convolutions are linear layers there.
    rule.squeeze_1x1 = shape.size() == 4 && name.find(".attn_1.") != std::string::npos;
    rules.push_back(rule);
  }
  return rules;
}

}  // namespace millrace::autoencoder
