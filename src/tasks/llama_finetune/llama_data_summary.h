// `millrace inspect` of a configuration: its data set as a run would see it.
#pragma once

#include "config/run_config.h"
#include "language/text_data_summary.h"

namespace millrace {

// Summarises the rows to train on, or those to validate on. Throws what training_source() and validation_source()
// throw, for example where a file is missing.
TextDataSummary summarise_llama_data(const RunConfig& config, bool is_validation);

}  // namespace millrace
