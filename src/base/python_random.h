// Python's `random` module, number for number: for orders that other programs have drawn with it.
//
// MT19937 (Matsumoto and Nishimura, "Mersenne Twister", 1998) seeded by an array of words; what is derived from its
// words is as in CPython 3.11 (Modules/_randommodule.c, Lib/random.py).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/random_source.h"

namespace millrace {

class PythonRandom : public RandomSource {
 public:
  explicit PythonRandom(int64_t seed) { this->seed(seed); }

  void seed(int64_t seed);                     // random.seed(seed); the sign does not count
  double uniform() override;                   // random.random()
  uint64_t below(uint64_t bound) override;     // random.randrange(bound); choice(s) is s[below(len(s))]
  int64_t between(int64_t low, int64_t high);  // random.randint(low, high), both included
  uint64_t bits(int count);                    // random.getrandbits(count), 1 to 64
  std::vector<size_t> sample(size_t population, size_t count);  // random.sample(range(population), count)

 private:
  uint32_t word();
  void refill();

  static constexpr size_t kWords = 624;
  std::array<uint32_t, kWords> state_;
  size_t next_ = kWords;
};

}  // namespace millrace
