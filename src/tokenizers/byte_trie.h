// A map from byte strings to values, walked one byte at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace millrace {

class ByteTrie {
 public:
  static constexpr uint32_t kRoot = 0, kNone = UINT32_MAX;

  ByteTrie();
  // Adding a key again replaces its value.
  void add(std::string_view key, int32_t value);

  // The child node for a byte, or kNone.
  uint32_t step(uint32_t node, unsigned char byte) const {
    const uint32_t key = node << 8 | byte;
    for (size_t at = hash(key);; at = (at + 1) & mask_) {
      const Edge& edge = edges_[at];
      if (edge.to == kNone || edge.key == key) return edge.to;
    }
  }
  // The value of the key that ends here, or -1.
  int32_t value(uint32_t node) const { return values_[node]; }

 private:
  struct Edge {
    uint32_t key = 0;
    uint32_t to = kNone;
  };
  size_t hash(uint32_t key) const { return (key * 0x9E3779B97F4A7C15u >> 32) & mask_; }
  void grow();

  std::vector<Edge> edges_;  // open addressing, at most half full
  size_t mask_;
  std::vector<int32_t> values_;  // by node
};

}  // namespace millrace
