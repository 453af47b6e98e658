// Numbers of their own for some layers: "pattern=number" (layer_patterns.h).
#pragma once

#include <string>
#include <vector>

#include "adapters/layer_patterns.h"

namespace millrace {

class LayerNumbers {
 public:
  // Throws ConfigError, naming the option, for a text without a pattern or without a number from 0.
  LayerNumbers(const std::vector<std::string>& texts, std::string option);

  // That of the first pattern that fits.
  double of(const std::string& layer, double fallback) const;
  // Throws ConfigError for a pattern that gives none of these layers its number: it fits none, or earlier patterns fit
  // all that it does. which: what is said of the layers, such as " with an adapter".
  void check(const std::vector<std::string>& layers, const std::string& which = "") const;
  std::vector<double> numbers() const;  // of all patterns, in their order

 private:
  struct Item {
    std::string text;
    LayerPattern pattern;
    double number = 0;
  };
  std::string option_;
  std::vector<Item> items_;
};

}  // namespace millrace
