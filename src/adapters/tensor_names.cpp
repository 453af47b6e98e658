#include "adapters/tensor_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "base/text.h"

namespace millrace {
namespace {

struct Ending {
  const char* text;
  const char* role;
  std::optional<AdapterFamily> family;
};

// Endings of which another is the end come first.
constexpr std::array kEndings = {
    Ending{".lora_linear_layer.down.weight", "down", AdapterFamily::kLora},
    Ending{".lora_linear_layer.up.weight", "up", AdapterFamily::kLora},
    Ending{"_lora.down.weight", "down", AdapterFamily::kLora},  // "to_q_lora" of diffusers' text encoders
    Ending{"_lora.up.weight", "up", AdapterFamily::kLora},
    Ending{".lora_down.weight", "down", AdapterFamily::kLora},
    Ending{".lora_up.weight", "up", AdapterFamily::kLora},
    Ending{".lora.down.weight", "down", AdapterFamily::kLora},
    Ending{".lora.up.weight", "up", AdapterFamily::kLora},
    Ending{".lora_A.weight", "down", AdapterFamily::kLora},
    Ending{".lora_B.weight", "up", AdapterFamily::kLora},
    Ending{".lora_A.default.weight", "down", AdapterFamily::kLora},
    Ending{".lora_B.default.weight", "up", AdapterFamily::kLora},
    Ending{".lora_magnitude_vector.weight", "magnitude", std::nullopt},
    Ending{".lora_magnitude_vector", "magnitude", std::nullopt},
    Ending{".dora_scale", "magnitude", std::nullopt},
    Ending{".hada_w1_a", "w1_a", AdapterFamily::kLoha},
    Ending{".hada_w1_b", "w1_b", AdapterFamily::kLoha},
    Ending{".hada_w2_a", "w2_a", AdapterFamily::kLoha},
    Ending{".hada_w2_b", "w2_b", AdapterFamily::kLoha},
    Ending{".lokr_w1_a", "w1_a", AdapterFamily::kLokr},
    Ending{".lokr_w1_b", "w1_b", AdapterFamily::kLokr},
    Ending{".lokr_w2_a", "w2_a", AdapterFamily::kLokr},
    Ending{".lokr_w2_b", "w2_b", AdapterFamily::kLokr},
    Ending{".lokr_w1", "w1", AdapterFamily::kLokr},
    Ending{".lokr_w2", "w2", AdapterFamily::kLokr},
    Ending{".alpha", "alpha", std::nullopt},
};

// "lora_unet_x.lora_down.2.weight" -> "lora_unet_x.lora_down.weight" and 2.
std::optional<int> take_part(std::string& name) {
  constexpr std::string_view kWeight = ".weight";
  if (!ends_with(name, kWeight)) return std::nullopt;
  const size_t digit = name.size() - kWeight.size() - 1;
  if (digit < 2 || name[digit - 1] != '.' || std::isdigit(static_cast<unsigned char>(name[digit])) == 0) {
    return std::nullopt;
  }
  const std::string_view before = std::string_view(name).substr(0, digit - 1);
  if (!ends_with(before, ".lora_down") && !ends_with(before, ".lora_up")) return std::nullopt;
  const int part = name[digit] - '0';
  name.erase(digit - 1, 2);
  return part;
}

}  // namespace

std::optional<AdapterTensorName> parse_adapter_tensor_name(const std::string& name) {
  std::string whole = name;
  const int part = take_part(whole).value_or(-1);
  for (const Ending& ending : kEndings) {
    if (!ends_with(whole, ending.text) || whole.size() == std::string_view(ending.text).size()) continue;
    return AdapterTensorName{whole.substr(0, whole.size() - std::string_view(ending.text).size()), ending.role, part,
                             ending.family};
  }
  return std::nullopt;
}

std::string kohya_ending(AdapterKind kind, const std::string& role) {
  if (role == "magnitude") return ".dora_scale";
  if (kind == AdapterKind::kLoha) return ".hada_" + role;
  if (kind == AdapterKind::kLokr) return ".lokr_" + role;
  return ".lora_" + role + ".weight";
}

std::string kohya_module_name(const std::string& prefix, const std::string& module) {
  std::string name = prefix + "_" + module;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

}  // namespace millrace
