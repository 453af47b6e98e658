#include "metrics/step_files.h"

#include <cstdio>

#include "base/text.h"

namespace millrace {

std::string step_file_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step-%08lld", static_cast<long long>(step));
  return name;
}

std::optional<int64_t> parse_step_name(std::string_view name) {
  constexpr std::string_view kStep = "step-";
  constexpr size_t kMostDigits = 15;
  if (!starts_with(name, kStep)) return std::nullopt;
  const std::string digits(name.substr(kStep.size()));
  const bool is_number = !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
  return is_number && digits.size() <= kMostDigits ? std::optional<int64_t>(std::stoll(digits)) : std::nullopt;
}

}  // namespace millrace
