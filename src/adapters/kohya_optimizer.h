// How sd-scripts names an optimizer in the metadata of a LoRA file (ss_optimizer): a class with its module, and the
// arguments that it was given, as Python writes them: "prodigyopt.prodigy.Prodigy(betas=(0.9, 0.99),d_coef=2.0)".
#pragma once

#include <string>

#include "config/sections/optimizer.h"

namespace millrace {

// The same text for a configuration, with those arguments of the optimizer's package that differ from its defaults.
// Adafactor's always has relative_step, as sd-scripts writes it. Throws ConfigError for options that the rule lacks.
std::string kohya_optimizer_text(const OptimizerConfig& config);

}  // namespace millrace
