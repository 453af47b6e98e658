// Forward, for each block of queries, over the blocks of keys that it sees:
//   S = q k^T;  weights = exp(scale * S - most so far);  out = out * correction + weights v
// and at the end out / sum of weights. Backward, the same blocks, with weights from the saved logsumexp:
//   dv += weights^T dout;  dweights = dout v^T;  dS = scale * weights * (dweights - delta), delta = sum(dout * out)
//   dq += dS k;  dk += dS^T q
#include "kernels/attention_fp32/attention_fp32_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/cpu_level.h"
#include "kernels/round_up.h"

namespace millrace {
namespace {

// The scores of a block and what a product with them reads stay in a core's second-level cache.
constexpr int64_t kQueries = 64, kKeys = 256;

// Blocks of nearly equal size, all but the last a multiple of `step`.
int64_t block_step(int64_t count, int64_t most, int64_t step) {
  return round_up(ceil_div(count, ceil_div(count, most)), step);
}

// Tokens from `first` on, side by side over the size; and the size side by side over the tokens.
GemmSide rows_of(const HeadTokens& tokens, int64_t first) {
  return {tokens.row(first), tokens.stride, 1};
}
GemmSide columns_of(const HeadTokens& tokens, int64_t first) {
  return {tokens.row(first), 1, tokens.stride};
}

}  // namespace

AttentionBlocks::AttentionBlocks(int64_t queries, int64_t keys, int64_t size, float scale, const KeyRule& rule)
    : products_(gemm_fp32_kernels()),
      rows_(MILLRACE_SELECT_KERNELS(attention_fp32_kernels)),
      queries_(queries),
      keys_(keys),
      size_(size),
      scale_(scale),
      rule_(rule),
      query_step_(block_step(queries, kQueries, products_.tile_rows)),
      key_step_(block_step(keys, kKeys, products_.panel_columns)),
      size_columns_(round_up(size, products_.panel_columns)) {}

AttentionBlocks::Range AttentionBlocks::block_of_queries(int64_t block) const {
  return {block * query_step_, std::min(queries_, (block + 1) * query_step_)};
}

AttentionBlocks::Range AttentionBlocks::block_of_keys(int64_t block) const {
  return {block * key_step_, std::min(keys_, (block + 1) * key_step_)};
}

AttentionBlocks::Range AttentionBlocks::keys_of(int64_t query) const {
  if (!rule_.causal) return {0, keys_};
  return {rule_.window > 0 ? std::max<int64_t>(0, query + 1 - rule_.window) : 0, query + 1};
}

// All keys that one of the queries sees.
AttentionBlocks::Range AttentionBlocks::keys_of(const Range& queries) const {
  return {keys_of(queries.first).first, keys_of(queries.end - 1).end};
}

ScoreRow AttentionBlocks::score_row(int64_t query, const Range& keys, float* scores) const {
  const Range seen = keys_of(query);
  const int64_t end = std::clamp(seen.end, keys.first, keys.end) - keys.first;
  return {scores, std::min(std::clamp(seen.first, keys.first, keys.end) - keys.first, end), end, keys.count(), scale_};
}

int64_t AttentionBlocks::scratch_size() const {
  return over_size(query_step_) + query_step_ * (key_step_ + size_) + products_.packed_size(query_step_, key_step_);
}

int64_t AttentionBlocks::backward_scratch_size() const {
  const int64_t tiles =
      std::max(products_.packed_size(query_step_, key_step_), products_.packed_size(key_step_, query_step_));
  return 2 * over_size(query_step_) + 2 * products_.packed_size(size_columns_, query_step_) +
         2 * query_step_ * key_step_ + tiles;
}

void AttentionBlocks::pack_panels(const GemmSide& side, int64_t count, int64_t depth, float* packed) const {
  products_.pack_columns(side, count, depth, packed, products_.packed_size(products_.panel_columns, depth));
}

void AttentionBlocks::pack_tiles(const GemmSide& side, int64_t count, int64_t depth, float* packed) const {
  products_.pack_rows(side, count, depth, packed, products_.packed_size(products_.tile_rows, depth));
}

// out (+)= a b
void AttentionBlocks::multiply(const float* a, const Panels& b, const ProductSizes& sizes, const HeadTokens& out,
                               bool accumulate) const {
  products_.multiply({.rows = sizes.rows,
                      .columns = sizes.columns,
                      .depth = sizes.depth,
                      .a = a,
                      .b = b.data,
                      .panel_step = products_.packed_size(products_.panel_columns, b.depth),
                      .out = out.data,
                      .out_stride = out.stride,
                      .accumulate = accumulate,
                      .first = true,
                      .last = true,
                      .kept = nullptr});
}

void AttentionBlocks::pack(const AttentionHead& head, int64_t block, float* packed) const {
  const Range keys = block_of_keys(block);
  packed += block * packed_step();
  pack_panels(rows_of(head.k, keys.first), keys.count(), size_, packed);
  pack_panels(columns_of(head.v, keys.first), size_, keys.count(), packed + over_size(key_step_));
}

void AttentionBlocks::forward(const AttentionHead& head, const float* packed, int64_t block, float* scratch) const {
  const Range queries = block_of_queries(block);
  const Range seen = keys_of(queries);
  float* const q = scratch;
  float* const scores = q + over_size(query_step_);
  float* const weights = scores + query_step_ * key_step_;
  float* const out = weights + products_.packed_size(query_step_, key_step_);
  pack_tiles(rows_of(head.q, queries.first), queries.count(), size_, q);

  std::array<float, kQueries> most, sums;
  most.fill(std::numeric_limits<float>::lowest());
  sums.fill(0);
  std::fill_n(out, queries.count() * size_, 0.0f);
  for (int64_t b = seen.first / key_step_; b * key_step_ < seen.end; ++b) {
    const Range whole = block_of_keys(b), keys{whole.first, std::min(whole.end, seen.end)};
    const float* const k = packed + b * packed_step();
    multiply(q, {k, size_}, {queries.count(), size_, keys.count()}, {scores, key_step_}, false);
    for (int64_t i = 0; i < queries.count(); ++i) {
      const auto row = static_cast<size_t>(i);
      const float correction =
          rows_.soften(score_row(queries.first + i, keys, scores + i * key_step_), most[row], sums[row]);
      if (correction != 1) rows_.multiply(out + i * size_, out + i * size_, correction, size_);
    }
    pack_tiles({scores, key_step_, 1}, queries.count(), keys.count(), weights);
    multiply(weights, {k + over_size(key_step_), whole.count()}, {queries.count(), keys.count(), size_}, {out, size_},
             true);
  }
  for (int64_t i = 0; i < queries.count(); ++i) {
    const int64_t query = queries.first + i;
    const float sum = sums[static_cast<size_t>(i)];
    rows_.multiply(head.out.row(query), out + i * size_, 1 / sum, size_);
    head.logsumexp[query] = most[static_cast<size_t>(i)] + std::log(sum);
  }
}

void AttentionBlocks::pack_backward(const AttentionHead& head, int64_t block, float* packed) const {
  const Range keys = block_of_keys(block);
  packed += block * backward_packed_step();
  pack_panels(rows_of(head.k, keys.first), keys.count(), size_, packed);
  pack_panels(rows_of(head.v, keys.first), keys.count(), size_, packed + over_size(key_step_));
  pack_panels(columns_of(head.k, keys.first), size_, keys.count(), packed + 2 * over_size(key_step_));
}

void AttentionBlocks::backward(const AttentionHead& head, const AttentionHeadGradients& gradients, const float* packed,
                               float* scratch) const {
  for (int64_t block = 0; block < query_blocks(); ++block) {
    backward_block(head, gradients, packed, block_of_queries(block), scratch);
  }
}

void AttentionBlocks::backward_block(const AttentionHead& head, const AttentionHeadGradients& gradients,
                                     const float* packed, const Range& queries, float* scratch) const {
  const int64_t rows = queries.count();
  float* const q_tiles = scratch;
  float* const dout_tiles = q_tiles + over_size(query_step_);
  float* const q_panels = dout_tiles + over_size(query_step_);
  float* const dout_panels = q_panels + products_.packed_size(size_columns_, query_step_);
  float* const scores = dout_panels + products_.packed_size(size_columns_, query_step_);
  float* const dweights = scores + query_step_ * key_step_;
  float* const tiles = dweights + query_step_ * key_step_;
  pack_tiles(rows_of(head.q, queries.first), rows, size_, q_tiles);
  pack_tiles(rows_of(gradients.dout, queries.first), rows, size_, dout_tiles);
  pack_panels(columns_of(head.q, queries.first), size_, rows, q_panels);
  pack_panels(columns_of(gradients.dout, queries.first), size_, rows, dout_panels);
  std::array<float, kQueries> deltas;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t query = queries.first + i;
    deltas[static_cast<size_t>(i)] = rows_.dot(head.out.row(query), gradients.dout.row(query), size_);
  }

  const Range seen = keys_of(queries);
  const int64_t first_block = seen.first / key_step_;
  for (int64_t block = first_block; block * key_step_ < seen.end; ++block) {
    const Range whole = block_of_keys(block), keys{whole.first, std::min(whole.end, seen.end)};
    const float* const k_over_size = packed + block * backward_packed_step();
    const float* const v_over_size = k_over_size + over_size(key_step_);
    const float* const k_over_keys = v_over_size + over_size(key_step_);
    multiply(q_tiles, {k_over_size, size_}, {rows, size_, keys.count()}, {scores, key_step_}, false);
    multiply(dout_tiles, {v_over_size, size_}, {rows, size_, keys.count()}, {dweights, key_step_}, false);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t query = queries.first + i;
      rows_.soften_backward(score_row(query, keys, scores + i * key_step_), dweights + i * key_step_,
                            head.logsumexp[query], deltas[static_cast<size_t>(i)]);
    }
    pack_tiles({scores, 1, key_step_}, keys.count(), rows, tiles);
    multiply(tiles, {dout_panels, rows}, {keys.count(), rows, size_}, gradients.dv.from(keys.first), true);
    pack_tiles({dweights, 1, key_step_}, keys.count(), rows, tiles);
    multiply(tiles, {q_panels, rows}, {keys.count(), rows, size_}, gradients.dk.from(keys.first), true);
    pack_tiles({dweights, key_step_, 1}, rows, keys.count(), tiles);
    multiply(tiles, {k_over_keys, whole.count()}, {rows, keys.count(), size_}, gradients.dq.from(queries.first),
             block > first_block);
  }
}

}  // namespace millrace
