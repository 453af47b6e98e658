#include "download/catalogue.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

using Where = CatalogueEntry::Where;

constexpr const char* kConceptual = "Conceptual 12M: free use, credit to Google appreciated";
constexpr const char* kCoco = "COCO: captions CC BY 4.0, pictures by their photographers' terms on Flickr";
constexpr const char* kLlama31 = "Llama 3.1 Community License; terms to be accepted on its page";
constexpr const char* kLlama32 = "Llama 3.2 Community License; terms to be accepted on its page";
constexpr const char* kSchnell = "Apache-2.0; terms to be accepted on its page";

// A language model as its publisher has it on Hugging Face.
CatalogueEntry language_model(const char* name, const char* repository, const char* size, const char* licence,
                              const char* meaning) {
  return {.name = name,
          .where = Where::kHuggingFace,
          .address = repository,
          .rules = {},
          .folder = "",
          .size = size,
          .licence = licence,
          .meaning = meaning};
}

// Sizes: MLCommons' own manifest (mlcommons/r2-infra) and the sizes of the files in the repositories, in decimal units.
const std::vector<CatalogueEntry>& entries() {
  static const std::vector<CatalogueEntry> kEntries = {
      {.name = "cc12m-preprocessed",
       .address = "flux-1-cc12m-preprocessed",
       .rules = {},
       .folder = "",
       .size = "2.4 TB",
       .licence = kConceptual,
       .meaning = "MLPerf training set: latents and text encodings, 1,099,776 samples in 4,762 Arrow files"},
      {.name = "cc12m-disk",
       .address = "flux-1-cc12m-disk",
       .rules = {},
       .folder = "",
       .size = "163 GB",
       .licence = kConceptual,
       .meaning = "MLPerf training set: pictures of 256 x 256 with captions, 326 Arrow files"},
      {.name = "cc12m",
       .where = Where::kHuggingFace,
       .address = "datasets/pixparse/cc12m-wds",
       .rules = {{"cc12m-train-", "cc12m-train-"}, {"_info.json", "_info.json"}},
       .folder = "",
       .size = "about 1 TB",
       .licence = kConceptual,
       .meaning = "Conceptual 12M as it was crawled, 2,176 tar shards of pictures of any size"},
      {.name = "coco-preprocessed",
       .address = "flux-1-coco-preprocessed",
       .rules = {},
       .folder = "",
       .size = "65 GB",
       .licence = kCoco,
       .meaning = "MLPerf validation set: latents and text encodings, 29,696 samples"},
      {.name = "coco",
       .address = "flux-1-coco",
       .rules = {},
       .folder = "",
       .size = "3.6 GB",
       .licence = kCoco,
       .meaning = "MLPerf validation set: pictures of 256 x 256 with captions, 30 tar shards"},
      {.name = "val2014-captions",
       .address = "flux-1-coco-2014-val-30k",
       .rules = {},
       .folder = "",
       .size = "2.0 MB",
       .licence = kCoco,
       .meaning = "the captions of the validation set, val2014_30k.tsv"},
      {.name = "empty-encodings",
       .address = "flux-1-empty-encodings",
       .rules = {},
       .folder = "",
       .size = "2.1 MB",
       .licence = "MLCommons",
       .meaning = "encodings of the empty caption: t5_empty.npy, clip_empty.npy"},
      // The safetensors twins of google/t5-v1_1-xxl (a pickle) and of openai/clip-vit-large-patch14's text half, and
      // the autoencoder: one repository, one licence, one token.
      {.name = "encoders",
       .where = Where::kHuggingFace,
       .address = "black-forest-labs/FLUX.1-schnell",
       .rules = {{"text_encoder_2/", "t5/"},
                 {"tokenizer_2/", "t5/"},
                 {"text_encoder/", "clip/"},
                 {"tokenizer/", "clip/"},
                 {"ae.safetensors", "autoencoder/ae.safetensors"}},
       .folder = "models",
       .size = "10.1 GB",
       .licence = kSchnell,
       .meaning = "T5 v1.1 XXL encoder (bfloat16), CLIP-L text model, FLUX.1 autoencoder, with tokenizers: t5/, clip/, "
                  "autoencoder/ae.safetensors"},
      {.name = "flux-schnell",
       .where = Where::kHuggingFace,
       .address = "black-forest-labs/FLUX.1-schnell",
       .rules = {{"flux1-schnell.safetensors", "flux1-schnell.safetensors"}},
       .folder = "flux-schnell",
       .size = "23.8 GB",
       .licence = kSchnell,
       .meaning = "the FLUX.1-schnell transformer"},
      {.name = "flux-dev",
       .where = Where::kHuggingFace,
       .address = "black-forest-labs/FLUX.1-dev",
       .rules = {{"flux1-dev.safetensors", "flux1-dev.safetensors"}, {"LICENSE", "LICENSE"}},
       .folder = "flux-dev",
       .size = "23.8 GB",
       .licence = "FLUX.1 [dev] Non-Commercial; terms to be accepted on its page",
       .meaning = "the FLUX.1-dev transformer"},
      // sd-scripts' files, by the names that scripts/train-flux.sh looks for.
      {.name = "flux-dev-lora-set",
       .where = Where::kHuggingFace,
       .address = "black-forest-labs/FLUX.1-dev",
       .rules = {{"flux1-dev.safetensors", "flux_dev.safetensors"},
                 {"ae.safetensors", "ae.safetensors"},
                 {"tokenizer/", "tokenizer/"},
                 {"tokenizer_2/", "tokenizer_2/"},
                 {"LICENSE", "LICENSE"}},
       .folder = "flux",
       .size = "34.2 GB",
       .licence = "FLUX.1 [dev] Non-Commercial; terms to be accepted on its page; text encoders MIT and Apache-2.0",
       .meaning =
           "what a LoRA on FLUX.1-dev is trained with: flux_dev.safetensors, ae.safetensors, clip_l.safetensors, "
           "t5xxl_fp16.safetensors, and the tokenizers",
       .more = {{.address = "comfyanonymous/flux_text_encoders",
                 .rules = {{"clip_l.safetensors", "clip_l.safetensors"},
                           {"t5xxl_fp16.safetensors", "t5xxl_fp16.safetensors"}}}}},
      language_model("llama-3.1-8b", "meta-llama/Llama-3.1-8B", "16.1 GB", kLlama31, "Llama 3.1 8B"),
      language_model("llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct", "16.1 GB", kLlama31,
                     "Llama 3.1 8B, trained to follow instructions"),
      language_model("llama-3.1-70b-instruct", "meta-llama/Llama-3.1-70B-Instruct", "141 GB", kLlama31,
                     "Llama 3.1 70B, trained to follow instructions"),
      language_model("llama-3.1-405b-instruct", "meta-llama/Llama-3.1-405B-Instruct", "812 GB", kLlama31,
                     "Llama 3.1 405B, trained to follow instructions"),
      language_model("llama-3.2-1b-instruct", "meta-llama/Llama-3.2-1B-Instruct", "2.5 GB", kLlama32,
                     "Llama 3.2 1B, trained to follow instructions"),
      language_model("llama-3.2-3b-instruct", "meta-llama/Llama-3.2-3B-Instruct", "6.4 GB", kLlama32,
                     "Llama 3.2 3B, trained to follow instructions"),
      language_model("llama-3.3-70b-instruct", "meta-llama/Llama-3.3-70B-Instruct", "141 GB",
                     "Llama 3.3 Community License; terms to be accepted on its page",
                     "Llama 3.3 70B, trained to follow instructions"),
  };
  return kEntries;
}

std::string padded(const std::string& text, size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 1, ' ');
}

}  // namespace

std::span<const CatalogueEntry> catalogue() {
  return entries();
}

const CatalogueEntry* find_in_catalogue(const std::string& name) {
  const auto& all = entries();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const CatalogueEntry& entry) { return entry.name == name; });
  return found == all.end() ? nullptr : &*found;
}

std::vector<std::string> catalogue_names() {
  std::vector<std::string> names;
  for (const CatalogueEntry& entry : entries()) names.push_back(entry.name);
  return names;
}

std::string catalogue_text() {
  std::string text;
  for (const CatalogueEntry& entry : entries()) {
    text += padded(entry.name, 24) + padded(entry.size, 12) + entry.meaning + "\n";
    text += std::string(36, ' ') + "licence: " + entry.licence + "\n";
    const bool is_hub = entry.where == Where::kHuggingFace;
    text +=
        std::string(36, ' ') + "from:    " + (is_hub ? "hf:" : "MLCommons, ") + entry.address + (is_hub ? "" : ".uri");
    for (const CataloguePart& part : entry.more) text += ", hf:" + part.address;
    text += "\n";
  }
  return text;
}

void select_files(Listing& listing, const std::vector<PathRule>& rules, const FileFilter& filter) {
  std::vector<RemoteFile> kept;
  for (RemoteFile& file : listing.files) {
    if (!rules.empty()) {
      const auto rule = std::find_if(rules.begin(), rules.end(),
                                     [&](const PathRule& candidate) { return starts_with(file.path, candidate.from); });
      if (rule == rules.end()) continue;
      file.path = rule->to + file.path.substr(rule->from.size());
    }
    if (filter.wants(file.path)) kept.push_back(std::move(file));
  }
  if (kept.empty()) {
    throw DataError(str("[", listing.source.name, "] expected files that --include and --exclude leave, got none of ",
                        with_thousands(static_cast<int64_t>(listing.files.size()))));
  }
  listing.files = std::move(kept);
  check_listing(listing);
}

}  // namespace millrace
