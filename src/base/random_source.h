// Random numbers one after the other, for code that draws a varying number of them: shuffles, tags left out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/philox.h"

namespace millrace {

class RandomSource {
 public:
  virtual ~RandomSource() = default;
  virtual double uniform() = 0;                // [0, 1)
  virtual uint64_t below(uint64_t bound) = 0;  // 0 to bound - 1, bound > 0

  // Fisher and Yates, from the end, as CPython's random.shuffle draws it.
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i-- > 1;) std::swap(items[i], items[below(i + 1)]);
  }
};

// The numbers of one Philox stream in order.
class PhiloxSource : public RandomSource {
 public:
  explicit PhiloxSource(const RandomStream& stream) : stream_(stream) {}
  double uniform() override { return random_uniform(stream_, 2 * next_++); }
  uint64_t below(uint64_t bound) override { return random_below(stream_, next_++, bound); }

 private:
  RandomStream stream_;
  uint64_t next_ = 0;  // each number takes two words
};

}  // namespace millrace
