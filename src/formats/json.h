// JSON from untrusted files: bounded nesting and size, no repeated keys, errors that name the place.
#pragma once

#include <cstddef>
#include <string_view>

#include <nlohmann/json.hpp>

namespace millrace {

struct JsonLimits {
  size_t max_depth = 32;
  size_t max_values = 4'000'000;  // below 1 GB as a document
};

// Throws Failure (a class of base/error.h) for a syntax error, a repeated key or an exceeded limit.
template <typename Failure>
nlohmann::json parse_json(std::string_view text, std::string_view place, const JsonLimits& limits = {});
// The same with keys in text order.
template <typename Failure>
nlohmann::ordered_json parse_ordered_json(std::string_view text, std::string_view place, const JsonLimits& limits = {});

}  // namespace millrace
