#include "language/pack_plan.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

class GreedyPlan {
 public:
  explicit GreedyPlan(const PackingOptions& options) : options_(options) {}

  bool full() const { return options_.max_packs && static_cast<int64_t>(packs_.size()) >= *options_.max_packs; }

  void add(int64_t row, int64_t length) {
    int64_t begin = 0;
    if (options_.split_across_packs) {
      while (used_ + length - begin > options_.max_length && !full()) {
        const int64_t room = options_.max_length - used_;
        put(row, begin, room);
        begin += room;
        close();
      }
    } else if (used_ + length > options_.max_length) {
      close();
    }
    if (!full()) put(row, begin, length - begin);
  }

  std::vector<TextPieces> finish() {
    if (!full()) close();
    return std::move(packs_);
  }

 private:
  void put(int64_t row, int64_t begin, int64_t length) {
    if (length == 0) return;
    open_.push_back({row, begin, length});
    used_ += length;
  }
  void close() {
    if (!open_.empty()) packs_.push_back(std::move(open_));
    open_.clear();
    used_ = 0;
  }

  PackingOptions options_;
  std::vector<TextPieces> packs_;
  TextPieces open_;
  int64_t used_ = 0;
};

int64_t length_of(std::span<const int64_t> lengths, int64_t row) {
  return lengths[static_cast<size_t>(row)];
}

}  // namespace

std::vector<TextPieces> plan_greedy_packs(std::span<const int64_t> rows, std::span<const int64_t> lengths,
                                          const PackingOptions& options) {
  GreedyPlan plan(options);
  for (const int64_t row : rows) {
    if (plan.full()) break;
    const int64_t length = length_of(lengths, row);
    if (length > options.max_length && !options.split_across_packs) {
      throw DataError(str("[row ", row + 1, "] expected at most ", options.max_length, " tokens, got ", length,
                          " (try a larger max_seq_len, or splitting samples across packs)"));
    }
    plan.add(row, length);
  }
  return plan.finish();
}

std::vector<TextPieces> plan_best_fit_packs(std::span<const int64_t> rows, std::span<const int64_t> lengths,
                                            const PackingOptions& options) {
  std::vector<int64_t> in_order;
  for (const int64_t row : rows) in_order.push_back(length_of(lengths, row));
  std::vector<TextPieces> packs;
  for (const std::vector<int64_t>& places : pack_best_fit(in_order, options.max_length)) {
    TextPieces pieces;
    for (const int64_t place : places) {
      const int64_t row = rows[static_cast<size_t>(place)];
      pieces.push_back({row, 0, length_of(lengths, row)});
    }
    packs.push_back(std::move(pieces));
  }
  const auto limit = static_cast<size_t>(options.max_packs.value_or(INT64_MAX));
  if (packs.size() > limit) packs.resize(limit);
  return packs;
}

}  // namespace millrace
