#include "parallel/run_as_rank.h"

#include "base/error.h"

namespace millrace {
namespace {

// All ranks throw these at the same step, so they need not be announced.
bool is_known_to_all(const std::exception& error) {
  return dynamic_cast<const Preempted*>(&error) != nullptr || dynamic_cast<const NumericsError*>(&error) != nullptr;
}

int exit_code_of(const std::exception& error) {
  const auto* known = dynamic_cast<const Error*>(&error);
  return known != nullptr ? static_cast<int>(known->code()) : 1;
}

}  // namespace

void run_as_rank(Communicator& ranks, const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    if (is_known_to_all(error)) {
      ranks.leave();
    } else if (!Watch::was_printed(error.what())) {
      ranks.watch().announce_failure(error.what(), exit_code_of(error));
    }
    throw;
  }
  ranks.leave();
}

}  // namespace millrace
