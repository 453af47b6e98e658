// The data sets of a run, each with the form of its rows: one that the section [finetune] describes, or several of
// unlike rows.
#pragma once

#include <string>
#include <vector>

#include "language/packing.h"
#include "language/row_encoder.h"
#include "language/row_set.h"
#include "tasks/llama_finetune/llama_run_config.h"

namespace millrace {

struct LlamaDataSet {
  std::vector<std::string> data;  // as RowSet takes them
  std::vector<double> weights;
  RowFileForm form;
  std::string split;
  RowFormat format;
  bool add_eos = true;
  PackingOptions packs;  // with finetune.order = "torchtune"

  RowSet rows() const { return {data, form, split, weights}; }
};

// Whether a text is one character that may stand between fields.
bool is_csv_separator(const std::string& text);

// The form of rows that the section says, without data: that of prompts, and of data sets that say no other.
LlamaDataSet common_set(const LlamaRunConfig& config);

// finetune.data_sets, or finetune.data as one. Throw ConfigError for what is not said as the option's meaning tells.
std::vector<LlamaDataSet> training_sets(const LlamaRunConfig& config);
// finetune.validation_sets, or finetune.validation_data as one, or the training sets with the split for validation.
std::vector<LlamaDataSet> validation_sets(const LlamaRunConfig& config);

}  // namespace millrace
