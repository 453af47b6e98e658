// Damage to bytes, the same for the same seed on every machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/philox.h"

namespace millrace {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : stream_(random_stream(seed, RandomPurpose::kShuffle, 0, 0)) {}

  // A copy of one of the samples with one to four changes: flipped bits, bytes set to extremes, cuts, pieces deleted,
  // repeated, moved or taken from another sample, length fields and decimal numbers set to extremes.
  std::string mutate(const std::vector<std::string>& samples);

 private:
  uint64_t below(uint64_t bound) { return random_below(stream_, next_++, bound); }
  void change(std::string& text, const std::vector<std::string>& samples);
  void set_length_field(std::string& text);
  void set_number(std::string& text);

  RandomStream stream_;
  uint64_t next_ = 0;
};

}  // namespace millrace
