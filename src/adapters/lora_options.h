// LoRA as it is configured: the section [lora].
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/option.h"

namespace millrace {

struct LoraConfig {
  int64_t rank = 16;
  std::optional<double> alpha = {};  // None: rank
  bool rank_stabilised = false;
  std::vector<std::string> targets = {"all"};
  std::string initial_adapter;

  double alpha_or_rank() const { return alpha.value_or(static_cast<double>(rank)); }
  // What the product of the two matrices is multiplied by.
  double scale() const {
    const auto r = static_cast<double>(rank);
    return alpha_or_rank() / (rank_stabilised ? std::sqrt(r) : r);
  }

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(rank, {.name = "rank",
                 .meaning = "rank of each adapter: the width between its two matrices",
                 .at_least = 1,
                 .at_most = 1 << 16});
    visit(alpha, {.name = "alpha",
                  .meaning = "adapters are scaled by alpha / rank; None: alpha = rank, a scale of 1",
                  .above = 0});
    visit(rank_stabilised,
          {.name = "rank_stabilised", .meaning = "scale by alpha / sqrt(rank), so that large ranks learn as fast"});
    visit(targets, {.name = "targets",
                    .meaning = "layers that get an adapter: all (every linear layer of the blocks), attention, or "
                               "patterns of layer names such as double_blocks.*.img_mlp.*"});
    visit(initial_adapter, {.name = "initial_adapter",
                            .meaning = "a LoRA file (kohya's, PEFT's, diffusers') whose matrices training starts from",
                            .none_is_empty = true});
  }
  bool operator==(const LoraConfig&) const = default;
};

}  // namespace millrace
