#include "diffusion/picture_data.h"

#include <algorithm>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "picture_sets/augmentation.h"
#include "picture_sets/trained_caption.h"

namespace millrace {
namespace {

template <typename Holds>
bool any_subset(const std::vector<PictureSet>& sets, Holds holds) {
  return std::any_of(sets.begin(), sets.end(), [&](const PictureSet& set) {
    return std::any_of(set.options.subsets.begin(), set.options.subsets.end(), holds);
  });
}

// Ranks on different machines may see different folders.
void check_same_on_all_ranks(const PictureData& data, Group& ranks, torch::Device device) {
  if (ranks.size() == 1) return;
  const std::string text = data.identity.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const auto own = static_cast<int64_t>(checksum64(text.data(), text.size()) >> 1);
  torch::Tensor largest = torch::tensor({own, -own}).to(device);
  ranks.all_reduce(largest, Reduce::kMax).wait();
  largest = largest.cpu();
  ranks.check();
  if (largest[0].item<int64_t>() == -largest[1].item<int64_t>()) return;
  throw DataError(
      "[" + printable(data.place) +
      "] expected the same pictures and captions on every rank, got others on some (try one shared folder)");
}

}  // namespace

int64_t PictureData::num_validation_pictures() const {
  int64_t pictures = 0;
  for (const PictureSet& set : sets) pictures += set.validation.num_samples();
  return pictures;
}

bool PictureData::changes_pictures() const {
  return any_subset(sets, draws_new_pictures);
}

bool PictureData::has_many_captions() const {
  return any_subset(sets, [](const SubsetOptions& subset) { return millrace::has_many_captions(subset); });
}

bool PictureData::has_masks() const {
  return any_subset(
      sets, [](const SubsetOptions& subset) { return subset.alpha_mask || !subset.conditioning_data_dir.empty(); });
}

PictureData open_picture_data(const std::string& place, const OpenSettings& settings, Group& ranks,
                              torch::Device device) {
  PictureData data;
  data.place = place;
  data.sets = open_picture_sets(place, settings);
  data.contents = read_contents(data.sets, settings.num_threads);
  data.identity = identity_of(data.sets, data.contents);
  check_same_on_all_ranks(data, ranks, device);
  return data;
}

int decoding_threads(int64_t num_workers) {
  constexpr int kMost = 8;
  if (num_workers > 0) return static_cast<int>(num_workers);
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMost);
}

std::string describe_pictures(const PictureData& data) {
  std::set<PictureSize> sizes;
  int64_t pictures = 0, samples = 0, batches = 0;
  for (const PictureSet& set : data.sets) {
    for (const Bucket& bucket : set.train.buckets) sizes.insert(bucket.resolution);
    pictures += static_cast<int64_t>(set.train.pictures.size());
    samples += set.train.num_samples();
    batches += set.train.num_batches(set.options.batch_size);
  }
  const std::string range = sizes.size() == 1 ? size_text(*sizes.begin())
                                              : str(sizes.size(), " sizes from ", size_text(*sizes.begin()), " to ",
                                                    size_text(*sizes.rbegin()));
  return str(printable(data.place), ", ", with_thousands(pictures), " pictures of ", range, ", ",
             with_thousands(samples), " samples in ", with_thousands(batches), " batches an epoch");
}

}  // namespace millrace
