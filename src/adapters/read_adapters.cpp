#include "adapters/read_adapters.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "adapters/peft_config.h"
#include "adapters/tensor_names.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/json.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

constexpr size_t kNamesShown = 5;

// What one module's tensors say together.
struct Module {
  std::map<int, AdapterTensors> parts;  // by AdapterTensorName::part
  std::optional<AdapterFamily> family;
  std::optional<FileTensor> magnitude;
  std::optional<double> alpha;
};

[[noreturn]] void fail(const std::string& place, const std::string& module, const std::string& problem) {
  throw ModelError("[" + place + ": " + module + "] " + problem);
}

std::vector<std::string> roles_of(const AdapterTensors& adapter) {
  std::vector<std::string> roles;
  for (const auto& [role, tensor] : adapter.tensors) roles.push_back(role);
  return roles;
}

bool has_pair(const AdapterTensors& adapter, const std::string& whole) {
  const auto has = [&](const std::string& role) { return adapter.tensors.count(role) == 1; };
  return has(whole) ? !has(whole + "_a") && !has(whole + "_b") : has(whole + "_a") && has(whole + "_b");
}

void check_complete(const std::string& place, const AdapterTensors& adapter) {
  const auto expect = [&](bool complete, const char* roles) {
    if (!complete)
      fail(place, adapter.module, str("expected ", roles, ", got ", join(roles_of(adapter), ", "), " alone"));
  };
  const auto has = [&](const char* role) { return adapter.tensors.count(role) == 1; };
  switch (adapter.kind) {
    case AdapterKind::kLora:
    case AdapterKind::kDora:
      expect(has("down") && has("up"), "a down and an up projection");
      break;
    case AdapterKind::kLoha:
      expect(has("w1_a") && has("w1_b") && has("w2_a") && has("w2_b"), "hada_w1_a, hada_w1_b, hada_w2_a and hada_w2_b");
      break;
    case AdapterKind::kLokr:
      expect(has_pair(adapter, "w1") && has_pair(adapter, "w2"), "lokr_w1 and lokr_w2, each whole or as _a and _b");
      break;
  }
  for (const auto& [role, tensor] : adapter.tensors) {
    const int64_t dim = tensor.values.dim();
    if (role != "magnitude" && dim != 2) {
      fail(place, tensor.name, str("expected a matrix, got ", shape_text(tensor.values.sizes())));
    }
    if (!tensor.values.is_floating_point()) {
      fail(place, tensor.name, str("expected floating point, got ", c10::toString(tensor.values.scalar_type())));
    }
  }
  const auto expect_inner = [&](const char* a, const char* b) {  // a [., R] times b [R, .]
    if (!has(a) || !has(b)) return;
    const torch::Tensor &left = adapter.tensors.at(a).values, &right = adapter.tensors.at(b).values;
    if (left.size(1) == right.size(0)) return;
    fail(place, adapter.module,
         str("expected matrices of one rank, got ", shape_text(left.sizes()), " and ", shape_text(right.sizes())));
  };
  expect_inner("up", "down");
  expect_inner("w1_a", "w1_b");
  expect_inner("w2_a", "w2_b");
}

// Magnitudes are lengths of rows, [N] or [N, 1], of the sum of a weight and a low-rank product.
void check_magnitude(const std::string& place, const AdapterTensors& adapter) {
  const auto found = adapter.tensors.find("magnitude");
  if (found == adapter.tensors.end()) return;
  if (adapter.kind != AdapterKind::kDora) {
    fail(place, found->second.name, "expected magnitudes beside lora_down and lora_up, got them beside a LoHa or LoKr");
  }
  const torch::IntArrayRef sizes = found->second.values.sizes();
  const int64_t rows = adapter.tensors.at("up").values.size(0);
  if (found->second.values.numel() == rows && !sizes.empty() && sizes[0] == rows) return;
  const bool is_of_inputs = sizes.size() == 2 && sizes[0] == 1;
  fail(place, found->second.name,
       str("expected a magnitude for each of ", rows, " outputs, got ", shape_text(sizes),
           is_of_inputs ? ", one for each input (try an adapter trained with magnitudes of outputs)" : ""));
}

// The rank that divides an adapter's own alpha in the scale; LyCORIS takes 1 for a Kronecker product of whole matrices,
// and ComfyUI w2's rank where both factors have one.
int64_t rank_of(const AdapterTensors& adapter) {
  const bool is_loha = adapter.kind == AdapterKind::kLoha;
  for (const char* role : {"down", is_loha ? "w1_b" : "w2_b", is_loha ? "w2_b" : "w1_b"}) {
    const auto found = adapter.tensors.find(role);
    if (found != adapter.tensors.end()) return found->second.values.size(0);
  }
  return 0;
}

// What the file or its folder says of adapters that have no alpha of their own.
class DefaultScale {
 public:
  explicit DefaultScale(const WeightStore& file) {
    const std::filesystem::path config = file.folder() / "adapter_config.json";
    const auto metadata = file.metadata().find("lora_adapter_metadata");
    if (std::filesystem::is_regular_file(config)) {
      scales_.emplace_back("", read_peft_config(config));
    } else if (metadata != file.metadata().end()) {
      const std::string place = file.path().string() + ": lora_adapter_metadata";
      // "transformer.lora_alpha", "text_encoder.lora_alpha": one table for each model.
      std::map<std::string, nlohmann::ordered_json> tables;
      const nlohmann::ordered_json all = parse_ordered_json<ModelError>(metadata->second, place);
      for (const auto& [key, value] : all.items()) {
        const size_t dot = key.find('.');
        if (dot != std::string::npos) tables[key.substr(0, dot + 1)][key.substr(dot + 1)] = value;
      }
      for (const auto& [prefix, table] : tables) scales_.emplace_back(prefix, parse_peft_config(table, place));
    }
  }

  // rank: of the tensors; 0: they have none, as whole factors of a Kronecker product, which PEFT scales all the same.
  double of(std::string module, int64_t rank) const {
    constexpr std::string_view kWrapper = "base_model.model.";  // PEFT's own, which its patterns do not see
    if (starts_with(module, kWrapper)) module = module.substr(kWrapper.size());
    for (const auto& [prefix, scale] : scales_) {
      if (!starts_with(module, prefix)) continue;
      const std::string name = module.substr(prefix.size());
      if (scale.kind == AdapterKind::kLokr) return scale.scale_of(name);
      return rank > 0 ? scale.scale_of(name, rank) : 1;
    }
    return 1;
  }

 private:
  std::vector<std::pair<std::string, PeftConfig>> scales_;
};

AdapterKind kind_of(const Module& module) {
  if (module.family == AdapterFamily::kLoha) return AdapterKind::kLoha;
  if (module.family == AdapterFamily::kLokr) return AdapterKind::kLokr;
  return module.magnitude ? AdapterKind::kDora : AdapterKind::kLora;
}

std::map<std::string, Module> tensors_by_module(const WeightStore& file) {
  std::map<std::string, Module> modules;
  std::vector<std::string> unknown;
  const std::string place = file.path().string();
  for (const TensorView& view : file.tensors()) {
    const std::optional<AdapterTensorName> name = parse_adapter_tensor_name(view.name);
    if (!name && view.name.find(".base_layer.") != std::string::npos) {
      log_info(place, ": passes over ", view.name, ", a weight of the base model");
      continue;
    }
    if (!name) {
      unknown.push_back(view.name);
      continue;
    }
    Module& module = modules[name->module];
    const torch::Tensor values = to_tensor(view).clone();
    if (name->role == "alpha") {
      if (values.numel() != 1) fail(place, view.name, "expected one number, got " + shape_text(view.shape));
      module.alpha = values.to(torch::kFloat64).reshape({}).item<double>();
      if (!std::isfinite(*module.alpha)) fail(place, view.name, str("expected a finite number, got ", *module.alpha));
    } else if (name->role == "magnitude") {
      module.magnitude = FileTensor{view.name, values};
    } else {
      if (module.family && module.family != name->family)
        fail(place, view.name, "expected one kind of adapter for a module");
      module.family = name->family;
      AdapterTensors& part = module.parts[name->part];
      if (!part.tensors.emplace(name->role, FileTensor{view.name, values}).second) {
        fail(place, view.name, "expected each tensor of a module once");
      }
    }
  }
  if (!unknown.empty()) {
    const size_t count = unknown.size();
    unknown.resize(std::min(count, kNamesShown));
    throw ModelError(str("[", place,
                         "] expected tensors of adapters (lora_down, lora_A, hada_w1_a, lokr_w1, ...), got ", count,
                         " of other names: ", join(unknown, ", "), count > kNamesShown ? ", ..." : ""));
  }
  return modules;
}

}  // namespace

std::vector<AdapterTensors> read_adapters(const WeightStore& file) {
  const std::string place = file.path().string();
  const DefaultScale default_scale(file);
  std::vector<AdapterTensors> adapters;
  for (auto& [name, module] : tensors_by_module(file)) {
    if (module.parts.empty()) fail(place, name, "expected matrices beside the module's alpha or magnitude, got none");
    if (module.parts.size() > 1 && (module.parts.count(-1) || module.magnitude)) {
      fail(place, name, "expected a pair for the whole layer or one for each part, got both");
    }
    int64_t row = 0;
    for (auto& [part, adapter] : module.parts) {
      adapter.module = name;
      adapter.kind = kind_of(module);
      if (module.magnitude) adapter.tensors["magnitude"] = *module.magnitude;
      check_complete(place, adapter);
      check_magnitude(place, adapter);
      const int64_t rank = rank_of(adapter);
      if (!module.alpha) {
        adapter.scale = default_scale.of(name, rank);
      } else if (rank > 0) {
        adapter.scale = *module.alpha / static_cast<double>(rank);
      }
      if (part >= 0) {  // pairs that share a fused layer lie one after the other
        adapter.row_begin = row;
        adapter.row_end = row += sizes_of(adapter).out_features;
      }
      adapters.push_back(std::move(adapter));
    }
  }
  if (adapters.empty()) throw ModelError("[" + place + "] expected adapters, got a file without tensors");
  return adapters;
}

bool has_adapters(const WeightStore& file) {
  return std::any_of(file.tensors().begin(), file.tensors().end(), [](const TensorView& tensor) {
    const std::optional<AdapterTensorName> name = parse_adapter_tensor_name(tensor.name);
    return name && name->family;
  });
}

torch::Tensor in_model_order(const FileTensor& tensor) {
  if (!tensor.swaps_halves) return tensor.values;
  const std::vector<torch::Tensor> halves = tensor.values.chunk(2, 0);
  return at::cat({halves.at(1), halves.at(0)}, 0);
}

AdapterSizes sizes_of(const AdapterTensors& adapter) {
  const auto rows = [&](const char* role) { return adapter.tensors.at(role).values.size(0); };
  const auto columns = [&](const char* role) { return adapter.tensors.at(role).values.size(1); };
  switch (adapter.kind) {
    case AdapterKind::kLora:
    case AdapterKind::kDora:
      return {rows("up"), columns("down"), rows("down")};
    case AdapterKind::kLoha:
      return {rows("w1_a"), columns("w1_b"), rows("w1_b")};
    case AdapterKind::kLokr:
      break;
  }
  const auto has = [&](const char* role) { return adapter.tensors.count(role) == 1; };
  return {rows(has("w1") ? "w1" : "w1_a") * rows(has("w2") ? "w2" : "w2_a"),
          columns(has("w1") ? "w1" : "w1_b") * columns(has("w2") ? "w2" : "w2_b"), rank_of(adapter)};
}

}  // namespace millrace
