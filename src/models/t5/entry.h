// This model's row in the table of models.
#pragma once

#include "models/model_table.h"

namespace millrace::t5 {

ModelEntry entry();

}  // namespace millrace::t5
