// The samples of each epoch in their order: a function of the seed, the data set and the epoch, not of the ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "language/pack_plan.h"

namespace millrace {

enum class Packing { kNone, kGreedy, kBestFit };

// kMillrace: an order of the seed and the epoch; every sample once an epoch. kTorchtune: that of torchtune's sampler
// (sample_order.h), whatever the seed; packs are made once, of the rows as they lie in the data.
enum class EpochOrder { kMillrace, kTorchtune };

// Rows that torchtune packs by themselves: those of one data set in a list.
struct PackedPart {
  int64_t end = 0;  // the row behind its last
  PackingOptions packs;
};

struct EpochPlanOptions {
  int64_t num_rows = 0;
  Packing packing = Packing::kNone;
  PackingOptions packs;
  std::vector<PackedPart> parts;  // with kTorchtune; empty: all rows are one
  EpochOrder order = EpochOrder::kMillrace;
  bool shuffle = true;
  uint64_t seed = 0;
};

// One epoch. A sample is a row, or the pieces of rows in a pack.
class EpochPlan {
 public:
  int64_t size() const { return static_cast<int64_t>(order_.size()); }
  TextPieces sample(int64_t index) const;  // of a whole row the length is -1

 private:
  friend class EpochPlanner;
  std::vector<int64_t> order_;
  std::shared_ptr<const std::vector<TextPieces>> packs_;  // null: rows
};

class EpochPlanner {
 public:
  // lengths: of every row, for packing; else empty. Throws DataError as the packing does.
  EpochPlanner(const EpochPlanOptions& options, std::vector<int64_t> lengths);

  EpochPlan epoch(int64_t number) const;
  const EpochPlanOptions& options() const { return options_; }

 private:
  std::vector<TextPieces> pack(const std::vector<int64_t>& rows, const PackingOptions& packs) const;
  std::vector<TextPieces> pack_in_order() const;

  EpochPlanOptions options_;
  std::vector<int64_t> lengths_;
  std::shared_ptr<const std::vector<TextPieces>> fixed_packs_;  // of torchtune's order
};

}  // namespace millrace
