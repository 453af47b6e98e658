// Captions to conditioning: the frozen networks before FLUX, or what stands in for them.
//
// Letters: B batch, T text tokens, X width of a token's encoding, V width of the pooled encoding.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace millrace {

// One encoding per caption. Not safe to use from two threads at once.
class CaptionEncoder {
 public:
  virtual ~CaptionEncoder() = default;
  // [B, T, X] or [B, V]; the same caption gives the same numbers in every batch.
  virtual torch::Tensor encode(const std::vector<std::string>& captions) = 0;
  // Names the encoder and everything that its output depends on; the key of caches.
  virtual std::string identity() const = 0;
};

// Every word (lower-cased, split at blanks and ASCII punctuation) is a fixed vector of N(0, 1) numbers that depends on
// its spelling alone. Needs no files; enough to tell a few hundred captions apart.
std::unique_ptr<CaptionEncoder> random_word_encoder(int64_t num_tokens, int64_t width, torch::Device device);
// The sum of a caption's word vectors over the root of their number: [B, width].
std::unique_ptr<CaptionEncoder> random_pooled_encoder(int64_t width, torch::Device device);

// T5's last hidden state, captions cut or padded to num_tokens. folder: weights, config.json; tokenizer: empty for the
// one in the folder. expected_width: what FLUX wants; ModelError otherwise.
std::unique_ptr<CaptionEncoder> t5_caption_encoder(const std::filesystem::path& folder,
                                                   const std::filesystem::path& tokenizer, int64_t num_tokens,
                                                   int64_t expected_width, torch::Dtype dtype, torch::Device device);
// CLIP's pooled output.
std::unique_ptr<CaptionEncoder> clip_caption_encoder(const std::filesystem::path& folder,
                                                     const std::filesystem::path& tokenizer, int64_t expected_width,
                                                     torch::Dtype dtype, torch::Device device);

// Keeps encodings in memory, up to max_bytes, and, when a folder is given, in files there that later runs find again.
std::unique_ptr<CaptionEncoder> cached_caption_encoder(std::unique_ptr<CaptionEncoder> encoder, uint64_t max_bytes,
                                                       const std::filesystem::path& folder = {});

}  // namespace millrace
