// The validation loss of a language model: the mean over all trained tokens of the data set.
#pragma once

#include <torch/types.h>

#include "base/thread_pool.h"
#include "comm/mesh.h"
#include "language/token_batches.h"
#include "tasks/llama_finetune/llama_trainee.h"
#include "train/task.h"

namespace millrace {

struct LlamaValidationOptions {
  int64_t local_batch_size = 1;
  int64_t max_batches = -1;  // -1: the whole data set
  torch::Device device;
};

// Every row counts once, whatever the number of ranks, which all call it. Throws DataError when nothing is trained.
ValidationResult validate_llama(LlamaTrainee& trainee, const TokenSource& source, Mesh& mesh, ThreadPool& pool,
                                const LlamaValidationOptions& options);

}  // namespace millrace
