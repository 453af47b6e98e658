// What is trained: the adapters of networks.lora_flux, and where they begin.
#include <array>

#include "base/error.h"
#include "base/text.h"
#include "compat/kohya_parts.h"
#include "config/number_text.h"

namespace millrace {
namespace {

constexpr const char* kModule = "networks.lora_flux";

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

// Adapters of CLIP's text model are trained by default in sd-scripts, and cannot be had here.
void check_text_encoders(const KohyaTranslator& kohya) {
  const KohyaArguments& args = kohya.args;
  const TheirSetting unet_only = kohya.from("network_train_unet_only");
  if (args.has("network_train_text_encoder_only")) {
    kohya.out.refuse(
        kohya.from("network_train_text_encoder_only"),
        "expected adapters of the transformer, got those of text encoders alone, which are not trained here");
    return;
  }
  bool all_zero = args.has("text_encoder_lr");
  for (const std::string& rate : args.texts("text_encoder_lr")) {
    all_zero = all_zero && parse_floating_point(rate).value_or(1) == 0;
  }
  if (args.has("network_train_unet_only")) {
    kohya.out.note(unet_only, Fate::kSameResult, "adapters are trained on the transformer alone");
    if (args.has("text_encoder_lr")) {
      kohya.out.note(kohya.from("text_encoder_lr"), Fate::kNoEffect, "no text encoder is trained");
    }
  } else if (all_zero) {
    kohya.out.note(kohya.from("text_encoder_lr"), Fate::kSameResult, "adapters are trained on the transformer alone");
  } else {
    kohya.out.refuse(unet_only,
                     "expected --network_train_unet_only, got training of CLIP's text model as well, as without that "
                     "option sd-scripts does: adapters of text encoders are not trained here");
  }
}

void set_layers(const KohyaTranslator& kohya, const KohyaNetworkArguments& arguments) {
  Translation& out = kohya.out;
  const TheirSetting from = kohya.from("network_args");
  KohyaLayers layers;
  try {
    layers = kohya.around.layers(arguments);
  } catch (const ConfigError& error) {
    out.refuse(from, error.what());
    return;
  }
  if (layers.split_qkv) {
    out.refuse(from,
               "expected no split_qkv=True, got it: q, k and v are one layer here, and have one adapter together "
               "(the file that sd-scripts writes of them applies a third of what was trained)");
  }
  if (layers.train_t5xxl) out.refuse(from, "expected no train_t5xxl=True, got it: text encoders are not trained here");
  if (layers.targets != std::vector<std::string>{"all"}) out.set("lora.targets", layers.targets, from);
  if (!layers.rank_patterns.empty()) out.set("lora.rank_patterns", layers.rank_patterns, from);
  if (!layers.lr_patterns.empty()) out.set("lora.lr_patterns", layers.lr_patterns, from);
  if (layers.loraplus_ratio) out.set("lora.loraplus_ratio", *layers.loraplus_ratio, from);
  if (layers.rank_dropout > 0) out.set("lora.rank_dropout", layers.rank_dropout, from);
  if (layers.module_dropout > 0) out.set("lora.module_dropout", layers.module_dropout, from);
  for (const std::string& note : layers.notes) out.note(from, Fate::kNoEffect, note);
}

}  // namespace

void KohyaTranslator::network() {
  check_module(*this);
  check_text_encoders(*this);
  const int64_t dim = args.integer("network_dim").value_or(4);
  const double alpha = *args.number("network_alpha");
  const auto weights = args.text("network_weights");
  if (args.has("dim_from_weights")) {
    if (!weights) out.refuse(from("dim_from_weights"), "expected --network_weights with it, got none");
    if (weights) out.note(from("dim_from_weights"), Fate::kBecame, "ranks and alpha are those of " + *weights);
    out.set("lora.rank", around.weights_rank.value_or(dim), from("dim_from_weights"));
    if (around.weights_alpha) out.set("lora.alpha", *around.weights_alpha, from("dim_from_weights"));
  } else {
    out.set("lora.rank", dim, from("network_dim"));
    if (alpha > 0) {
      out.set("lora.alpha", alpha, from("network_alpha"));
    } else {
      out.note(from("network_alpha"), Fate::kBecame, "lora.alpha = None: the rank");
    }
  }
  if (weights) out.set("lora.initial_adapter", *weights, from("network_weights"));
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
  set_layers(*this, {dim, alpha, args.number("unet_lr").value_or(*args.number("learning_rate")),
                     network_args(args, from("network_args"), out)});
}

}  // namespace millrace
