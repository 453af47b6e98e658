// How sd-scripts names an optimizer in the metadata of a LoRA file (ss_optimizer): a class with its module, and the
// arguments that it was given, as Python writes them: "prodigyopt.prodigy.Prodigy(betas=(0.9, 0.99),d_coef=2.0)".
#pragma once

#include <string>

#include "config/sections/optimizer.h"

namespace millrace {

// Of a configuration: the arguments that its package has and that differ from the package's defaults. relative_step is
// always one of Adafactor's, as sd-scripts gives it. Throws ConfigError for options that the rule does not have.
std::string kohya_optimizer_text(const OptimizerConfig& config);

}  // namespace millrace
