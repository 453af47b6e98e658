#include "adapters/layer_numbers.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "config/number_text.h"

namespace millrace {

LayerNumbers::LayerNumbers(const std::vector<std::string>& texts, std::string option) : option_(std::move(option)) {
  for (const std::string& text : texts) {
    const size_t equals = text.rfind('=');
    const std::optional<double> number =
        equals == std::string::npos ? std::nullopt : parse_floating_point(std::string_view(text).substr(equals + 1));
    if (!number || !std::isfinite(*number) || *number < 0 || equals == 0) {
      throw ConfigError(str("[", option_, "] expected a pattern of layer names and a number from 0 (",
                            "\"double_blocks.*=4\"), got \"", text, "\""));
    }
    const std::string pattern = text.substr(0, equals);
    items_.push_back({pattern, LayerPattern(pattern, option_), *number});
  }
}

double LayerNumbers::of(const std::string& layer, double fallback) const {
  const auto first =
      std::find_if(items_.begin(), items_.end(), [&](const Item& item) { return item.pattern.fits(layer); });
  return first == items_.end() ? fallback : first->number;
}

void LayerNumbers::check(const std::vector<std::string>& layers, const std::string& which) const {
  std::vector<char> is_taken(layers.size(), 0);
  for (const Item& item : items_) {
    bool fits_any = false, gives_any = false;
    for (size_t i = 0; i < layers.size(); ++i) {
      if (!item.pattern.fits(layers[i])) continue;
      fits_any = true;
      gives_any = gives_any || is_taken[i] == 0;
      is_taken[i] = 1;
    }
    if (!fits_any) throw_unmatched(item.text, layers, option_, which);
    if (gives_any) continue;
    throw ConfigError("[" + option_ + "] expected patterns that give some layer its number, got \"" + item.text +
                      "\", whose layers all have theirs from a pattern before it (try it first)");
  }
}

std::vector<double> LayerNumbers::numbers() const {
  std::vector<double> numbers;
  for (const Item& item : items_) numbers.push_back(item.number);
  return numbers;
}

}  // namespace millrace
