// The result of a fine-tuning run as Hugging Face's libraries read it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "models/model_table.h"
#include "tasks/adapter_export.h"
#include "tasks/export_run.h"
#include "tasks/result_naming.h"

namespace millrace {

// The model of a run, with the config.json that its sizes came from.
std::unique_ptr<ModelDescription> describe_llama_model(const RunConfig& config, const TensorMap& shapes);

// Files that belong beside the weights (language_files.h).
std::vector<Companion> llama_companions(const RunConfig& config);
std::filesystem::path llama_tokenizer(const RunConfig& config);
// model.config; "" where it is a GGUF file, which the weights are themselves.
std::filesystem::path llama_sizes(const RunConfig& config);

// What a run writes at its end into the folder "model": the whole model, in the dtype and the files of the initial
// weights; of adapters the model with them merged in, with finetune.save_merged. Nothing with finetune.no_save_model,
// and for runs without checkpoints.
std::optional<ExportOptions> llama_final_export(const RunConfig& config);
// finetune.result_folders, and the last of finetune.epochs.
ResultNaming llama_result_naming(const RunConfig& config);
std::optional<int64_t> llama_last_epoch(const RunConfig& config);

// PEFT's naming, a folder.
WriteAdapters llama_adapter_writer();

}  // namespace millrace
