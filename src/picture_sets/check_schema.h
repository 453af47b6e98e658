// What may stand where in a data set file (internal to picture_sets/).
#pragma once

#include <string>

#include "config/placed_value.h"
#include "config/problems.h"
#include "picture_sets/option_rows.h"

namespace millrace {

// "dataset.toml:3] datasets[0]" with the bracket where it belongs: the place of a value, for Problems::add.
std::string place_text(const std::string& file_name, const PlacedValue& value);

// sd-scripts' rule: masks where every subset has conditioning_data_dir, metadata where every one has metadata_file
// (also where there is no subset), caption files where none has; a mixture is a problem.
CaptionStyle find_style(const PlacedValue& dataset, bool masked_loss);

// Adds every unknown key, wrong type and missing key.
void check_schema(const PlacedValue& document, const std::string& file_name, bool masked_loss, Problems& problems);

// Puts value, which has passed check_schema(), into the member.
template <typename Owner>
void assign(Owner& owner, const Member<Owner>& member, const PlacedValue& value);

}  // namespace millrace
