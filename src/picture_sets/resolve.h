// From a data set file to the options of every subset.
#pragma once

#include <string>
#include <vector>

#include "config/placed_value.h"
#include "picture_sets/options.h"

namespace millrace {

struct ResolveSettings {
  bool masked_loss = false;  // conditioning_data_dir is an option only then
  // Refuse what sd-scripts' FLUX LoRA trainer refuses: bucket_reso_steps that are no multiples of 64. Otherwise any
  // multiple of 16 will do, which is what FLUX needs.
  bool sd_scripts_limits = false;
  // Values of options that no table of the file has, by their names in files; a kTable.
  PlacedValue command_line;
};

// An option is taken from the subset, else from its data set, [general], the command line, else its default. Throws
// ConfigError that lists every unknown option, wrong type and missing option with its line, then every value that does
// not fit the others.
std::vector<DatasetOptions> resolve_datasets(const PlacedValue& document, const std::string& file_name,
                                             const ResolveSettings& settings = {});

}  // namespace millrace
