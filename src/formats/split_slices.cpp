#include "formats/split_slices.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

// As Python reads it: 10_000 is 10000.
std::optional<int64_t> whole_number(std::string_view text) {
  const std::string_view without_sign = text.substr(text.starts_with('-') ? 1 : 0);
  if (without_sign.starts_with('_') || text.ends_with('_') || text.find("__") != std::string_view::npos) return {};
  std::string digits(text);
  std::erase(digits, '_');
  int64_t value = 0;
  const char* const end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, value);
  return error == std::errc() && rest == end ? std::optional(value) : std::nullopt;
}

class SliceParser {
 public:
  SliceParser(std::string_view whole, int64_t num_rows, const std::string& place)
      : whole_(whole), num_rows_(num_rows), place_(place) {}

  void add(std::string_view part, SplitSlice& slice) const {
    part = trim(part);
    const size_t bracket = part.find('[');
    const std::string name(part.substr(0, bracket));
    if (name.empty() || name.find_first_of(" ]:%+") != std::string::npos) fail("a split's name, such as train");
    if (!slice.name.empty() && slice.name != name) fail("parts of one split (its name is " + slice.name + ")");
    slice.name = name;
    if (bracket == std::string_view::npos) {
      slice.ranges.push_back({0, num_rows_});
      return;
    }
    constexpr std::string_view kClosest = "(closest)";  // how percents are rounded in any case
    const bool has_rounding = part.ends_with(kClosest);
    if (has_rounding) part.remove_suffix(kClosest.size());
    if (part.back() == ')' && part.find(']') != std::string_view::npos) {
      fail("percents rounded to the closest row, and no other rounding");
    }
    const size_t colon = part.find(':', bracket);
    if (part.back() != ']' || colon == std::string_view::npos) fail("a slice [from:to]");
    Bound from = bound(part.substr(bracket + 1, colon - bracket - 1));
    Bound to = bound(part.substr(colon + 1, part.size() - colon - 2));
    from.percent = to.percent = from.percent || to.percent;  // one sign is of both numbers
    if (has_rounding && !from.percent) fail("percents before (closest)");
    for (const Bound& each : {from, to}) {
      if (each.percent && std::abs(each.value.value_or(0)) > 100) fail("percents from -100 to 100");
    }
    slice.ranges.push_back(range(from, to));
  }

 private:
  struct Bound {
    std::optional<int64_t> value;
    bool percent = false;
  };

  [[noreturn]] void fail(const std::string& expected) const {
    throw ConfigError(str("[", place_, "] expected ", expected, ", got \"", whole_, "\" (try train[:95%])"));
  }

  Bound bound(std::string_view text) const {
    text = trim(text);
    if (text.empty()) return {};
    Bound bound;
    bound.percent = text.back() == '%';
    if (bound.percent) text.remove_suffix(1);
    bound.value = whole_number(text);
    if (!bound.value) fail("whole rows or percents");
    return bound;
  }

  int64_t row_of(const Bound& bound, int64_t otherwise) const {
    if (!bound.value) return otherwise;
    int64_t row = *bound.value;
    if (bound.percent) {
      row = std::llrint(std::nearbyint(static_cast<double>(row) * static_cast<double>(num_rows_) / 100.0));
    }
    return row < 0 ? std::max<int64_t>(num_rows_ + row, 0) : row;
  }

  RowRange range(const Bound& from, const Bound& to) const {
    RowRange range{std::min(row_of(from, 0), num_rows_), std::min(row_of(to, num_rows_), num_rows_)};
    range.end = std::max(range.begin, range.end);
    return range;
  }

  std::string_view whole_;
  int64_t num_rows_;
  const std::string& place_;
};

}  // namespace

std::string name_of_split(std::string_view text) {
  return std::string(trim(text.substr(0, text.find_first_of("[+"))));
}

SplitSlice parse_split(std::string_view text, int64_t num_rows, const std::string& place) {
  SplitSlice slice;
  const SliceParser parser(text, num_rows, place);
  for (const std::string& part : split(text, '+')) parser.add(part, slice);
  return slice;
}

}  // namespace millrace
