#include "prepare/bad_sample_list.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/quote.h"

namespace millrace {
namespace {

constexpr int64_t kJudgedFrom = 100;
constexpr int64_t kNamed = 20;

}  // namespace

nlohmann::ordered_json bad_sample(int64_t index, const std::string& name, const std::string& problem) {
  return {{"index", index}, {"name", as_utf8(name)}, {"problem", as_utf8(problem)}};
}

void BadSampleTotal::add(int64_t seen, const BadSampleList& bad, bool is_new) {
  seen_ += seen;
  for (const auto& sample : bad) {
    const std::string text =
        str("sample ", sample["index"].get<int64_t>(), ", ", json_escape(sample["problem"].get<std::string>()));
    if (count_ == 0) first_ = text;
    if (is_new && count_ < kNamed) log_warning("left out: ", text);
    if (is_new && count_ == kNamed) log_warning("more samples are left out; they will be listed at the end");
    ++count_;
  }
  if (seen_ >= kJudgedFrom && static_cast<double>(count_) > max_fraction_ * static_cast<double>(seen_)) fail();
}

void BadSampleTotal::check() const {
  if (static_cast<double>(count_) > max_fraction_ * static_cast<double>(seen_)) fail();
}

void BadSampleTotal::fail() const {
  throw DataError(str("[", command_, "] expected at most ", format_double("%g", 100 * max_fraction_),
                      " % of the samples to be bad, got ", count_, " of ", seen_, "; the first: ", first_,
                      " (--max-bad-samples sets the limit)"));
}

}  // namespace millrace
