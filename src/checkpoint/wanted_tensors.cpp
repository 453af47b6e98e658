#include "checkpoint/wanted_tensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "formats/safetensors.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

using Json = nlohmann::json;

constexpr size_t kShown = 5;

// The differences of all ranks, each once, in the order in which they are found.
class Differences {
 public:
  void add(const std::string& difference) {
    if (!known_.insert(difference).second || known_.size() > kShown) return;
    text_ += "\n  " + difference;
  }
  void throw_if_any(const std::string& place) const {
    const size_t count = known_.size();
    if (count == 0) return;
    throw ModelError(str("[", place, "] expected the tensors of this configuration's model and optimizer, got ", count,
                         count == 1 ? " difference" : " differences",
                         " (try the configuration that the checkpoint was made with):", text_,
                         count > kShown ? str("\n  and ", count - kShown, " more") : ""));
  }

 private:
  std::set<std::string> known_;
  std::string text_;
};

}  // namespace

bool WantedTensors::add(const NamedPiece& piece) {
  const auto [place, is_new] = wanted_.emplace(piece.name, false);
  if (!is_new) return place->second;
  const auto found = held_.find(piece.name);
  if (found == held_.end()) {
    differences_.push_back(str(piece.name, " is missing"));
    return false;
  }
  const std::string is = tensor_text(found->second.dtype, found->second.shape);
  const std::string want = tensor_text(to_dtype(piece.data.scalar_type(), piece.name), piece.global_shape);
  place->second = is == want;
  if (is != want) differences_.push_back(str(piece.name, " is ", is, ", wanted ", want));
  return place->second;
}

// One digit per tensor that the checkpoint holds, in order of names: thousands of ranks may send this.
std::string WantedTensors::to_text() const {
  std::string digits;
  for (const auto& [name, tensor] : held_) digits += wanted_.contains(name) ? '1' : '0';
  return Json{{"wanted", digits}, {"differences", differences_}}.dump();
}

void WantedTensors::check(const std::vector<std::string>& answers, const Tensors& held, bool refuse_surplus,
                          const std::string& place) {
  Differences differences;
  std::string wanted(held.size(), '0');
  for (const std::string& text : answers) {
    const Json answer = Json::parse(text);
    for (const Json& difference : answer.at("differences")) differences.add(difference.get<std::string>());
    const auto digits = answer.at("wanted").get<std::string>();
    MILLRACE_CHECK(digits.size() == wanted.size());
    std::transform(wanted.begin(), wanted.end(), digits.begin(), wanted.begin(),
                   [](char a, char b) { return std::max(a, b); });
  }
  size_t i = 0;
  for (const auto& [name, tensor] : held) {
    if (wanted[i++] == '0' && refuse_surplus) differences.add(str(name, " is not wanted"));
  }
  differences.throw_if_any(place);
}

}  // namespace millrace
