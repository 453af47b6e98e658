// What is trained: the adapters of networks.lora_flux, and where they begin.
#include <array>

#include "base/error.h"
#include "base/text.h"
#include "compat/kohya_parts.h"
#include "config/number_text.h"

namespace millrace {
namespace {

constexpr const char* kModule = "networks.lora_flux";
constexpr const char *kClipModules = "lora_te1_", *kT5Modules = "lora_te3_";  // what names of their adapters begin with

bool has_modules(const KohyaWeightsFacts& weights, const std::string& prefix) {
  const auto first = weights.modules.lower_bound(prefix);
  return first != weights.modules.end() && starts_with(first->first, prefix);
}

// "key=value" words. Adds a problem for others.
std::map<std::string, std::string> network_args(const KohyaArguments& args, const TheirSetting& from,
                                                Translation& out) {
  std::map<std::string, std::string> pairs;
  for (const std::string& word : args.texts("network_args")) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      out.refuse(from, "expected key=value for --network_args, got " + json_escape(word));
    } else {
      pairs[word.substr(0, equals)] = word.substr(equals + 1);
    }
  }
  return pairs;
}

void check_module(const KohyaTranslator& kohya) {
  const std::string module = kohya.args.text("network_module").value_or("");
  if (module == kModule) return;
  const bool is_lycoris = starts_with(module, "lycoris.");
  kohya.out.refuse(kohya.from("network_module"),
                   std::string("expected ") + kModule + ", got " + (module.empty() ? "none" : json_escape(module)) +
                       (is_lycoris ? " (lora.kind = \"loha\", \"lokr\" or \"dora\" of `millrace train` trains these)"
                                   : std::string(" (try ") + kModule + ")"));
}

struct TextRates {
  std::optional<double> clip, t5;  // none: not trained
};

// Adapters of CLIP's text model are trained by default in sd-scripts.
TextRates text_rates(const KohyaTranslator& kohya) {
  const KohyaArguments& args = kohya.args;
  const TheirSetting unet_only = kohya.from("network_train_unet_only"), from = kohya.from("text_encoder_lr");
  if (args.has("network_train_unet_only") && args.has("network_train_text_encoder_only")) {
    kohya.out.refuse(
        kohya.from("network_train_text_encoder_only"),
        "expected at most one of --network_train_unet_only and --network_train_text_encoder_only, got both");
  }
  std::vector<double> rates;
  for (const std::string& text : args.texts("text_encoder_lr")) {
    const auto rate = parse_floating_point(text);
    if (!rate || *rate < 0) kohya.out.refuse(from, "expected learning rates, got " + json_escape(text));
    rates.push_back(rate.value_or(0));
  }
  if (rates.size() > 2) kohya.out.refuse(from, "expected the rates of CLIP and T5, got more than two");
  if (args.has("network_train_unet_only")) {
    kohya.out.set("lora.train_clip_l", false, unet_only);
    if (!rates.empty()) kohya.out.note(from, Fate::kNoEffect, "no text encoder is trained");
    return {};
  }
  const double usual = *args.number("learning_rate");
  return {rates.empty() ? usual : rates.front(), rates.empty() ? usual : rates.back()};
}

// rates: of the encoders that have adapters.
void set_text_encoders(const KohyaTranslator& kohya, const TextRates& rates) {
  if (!rates.clip && !rates.t5) return;
  const KohyaArguments& args = kohya.args;
  Translation& out = kohya.out;
  if (rates.clip) out.set("lora.train_clip_l", true, kohya.from("network_train_unet_only"));
  if (rates.t5) {
    out.set("lora.train_t5xxl", true, kohya.from(kohya.around.weights ? "dim_from_weights" : "network_args"));
    if (args.has("cache_text_encoder_outputs") || args.has("cache_text_encoder_outputs_to_disk")) {
      out.refuse(kohya.from("cache_text_encoder_outputs"),
                 std::string("expected none with ") +
                     (kohya.around.weights ? "adapters of T5 in the file of --dim_from_weights" : "train_t5xxl=True") +
                     ", as in sd-scripts: no encoding stays the same");
    }
  }
  if (!rates.t5 && args.has("cache_text_encoder_outputs_to_disk")) {
    out.note(kohya.from("cache_text_encoder_outputs_to_disk"), Fate::kBecame,
             "T5's encodings are taken from the files: CLIP-L's change as it is trained");
  }
  const bool is_given = args.has("text_encoder_lr");
  const TheirSetting from = kohya.from(is_given ? "text_encoder_lr" : "learning_rate");
  if (!kohya.has_own_rate()) {
    if (is_given) {
      out.note(from, Fate::kNoEffect, "there as here, Adafactor with relative_step chooses the rate itself");
    }
    return;
  }
  const double first = rates.clip ? *rates.clip : *rates.t5;
  if (is_given || args.has("unet_lr")) out.set("lora.text_encoder_lr", first, from);
  if (rates.t5 && *rates.t5 != first) out.set("lora.t5xxl_lr", *rates.t5, from);
}

void set_layers(const KohyaTranslator& kohya, KohyaNetworkArguments arguments, const TextRates& rates) {
  Translation& out = kohya.out;
  const TheirSetting from = kohya.from("network_args");
  arguments.clip_lr = rates.clip;
  arguments.t5_lr = rates.t5;
  arguments.clip_blocks = kohya.around.clip_blocks;
  arguments.t5_blocks = kohya.around.t5_blocks;
  arguments.trains_transformer = !kohya.args.has("network_train_text_encoder_only");
  KohyaLayers layers;
  try {
    layers = kohya.around.layers(arguments);
  } catch (const ConfigError& error) {
    out.refuse(from, error.what());
    return;
  }
  set_text_encoders(kohya, rates);
  if (layers.split_qkv) {
    out.set("lora.split_qkv", true, from);
    out.note(
        from, Fate::kBecame,
        "files of split_qkv have 3 and 4 times the alpha of sd-scripts', whose files apply a third and a quarter of "
        "what was trained (lora.split_qkv_alpha)");
  }
  if (layers.train_t5xxl && !rates.t5) {
    out.note(from, Fate::kNoEffect, "train_t5xxl: with --network_train_unet_only no text encoder is trained");
  }
  if (layers.targets != std::vector<std::string>{"all"}) out.set("lora.targets", layers.targets, from);
  if (!layers.rank_patterns.empty()) out.set("lora.rank_patterns", layers.rank_patterns, from);
  if (!layers.alpha_patterns.empty()) out.set("lora.alpha_patterns", layers.alpha_patterns, from);
  if (!layers.lr_patterns.empty()) out.set("lora.lr_patterns", layers.lr_patterns, from);
  if (layers.loraplus_ratio) out.set("lora.loraplus_ratio", *layers.loraplus_ratio, from);
  if (layers.text_encoder_loraplus_ratio) {
    out.set("lora.text_encoder_loraplus_ratio", *layers.text_encoder_loraplus_ratio, from);
  }
  if (layers.rank_dropout > 0) out.set("lora.rank_dropout", layers.rank_dropout, from);
  if (layers.module_dropout > 0) out.set("lora.module_dropout", layers.module_dropout, from);
  for (const std::string& note : layers.notes) out.note(from, Fate::kNoEffect, note);
}

// sd-scripts swaps N / 2 of the double blocks and twice the rest of N of the single ones, half as large. Of FLUX.1,
// which has twice as many of these, as many blocks spread evenly are as many of each kind.
void set_offload(const KohyaTranslator& kohya) {
  constexpr int64_t kMost = 35, kOfSplitMode = 18;
  const auto given = kohya.args.integer("blocks_to_swap");
  const bool is_split = kohya.args.has("split_mode") && !given;
  if (!given && !is_split) return;
  const TheirSetting from = kohya.from(is_split ? "split_mode" : "blocks_to_swap");
  const int64_t swapped = given.value_or(kOfSplitMode);
  if (swapped < 0 || swapped > kMost) {
    kohya.out.refuse(from, "expected 0 to " + std::to_string(kMost) + ", got " + std::to_string(swapped) +
                               " (lora.offload_blocks of `millrace train` takes every number)");
    return;
  }
  const int64_t doubles = swapped / 2, singles = 2 * (swapped - doubles);
  kohya.out.set("lora.offload_blocks", doubles + singles, from);
  if (swapped == 0 || kohya.around.world_size == 1) return;
  // There as here, every rank has blocks of its own.
  kohya.out.set("parallelism.data_parallel_replicate_degree", kohya.around.world_size, from);
  kohya.out.set("parallelism.data_parallel_shard_degree", int64_t{1}, from);
}

}  // namespace

void KohyaTranslator::network() {
  check_module(*this);
  int64_t dim = args.integer("network_dim").value_or(4);
  double alpha = *args.number("network_alpha");
  const auto weights = args.text("network_weights");
  if (args.has("dim_from_weights")) {
    if (!weights) out.refuse(from("dim_from_weights"), "expected --network_weights with it, got none");
    if (weights) out.note(from("dim_from_weights"), Fate::kBecame, "layers, ranks and alphas are those of " + *weights);
    if (around.weights) {
      dim = around.weights->rank;
      alpha = around.weights->alpha;
    }
    out.set("lora.rank", dim, from("dim_from_weights"));
    out.set("lora.alpha", alpha, from("dim_from_weights"));
  } else {
    out.set("lora.rank", dim, from("network_dim"));
    if (alpha < 0) {
      out.refuse(from("network_alpha"), "expected 0, which is the rank, or more, got " + number_text(alpha));
    } else if (alpha > 0) {
      out.set("lora.alpha", alpha, from("network_alpha"));
    } else {
      out.note(from("network_alpha"), Fate::kBecame, "lora.alpha = None: the rank");
    }
  }
  if (weights) {
    out.set("lora.initial_adapter", *weights, from("network_weights"));
    out.set("lora.initial_adapter_strict", false, from("network_weights"));
  }
  if (const auto dropout = args.number("network_dropout"); dropout && *dropout > 0) {
    out.set("lora.dropout", *dropout, from("network_dropout"));
  }
  if (const auto limit = args.number("scale_weight_norms"); limit && *limit > 0) {
    out.set("lora.scale_weight_norms", *limit, from("scale_weight_norms"));
  }
  if (args.has("base_weights")) out.set("lora.base_weights", args.texts("base_weights"), from("base_weights"));
  if (args.has("base_weights_multiplier")) {
    out.set("lora.base_weights_multiplier", args.texts("base_weights_multiplier"), from("base_weights_multiplier"));
  }
  if (args.has("fp8_base") || args.has("fp8_base_unet")) {
    out.set("lora.base_dtype", "fp8_unscaled", from(args.has("fp8_base") ? "fp8_base" : "fp8_base_unet"));
    if (args.has("fp8_base") && args.has("fp8_base_unet")) {
      out.note(from("fp8_base_unet"), Fate::kSameResult, "--fp8_base includes it");
    }
    if (args.text("mixed_precision") == "no") {
      out.refuse(from(args.has("fp8_base") ? "fp8_base" : "fp8_base_unet"),
                 "expected --mixed_precision bf16 with weights of 8 bits, got no");
    }
  }
  set_offload(*this);
  KohyaNetworkArguments arguments;
  arguments.dim = dim;
  arguments.alpha = alpha;
  arguments.learning_rate = base_rate();
  arguments.transformer_lr = transformer_rate();
  arguments.network_args = network_args(args, from("network_args"), out);
  TextRates rates = text_rates(*this);
  if (around.weights) {
    arguments.modules = around.weights->modules;
    if (rates.clip && !has_modules(*around.weights, kClipModules)) {
      rates.clip = {};
      out.set("lora.train_clip_l", false, from("dim_from_weights"));
    }
    if (!has_modules(*around.weights, kT5Modules)) rates.t5 = {};
  } else if (const auto trains_t5 = arguments.network_args.find("train_t5xxl");
             trains_t5 == arguments.network_args.end() || trains_t5->second != "True") {
    rates.t5 = {};
  }
  set_layers(*this, std::move(arguments), rates);
}

}  // namespace millrace
