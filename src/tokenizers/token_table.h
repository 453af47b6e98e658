// Byte strings and their ids: a hash table that is filled once and read often.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/word_hash.h"

namespace millrace {

class TokenTable {
 public:
  // Token i of tokens gets the id i; empty strings have none. Of a token that comes twice the first id counts.
  explicit TokenTable(const std::vector<std::string>& tokens) {
    offsets_.reserve(tokens.size() + 1);
    offsets_.push_back(0);
    slots_.assign(std::bit_ceil(2 * tokens.size() + 16), {});
    for (const std::string& token : tokens) {
      bytes_ += token;
      offsets_.push_back(bytes_.size());
    }
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (tokens[id].empty() || find(tokens[id]) >= 0) continue;
      const uint64_t hash = hash_of(tokens[id]);
      size_t at = hash & (slots_.size() - 1);
      while (slots_[at].id >= 0) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = {static_cast<uint32_t>(hash >> 32), static_cast<int32_t>(id)};
    }
  }

  int32_t find(std::string_view word) const {  // -1: no token
    if (word.empty()) return -1;
    const uint64_t hash = hash_of(word);
    const auto check = static_cast<uint32_t>(hash >> 32);
    for (size_t at = hash & (slots_.size() - 1); slots_[at].id >= 0; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].check == check && token(slots_[at].id) == word) return slots_[at].id;
    }
    return -1;
  }

  std::string_view token(int32_t id) const {
    const auto i = static_cast<size_t>(id);
    return std::string_view(bytes_).substr(offsets_[i], offsets_[i + 1] - offsets_[i]);
  }
  size_t size() const { return offsets_.size() - 1; }

 private:
  struct Slot {
    uint32_t check = 0;
    int32_t id = -1;
  };

  static uint64_t hash_of(std::string_view word) {
    const uint64_t hash = word_hash(word, word.size() * 0x9E3779B97F4A7C15u);
    return hash ^ hash >> 29;
  }

  std::string bytes_;
  std::vector<size_t> offsets_;
  std::vector<Slot> slots_;  // open addressing, at most half full
};

}  // namespace millrace
