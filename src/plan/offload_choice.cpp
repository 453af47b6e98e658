#include "plan/offload_choice.h"

#include "base/error.h"
#include "config/option_table.h"
#include "plan/planner.h"

namespace millrace {
namespace {

// Null: there is no such option.
std::string* offload_member(RunConfig& config) {
  for (const OptionSection& section : option_sections(config)) {
    for (const Option& option : section.options) {
      if (option.full_name() == "lora.offload_blocks") return std::get<std::string*>(option.member);
    }
  }
  return nullptr;
}

}  // namespace

std::string offload_setting(const RunConfig& config) {
  const std::unique_ptr<RunConfig> copy = config.clone();  // options are described with where they are written
  const std::string* member = offload_member(*copy);
  return member == nullptr ? std::string() : *member;
}

void set_offload(RunConfig& config, const std::string& setting) {
  std::string* member = offload_member(config);
  MILLRACE_CHECK(member != nullptr);
  *member = setting;
}

std::unique_ptr<RunConfig> settle_offload(const RunConfig& config, const PlanOptions& options, MakePlannedTask make) {
  std::unique_ptr<RunConfig> settled = config.clone();
  if (offload_setting(config) != "auto") return settled;
  const auto fits = [&](int64_t blocks) {
    set_offload(*settled, std::to_string(blocks));
    return run_fits(*settled, options, make);
  };
  if (options.on_cpu || fits(0)) {
    set_offload(*settled, "0");
    return settled;
  }
  // More blocks in host memory leave more on the device. (Not the first two, which the buffers outweigh.)
  int64_t too_few = 0, enough = make(config, options.on_cpu)->frozen_blocks();
  try {
    if (!fits(enough)) return settled;
  } catch (const ConfigError&) {  // ranks share the weights
    set_offload(*settled, "0");
    return settled;
  }
  while (enough - too_few > 1) {
    const int64_t middle = (too_few + enough) / 2;
    (fits(middle) ? enough : too_few) = middle;
  }
  set_offload(*settled, std::to_string(enough));
  return settled;
}

}  // namespace millrace
