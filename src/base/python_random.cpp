#include "base/python_random.h"

#include <bit>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "base/error.h"

namespace millrace {

void PythonRandom::seed(int64_t seed) {
  const uint64_t magnitude = seed < 0 ? uint64_t{0} - static_cast<uint64_t>(seed) : static_cast<uint64_t>(seed);
  std::vector<uint32_t> key = {static_cast<uint32_t>(magnitude)};
  if (magnitude >> 32 != 0) key.push_back(static_cast<uint32_t>(magnitude >> 32));

  // The reference implementation's init_by_array: a fixed filling, then two passes that mix the key in.
  state_[0] = 19650218;
  for (size_t i = 1; i < kWords; ++i) {
    state_[i] = 1812433253u * (state_[i - 1] ^ state_[i - 1] >> 30) + static_cast<uint32_t>(i);
  }
  size_t i = 1, j = 0;
  const auto advance = [&] {
    if (++i == kWords) {
      state_[0] = state_[kWords - 1];
      i = 1;
    }
  };
  for (size_t k = 0; k < kWords; ++k) {  // the key is shorter than the state
    const uint32_t mixed = (state_[i - 1] ^ state_[i - 1] >> 30) * 1664525u;
    state_[i] = (state_[i] ^ mixed) + key[j] + static_cast<uint32_t>(j);
    advance();
    if (++j == key.size()) j = 0;
  }
  for (size_t k = 1; k < kWords; ++k) {
    const uint32_t mixed = (state_[i - 1] ^ state_[i - 1] >> 30) * 1566083941u;
    state_[i] = (state_[i] ^ mixed) - static_cast<uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000u;
  next_ = kWords;
}

void PythonRandom::refill() {
  for (size_t i = 0; i < kWords; ++i) {
    const uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % kWords] & 0x7FFFFFFFu);
    state_[i] = state_[(i + 397) % kWords] ^ y >> 1 ^ ((y & 1) != 0 ? 0x9908B0DFu : 0);
  }
  next_ = 0;
}

uint32_t PythonRandom::word() {
  if (next_ == kWords) refill();
  uint32_t y = state_[next_++];
  y ^= y >> 11;
  y ^= y << 7 & 0x9D2C5680u;
  y ^= y << 15 & 0xEFC60000u;
  return y ^ y >> 18;
}

double PythonRandom::uniform() {
  const uint32_t high = word() >> 5;
  const uint32_t low = word() >> 6;
  return (static_cast<double>(high) * 67108864.0 + static_cast<double>(low)) / 9007199254740992.0;
}

uint64_t PythonRandom::bits(int count) {
  MILLRACE_CHECK(count >= 1 && count <= 64);
  if (count <= 32) return word() >> (32 - count);
  const uint64_t low = word();
  return low | static_cast<uint64_t>(word() >> (64 - count)) << 32;
}

uint64_t PythonRandom::below(uint64_t bound) {
  MILLRACE_CHECK(bound > 0);
  const int width = std::bit_width(bound);
  uint64_t value = bits(width);
  while (value >= bound) value = bits(width);
  return value;
}

int64_t PythonRandom::between(int64_t low, int64_t high) {
  MILLRACE_CHECK(low <= high);
  return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low) + 1));
}

std::vector<size_t> PythonRandom::sample(size_t population, size_t count) {
  MILLRACE_CHECK(count <= population);
  std::vector<size_t> chosen;
  // A pool of all that are left where it is no larger than a set of the chosen ones would be, as CPython decides it.
  size_t set_size = 21;
  if (count > 5) {
    const double power = std::ceil(std::log(static_cast<double>(count) * 3) / std::log(4.0));
    set_size += static_cast<size_t>(std::pow(4.0, power));
  }
  if (population <= set_size) {
    std::vector<size_t> pool(population);
    std::iota(pool.begin(), pool.end(), size_t{0});
    for (size_t i = 0; i < count; ++i) {
      const size_t j = below(population - i);
      chosen.push_back(pool[j]);
      pool[j] = pool[population - i - 1];
    }
    return chosen;
  }
  std::unordered_set<size_t> taken;
  while (chosen.size() < count) {
    const size_t j = below(population);
    if (taken.insert(j).second) chosen.push_back(j);
  }
  return chosen;
}

}  // namespace millrace
