// torchtune's command line behind the recipe: key=value words that override a YAML file, and ~key words that delete.
#pragma once

#include <string>
#include <vector>

#include "config/placed_value.h"
#include "config/problems.h"

namespace millrace {

// Applies each word to root, in order. A key has dots between the tables that it is in, which are made where they are
// missing; a value is YAML ([a, b], 2e-5, null), and None is null; `model=torchtune...` where model has a _component_
// sets that; max_filename stays a text. ~key deletes a key. Adds a problem for every other word, for a value with a
// second =, for ~ of a component or of a key that is not there.
void apply_overrides(const std::vector<std::string>& words, PlacedValue& root, Problems& problems);

}  // namespace millrace
