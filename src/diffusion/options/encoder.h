// The frozen networks before FLUX.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "config/option.h"

namespace millrace {

// The value of t5_encoder, clip_encoder and autoencoder_path, instead of a path, that means random weights.
inline constexpr const char* kRandomNetwork = "random";

// Whether an encoder's weights are split over the ranks of the shard axis.
enum class EncoderSharding { kAuto, kTrue, kFalse };
constexpr std::array<Choice<EncoderSharding>, 3> choices_of(EncoderSharding) {
  return {{{"auto", EncoderSharding::kAuto}, {"true", EncoderSharding::kTrue}, {"false", EncoderSharding::kFalse}}};
}

// kNpz: in sd-scripts' files beside the pictures.
enum class EncodingCache { kAuto, kNone, kMemory, kDisk, kNpz };
constexpr std::array<Choice<EncodingCache>, 5> choices_of(EncodingCache) {
  return {{{"auto", EncodingCache::kAuto},
           {"none", EncodingCache::kNone},
           {"memory", EncodingCache::kMemory},
           {"disk", EncodingCache::kDisk},
           {"npz", EncodingCache::kNpz}}};
}

// Where T5 and CLIP compute. kAuto: on the run's device.
enum class EncoderDevice { kAuto, kCpu };
constexpr std::array<Choice<EncoderDevice>, 2> choices_of(EncoderDevice) {
  return {{{"auto", EncoderDevice::kAuto}, {"cpu", EncoderDevice::kCpu}}};
}

// The caches that sd-scripts keeps beside pictures.
enum class KohyaCaches { kNone, kRead, kWrite };
constexpr std::array<Choice<KohyaCaches>, 3> choices_of(KohyaCaches) {
  return {{{"none", KohyaCaches::kNone}, {"read", KohyaCaches::kRead}, {"write", KohyaCaches::kWrite}}};
}

struct EncoderConfig {
  std::string t5_encoder;
  std::string t5_tokenizer;
  std::string clip_encoder;
  std::string clip_tokenizer;
  std::string autoencoder_path;
  std::optional<double> autoencoder_shift;
  std::optional<double> autoencoder_scale;
  int64_t max_t5_encoding_len = 256;
  bool apply_t5_attn_mask = false;
  std::string empty_encodings_path;
  EncodingCache cache_encodings = EncodingCache::kAuto;
  EncodingCache cache_latents = EncodingCache::kAuto;
  int64_t cache_variants = 0;
  std::string cache_folder;
  KohyaCaches kohya_caches = KohyaCaches::kNone;
  EncoderSharding shard = EncoderSharding::kAuto;
  EncoderDevice device = EncoderDevice::kAuto;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(t5_encoder, {.name = "t5_encoder",
                       .meaning = "folder of the T5 v1.1 encoder (config.json, *.safetensors, spiece.model); "
                                  "\"random\": random weights, for tests; empty: not loaded",
                       .none_is_empty = true,
                       .torchtitan_default = "google/t5-v1_1-small, downloaded"});
    visit(t5_tokenizer, {.name = "t5_tokenizer",
                         .meaning = "SentencePiece model of T5; empty: spiece.model in t5_encoder",
                         .none_is_empty = true});
    visit(clip_encoder, {.name = "clip_encoder",
                         .meaning = "folder of the CLIP-L text model (config.json, *.safetensors, vocab.json, "
                                    "merges.txt); \"random\": random weights, for tests; empty: not loaded",
                         .none_is_empty = true,
                         .torchtitan_default = "openai/clip-vit-large-patch14, downloaded"});
    visit(clip_tokenizer, {.name = "clip_tokenizer",
                           .meaning = "vocabulary of CLIP (a folder with merges.txt, or bpe_simple_vocab_16e6.txt.gz); "
                                      "empty: in clip_encoder",
                           .none_is_empty = true});
    visit(autoencoder_path, {.name = "autoencoder_path",
                             .meaning = "safetensors file of the autoencoder; \"random\": random weights, for tests; "
                                        "\"none\": train on pixels; empty: not loaded (preprocessed data)",
                             .none_is_empty = true,
                             .torchtitan_default = "a path inside its assets"});
    visit(autoencoder_shift,
          {.name = "autoencoder_shift", .meaning = "subtracted from the latent before scaling; None: FLUX's 0.1159"});
    visit(autoencoder_scale,
          {.name = "autoencoder_scale", .meaning = "multiplies the shifted latent; None: FLUX's 0.3611", .above = 0});
    visit(max_t5_encoding_len, {.name = "max_t5_encoding_len",
                                .unit = "tokens",
                                .meaning = "T5 tokens per prompt: longer ones are cut, shorter ones padded",
                                .at_least = 1,
                                .at_most = 65536});
    visit(apply_t5_attn_mask,
          {.name = "apply_t5_attn_mask",
           .meaning = "no token attends to the padding of a prompt, neither in T5 nor in FLUX; published FLUX models "
                      "were trained without this mask"});
    visit(empty_encodings_path, {.name = "empty_encodings_path",
                                 .meaning = "folder with t5_empty.npy and clip_empty.npy, the encodings of the empty "
                                            "prompt; empty: computed by the encoders",
                                 .none_is_empty = true});
    visit(cache_encodings,
          {.name = "cache_encodings",
           .meaning =
               "keep text encodings of captions seen before; auto: memory for data sets of pictures (dataset = "
               "\"pictures\") whose tags are neither shuffled nor dropped, or with cache_variants, else none; npz: "
               "those of captions as they stand in the files, beside the pictures in sd-scripts' NAME_flux_te.npz, "
               "which are read where they are valid and written where they are not"});
    visit(cache_latents,
          {.name = "cache_latents",
           .meaning =
               "keep what the autoencoder makes of each picture, mirrored ones apart; auto: memory for data "
               "sets of pictures without random_crop, color_aug and a face_crop_aug_range, or with "
               "cache_variants, else none; npz: beside the pictures in sd-scripts' NAME_1280x0768_flux.npz, which "
               "are read where they are valid and written where they are not: as there, the same draw of the latents "
               "is used in every epoch"});
    visit(
        cache_variants,
        {.name = "cache_variants",
         .unit = "epochs",
         .meaning = "crops, flips, colours, and shuffled or dropped captions of data sets of pictures come again after "
                    "so many epochs, so that caches can keep them; 0: anew in every epoch",
         .at_least = 0});
    visit(cache_folder,
          {.name = "cache_folder",
           .meaning = "where caches on disk lie, which runs may share; empty: encodings and latents in job.dump_folder",
           .none_is_empty = true});
    visit(kohya_caches,
          {.name = "kohya_caches",
           .meaning =
               "sd-scripts' caches beside the pictures of a data set (NAME_1280x0768_flux.npz, "
               "NAME_flux_te.npz), besides caches of our own; read: what is there and still "
               "valid is trained on; write: what this run encodes is written there, and trains as if it were off"});
    visit(shard, {.name = "shard",
                  .meaning = "split the weights of T5 and CLIP over the ranks of the shard axis; auto: only T5, on "
                             "GPUs or if it takes more than 4 GiB"});
    visit(device, {.name = "device",
                   .meaning = "cpu: T5 and CLIP compute on the host, whole on every rank, and take no memory of the "
                              "GPU; slow for each new caption, free for those in the cache; auto: as training.device"});
  }
  bool operator==(const EncoderConfig&) const = default;
};

}  // namespace millrace
