// This model's row in the table of models.
#pragma once

#include "models/model_table.h"

namespace millrace::autoencoder {

ModelEntry entry();

}  // namespace millrace::autoencoder
