#include "models/pass_inputs.h"

#include <cctype>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

using Letters = std::map<std::string, int64_t>;

bool is_letter(const std::string& entry) {
  return std::isalpha(static_cast<unsigned char>(entry[0])) != 0;
}

// "[B, Li, 64] with B = 2": the expected shape as far as it is known.
std::string expected_shape(const InputSpec& spec, const Letters& letters) {
  std::vector<std::string> known;
  for (const std::string& entry : spec.shape) {
    const auto found = letters.find(entry);
    if (found != letters.end()) known.push_back(entry + " = " + std::to_string(found->second));
  }
  return "[" + join(spec.shape, ", ") + "]" + (known.empty() ? "" : " with " + join(known, ", "));
}

bool bind_shape(const InputSpec& spec, const torch::Tensor& tensor, Letters& letters) {
  if (tensor.dim() != static_cast<int64_t>(spec.shape.size()) || tensor.numel() == 0) return false;
  for (size_t i = 0; i < spec.shape.size(); ++i) {
    const int64_t size = tensor.size(static_cast<int64_t>(i));
    const std::string& entry = spec.shape[i];
    const int64_t expected = is_letter(entry) ? letters.emplace(entry, size).first->second : std::stoll(entry);
    if (size != expected) return false;
  }
  return true;
}

bool has_kind(InputSpec::Kind kind, const torch::Tensor& tensor) {
  const bool is_integer = at::isIntegralType(tensor.scalar_type(), /*includeBool=*/false);
  switch (kind) {
    case InputSpec::Kind::kTokens:
      return is_integer;
    case InputSpec::Kind::kFeatures:
      return tensor.is_floating_point();
    case InputSpec::Kind::kNumbers:
      return is_integer || tensor.is_floating_point();
  }
  return false;
}

torch::ScalarType target_type(InputSpec::Kind kind, torch::ScalarType dtype) {
  switch (kind) {
    case InputSpec::Kind::kTokens:
      return torch::kInt64;
    case InputSpec::Kind::kFeatures:
      return dtype;
    case InputSpec::Kind::kNumbers:
      return torch::kFloat32;
  }
  return dtype;
}

}  // namespace

TensorMap prepare_inputs(const ForwardPass& pass, const TensorMap& given, torch::ScalarType dtype,
                         const torch::Device& device, const std::string& place) {
  TensorMap inputs;
  Letters letters;
  for (const InputSpec& spec : pass.inputs) {
    const auto found = given.find(spec.name);
    if (found == given.end() && spec.optional) continue;
    if (found == given.end()) {
      std::vector<std::string> names;
      for (const auto& [name, tensor] : given) names.push_back(name);
      const std::string near = nearest(spec.name, names);
      throw DataError("[" + place + ": " + spec.name + "] expected a tensor " + expected_shape(spec, letters) +
                      " for " + pass.name + ", got none" + (near.empty() ? "" : " (is " + near + " meant?)"));
    }
    const torch::Tensor& tensor = found->second;
    if (!has_kind(spec.kind, tensor)) {
      const std::string kind = spec.kind == InputSpec::Kind::kTokens ? "int64" : "floating point";
      throw DataError("[" + place + ": " + spec.name + "] expected " + kind + ", got " +
                      c10::toString(tensor.scalar_type()));
    }
    const Letters before = letters;
    if (!bind_shape(spec, tensor, letters)) {
      throw DataError("[" + place + ": " + spec.name + "] expected " + expected_shape(spec, before) + ", got " +
                      c10::str(tensor.sizes()));
    }
    inputs[spec.name] = tensor.to(device, target_type(spec.kind, dtype));
  }
  return inputs;
}

}  // namespace millrace
