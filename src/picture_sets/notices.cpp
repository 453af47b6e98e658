#include "picture_sets/notices.h"

#include <algorithm>

#include "base/printable.h"
#include "base/text.h"

namespace millrace {

void Notices::add(const std::string& kind, const std::string& message, const std::string& place, bool is_fatal) {
  auto notice = std::find_if(notices_.begin(), notices_.end(),
                             [&](const Notice& known) { return known.kind == kind && known.message == message; });
  if (notice == notices_.end()) notice = notices_.insert(notices_.end(), {kind, message, {}, is_fatal});
  notice->places.push_back(place);
}

std::string notice_text(const Notice& notice, size_t max_places) {
  std::vector<std::string> shown;
  for (size_t i = 0; i < std::min(max_places, notice.places.size()); ++i) shown.push_back(printable(notice.places[i]));
  std::string text = "[" + join(shown, ", ");
  const size_t more = notice.places.size() - shown.size();
  if (more > 0) text += " and " + with_thousands(static_cast<int64_t>(more)) + " more";
  return text + "] " + printable(notice.message);
}

}  // namespace millrace
