#include "base/error.h"
#include "formats/arrow_file.h"
#include "formats/arrow_writer.h"
#include "formats/json.h"

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
    case ArrowType::kJson:
    case ArrowType::kCopy:
      break;
  }
  MILLRACE_CHECK(false);
}

nlohmann::ordered_json source_features(const ArrowFile& file) {
  const std::string text = file.metadata("huggingface");
  if (text.empty()) return nullptr;
  const auto metadata = parse_ordered_json<DataError>(text, file.path().string() + " metadata");
  const auto info = metadata.is_object() ? metadata.value("info", nlohmann::ordered_json()) : nullptr;
  return info.is_object() ? info.value("features", nlohmann::ordered_json()) : nullptr;
}

}  // namespace

nlohmann::ordered_json hf_features(const std::vector<ArrowColumnSpec>& columns) {
  nlohmann::ordered_json features = nlohmann::ordered_json::object();
  for (const ArrowColumnSpec& column : columns) {
    if (column.type == ArrowType::kImage) {
      features[column.name] = {{"_type", "Image"}};
    } else if (column.type == ArrowType::kJson) {
      features[column.name] = hf_feature(column.json);
    } else if (column.type == ArrowType::kCopy) {
      const auto known = source_features(*column.source);
      if (!known.is_object() || !known.contains(column.name)) return nullptr;
      features[column.name] = known[column.name];
    } else {
      features[column.name] = {{"dtype", hf_dtype(column.type)}, {"_type", "Value"}};
    }
  }
  return features;
}

}  // namespace millrace
