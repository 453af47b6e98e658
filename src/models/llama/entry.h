// This model's row in the table of models.
#pragma once

#include "models/model_table.h"

namespace millrace::llama {

ModelEntry entry();

}  // namespace millrace::llama
