#include "diffusion/kohya_file_names.h"

#include <cstdio>

namespace millrace {
namespace {

constexpr const char* kEnding = ".safetensors";

std::string digits(int64_t number, int width) {
  char text[32];
  std::snprintf(text, sizeof text, "%0*lld", width, static_cast<long long>(number));
  return text;
}

}  // namespace

KohyaFiles kohya_files(const FluxAdapterOptions& options, const KohyaMoment& moment) {
  KohyaFiles files;
  if (!options.kohya_files) return files;
  // sd-scripts' names where --output_name says none.
  const auto named = [&](const char* fallback) {
    return options.kohya_name.empty() ? std::string(fallback) : options.kohya_name;
  };
  const auto of_step = [&](int64_t step) { return named("at") + "-step" + digits(step, 8) + kEnding; };
  const auto of_epoch = [&](int64_t epoch) { return named("epoch") + "-" + digits(epoch, 6) + kEnding; };

  const int64_t every = options.kohya_every_steps;
  if (every > 0 && moment.step % every == 0) {
    files.due.push_back({of_step(moment.step), moment.epoch});
    // The files of the last kohya_last_steps steps are kept; the newest file before them is removed.
    const int64_t before = moment.step - options.kohya_last_steps - 1;
    if (options.kohya_last_steps > 0 && before >= every) files.outdated.push_back(of_step(before - before % every));
  }
  const bool ends_epoch = moment.steps_per_epoch > 0 && moment.step % moment.steps_per_epoch == 0;
  const int64_t epochs = ends_epoch ? moment.step / moment.steps_per_epoch : 0;
  const int64_t every_epochs = options.kohya_every_epochs;
  if (every_epochs > 0 && ends_epoch && epochs % every_epochs == 0 && !moment.last) {
    files.due.push_back({of_epoch(epochs), epochs});
    const int64_t before = epochs - every_epochs * options.kohya_last_epochs;  // so many files stay
    if (options.kohya_last_epochs > 0 && before > 0) files.outdated.push_back(of_epoch(before));
  }
  if (moment.last) files.due.push_back({named("last") + kEnding, moment.epoch + 1});
  return files;
}

}  // namespace millrace
