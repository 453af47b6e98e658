#include "failure.h"

#include <c10/util/Exception.h>

#include <cstdio>
#include <new>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "comm/watch.h"

namespace millrace {
namespace {

void print(const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "millrace: %s\n", message.c_str());
}

// libtorch appends pages of stack to its messages.
std::string first_lines(const std::string& text) {
  const std::string kept = text.substr(0, text.find("\nException raised from"));
  return std::string(trim(kept));
}

}  // namespace

int report_failure(const std::exception& error) noexcept {
  try {
    if (const auto* known = dynamic_cast<const Error*>(&error)) {
      if (!Watch::was_printed(known->what())) print(known->what());  // a lost rank is reported once
      return static_cast<int>(known->code());
    }
    if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) {
      print("[GPU memory] expected enough for this run, got: " +
            first_lines(static_cast<const c10::Error&>(error).what_without_backtrace()) +
            "\n(try a smaller training.local_batch_size, or activation_checkpoint.mode = \"full\")");
    } else if (const auto* torch_error = dynamic_cast<const c10::Error*>(&error)) {
      print("[libtorch] " + first_lines(torch_error->what_without_backtrace()));
    } else if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
      print("[memory] expected enough for this run, got none left (try a smaller training.local_batch_size)");
    } else {
      print(error.what());
    }
  } catch (...) {
    std::fputs("millrace: failed for an unknown reason\n", stderr);
  }
  return kUnexpectedFailure;
}

}  // namespace millrace
