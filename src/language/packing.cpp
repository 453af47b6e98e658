#include "language/packing.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

void append(Pack& pack, const TokenSample& sample, int64_t max_length) {
  pack.tokens.insert(pack.tokens.end(), sample.tokens.begin(), sample.tokens.end());
  pack.labels.insert(pack.labels.end(), sample.labels.begin(), sample.labels.end());
  pack.labels.resize(pack.tokens.size(), kMaskedLabel);
  for (size_t i = 0; i < sample.tokens.size(); ++i) {
    pack.positions.push_back(static_cast<int32_t>(static_cast<int64_t>(i) % max_length));
  }
  pack.sequence_lengths.push_back(static_cast<int32_t>(sample.tokens.size()));
}

void pad(Pack& pack, int64_t max_length) {
  const auto length = static_cast<size_t>(max_length);
  if (pack.tokens.size() == length) return;
  pack.sequence_lengths.push_back(static_cast<int32_t>(length - pack.tokens.size()));
  pack.tokens.resize(length, 0);
  pack.labels.resize(length, kMaskedLabel);
  // Positions keep counting after the last sample, up to the last position of a model of this length.
  int32_t position = pack.positions.empty() ? -1 : pack.positions.back();
  while (pack.positions.size() < length) {
    position = std::min(position + 1, static_cast<int32_t>(max_length - 1));
    pack.positions.push_back(position);
  }
}

template <typename T>
std::vector<T> take_front(std::vector<T>& values, size_t count) {
  const auto end = values.begin() + static_cast<ptrdiff_t>(count);
  std::vector<T> front(values.begin(), end);
  values.erase(values.begin(), end);
  return front;
}

}  // namespace

GreedyPacker::GreedyPacker(const PackingOptions& options) : options_(options) {
  if (options.max_length < 1)
    throw ConfigError(str("[packing] expected a length of at least 1, got ", options.max_length));
}

bool GreedyPacker::full() const {
  return options_.max_packs && static_cast<int64_t>(packs_.size()) >= *options_.max_packs;
}

bool GreedyPacker::add(const TokenSample& sample) {
  if (full()) return false;
  ++count_;
  const auto length = static_cast<int64_t>(sample.tokens.size());
  if (length > options_.max_length && !options_.split_across_packs) {
    throw DataError(str("[sample ", count_, "] expected at most ", options_.max_length, " tokens, got ", length,
                        " (try a larger max_seq_len, or splitting samples across packs)"));
  }
  boundary_ = open_.tokens.size();
  append(open_, sample, options_.max_length);
  while (static_cast<int64_t>(open_.tokens.size()) > options_.max_length && !full()) split();
  return !full();
}

void GreedyPacker::split() {
  if (!options_.split_across_packs) {
    const int32_t last = open_.sequence_lengths.back();
    open_.sequence_lengths.pop_back();
    emit(boundary_, std::move(open_.sequence_lengths));
    open_.sequence_lengths = {last};
    boundary_ = 0;
    return;
  }
  std::vector<int32_t> lengths = open_.sequence_lengths;
  lengths.pop_back();
  const auto before = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  if (before < options_.max_length) lengths.push_back(static_cast<int32_t>(options_.max_length - before));
  emit(static_cast<size_t>(options_.max_length), std::move(lengths));
  open_.sequence_lengths = {static_cast<int32_t>(open_.tokens.size())};
}

void GreedyPacker::emit(size_t length, std::vector<int32_t> sequence_lengths) {
  Pack pack;
  pack.tokens = take_front(open_.tokens, length);
  pack.labels = take_front(open_.labels, length);
  pack.positions = take_front(open_.positions, length);
  pack.sequence_lengths = std::move(sequence_lengths);
  pad(pack, options_.max_length);
  packs_.push_back(std::move(pack));
}

std::vector<Pack> GreedyPacker::finish() {
  if (!open_.tokens.empty() && !full()) emit(open_.tokens.size(), std::move(open_.sequence_lengths));
  open_ = {};
  return std::move(packs_);
}

std::vector<Pack> pack_greedily(std::span<const TokenSample> samples, const PackingOptions& options) {
  GreedyPacker packer(options);
  for (const TokenSample& sample : samples) {
    if (!packer.add(sample)) break;
  }
  return packer.finish();
}

std::vector<std::vector<int64_t>> pack_best_fit(std::span<const int64_t> lengths, int64_t max_length) {
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return lengths[static_cast<size_t>(a)] > lengths[static_cast<size_t>(b)];
  });
  std::vector<std::vector<int64_t>> packs;
  std::multimap<int64_t, size_t> by_room;  // room left -> pack
  for (const int64_t sample : order) {
    const int64_t length = lengths[static_cast<size_t>(sample)];
    if (length == 0) continue;
    if (length > max_length) {
      throw DataError(str("[sample ", sample + 1, "] expected at most ", max_length, " tokens, got ", length,
                          " (try a larger max_seq_len)"));
    }
    const auto tightest = by_room.lower_bound(length);
    const bool fits = tightest != by_room.end();
    const size_t pack = fits ? tightest->second : packs.size();
    const int64_t room = (fits ? tightest->first : max_length) - length;
    if (fits) {
      by_room.erase(tightest);
    } else {
      packs.emplace_back();
    }
    packs[pack].push_back(sample);
    if (room > 0) by_room.emplace(room, pack);
  }
  return packs;
}

Pack make_pack(std::span<const TokenSample* const> samples, int64_t max_length) {
  Pack pack;
  for (const TokenSample* sample : samples) append(pack, *sample, max_length);
  MILLRACE_CHECK(static_cast<int64_t>(pack.tokens.size()) <= max_length);
  pad(pack, max_length);
  return pack;
}

}  // namespace millrace
