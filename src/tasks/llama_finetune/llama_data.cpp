#include "tasks/llama_finetune/llama_data.h"

#include <algorithm>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/weight_store.h"
#include "language/token_cache.h"
#include "language/unpacked_rows.h"
#include "tasks/llama_finetune/llama_data_sets.h"
#include "train/run_steps.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// The part of the encoder's options that a data set says.
void set_format(RowEncoderOptions& options, const LlamaDataSet& set) {
  options.format = set.format;
  options.add_eos = set.add_eos;
}

bool is_like(const RowEncoderOptions& options, const LlamaDataSet& set) {
  return options.format == set.format && options.add_eos == set.add_eos;
}

TokenSource make_source(const LlamaRunConfig& config, std::shared_ptr<const RowEncoder> encoder,
                        const std::vector<LlamaDataSet>& sets, std::optional<int64_t> most_rows) {
  TokenSource source;
  const RowEncoderOptions common = row_encoder_options(config);
  std::vector<RowSet> parts;
  for (const LlamaDataSet& set : sets) parts.push_back(set.rows());
  auto rows = std::make_shared<RowSet>(parts.size() == 1 ? std::move(parts.front()) : RowSet(std::move(parts)));
  if (most_rows) rows->keep_first(*most_rows);
  const auto differs = [&](const LlamaDataSet& set) { return !is_like(common, set); };
  if (std::ranges::any_of(sets, differs)) {
    for (const LlamaDataSet& set : sets) {
      RowEncoderOptions own = common;
      set_format(own, set);
      source.encoders.push_back(differs(set) ? std::make_shared<RowEncoder>(config.tokenizer_path(), own) : encoder);
    }
  }
  source.bad_rows = std::make_shared<BadRows>(rows->size(), config.training.max_bad_samples);
  source.rows = std::move(rows);
  source.encoder = std::move(encoder);
  source.max_length = config.finetune.max_seq_len;
  return source;
}

}  // namespace

RowEncoderOptions row_encoder_options(const LlamaRunConfig& config) {
  const FinetuneConfig& finetune = config.finetune;
  RowEncoderOptions options;
  set_format(options, common_set(config));
  options.layout = finetune.chat_layout;
  options.prompt_template = parse_prompt_template(finetune.prompt_template, "finetune.prompt_template");
  if (finetune.max_seq_len > 0) options.max_length = finetune.max_seq_len;
  options.truncation = finetune.truncation;
  const bool shifts_batches = finetune.torchtune_version == TorchtuneVersion::kRelease;
  options.shift = shifts_batches ? LabelShift::kNone : LabelShift::kByOne;
  return options;
}

TokenSource training_source(const LlamaRunConfig& config, std::shared_ptr<const RowEncoder> encoder) {
  return make_source(config, std::move(encoder), training_sets(config), config.training.subset_size);
}

TokenSource validation_source(const LlamaRunConfig& config, std::shared_ptr<const RowEncoder> encoder) {
  return make_source(config, std::move(encoder), validation_sets(config), std::nullopt);
}

void keep_tokens(const LlamaRunConfig& config, TokenSource& source, const std::string& name) {
  // Other ranks of the machine wait meanwhile.
  const int threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 64U));
  ThreadPool pool(config.training.num_workers > 0 ? tokenising_threads(config) : threads);
  const bool is_own = config.finetune.cache_folder.empty();
  TokenCacheOptions options;
  options.folder = is_own ? fs::path(config.job.dump_folder) / "tokens" : fs::path(config.finetune.cache_folder);
  options.name = name;
  options.is_only_one = is_own;
  source.kept = open_token_cache(source, options, pool);
}

void unpack_rows(const LlamaRunConfig& config, TokenSource& source, ThreadPool& pool) {
  const fs::path folder = fs::path(config.job.dump_folder) / "rows";
  try {
    const std::vector<fs::path> used = source.rows->unpack(folder, pool);
    std::error_code ignored;
    for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
      const bool is_of_others = std::ranges::find(used, entry->path()) == used.end();
      std::error_code failed;
      if (is_of_others && ends_with(entry->path().filename().string(), kUnpackedExtension) &&
          fs::remove(entry->path(), failed)) {
        log_info("removed rows that were unpacked earlier: ", entry->path().string());
      }
    }
  } catch (const StorageError& error) {
    log_warning(error.what(), ": rows of Parquet are unpacked again whenever they are needed, which takes long");
  }
}

int tokenising_threads(const LlamaRunConfig& config) {
  if (config.training.num_workers > 0) return static_cast<int>(config.training.num_workers);
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 8);
}

MicrobatchPlan training_plan(const LlamaRunConfig& config, const TokenSource& source, int64_t data_ranks,
                             ThreadPool& pool) {
  const FinetuneConfig& finetune = config.finetune;
  EpochPlanOptions epochs;
  epochs.num_rows = source.rows->size();
  epochs.packing = finetune.packing;
  epochs.packs = {finetune.max_seq_len, finetune.split_across_packs, finetune.max_packs};
  if (const std::vector<int64_t> ends = source.rows->part_ends(); ends.size() > 1) {
    const std::vector<LlamaDataSet> sets = training_sets(config);
    for (size_t i = 0; i < ends.size(); ++i) epochs.parts.push_back({ends[i], sets[i].packs});
  }
  epochs.order = finetune.order;
  epochs.shuffle = finetune.shuffle;
  epochs.seed = static_cast<uint64_t>(config.training.seed.value_or(0));
  std::vector<int64_t> lengths;
  if (finetune.packing != Packing::kNone) lengths = source.lengths(pool);
  MicrobatchOptions microbatches;
  microbatches.samples = config.training.local_batch_size * data_ranks;
  microbatches.ranks = data_ranks;
  microbatches.per_step = microbatches_per_step(config.training, data_ranks);
  microbatches.epochs = finetune.epochs;
  microbatches.max_steps_per_epoch = finetune.max_steps_per_epoch;
  // Of torchtune's recipes, those for all weights on its main branch do not.
  microbatches.carries_over = finetune.torchtune_version == TorchtuneVersion::kRelease || config.lora() != nullptr;
  return {EpochPlanner(epochs, std::move(lengths)), microbatches};
}

void settle_llama_config(RunConfig& run_config, int64_t world_size) {
  LlamaRunConfig& config = as_llama(run_config);
  const fs::path weights = config.checkpoint.initial_load_path;
  if (config.finetune.tokenizer.empty()) config.finetune.tokenizer = fs::absolute(config.tokenizer_path()).string();
  const fs::path beside = (fs::is_directory(weights) ? weights : weights.parent_path()) / "config.json";
  const bool has_sizes = !weights.empty() && fs::is_regular_file(beside);
  if (config.model.config.empty() && has_sizes) config.model.config = fs::absolute(beside).string();
  if (config.model.config.empty() && !weights.empty()) {
    const WeightStore store(weights);  // a GGUF file has the sizes in it
    if (store.config_json()) config.model.config = fs::absolute(store.files().front()).string();
  }

  if (config.finetune.epochs == 0) return;
  const MeshDegrees mesh = mesh_degrees(config, world_size);
  ThreadPool pool(tokenising_threads(config));
  const auto encoder = std::make_shared<RowEncoder>(config.tokenizer_path(), row_encoder_options(config));
  TokenSource source = training_source(config, encoder);
  const bool is_packed = config.finetune.packing != Packing::kNone;
  if (is_packed && config.finetune.keeps_tokens()) keep_tokens(config, source, "train");
  const int64_t data_ranks = int64_t{mesh.dp_replicate} * mesh.dp_shard;
  const int64_t steps = training_plan(config, source, data_ranks, pool).steps();
  const bool was_set = config.training.steps != TrainingConfig().steps;
  if (was_set && config.training.steps != steps) {
    throw ConfigError(str("[training.steps] expected ", steps, ", the steps of ", config.finetune.epochs,
                          " epochs (finetune.epochs), got ", config.training.steps, " (try to set one of the two)"));
  }
  config.training.steps = steps;
}

}  // namespace millrace
