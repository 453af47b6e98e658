// The task of fine-tuning a Llama-style model: rows in, loss and gradients out.
#pragma once

#include <memory>

#include <torch/types.h>

#include "comm/mesh.h"
#include "config/run_config.h"
#include "language/token_batches.h"
#include "models/llama/packed_tokens.h"
#include "train/task.h"

namespace millrace {

// config: of llama_finetune or llama_lora, settled (llama_data.h). Throws ConfigError, DataError and ModelError for
// what cannot be trained.
std::unique_ptr<Task> make_llama_task(const RunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose);

// The documents of a pass, one after the other, on the device; where there is none, one token that trains nothing, so
// that every rank of a sharded model computes.
struct LabelledTokens {
  llama::PackedTokens tokens;
  torch::Tensor labels_T;  // int64
};
LabelledTokens labelled_tokens(const std::vector<TokenDocument>& documents, torch::Device device);

}  // namespace millrace
