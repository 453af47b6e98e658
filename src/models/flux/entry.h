// This model's row in the table of models.
#pragma once

#include <memory>

#include "models/flux/config.h"
#include "models/model_table.h"

namespace millrace::flux {

ModelEntry entry();
// FLUX of these sizes.
std::unique_ptr<ModelDescription> describe(const FluxConfig& sizes);
// The sizes of a FLUX.
const FluxConfig& config_of(const ModelDescription& flux);

}  // namespace millrace::flux
