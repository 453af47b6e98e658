#include "tokenizers/byte_pair_encoding.h"

#include <bit>
#include <queue>

namespace millrace {
namespace {

constexpr size_t kLongWord = 48;  // above this a heap is faster than scanning

size_t hash_pair(int32_t left, int32_t right) {
  const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> 24);
}

}  // namespace

void BytePairEncoding::reserve(size_t merges) {
  rehash(std::bit_ceil(4 * merges + 16));
}

// That of the pair, or the empty one where it belongs.
BytePairEncoding::Merge& BytePairEncoding::slot_of(int32_t left, int32_t right) {
  const size_t mask = slots_.size() - 1;
  size_t at = hash_pair(left, right) & mask;
  while (slots_[at].left >= 0 && (slots_[at].left != left || slots_[at].right != right)) at = (at + 1) & mask;
  return slots_[at];
}

void BytePairEncoding::rehash(size_t slots) {
  std::vector<Merge> before(slots);
  before.swap(slots_);
  for (const Merge& merge : before) {
    if (merge.left >= 0) slot_of(merge.left, merge.right) = merge;
  }
}

void BytePairEncoding::add_merge(int32_t left, int32_t right, int32_t joined) {
  add_ranked_merge(left, right, joined, next_rank_++);
}

void BytePairEncoding::add_ranked_merge(int32_t left, int32_t right, int32_t joined, uint32_t rank) {
  if (2 * (size_ + 1) > slots_.size()) rehash(std::bit_ceil(4 * size_ + 16));
  Merge& slot = slot_of(left, right);
  if (slot.left < 0) ++size_;
  const size_t bit = hash_pair(left, right) % kBits;
  bits_[bit / 64] |= uint64_t{1} << bit % 64;
  slot = {left, right, {rank, joined}};
  if (left < kBytes && right < kBytes) of_bytes_[static_cast<size_t>(left * kBytes + right)] = slot.target;
}

BytePairEncoding::Target BytePairEncoding::find(int32_t left, int32_t right) const {
  if (left < kBytes && right < kBytes) return of_bytes_[static_cast<size_t>(left * kBytes + right)];
  const size_t hash = hash_pair(left, right), bit = hash % kBits;
  if ((bits_[bit / 64] >> bit % 64 & 1) == 0) return {};
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask; slots_[at].left >= 0; at = (at + 1) & mask) {
    if (slots_[at].left == left && slots_[at].right == right) return slots_[at].target;
  }
  return {};
}

void BytePairEncoding::apply(std::vector<int32_t>& symbols) const {
  if (symbols.size() > kLongWord) {
    apply_long(symbols);
  } else if (symbols.size() > 1) {
    apply_short(symbols);
  }
}

void BytePairEncoding::apply_short(std::vector<int32_t>& symbols) const {
  uint32_t ranks[kLongWord];  // of the pair that starts here
  int32_t joined[kLongWord];
  const auto look_up = [&](size_t i) {
    const Target target = find(symbols[i], symbols[i + 1]);
    ranks[i] = target.rank;
    joined[i] = target.joined;
  };
  size_t size = symbols.size();
  for (size_t i = 0; i + 1 < size; ++i) look_up(i);
  while (size > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < size; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNone) break;
    symbols[best] = joined[best];
    for (size_t i = best + 1; i + 1 < size; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
      joined[i] = joined[i + 1];
    }
    --size;
    if (best + 1 < size) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  symbols.resize(size);
}

void BytePairEncoding::apply_long(std::vector<int32_t>& symbols) const {
  constexpr int32_t kGone = -1;
  const auto size = static_cast<int64_t>(symbols.size());
  std::vector<int64_t> next(symbols.size()), previous(symbols.size());
  struct Candidate {
    uint32_t rank;
    int64_t at;
    int32_t left, right, joined;
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto push = [&](int64_t at) {
    if (at < 0 || next[at] >= size) return;
    const int32_t left = symbols[at], right = symbols[next[at]];
    const Target target = find(left, right);
    if (target.rank != kNone) queue.push({target.rank, at, left, right, target.joined});
  };
  for (int64_t i = 0; i < size; ++i) {
    previous[i] = i - 1;
    next[i] = i + 1;
  }
  for (int64_t i = 0; i < size; ++i) push(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const int64_t right_at = next[top.at];
    // Stale when either side has changed since it was queued.
    if (symbols[top.at] != top.left || right_at >= size || symbols[right_at] != top.right) continue;
    symbols[top.at] = top.joined;
    symbols[right_at] = kGone;
    next[top.at] = next[right_at];
    if (next[right_at] < size) previous[next[right_at]] = top.at;
    push(previous[top.at]);
    push(top.at);
  }
  std::erase(symbols, kGone);
}

}  // namespace millrace
