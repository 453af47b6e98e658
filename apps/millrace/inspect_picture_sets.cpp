#include "inspect_picture_sets.h"

#include <algorithm>
#include <iostream>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/printable.h"
#include "base/text.h"
#include "formats/inspect/text_table.h"
#include "images/encode.h"
#include "picture_sets/contact_sheet.h"
#include "picture_sets/open_picture_sets.h"
#include "picture_sets/pixel_checks.h"
#include "picture_sets/read_document.h"
#include "picture_sets/report.h"
#include "picture_sets/resolve.h"
#include "picture_sets/sample_prompts.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxJsonBytes = uint64_t{16} << 20;  // a data set file is small; weights' indices may be larger

// The beginning of a JSON file as small as a data set's is; empty for anything else.
std::string small_json(const std::filesystem::path& path) {
  std::error_code error;
  if (!ends_with(to_lower(path.string()), ".json") || !std::filesystem::is_regular_file(path, error)) return "";
  return std::filesystem::file_size(path, error) <= kMaxJsonBytes ? read_file(path) : "";
}

bool is_toml(const std::filesystem::path& path) {
  return ends_with(to_lower(path.string()), ".toml");
}

PlacedValue document_of(const std::string& path, const DatasetArguments& arguments) {
  if (!path.empty()) return read_document(path);
  if (!arguments.in_json.empty()) return metadata_document(arguments.train_data_dir, arguments.in_json);
  std::vector<std::string> ignored;
  PlacedValue document = folder_document(arguments.train_data_dir, arguments.reg_data_dir, ignored);
  for (const std::string& folder : ignored) std::cerr << "warning: " << ignored_folder_text(folder) << "\n";
  return document;
}

}  // namespace

bool is_picture_set_file(const std::filesystem::path& path) {
  const std::string name = to_lower(path.string());
  if (is_toml(path) || ends_with(name, ".yaml") || ends_with(name, ".yml")) return !is_prompt_file(path);
  const std::string json = small_json(path);
  // Also a broken one, whose error is then the data set's.
  return json.find("\"datasets\"") != std::string::npos && json.find("\"weight_map\"") == std::string::npos &&
         json.find("\"traceEvents\"") == std::string::npos;
}

bool is_prompt_file(const std::filesystem::path& path) {
  if (ends_with(path.string(), ".txt")) return true;
  if (is_toml(path)) {
    std::error_code error;
    return std::filesystem::is_regular_file(path, error) && read_document(path).find("prompt") != nullptr;
  }
  const std::string json = small_json(path);
  const size_t first = json.find_first_not_of(" \t\r\n");
  return first != std::string::npos && json[first] == '[' && json.find("\"ph\"") == std::string::npos;
}

DatasetArguments arguments_of_folder(const std::filesystem::path& folder, DatasetArguments arguments) {
  arguments.train_data_dir = folder.string();
  PlacedValue& options = arguments.settings.command_line;
  const PlacedValue* given = options.find("resolution");
  add_folder_options(options, given == nullptr ? OpenSettings().resolution
                                               : std::min(given->items[0].integer, given->items[1].integer));
  return arguments;
}

void inspect_picture_sets(const std::string& path, const DatasetArguments& arguments,
                          const PictureInspectOptions& options) {
  ResolveSettings settings = arguments.settings;
  settings.sd_scripts_limits = options.sd_scripts_limits;
  const std::string name = path.empty() ? arguments.train_data_dir : path;
  const std::filesystem::path root = path.empty() ? "." : std::filesystem::absolute(path).parent_path();
  std::vector<PictureSet> sets;
  for (const DatasetOptions& dataset : resolve_datasets(document_of(path, arguments), name, settings)) {
    sets.push_back(read_picture_set(dataset, {root, options.seed, options.num_threads}));
    if (!options.headers_only) check_pixels(sets.back(), options.num_threads);
  }
  const PictureReportOptions report{options.per_image, options.num_captions, static_cast<uint64_t>(options.seed)};
  if (options.as_json) {
    std::cout << picture_set_report(name, sets, report).dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    std::cout << name << ": " << picture_set_text(name, sets, report);
  }
  if (options.sheet.empty()) return;
  write_file_atomically(options.sheet, encode_png(contact_sheet(sets, options.num_threads)));
  if (!options.as_json) std::cout << "wrote " << options.sheet << "\n";
}

void inspect_prompts(const std::string& path, bool as_json) {
  const std::vector<SamplePrompt> prompts = read_sample_prompts(path);
  if (as_json) {
    Json report = {{"kind", "prompts"}, {"path", path}, {"prompts", Json::array()}};
    for (const SamplePrompt& prompt : prompts) report["prompts"].push_back(prompt.values);
    std::cout << report.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
    return;
  }
  TextTable table({">number", "prompt", ">size", ">steps", ">guidance", ">seed", "negative prompt"});
  std::string warnings;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const SampleRequest request = sample_request(prompts[i], path + ", prompt " + std::to_string(i));
    table.add({std::to_string(i), request.prompt,
               std::to_string(request.width) + " x " + std::to_string(request.height), std::to_string(request.steps),
               format_double("%g", request.guidance_scale), request.seed ? std::to_string(*request.seed) : "-",
               request.negative_prompt});
    for (const std::string& part : prompts[i].ignored) {
      warnings += "warning: [" + path + ", prompt " + std::to_string(i) + "] left out: " + printable(part) + "\n";
    }
  }
  std::cout << path << ": " << prompts.size() << (prompts.size() == 1 ? " prompt\n" : " prompts\n") << table.text()
            << warnings;
}

}  // namespace millrace
