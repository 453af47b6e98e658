// The table of options: name, type, where it may stand and which member holds it (internal to picture_sets/).
#pragma once

#include <span>
#include <string_view>
#include <variant>

#include "picture_sets/options.h"

namespace millrace {

template <typename Owner>
using Member = std::variant<bool Owner::*, int64_t Owner::*, double Owner::*, std::string Owner::*,
                            std::optional<std::string> Owner::*, std::optional<int64_t> Owner::*,
                            std::optional<std::array<double, 2>> Owner::*,
                            std::optional<std::array<int64_t, 2>> Owner::*, nlohmann::ordered_json Owner::*>;

// Which tables of a file have the option. Those of subsets may stand at the data set or in [general] as well, for all
// subsets below, unless they name files.
enum class OptionPlace {
  kDataset,             // and [general]
  kAnySubset,           // of every style, and above
  kWithCaptionFiles,    // kCaptionFiles and kMasks, and above
  kNoMetadataNorMasks,  // kCaptionFiles, and above
  kOnlyInSubset,        // and not above
  kCommandLine,         // no file
};

template <typename Owner>
struct OptionRow {
  const char* name;
  OptionPlace place;
  Member<Owner> member;
  bool takes_whole_numbers = true;  // a floating-point option
  bool is_share = false;            // a floating-point option, from 0 to 1
};

std::span<const OptionRow<SubsetOptions>> subset_rows();
std::span<const OptionRow<DatasetOptions>> dataset_rows();

// Whether a subset's report and file have this option in data sets of this style.
bool subset_has(CaptionStyle style, const OptionRow<SubsetOptions>& row);
bool dataset_has(CaptionStyle style, const OptionRow<DatasetOptions>& row);

}  // namespace millrace
