#include "tasks/flux_lora/number_patterns.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <map>

#include "config/number_text.h"

namespace millrace {
namespace {

// The place of a block's number in a layer's name: "double_blocks.3.img_mlp.0",
// "clip_l.text_model.encoder.layers.3.mlp.fc1"; npos: the layer is in no block.
size_t number_in(const std::string& layer) {
  for (size_t dot = layer.find('.'); dot != std::string::npos; dot = layer.find('.', dot + 1)) {
    if (std::isdigit(static_cast<unsigned char>(layer[dot + 1])) != 0) return dot + 1;
  }
  return std::string::npos;
}

// "double_blocks.*.img_mlp.0" for each "double_blocks.3.img_mlp.0".
std::string kind_of(const std::string& layer) {
  const size_t number = number_in(layer);
  return number == std::string::npos ? layer : layer.substr(0, number) + "*" + layer.substr(layer.find('.', number));
}

// "double_blocks.*"; "" for layers in no block.
std::string stack_of(const std::string& layer) {
  const size_t number = number_in(layer);
  return number == std::string::npos ? "" : layer.substr(0, number) + "*";
}

std::string pattern(const std::string& layers, double number) {
  const auto whole = static_cast<int64_t>(number);
  const std::string text = static_cast<double>(whole) == number ? std::to_string(whole) : number_text(number);
  return layers + "=" + text;
}

}  // namespace

std::vector<std::string> number_patterns(const NumbersByLayer& numbers, double usual) {
  std::vector<std::string> patterns;
  std::map<std::string, std::map<double, int>> counts;  // by stack, and by kind of layer
  for (const auto& [layer, number] : numbers) {
    ++counts[kind_of(layer)][number];
    if (const std::string stack = stack_of(layer); !stack.empty()) ++counts[stack][number];
  }
  std::vector<std::string> done;
  const auto is_done = [&](const std::string& name) { return std::find(done.begin(), done.end(), name) != done.end(); };
  for (const auto& [first, unused] : numbers) {
    const std::string stack = stack_of(first), kind = kind_of(first);
    if (is_done(stack) || is_done(kind)) continue;
    const std::string& name = !stack.empty() && counts[stack].size() == 1 ? stack : kind;
    const std::map<double, int>& values = counts[name];
    const auto most = std::max_element(values.begin(), values.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    for (const auto& [layer, number] : numbers) {  // exceptions come first
      if (values.size() > 1 && kind_of(layer) == kind && number != most->first) {
        patterns.push_back(pattern(layer, number));
      }
    }
    if (most->first != usual) patterns.push_back(pattern(name, most->first));
    done.push_back(name);
  }
  return patterns;
}

}  // namespace millrace
