#include "adapters/peft_lokr.h"

#include <algorithm>
#include <set>
#include <utility>

#include "adapters/as_lora.h"

namespace millrace {
namespace {

struct FactorSizes {
  int64_t rows = 0, columns = 0, rank = 0;  // rank 0: whole

  int64_t longer() const { return std::max(rows, columns); }
};

FactorSizes sizes_of_factor(const AdapterTensors& adapter, const std::string& factor) {
  const auto sizes = [&](const std::string& role) { return adapter.tensors.at(role).values.sizes(); };
  if (adapter.tensors.count(factor)) return {sizes(factor)[0], sizes(factor)[1], 0};
  return {sizes(factor + "_a")[0], sizes(factor + "_b")[1], sizes(factor + "_b")[0]};
}

// A dimension and the part of it that the first matrix has.
using Division = std::pair<int64_t, int64_t>;

// LyCORIS gives the first matrix the smaller divisor (lokr_sizes.h); PEFT `factor` itself where it divides.
int64_t first_divisor(int64_t dimension, int64_t factor) {
  if (factor > 0 && dimension % factor == 0) return factor;
  const int64_t limit = factor < 0 ? dimension : factor;
  int64_t smaller = 1;
  for (int64_t divisor = 2; divisor <= limit && divisor * divisor <= dimension; ++divisor) {
    if (dimension % divisor == 0) smaller = divisor;
  }
  return smaller;
}

std::optional<int64_t> common_factor(const std::set<Division>& divisions) {
  const auto fits = [&](int64_t factor) {
    return std::all_of(divisions.begin(), divisions.end(), [&](const Division& division) {
      return first_divisor(division.first, factor) == division.second;
    });
  };
  if (fits(-1)) return -1;
  int64_t largest = 1;
  for (const auto& [dimension, divisor] : divisions) largest = std::max(largest, dimension);
  for (int64_t factor = 1; factor <= largest; ++factor) {
    if (fits(factor)) return factor;
  }
  return std::nullopt;
}

// PEFT makes a matrix thin where twice r is less than its longer side, the first one with decompose_both alone.
bool can_be_thin(const FactorSizes& factor, int64_t rank) {
  return 2 * rank < factor.longer();
}

// r of a layer whose matrices are as PEFT makes them with decompose_both; none: there is no such r.
std::optional<int64_t> rank_of_both(const FactorSizes& w1, const FactorSizes& w2) {
  if (w1.rank > 0 && w2.rank > 0 && w1.rank != w2.rank) return std::nullopt;
  // Without a rank of its own: one with which both are whole.
  const int64_t none = std::max<int64_t>(1, (std::max(w1.longer(), w2.longer()) + 1) / 2);
  const int64_t rank = w1.rank + w2.rank > 0 ? std::max(w1.rank, w2.rank) : none;
  const bool fits = can_be_thin(w1, rank) == (w1.rank > 0) && can_be_thin(w2, rank) == (w2.rank > 0);
  return fits ? std::optional(rank) : std::nullopt;
}

}  // namespace

std::optional<PeftLokr> fit_peft_lokr(std::map<std::string, AdapterTensors>& layers) {
  std::set<Division> divisions;
  bool has_thin_first = false;
  for (const auto& [name, layer] : layers) {
    const FactorSizes w1 = sizes_of_factor(layer, "w1"), w2 = sizes_of_factor(layer, "w2");
    divisions.emplace(w1.rows * w2.rows, w1.rows);
    divisions.emplace(w1.columns * w2.columns, w1.columns);
    has_thin_first = has_thin_first || w1.rank > 0;
  }
  const std::optional<int64_t> factor = common_factor(divisions);
  if (!factor) return std::nullopt;
  PeftLokr fit{*factor, has_thin_first, {}};
  for (const auto& [name, layer] : layers) {
    if (!fit.decompose_both) break;
    const std::optional<int64_t> rank = rank_of_both(sizes_of_factor(layer, "w1"), sizes_of_factor(layer, "w2"));
    if (rank) {
      fit.ranks[name] = *rank;
    } else {
      fit.decompose_both = false;
    }
  }
  if (fit.decompose_both) return fit;
  for (auto& [name, layer] : layers) {
    const FactorSizes w2 = sizes_of_factor(layer, "w2");
    make_factor_whole(layer, "w1");
    if (!can_be_thin(w2, w2.rank)) make_factor_whole(layer, "w2");
    const int64_t whole = std::max<int64_t>(1, (w2.longer() + 1) / 2);
    fit.ranks[name] = layer.tensors.count("w2") ? whole : w2.rank;
  }
  return fit;
}

}  // namespace millrace
