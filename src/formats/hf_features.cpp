#include "base/error.h"
#include "formats/arrow_writer.h"

namespace millrace {
namespace {

const char* hf_dtype(ArrowType type) {
  switch (type) {
    case ArrowType::kString:
      return "string";
    case ArrowType::kBinary:
      return "binary";
    case ArrowType::kInt32:
      return "int32";
    case ArrowType::kInt64:
      return "int64";
    case ArrowType::kFloat64:
      return "float64";
    case ArrowType::kBool:
      return "bool";
    case ArrowType::kImage:
      break;
  }
  MILLRACE_CHECK(false);
}

}  // namespace

nlohmann::ordered_json hf_features(const std::vector<ArrowColumnSpec>& columns) {
  nlohmann::ordered_json features = nlohmann::ordered_json::object();
  for (const auto& [name, type] : columns) {
    if (type == ArrowType::kImage) {
      features[name] = {{"_type", "Image"}};
    } else {
      features[name] = {{"dtype", hf_dtype(type)}, {"_type", "Value"}};
    }
  }
  return features;
}

}  // namespace millrace
