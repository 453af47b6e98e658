// Caches the ids of short words per thread. Texts repeat words, so most are looked up instead of computed.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizers/word_hash.h"

namespace millrace {

class WordCache {
  static constexpr size_t kMaxBytes = 30, kMaxIds = 7, kPairs = 32768;  // 4 MiB a thread

 public:
  struct alignas(64) Entry {
    uint32_t owner = 0;
    uint8_t num_bytes = 0;
    uint8_t num_ids = 0;
    std::array<char, kMaxBytes> bytes;
    std::array<int32_t, kMaxIds> ids;
  };
  static_assert(sizeof(Entry) == 64);

  // Every tokenizer has its own number, which keeps its entries in a thread's table apart from other tokenizers'.
  WordCache() : owner_(next_owner()) {}
  WordCache(const WordCache&) = delete;
  WordCache& operator=(const WordCache&) = delete;

  // Where a word's entry is, or will be. Asks the processor to fetch it, so that a caller who first does so for some
  // words does not wait for each.
  const Entry* place_of(std::string_view word) const {
    const Entry* const pair = pair_of(word);
    __builtin_prefetch(pair);
    __builtin_prefetch(pair + 1);
    return pair;
  }

  // Appends the ids of word if they are known.
  bool lookup(std::string_view word, std::vector<int32_t>& ids) const { return lookup(word, pair_of(word), ids); }
  bool lookup(std::string_view word, const Entry* place, std::vector<int32_t>& ids) const {
    if (word.size() > kMaxBytes) return false;
    if (!is_of(*place, word) && !is_of(*++place, word)) return false;
    if (place->num_ids == 1) {
      ids.push_back(place->ids[0]);
    } else {
      ids.insert(ids.end(), place->ids.begin(), place->ids.begin() + place->num_ids);
    }
    return true;
  }

  void remember(std::string_view word, std::span<const int32_t> ids) const {
    if (word.size() > kMaxBytes || ids.size() > kMaxIds) return;
    Entry* const pair = pair_of(word);
    pair[1] = pair[0];  // the older one goes
    Entry& entry = pair[0];
    entry.owner = owner_;
    entry.num_bytes = static_cast<uint8_t>(word.size());
    entry.num_ids = static_cast<uint8_t>(ids.size());
    std::memcpy(entry.bytes.data(), word.data(), word.size());
    std::memcpy(entry.ids.data(), ids.data(), ids.size_bytes());
  }

 private:
  static uint32_t next_owner() {
    static std::atomic<uint32_t> count{0};
    return ++count;
  }

  bool is_of(const Entry& entry, std::string_view word) const {
    return entry.owner == owner_ && entry.num_bytes == word.size() &&
           same_bytes(entry.bytes.data(), word.data(), word.size());
  }

  // The two places that a word may have, the newer entry first.
  Entry* pair_of(std::string_view word) const {
    thread_local const std::unique_ptr<Entry[]> table(new Entry[2 * kPairs]);
    const uint64_t hash = word_hash(word, owner_ * 0x9E3779B97F4A7C15u + word.size());
    return &table[2 * ((hash >> 40) % kPairs)];
  }

  uint32_t owner_;
};

}  // namespace millrace
