// The report for people, written from the one for programs.
#include <algorithm>

#include "base/text.h"
#include "formats/inspect/text_table.h"
#include "picture_sets/report.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxColumns = 4;  // subsets side by side

std::string count(const Json& value) {
  return with_thousands(value.get<int64_t>());
}

std::string size(const Json& pair) {
  return size_text({pair[0].get<int64_t>(), pair[1].get<int64_t>()});
}

std::string shown(const Json& value) {
  if (value.is_null()) return "-";
  return value.is_string() ? "\"" + value.get<std::string>() + "\"" : value.dump();
}

bool is_option(const std::string& key, const Json& value) {
  static const std::vector<std::string> kResults = {"kind",
                                                    "num_train_images",
                                                    "num_reg_images",
                                                    "samples_per_epoch",
                                                    "batches_per_epoch",
                                                    "buckets",
                                                    "mean_img_ar_error",
                                                    "num_validation_images",
                                                    "validation_batches",
                                                    "subsets",
                                                    "images",
                                                    "validation_images",
                                                    "warnings",
                                                    "tag_frequency"};
  return !value.is_object() && std::find(kResults.begin(), kResults.end(), key) == kResults.end();
}

std::string options_text(const Json& dataset) {
  TextTable table({"option", "value"});
  for (const auto& [key, value] : dataset.items()) {
    if (is_option(key, value)) table.add({key, shown(value)});
  }
  return table.text();
}

std::string subsets_text(const Json& subsets) {
  std::string text;
  for (size_t begin = 0; begin < subsets.size(); begin += kMaxColumns) {
    const size_t end = std::min(subsets.size(), begin + kMaxColumns);
    std::vector<std::string> headings = {"subset"};
    for (size_t i = begin; i < end; ++i) headings.push_back(std::to_string(i));
    TextTable table(headings);
    for (const auto& [key, unused] : subsets[begin].items()) {
      std::vector<std::string> cells = {key};
      for (size_t i = begin; i < end; ++i) cells.push_back(shown(subsets[i][key]));
      table.add(std::move(cells));
    }
    text += table.text();
  }
  return text;
}

std::string buckets_text(const Json& buckets) {
  TextTable table({"bucket", ">samples", ">batches"});
  for (const Json& bucket : buckets)
    table.add({size(bucket["resolution"]), count(bucket["count"]), count(bucket["batches"])});
  return table.text();
}

// "at 120, 40", or that it is another each time.
std::string crop_text(const Json& image) {
  if (image["crop_is_drawn"].get<bool>()) return "drawn";
  return "at " + image["crop"][0].dump() + ", " + image["crop"][1].dump();
}

std::string images_text(const Json& images) {
  TextTable table({"picture", ">size", ">resized", ">bucket", "crop", ">repeats", "caption"});
  for (const Json& image : images) {
    const bool is_scaled_anew = image.contains("face") && image["crop_is_drawn"].get<bool>();
    table.add({image["path"], size(image["size"]), is_scaled_anew ? "drawn" : size(image["resized"]),
               size(image["bucket"]), crop_text(image), count(image["num_repeats"]), image["caption"]});
  }
  return table.text();
}

std::string captions_text(const Json& images) {
  TextTable table({"picture", ">epoch", "caption as trained"});
  for (const Json& image : images) {
    for (size_t epoch = 0; epoch < image["captions"].size(); ++epoch) {
      table.add({epoch == 0 ? image["path"].get<std::string>() : "", std::to_string(epoch), image["captions"][epoch]});
    }
  }
  return table.text();
}

std::string dataset_text(const Json& dataset, const PictureSet& set, size_t number,
                         const PictureReportOptions& options) {
  std::string text = "data set " + std::to_string(number) + ": " + count(dataset["samples_per_epoch"]) +
                     " samples an epoch in " + count(dataset["batches_per_epoch"]) + " batches of " +
                     count(dataset["batch_size"]) + "; " + count(dataset["num_train_images"]) + " of training, " +
                     count(dataset["num_reg_images"]) + " of regularisation";
  if (dataset["num_validation_images"] != 0) {
    text += "; " + count(dataset["num_validation_images"]) + " pictures held back for validation in " +
            count(dataset["validation_batches"]) + " batches";
  }
  text += "\n" + options_text(dataset) + subsets_text(dataset["subsets"]) + buckets_text(dataset["buckets"]);
  if (options.per_image) text += images_text(dataset["images"]);
  if (options.num_captions > 0) text += captions_text(dataset["images"]);
  for (const Notice& notice : set.notices.all()) {
    text += std::string(notice.is_fatal ? "error: " : "warning: ") +
            with_thousands(static_cast<int64_t>(notice.places.size())) + " x " + notice_text(notice) + "\n";
  }
  return text;
}

}  // namespace

std::string picture_set_text(const std::string& path, const std::vector<PictureSet>& sets,
                             const PictureReportOptions& options) {
  const Json report = picture_set_report(path, sets, options);
  std::string text = with_thousands(static_cast<int64_t>(sets.size())) +
                     (sets.size() == 1 ? " data set" : " data sets") + " of pictures, " +
                     count(report["batches_per_epoch"]) + " batches an epoch\n";
  for (size_t i = 0; i < sets.size(); ++i) text += dataset_text(report["datasets"][i], sets[i], i, options);
  return text;
}

}  // namespace millrace
