// `millrace inspect` of a configuration: its data set as a run would see it.
#pragma once

#include "config/run_config.h"
#include "language/text_data_summary.h"

namespace millrace {

// Of the training rows, or of those to validate on. As training_source() and validation_rows() for files that are not
// there.
TextDataSummary summarise_llama_data(const RunConfig& config, bool is_validation);

}  // namespace millrace
