// Captions to conditioning: the frozen networks before FLUX, or substitutes for them.
//
// Letters: B batch, T text tokens, X width of a token's encoding, V width of the pooled encoding.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "diffusion/options/encoder.h"

namespace millrace {

class AdapterMerger;
class Mesh;
class TrainableEncoder;

// One encoding per caption. Not thread-safe.
class CaptionEncoder {
 public:
  virtual ~CaptionEncoder() = default;
  // [B, T, X] or [B, V]; the same caption gives the same numbers in every batch.
  virtual torch::Tensor encode(const std::vector<std::string>& captions) = 0;
  // The same without the adapters that are trained on its layers.
  virtual torch::Tensor encode_frozen(const std::vector<std::string>& captions) { return encode(captions); }
  // How many of its T tokens each caption has; no token attends to the padding after them. Empty: padding is attended
  // to.
  virtual std::vector<int64_t> lengths(const std::vector<std::string>& /*captions*/) { return {}; }
  // If the weights are sharded, all ranks of the mesh's shard axis must call encode() equally often, each with at least
  // one caption (any caption will do for a rank that has none left).
  virtual bool is_sharded() const { return false; }
  // Whether `mine` is true on any of those ranks; collective among them. Returns `mine` if the weights are whole.
  virtual bool any_rank(bool mine) { return mine; }
  // Whether its layers have adapters, so that encodings change as they are trained.
  virtual bool is_trained() const { return false; }
  // As what adapters are put on; null: it has no weights that could be trained.
  virtual TrainableEncoder* trainable() { return nullptr; }
  // Identifies the encoder and everything that its output depends on; used as the key of caches.
  virtual std::string identity() const = 0;
};

// Every word (lower-cased, split at blanks and ASCII punctuation) is a fixed vector of N(0, 1) numbers that depends on
// its spelling alone. Needs no files; enough to tell a few hundred captions apart.
// masks_padding: nothing attends to what follows a caption's words.
std::unique_ptr<CaptionEncoder> random_word_encoder(int64_t num_tokens, int64_t width, torch::Device device,
                                                    bool masks_padding = false);
// The sum of a caption's word vectors over the root of their number: [B, width].
std::unique_ptr<CaptionEncoder> random_pooled_encoder(int64_t width, torch::Device device);

// A trained encoder's weights: whole on every rank, or sharded over a mesh's shard axis.
struct EncoderPlacement {
  torch::Dtype dtype = torch::kFloat32;
  torch::Device device = torch::kCPU;
  Mesh* mesh = nullptr;  // null: one rank; must live as long as the encoder
  // kAuto: T5 on GPUs, or if its weights take more than 4 GiB; never CLIP (a quarter of a GiB).
  EncoderSharding shard = EncoderSharding::kAuto;
  // Adapters that are added to its weights as they are read; null: none. merged_identity: of their files.
  const AdapterMerger* merged = nullptr;
  std::string merged_identity = {};
};

// Resolves EncoderPlacement::shard for T5 on more than one rank; bytes: of its weights.
bool shards_t5(EncoderSharding shard, bool on_gpu, int64_t bytes);

// T5's last hidden state, captions cut or padded to num_tokens. folder: weights, config.json; tokenizer: empty for the
// one in the folder. expected_width: required by FLUX, ModelError otherwise; 0: any. masks_padding: nothing attends to
// padding, neither in T5 nor in FLUX.
std::unique_ptr<CaptionEncoder> t5_caption_encoder(const std::filesystem::path& folder,
                                                   const std::filesystem::path& tokenizer, int64_t num_tokens,
                                                   int64_t expected_width, const EncoderPlacement& placement,
                                                   bool masks_padding = false);
// CLIP's pooled output.
std::unique_ptr<CaptionEncoder> clip_caption_encoder(const std::filesystem::path& folder,
                                                     const std::filesystem::path& tokenizer, int64_t expected_width,
                                                     const EncoderPlacement& placement);

// Caches encodings in host memory, up to max_bytes, and, when a folder is given, in files there for later
// runs. device: of encode()'s result. Ranks that share an encoder's weights agree on each call
// whether any of them lacks an encoding.
std::unique_ptr<CaptionEncoder> cached_caption_encoder(std::unique_ptr<CaptionEncoder> encoder, torch::Device device,
                                                       uint64_t max_bytes, const std::filesystem::path& folder = {});

}  // namespace millrace
