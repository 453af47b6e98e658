// Runs a template. It computes text from values and can do nothing else; steps, depth and output are bounded.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "language/jinja/syntax.h"

namespace millrace::jinja {

struct Rendered {
  std::string text;
  std::vector<std::pair<size_t, size_t>> generated;  // [begin, end) of what stood between generation and endgeneration
};

// Throws DataError naming place: for raise_exception(), values that an operation does not take, and limits passed.
Rendered render(const Block& block, const Value::Dict& variables, const std::string& place);

// Whether a {% generation %} stands anywhere in it.
bool has_generation(const Block& block);

}  // namespace millrace::jinja
