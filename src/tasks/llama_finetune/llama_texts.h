// Texts that a model under training writes to prompts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "adapters/peft_writer.h"
#include "language/row_encoder.h"
#include "tasks/llama_finetune/llama_trainee.h"

namespace millrace {

// sample.prompts, or the lines of sample.prompts_file; none where samples are never written. Throws StorageError.
std::vector<std::string> text_prompts(const TextSampleConfig& sample);

// As [sample] says, without stop tokens.
llama::GenerateOptions text_options(const TextSampleConfig& sample);

// The answer to a prompt (RowEncoder::prompt()). options: stop tokens are the encoder's. on_piece: gets the text as it
// is written.
std::string answer(LlamaTrainee& trainee, const RowEncoder& encoder, const std::vector<int32_t>& prompt,
                   llama::GenerateOptions options, const std::function<void(const std::string& piece)>& on_piece = {});

// All prompts with their answers, for people. All ranks of a sharded model call it.
std::string write_texts(LlamaTrainee& trainee, const RowEncoder& encoder, const std::vector<std::string>& prompts,
                        const llama::GenerateOptions& options);

// What adapter_config.json says of a run's adapters.
PeftFacts peft_facts(const LlamaRunConfig& config, const llama::LlamaConfig& sizes);

}  // namespace millrace
