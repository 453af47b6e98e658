// Attention of one head, block by block. See attention_fp32.h for the letters.
#pragma once

#include <cstdint>

#include "kernels/attention_fp32/attention_fp32_raw.h"
#include "kernels/round_up.h"

namespace millrace {

struct AttentionHead {
  HeadTokens q, k, v, out;
  float* logsumexp = nullptr;  // [L]
};
struct AttentionHeadGradients {
  HeadTokens dout, dq, dk, dv;
};

// How every head of a sequence is cut, and what is done with a block. Sizes of memory count floats.
class AttentionBlocks {
 public:
  AttentionBlocks(int64_t queries, int64_t keys, int64_t size, float scale, const KeyRule& rule);

  int64_t query_blocks() const { return ceil_div(queries_, query_step_); }
  int64_t key_blocks() const { return ceil_div(keys_, key_step_); }

  // Keys and values are packed block by block, for all query heads that read them.
  int64_t packed_size() const { return key_blocks() * packed_step(); }
  void pack(const AttentionHead& head, int64_t block, float* packed) const;
  // Writes out and logsumexp of one block of queries. The scratch memory need not be initialised.
  int64_t scratch_size() const;
  void forward(const AttentionHead& head, const float* packed, int64_t block, float* scratch) const;

  int64_t backward_packed_size() const { return key_blocks() * backward_packed_step(); }
  void pack_backward(const AttentionHead& head, int64_t block, float* packed) const;
  // Writes dq, adds to dk and dv.
  int64_t backward_scratch_size() const;
  void backward(const AttentionHead& head, const AttentionHeadGradients& gradients, const float* packed,
                float* scratch) const;

 private:
  struct Range {
    int64_t first, end;
    int64_t count() const { return end - first; }
  };
  struct Panels {
    const float* data;
    int64_t depth;  // as packed, of which a product may use less
  };
  struct ProductSizes {
    int64_t rows, depth, columns;
  };
  Range block_of_queries(int64_t block) const;
  Range block_of_keys(int64_t block) const;
  Range keys_of(int64_t query) const;
  Range keys_of(const Range& queries) const;
  ScoreRow score_row(int64_t query, const Range& keys, float* scores) const;
  // Tokens packed side by side over the size; the size packed side by side over the keys.
  int64_t over_size(int64_t tokens) const { return products_.packed_size(tokens, size_); }
  int64_t over_keys() const { return products_.packed_size(size_columns_, key_step_); }
  int64_t packed_step() const { return over_size(key_step_) + over_keys(); }
  int64_t backward_packed_step() const { return 2 * over_size(key_step_) + over_keys(); }
  void pack_panels(const GemmSide& side, int64_t count, int64_t depth, float* packed) const;
  void pack_tiles(const GemmSide& side, int64_t count, int64_t depth, float* packed) const;
  void multiply(const float* a, const Panels& b, const ProductSizes& sizes, const HeadTokens& out,
                bool accumulate) const;
  void backward_block(const AttentionHead& head, const AttentionHeadGradients& gradients, const float* packed,
                      const Range& queries, float* scratch) const;

  const GemmFp32Kernels& products_;
  const AttentionFp32Kernels& rows_;
  int64_t queries_, keys_, size_;
  float scale_;
  KeyRule rule_;
  int64_t query_step_, key_step_;  // of a block
  int64_t size_columns_;           // D, rounded up to whole panels
};

}  // namespace millrace
