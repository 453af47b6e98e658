// From another program's settings to a configuration, with a word about each.
#pragma once

#include <memory>
#include <string>

#include "comm/world.h"
#include "compat/translation.h"
#include "config/run_config.h"

namespace millrace {

// On the first rank, prints to standard error what became of each setting, and warns of those without effect. Throws
// ConfigError in the other program's words for values that no configuration may have.
// own_options: "--section.key=value" in our words, which beat what the other program's settings became.
std::unique_ptr<RunConfig> load_translated(const Translation& translation, const std::string& their_program,
                                           const World& world, const std::vector<std::string>& own_options = {});

}  // namespace millrace
