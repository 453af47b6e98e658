// The data of a fine-tuning run, from its configuration.
#pragma once

#include <cstdint>
#include <string>

#include "base/thread_pool.h"
#include "language/microbatch_plan.h"
#include "language/token_batches.h"
#include "tasks/llama_finetune/llama_run_config.h"

namespace millrace {

// How the configuration's rows become tokens, but for data sets that say otherwise.
RowEncoderOptions row_encoder_options(const LlamaRunConfig& config);

// Rows to train on, and to validate on (llama_data_sets.h). encoder: of row_encoder_options(). Throw ConfigError,
// DataError and StorageError for files that are not there or not rows; nothing is tokenised yet.
TokenSource training_source(const LlamaRunConfig& config, std::shared_ptr<const RowEncoder> encoder);
TokenSource validation_source(const LlamaRunConfig& config, std::shared_ptr<const RowEncoder> encoder);

// Lets the source read its rows' tokens from a file of that name, which is made where there is none yet
// (finetune.cache_tokens, token_cache.h).
void keep_tokens(const LlamaRunConfig& config, TokenSource& source, const std::string& name);

// Lets the source read rows of Parquet, which are cheap in order alone, from files that they are unpacked into, in rows
// of the run's folder.
void unpack_rows(const LlamaRunConfig& config, TokenSource& source, ThreadPool& pool);

// Threads that tokenise: training.num_workers.
int tokenising_threads(const LlamaRunConfig& config);

// Which samples are in which microbatch of data_ranks ranks. With packing, every row's length must be known:
// all are tokenised where their tokens are not kept.
MicrobatchPlan training_plan(const LlamaRunConfig& config, const TokenSource& source, int64_t data_ranks,
                             ThreadPool& pool);

// Settings that follow from others, at the start of a run: training.steps from finetune.epochs, and where the model's
// sizes and the tokenizer are, so that the run's folder can be used without the initial weights. Throws ConfigError
// where training.steps was set to another number than the epochs have.
void settle_llama_config(RunConfig& config, int64_t world_size);

}  // namespace millrace
