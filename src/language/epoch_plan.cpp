#include "language/epoch_plan.h"

#include <numeric>

#include "base/error.h"
#include "base/random_source.h"
#include "language/sample_order.h"

namespace millrace {
namespace {

std::vector<int64_t> counted(int64_t size) {
  std::vector<int64_t> numbers(static_cast<size_t>(size));
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  return numbers;
}

constexpr uint64_t kOfRows = 0, kOfPacks = 1;  // streams

}  // namespace

TextPieces EpochPlan::sample(int64_t index) const {
  const int64_t which = order_[static_cast<size_t>(index)];
  if (packs_ == nullptr) return {{which, 0, -1}};
  return (*packs_)[static_cast<size_t>(which)];
}

EpochPlanner::EpochPlanner(const EpochPlanOptions& options, std::vector<int64_t> lengths)
    : options_(options), lengths_(std::move(lengths)) {
  MILLRACE_CHECK(options.packing == Packing::kNone || static_cast<int64_t>(lengths_.size()) == options.num_rows);
  const bool fixed = options.packing != Packing::kNone && (options.order == EpochOrder::kTorchtune || !options.shuffle);
  if (fixed) fixed_packs_ = std::make_shared<std::vector<TextPieces>>(pack_in_order());
}

std::vector<TextPieces> EpochPlanner::pack(const std::vector<int64_t>& rows, const PackingOptions& packs) const {
  return options_.packing == Packing::kGreedy ? plan_greedy_packs(rows, lengths_, packs)
                                              : plan_best_fit_packs(rows, lengths_, packs);
}

std::vector<TextPieces> EpochPlanner::pack_in_order() const {
  const std::vector<int64_t> rows = counted(options_.num_rows);
  if (options_.order != EpochOrder::kTorchtune || options_.parts.empty()) return pack(rows, options_.packs);
  std::vector<TextPieces> all;
  auto begin = rows.begin();
  for (const PackedPart& part : options_.parts) {
    const auto end = rows.begin() + part.end;
    for (TextPieces& one : pack({begin, end}, part.packs)) all.push_back(std::move(one));
    begin = end;
  }
  return all;
}

EpochPlan EpochPlanner::epoch(int64_t number) const {
  EpochPlan plan;
  plan.packs_ = fixed_packs_;
  const int64_t fixed_size = fixed_packs_ ? static_cast<int64_t>(fixed_packs_->size()) : options_.num_rows;
  if (options_.order == EpochOrder::kTorchtune) {
    plan.order_ = torchtune_sample_order(fixed_size, number, options_.shuffle);
    return plan;
  }
  plan.order_ = counted(fixed_size);
  if (!options_.shuffle) return plan;
  const auto shuffle = [&](std::vector<int64_t>& items, uint64_t stream) {
    PhiloxSource(random_stream(options_.seed, RandomPurpose::kShuffle, static_cast<uint32_t>(number), stream))
        .shuffle(items);
  };
  shuffle(plan.order_, kOfRows);
  if (options_.packing == Packing::kNone) return plan;
  // Rows are shuffled, then packed; best-fit packs, which come sorted by length, are shuffled as well.
  plan.packs_ = std::make_shared<std::vector<TextPieces>>(pack(plan.order_, options_.packs));
  plan.order_ = counted(static_cast<int64_t>(plan.packs_->size()));
  if (options_.packing == Packing::kBestFit) shuffle(plan.order_, kOfPacks);
  return plan;
}

}  // namespace millrace
