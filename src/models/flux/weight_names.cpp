#include "models/flux/weight_names.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace::flux {
namespace {

// Collects rules; each function adds the tensors of one layer.
class Rules {
 public:
  explicit Rules(Naming naming)
      : diffusers_(naming == Naming::kDiffusers), torchtitan_(naming == Naming::kTorchtitan) {}

  void linear(const std::string& ours, const std::string& theirs, bool swap_halves = false) {
    for (const char* part : {".weight", ".bias"}) {
      rules_.push_back({ours + part, (diffusers_ ? theirs : ours) + part, 0, -1, diffusers_ && swap_halves});
    }
  }

  // One fused linear of ours that diffusers splits by rows.
  void fused(const std::string& ours, const std::vector<std::pair<std::string, int64_t>>& theirs_rows) {
    if (!diffusers_) return linear(ours, ours);
    int64_t begin = 0;
    for (const auto& [theirs, rows] : theirs_rows) {
      for (const char* part : {".weight", ".bias"}) rules_.push_back({ours + part, theirs + part, begin, begin + rows});
      begin += rows;
    }
  }

  void norm(const std::string& ours, const std::string& theirs) {
    const std::string name = diffusers_ ? theirs + ".weight" : torchtitan_ ? ours + ".weight" : ours + ".scale";
    rules_.push_back({ours + ".scale", name});
  }

  WeightRules take() { return std::move(rules_); }

 private:
  bool diffusers_, torchtitan_;
  WeightRules rules_;
};

}  // namespace

Naming detect_naming(const ShapeMap& shapes, const std::string& place) {
  if (shapes.count("x_embedder.weight")) return Naming::kDiffusers;
  if (shapes.count("img_in.weight")) {
    for (const auto& [name, shape] : shapes) {
      if (ends_with(name, "query_norm.weight")) return Naming::kTorchtitan;
      if (ends_with(name, "query_norm.scale")) return Naming::kBfl;
    }
  }
  std::vector<std::string> first;
  for (const auto& [name, shape] : shapes) {
    if (first.size() < 3) first.push_back("'" + name + "'");
  }
  throw ModelError("[" + place + "] expected FLUX tensors in BFL, torchtitan or diffusers naming, got " +
                   (first.empty() ? "no tensors" : join(first, ", ") + (shapes.size() > 3 ? ", ..." : "")));
}

WeightRules weight_rules(const FluxConfig& config, Naming naming) {
  if (naming == Naming::kHuggingFace) naming = Naming::kDiffusers;
  const int64_t h = config.hidden_size, m = config.mlp_hidden_size();
  Rules rules(naming);
  rules.linear("img_in", "x_embedder");
  rules.linear("txt_in", "context_embedder");
  const auto embedder = [&](const std::string& ours, const std::string& theirs) {
    rules.linear(ours + ".in_layer", "time_text_embed." + theirs + ".linear_1");
    rules.linear(ours + ".out_layer", "time_text_embed." + theirs + ".linear_2");
  };
  embedder("time_in", "timestep_embedder");
  embedder("vector_in", "text_embedder");
  if (config.guidance_embed) embedder("guidance_in", "guidance_embedder");

  for (int64_t i = 0; i < config.depth; ++i) {
    const std::string ours = str("double_blocks.", i, "."), theirs = str("transformer_blocks.", i, ".");
    const auto stream = [&](const std::string& s, const std::string& norm1, const std::vector<std::string>& qkv,
                            const std::string& q_norm, const std::string& k_norm, const std::string& out,
                            const std::string& ff) {
      rules.linear(ours + s + "_mod.lin", theirs + norm1 + ".linear");
      rules.fused(ours + s + "_attn.qkv",
                  {{theirs + "attn." + qkv[0], h}, {theirs + "attn." + qkv[1], h}, {theirs + "attn." + qkv[2], h}});
      rules.norm(ours + s + "_attn.norm.query_norm", theirs + "attn." + q_norm);
      rules.norm(ours + s + "_attn.norm.key_norm", theirs + "attn." + k_norm);
      rules.linear(ours + s + "_attn.proj", theirs + "attn." + out);
      rules.linear(ours + s + "_mlp.0", theirs + ff + ".net.0.proj");
      rules.linear(ours + s + "_mlp.2", theirs + ff + ".net.2");
    };
    stream("img", "norm1", {"to_q", "to_k", "to_v"}, "norm_q", "norm_k", "to_out.0", "ff");
    stream("txt", "norm1_context", {"add_q_proj", "add_k_proj", "add_v_proj"}, "norm_added_q", "norm_added_k",
           "to_add_out", "ff_context");
  }
  for (int64_t i = 0; i < config.depth_single_blocks; ++i) {
    const std::string ours = str("single_blocks.", i, "."), theirs = str("single_transformer_blocks.", i, ".");
    rules.fused(
        ours + "linear1",
        {{theirs + "attn.to_q", h}, {theirs + "attn.to_k", h}, {theirs + "attn.to_v", h}, {theirs + "proj_mlp", m}});
    rules.linear(ours + "linear2", theirs + "proj_out");
    rules.norm(ours + "norm.query_norm", theirs + "attn.norm_q");
    rules.norm(ours + "norm.key_norm", theirs + "attn.norm_k");
    rules.linear(ours + "modulation.lin", theirs + "norm.linear");
  }
  rules.linear("final_layer.linear", "proj_out");
  // The only place where the two order shift and scale differently.
  rules.linear("final_layer.adaLN_modulation.1", "norm_out.linear", /*swap_halves=*/true);
  return rules.take();
}

}  // namespace millrace::flux
