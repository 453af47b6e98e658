#include "picture_sets/picture_order.h"

#include <limits>

#include "base/error.h"
#include "base/random_source.h"
#include "picture_sets/batch_order.h"

namespace millrace {
namespace {

constexpr uint64_t kAllSets = std::numeric_limits<uint64_t>::max();  // the stream that shuffles batches of all sets

}  // namespace

uint64_t picture_sample_id(uint64_t number_over_all_sets, uint64_t repeat) {
  MILLRACE_CHECK(number_over_all_sets >> 32 == 0 && repeat >> 32 == 0);
  return repeat << 32 | number_over_all_sets;
}

std::vector<PlannedPictures> plan_epoch(const std::vector<PictureSet>& sets, uint64_t seed, uint32_t epoch) {
  std::vector<PlannedPictures> plan;
  uint64_t first_number = 0;
  for (size_t set = 0; set < sets.size(); ++set) {
    const PicturePart& part = sets[set].train;
    std::vector<uint32_t> repeats(part.pictures.size(), 0);
    for (const PictureBatch& batch : epoch_batches(part, sets[set].options.batch_size, seed, set, epoch)) {
      PlannedPictures& planned = plan.emplace_back(PlannedPictures{set, batch.bucket, {}});
      for (const uint32_t picture : batch.pictures) {
        planned.samples.push_back({picture, picture_sample_id(first_number + picture, repeats[picture]++)});
      }
    }
    first_number += part.pictures.size();
  }
  PhiloxSource random(random_stream(seed, RandomPurpose::kShuffle, epoch, kAllSets));
  random.shuffle(plan);
  return plan;
}

std::vector<PlannedPictures> plan_validation(const std::vector<PictureSet>& sets, int64_t batch_size) {
  MILLRACE_CHECK(batch_size > 0);
  std::vector<PlannedPictures> plan;
  uint64_t first_number = 0;
  for (size_t set = 0; set < sets.size(); ++set) {
    const PicturePart& part = sets[set].validation;
    for (size_t bucket = 0; bucket < part.buckets.size(); ++bucket) {
      for (const uint32_t picture : part.buckets[bucket].pictures) {
        const bool continues = !plan.empty() && plan.back().set == set && plan.back().bucket == bucket &&
                               plan.back().samples.size() < static_cast<size_t>(batch_size);
        if (!continues) plan.push_back({set, bucket, {}});
        plan.back().samples.push_back({picture, picture_sample_id(first_number + picture, 0)});
      }
    }
    first_number += part.pictures.size();
  }
  return plan;
}

PictureRows rows_of_rank(size_t num_rows, int rank, int num_ranks) {
  MILLRACE_CHECK(rank >= 0 && rank < num_ranks);
  const auto r = static_cast<size_t>(rank), n = static_cast<size_t>(num_ranks);
  return {num_rows * r / n, num_rows * (r + 1) / n};
}

void PictureOrder::plan(uint32_t epoch) {
  if (is_planned_ && planned_epoch_ == epoch) return;
  batches_ = plan_epoch(sets_, seed_, epoch);
  MILLRACE_CHECK(!batches_.empty());
  planned_epoch_ = epoch;
  is_planned_ = true;
}

const PlannedPictures& PictureOrder::next() {
  plan(position_.epoch);
  if (position_.batch == batches_.size()) {
    ++position_.epoch;
    position_.batch = 0;
    plan(position_.epoch);
  }
  ++position_.batches;
  return batches_[position_.batch++];
}

void PictureOrder::seek(const PicturePosition& position) {
  plan(position.epoch);
  if (position.batch > batches_.size()) {
    throw DataError("[data position] expected a batch of at most " + std::to_string(batches_.size()) +
                    " in an epoch, got " + std::to_string(position.batch));
  }
  position_ = position;
}

}  // namespace millrace
