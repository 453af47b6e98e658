#include "picture_sets/options.h"

#include "base/error.h"
#include "picture_sets/option_rows.h"

namespace millrace {
namespace {

template <typename Owner>
nlohmann::ordered_json value_json(const Owner& owner, const Member<Owner>& member) {
  return std::visit(
      [&](auto pointer) -> nlohmann::ordered_json {
        const auto& value = owner.*pointer;
        using Value = std::remove_cvref_t<decltype(value)>;
        if constexpr (requires { value.has_value(); }) {
          return value.has_value() ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
        } else {
          static_assert(!std::is_pointer_v<Value>);
          return value;
        }
      },
      member);
}

}  // namespace

const char* caption_style_name(CaptionStyle style) {
  switch (style) {
    case CaptionStyle::kCaptionFiles:
      return "dreambooth";
    case CaptionStyle::kMetadata:
      return "finetuning";
    case CaptionStyle::kMasks:
      return "controlnet_style";
  }
  return "?";
}

BucketRules DatasetOptions::bucket_rules() const {
  MILLRACE_CHECK(resolution.has_value());
  return {{(*resolution)[0], (*resolution)[1]},
          enable_bucket,
          min_bucket_reso,
          max_bucket_reso,
          bucket_reso_steps,
          bucket_no_upscale};
}

nlohmann::ordered_json options_json(const DatasetOptions& options) {
  nlohmann::ordered_json json = {{"kind", caption_style_name(options.style)}};
  for (const auto& row : dataset_rows()) {
    if (dataset_has(options.style, row)) json[row.name] = value_json(options, row.member);
  }
  json["subsets"] = nlohmann::ordered_json::array();
  for (const SubsetOptions& subset : options.subsets) {
    nlohmann::ordered_json values;
    for (const auto& row : subset_rows()) {
      if (!subset_has(options.style, row)) continue;
      values[row.name] = value_json(subset, row.member);
    }
    if (subset.image_dir.empty() && options.style == CaptionStyle::kMetadata) values["image_dir"] = nullptr;
    json["subsets"].push_back(std::move(values));
  }
  return json;
}

}  // namespace millrace
