// Caches the ids of short words per thread. Captions repeat words, so most are looked up instead of computed.
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
 public:
  // Every tokenizer has its own number, which keeps its entries in a thread's table apart from other tokenizers'.
  WordCache() : owner_(next_owner()) {}
  WordCache(const WordCache&) = delete;
  WordCache& operator=(const WordCache&) = delete;

  // Appends the ids of word if they are known.
  bool lookup(std::string_view word, std::vector<int32_t>& ids) const {
    if (word.size() > kMaxBytes) return false;
    const Entry& entry = slot(word);
    if (entry.owner != owner_ || entry.num_bytes != word.size()) return false;
    if (std::memcmp(entry.bytes.data(), word.data(), word.size()) != 0) return false;
    ids.insert(ids.end(), entry.ids.begin(), entry.ids.begin() + entry.num_ids);
    return true;
  }

  void remember(std::string_view word, std::span<const int32_t> ids) const {
    if (word.size() > kMaxBytes || ids.size() > kMaxIds) return;
    Entry& entry = slot(word);
    entry.owner = owner_;
    entry.num_bytes = static_cast<uint8_t>(word.size());
    entry.num_ids = static_cast<uint8_t>(ids.size());
    std::memcpy(entry.bytes.data(), word.data(), word.size());
    std::memcpy(entry.ids.data(), ids.data(), ids.size_bytes());
  }

 private:
  static constexpr size_t kMaxBytes = 30, kMaxIds = 7, kSlots = 8192;  // 512 KiB a thread
  struct Entry {
    uint32_t owner = 0;
    uint8_t num_bytes = 0;
    uint8_t num_ids = 0;
    std::array<char, kMaxBytes> bytes;
    std::array<int32_t, kMaxIds> ids;
  };
  static_assert(sizeof(Entry) == 64);

  static uint32_t next_owner() {
    static std::atomic<uint32_t> count{0};
    return ++count;
  }

  Entry& slot(std::string_view word) const {
    thread_local const std::unique_ptr<Entry[]> table(new Entry[kSlots]);
    const uint64_t hash = word_hash(word, owner_ * 0x9E3779B97F4A7C15u + word.size());
    return table[(hash >> 40) % kSlots];
  }

  uint32_t owner_;
};

}  // namespace millrace
