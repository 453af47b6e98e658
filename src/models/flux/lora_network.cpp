#include "models/flux/lora_network.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "base/regular_expression.h"
#include "base/text.h"
#include "config/number_text.h"
#include "models/flux/config.h"

namespace millrace::flux {
namespace {

constexpr std::array<const char*, LoraNetwork::kNumTypes> kTypeDims = {"img_attn_dim", "txt_attn_dim",  "img_mlp_dim",
                                                                       "txt_mlp_dim",  "img_mod_dim",   "txt_mod_dim",
                                                                       "single_dim",   "single_mod_dim"};

[[noreturn]] void fail(const std::string& key, const std::string& expected, std::string_view got) {
  throw ConfigError(str("[network_args: ", key, "] expected ", expected, ", got \"", got, "\""));
}

// As Python's int(), which takes no fraction and float(), which takes anything that is a number.
int64_t integer(const std::string& key, std::string_view text) {
  const std::optional<int64_t> value = parse_integer(trim(text));
  if (!value) fail(key, "an integer", text);
  return *value;
}

double number(const std::string& key, std::string_view text) {
  const std::optional<double> value = parse_floating_point(trim(text));
  if (!value) fail(key, "a number", text);
  return *value;
}

double probability(const std::string& key, std::string_view text) {
  const double value = number(key, text);
  if (!(value >= 0 && value < 1)) fail(key, "a probability in [0, 1)", text);
  return value;
}

int64_t rank(const std::string& key, std::string_view text) {
  const int64_t value = integer(key, text);
  if (value < 0) fail(key, "a rank of 0 or more", text);
  return value;
}

// "all", "none", or "0,1,8-12,18".
std::vector<bool> block_selection(const std::string& key, std::string_view text, int64_t num_blocks) {
  if (text == "all") return std::vector<bool>(num_blocks, true);
  std::vector<bool> selected(num_blocks, false);
  if (text == "none" || text.empty()) return selected;
  const auto block = [&](std::string_view part) {
    const int64_t index = integer(key, part);
    if (index < 0 || index >= num_blocks) fail(key, str("blocks 0 to ", num_blocks - 1), text);
    return index;
  };
  for (const std::string& part : split(text, ',')) {
    const std::vector<std::string> ends = split(part, '-');
    if (ends.size() > 2) fail(key, "blocks and ranges such as 0,1,8-12", text);
    const int64_t first = block(ends.front()), last = block(ends.back());
    if (first > last) fail(key, "ranges that rise", text);
    std::fill(selected.begin() + first, selected.begin() + last + 1, true);
  }
  return selected;
}

std::array<int64_t, 5> in_dims(std::string_view text) {
  std::string_view inner = trim(text);
  if (starts_with(inner, "[") && ends_with(inner, "]")) inner = inner.substr(1, inner.size() - 2);
  const std::vector<std::string> parts = split(inner, ',');
  std::array<int64_t, 5> dims = {};
  if (parts.size() != dims.size()) fail("in_dims", "five ranks: img, time, vector, guidance, txt", text);
  for (size_t i = 0; i < dims.size(); ++i) dims[i] = rank("in_dims", parts[i]);
  return dims;
}

// "pattern=value,pattern=value". A pattern given twice keeps its place and takes the later value.
template <typename Value, typename Parse>
std::vector<std::pair<std::string, Value>> pattern_values(const std::string& key, const std::string& text,
                                                          const Parse& parse) {
  std::vector<std::pair<std::string, Value>> pairs;
  for (const std::string& part : split(text, ',')) {
    const std::string_view pair = trim(part);
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) fail(key, "pattern=value pairs", pair);
    const std::string pattern(trim(pair.substr(0, equals)));
    try {
      (void)RegularExpression(pattern);
    } catch (const ConfigError&) {
      fail(key, "a regular expression", pattern);
    }
    const Value value = parse(key, pair.substr(equals + 1));
    const auto before = std::find_if(pairs.begin(), pairs.end(), [&](const auto& p) { return p.first == pattern; });
    if (before != pairs.end()) {
      before->second = value;
    } else {
      pairs.emplace_back(pattern, value);
    }
  }
  return pairs;
}

}  // namespace

LoraNetwork parse_lora_network(std::optional<int64_t> network_dim, std::optional<double> network_alpha,
                               const std::map<std::string, std::string>& network_args, const FluxConfig& sizes) {
  LoraNetwork network;
  network.dim = network_dim.value_or(4);
  network.alpha = network_alpha.value_or(1.0);
  if (network.dim < 1) throw ConfigError(str("[network_dim] expected a rank of 1 or more, got ", network.dim));
  bool perturbs_sigma = false, perturbs_beta = false;
  for (const auto& [key, text] : network_args) {
    const auto type = std::find(kTypeDims.begin(), kTypeDims.end(), key);
    if (type != kTypeDims.end()) {
      network.type_dims[type - kTypeDims.begin()] = rank(key, text);
    } else if (key == "train_blocks") {
      if (text != "all" && text != "single" && text != "double") fail(key, "all, single or double", text);
      network.trains_double_blocks = text != "single";
      network.trains_single_blocks = text != "double";
    } else if (key == "train_double_block_indices") {
      network.double_blocks = block_selection(key, text, sizes.depth);
    } else if (key == "train_single_block_indices") {
      network.single_blocks = block_selection(key, text, sizes.depth_single_blocks);
    } else if (key == "split_qkv") {
      network.split_qkv = text == "True";
    } else if (key == "train_t5xxl") {
      network.train_t5xxl = text == "True";
    } else if (key == "in_dims") {
      network.in_dims = in_dims(text);
    } else if (key == "network_reg_dims") {
      network.reg_dims = pattern_values<int64_t>(key, text, rank);
    } else if (key == "network_reg_lrs") {
      network.reg_lrs = pattern_values<double>(key, text, number);
    } else if (key == "rank_dropout") {
      network.rank_dropout = probability(key, text);
    } else if (key == "module_dropout") {
      network.module_dropout = probability(key, text);
    } else if (key == "loraplus_lr_ratio") {
      network.loraplus_lr_ratio = number(key, text);
    } else if (key == "loraplus_unet_lr_ratio") {
      network.loraplus_unet_lr_ratio = number(key, text);
    } else if (key == "loraplus_text_encoder_lr_ratio") {
      network.loraplus_text_encoder_lr_ratio = number(key, text);
    } else if (key == "conv_dim" || key == "conv_alpha") {
      number(key, text);
      network.notes.push_back(key + " has no effect: FLUX has no convolutions");
    } else if (key == "ggpo_sigma" || key == "ggpo_beta") {
      number(key, text);
      (key == "ggpo_sigma" ? perturbs_sigma : perturbs_beta) = true;
    } else if (key == "verbose") {
      continue;  // says what else it logs
    } else {
      const std::string near = nearest(key, {"train_blocks",
                                             "train_double_block_indices",
                                             "train_single_block_indices",
                                             "split_qkv",
                                             "train_t5xxl",
                                             "in_dims",
                                             "network_reg_dims",
                                             "network_reg_lrs",
                                             "rank_dropout",
                                             "module_dropout",
                                             "loraplus_lr_ratio",
                                             "loraplus_unet_lr_ratio",
                                             "loraplus_text_encoder_lr_ratio",
                                             "img_attn_dim",
                                             "txt_attn_dim",
                                             "img_mlp_dim",
                                             "txt_mlp_dim",
                                             "img_mod_dim",
                                             "txt_mod_dim",
                                             "single_dim",
                                             "single_mod_dim"});
      network.notes.push_back(key + " has no effect: networks.lora_flux does not know it" +
                              (near.empty() ? "" : " (is " + near + " meant?)"));
    }
  }
  for (const char* key : {"split_qkv", "train_t5xxl"}) {
    const auto given = network_args.find(key);
    if (given == network_args.end() || given->second == "True" || given->second == "False") continue;
    network.notes.push_back(str(key, "=", given->second, " has no effect: only the text True switches it on"));
  }
  if (perturbs_sigma && perturbs_beta) {
    throw ConfigError(
        "[network_args: ggpo_sigma] expected training without perturbed weights, got ggpo_sigma and "
        "ggpo_beta, which are not supported (try without)");
  }
  return network;
}

}  // namespace millrace::flux
