// Which files hold FLUX and the networks around it, and where its pictures are.
#include <array>
#include <filesystem>
#include <system_error>

#include "base/text.h"
#include "compat/kohya_options.h"
#include "compat/kohya_parts.h"
#include "picture_sets/options.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

bool path_exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The first of the places where a tokenizer's file may be: sd-scripts' cache, beside the weights, or in the layout of
// FLUX.1's repository. "": nowhere.
std::string find_tokenizer(const fs::path& cache, const fs::path& weights, const std::string& cache_name,
                           const std::string& repository_folder, const std::array<const char*, 2>& short_names,
                           const char* file) {
  std::vector<fs::path> places;
  if (!cache.empty()) {
    for (const char* name : short_names) places.push_back(cache / name);
    std::string flat = cache_name;
    for (char& c : flat) c = c == '/' ? '_' : c;
    places.insert(places.end(), {cache / flat, cache / cache_name, cache});
  }
  const fs::path folder = weights.parent_path();
  places.insert(places.end(), {weights, folder, folder / repository_folder, folder.parent_path() / repository_folder});
  for (const fs::path& place : places) {
    if (path_exists(place / file)) return place.string();
  }
  return "";
}

}  // namespace

void KohyaTranslator::models() {
  out.set("model.name", "flux", {.name = "flux_train_network", .value = "", .place = ""});
  if (args.text("model_type") != "flux") {
    out.refuse(from("model_type"), "expected flux, got " + *args.text("model_type") + ", which is not trained here");
  }
  const auto required = [&](const char* option, const char* ours) {
    if (const auto path = args.text(option)) {
      out.set(ours, *path, from(option));
    } else {
      out.refuse(from(option), std::string("expected a path for --") + option + ", got none");
    }
  };
  required("pretrained_model_name_or_path", "checkpoint.initial_load_path");
  const KohyaModelFacts& model = around.model;
  const TheirSetting file = from("pretrained_model_name_or_path");
  out.set("model.flavor", model.has_guidance ? "flux-dev" : "flux-schnell", file);
  if (!model.is_known && args.has("pretrained_model_name_or_path")) {
    out.note(file, Fate::kBecame, "taken for FLUX.1-dev, as the file is not there");
  }
  for (const auto& [option, value] : model.sizes) out.set(option, value, file);

  required("clip_l", "encoder.clip_encoder");
  required("t5xxl", "encoder.t5_encoder");
  required("ae", "encoder.autoencoder_path");
  const std::string cache = args.text("tokenizer_cache_dir").value_or("");
  const std::string clip = find_tokenizer(cache, args.text("clip_l").value_or(""), "openai/clip-vit-large-patch14",
                                          "tokenizer", {"clip", "clip_l"}, "merges.txt");
  std::string t5, t5_file;
  for (const char* name : {"spiece.model", "tokenizer.json"}) {
    if (!t5.empty()) break;
    t5 = find_tokenizer(cache, args.text("t5xxl").value_or(""), "google/t5-v1_1-xxl", "tokenizer_2", {"t5", "t5xxl"},
                        name);
    t5_file = name;
  }
  const TheirSetting tokenizers = from("tokenizer_cache_dir");
  if (!clip.empty()) out.set("encoder.clip_tokenizer", clip, tokenizers);
  if (!t5.empty()) out.set("encoder.t5_tokenizer", (fs::path(t5) / t5_file).string(), tokenizers);
  if (clip.empty() || t5.empty()) {
    const std::string which = clip.empty() && t5.empty() ? "neither tokenizer" : clip.empty() ? "CLIP's" : "T5's";
    const auto is_there = [&](const char* option) { return args.has(option) && path_exists(*args.text(option)); };
    if (is_there("clip_l") || is_there("t5xxl")) {
      out.refuse(tokenizers,
                 "expected a folder with clip/merges.txt and t5/spiece.model, or the tokenizers beside the "
                 "encoders, got " +
                     which + " (millrace download encoders fetches both)");
    }
  }
  const int64_t usual_tokens = model.has_guidance ? 512 : 256;
  out.set("encoder.max_t5_encoding_len", args.integer("t5xxl_max_token_length").value_or(usual_tokens),
          from("t5xxl_max_token_length"));
  if (args.has("apply_t5_attn_mask")) out.set("encoder.apply_t5_attn_mask", true, from("apply_t5_attn_mask"));
  if (args.has("no_half_vae")) {
    out.note(from("no_half_vae"), Fate::kNoEffect,
             "the autoencoder computes in float32 on CPUs, and in the precision of the run on GPUs");
  }
}

void KohyaTranslator::data() {
  TheirSetting source;
  for (const char* name : {"dataset_config", "train_data_dir", "in_json"}) {
    if (args.has(name)) {
      source = from(name);
      break;
    }
  }
  if (source.name.empty()) {
    out.refuse(from("dataset_config"), "expected --dataset_config or --train_data_dir, got neither");
    return;
  }
  out.set("training.dataset", "pictures", source);
  out.set("training.dataset_path", around.dataset_path, source);
  for (const auto& [name, value] : args.given()) {
    if (find_kohya_option(name)->use != KohyaUse::kDataset || "--" + name == source.name) continue;
    if (name == "masked_loss" || name == "prior_loss_weight") continue;
    out.note(from(name), Fate::kBecame, "the data set's option, in " + around.dataset_path);
  }
  if (args.has("masked_loss")) out.set("training.masked_loss", true, from("masked_loss"));
  if (const auto weight = args.number("prior_loss_weight")) {
    out.set("training.prior_loss_weight", *weight, from("prior_loss_weight"));
  }

  if (!args.has("resize_interpolation")) {
    out.set("training.resize_interpolation", kAreaOrLanczos, from("resize_interpolation"));
  }

  // Captions and latents are encoded once where their encodings are kept.
  const bool text_on_disk = args.has("cache_text_encoder_outputs_to_disk");
  const bool text = text_on_disk || args.has("cache_text_encoder_outputs");
  const TheirSetting text_from =
      from(text_on_disk ? "cache_text_encoder_outputs_to_disk" : "cache_text_encoder_outputs");
  out.set("encoder.cache_encodings", text_on_disk ? "npz" : text ? "memory" : "none", text_from);
  const bool latents_on_disk = args.has("cache_latents_to_disk");
  const bool latents = latents_on_disk || args.has("cache_latents");
  out.set("encoder.cache_latents",
          latents_on_disk ? "npz"
          : latents       ? "memory"
                          : "none",
          from(latents_on_disk ? "cache_latents_to_disk" : "cache_latents"));
  for (const auto& [weak, strong] :
       {std::pair{"cache_latents", latents_on_disk}, std::pair{"cache_text_encoder_outputs", text_on_disk}}) {
    if (args.has(weak) && strong) out.note(from(weak), Fate::kSameResult, "on disk includes it");
  }
}

}  // namespace millrace
