#include "tokenizers/byte_trie.h"

#include "base/error.h"

namespace millrace {

ByteTrie::ByteTrie() : edges_(1024), mask_(edges_.size() - 1), values_(1, -1) {}

void ByteTrie::grow() {
  std::vector<Edge> old(edges_.size() * 2);
  old.swap(edges_);
  mask_ = edges_.size() - 1;
  for (const Edge& edge : old) {
    if (edge.to == kNone) continue;
    size_t at = hash(edge.key);
    while (edges_[at].to != kNone) at = (at + 1) & mask_;
    edges_[at] = edge;
  }
}

void ByteTrie::add(std::string_view key, int32_t value) {
  uint32_t node = kRoot;
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    uint32_t next = step(node, byte);
    if (next == kNone) {
      next = static_cast<uint32_t>(values_.size());
      if (next >= uint32_t{1} << 24) throw ModelError("[vocabulary] expected at most 2^24 trie nodes, got more");
      values_.push_back(-1);
      if (2 * values_.size() > edges_.size()) grow();
      const uint32_t edge_key = node << 8 | byte;
      size_t at = hash(edge_key);
      while (edges_[at].to != kNone) at = (at + 1) & mask_;
      edges_[at] = {edge_key, next};
    }
    node = next;
  }
  values_[node] = value;
}

}  // namespace millrace
