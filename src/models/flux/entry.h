// This model's row in the table of models.
#pragma once

#include "models/model_table.h"

namespace millrace::flux {

ModelEntry entry();

}  // namespace millrace::flux
