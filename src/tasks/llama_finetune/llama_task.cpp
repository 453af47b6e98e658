#include "tasks/llama_finetune/llama_task.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "adapters/configured_adapter.h"
#include "adapters/peft_file.h"
#include "adapters/peft_writer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/philox.h"
#include "base/text.h"
#include "formats/weight_fingerprint.h"
#include "language/open_answers.h"
#include "metrics/step_files.h"
#include "models/llama/flops.h"
#include "nn/recompute.h"
#include "parallel/configured_placement.h"
#include "parallel/partial_gradients.h"
#include "tasks/earlier_checkpoint.h"
#include "tasks/llama_finetune/llama_adapters.h"
#include "tasks/llama_finetune/llama_data.h"
#include "tasks/llama_finetune/llama_texts.h"
#include "tasks/llama_finetune/llama_trainee.h"
#include "tasks/llama_finetune/llama_validation.h"
#include "tasks/llama_finetune/tokenizer_fit.h"

namespace millrace {
namespace {

// The mean over a step is of the mean losses of its passes, each as often as it counts tokens: but for torchtune 0.6.1
// (TokenDocument) those that are trained, so that every one of them weighs the same.
struct PassShare {
  int64_t counted = 0;
  double scale = 1;  // of the sum over trained tokens
};
PassShare share_of(const std::vector<TokenDocument>& documents) {
  int64_t counted = 0, trained = 0;
  for (const TokenDocument& document : documents) {
    counted += document.counted;
    trained += std::ranges::count_if(document.tokens.labels, [](int32_t label) { return label != kMaskedLabel; });
  }
  if (trained == 0) return {};
  return {counted, static_cast<double>(counted) / static_cast<double>(trained)};
}

constexpr int64_t kLookedAt = 32;  // rows, before the first step

class LlamaTask : public Task {
 public:
  LlamaTask(const LlamaRunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose)
      : owned_config_(config.clone()),
        config_(as_llama(*owned_config_)),
        mesh_(mesh),
        device_(device),
        keep_(keep_of(config.activation_checkpoint.mode, config.activation_checkpoint.offload)),
        sizes_(llama_sizes(config)),
        encoder_(std::make_shared<RowEncoder>(config.tokenizer_path(), row_encoder_options(config))),
        pool_(tokenising_threads(config)) {
    check_tokenizer_fits(config_, *encoder_, sizes_.vocab_size, /*warns=*/mesh.world().rank() == 0);
    if (purpose == TaskPurpose::kTrain) {
      check_can_be_merged(config_, sizes_);
      if (config_.lora() != nullptr) adapter_facts_ = peft_facts(config_, sizes_);
      forget_start_if_resumed();
      TokenSource source = training_source(config_, encoder_);
      if (config_.finetune.keeps_tokens()) keep_tokens(config_, source, "train");
      if (source.kept == nullptr) unpack_rows(config_, source, pool_);
      num_rows_ = source.rows->size();
      bad_rows_ = source.bad_rows;
      MicrobatchPlan plan = training_plan(config_, source, mesh.data_size(), pool_);
      if (config_.finetune.result_folders == ResultNaming::kEpochs) epoch_ends_ = plan.epoch_ends();
      tokens_per_sample_ = mean_length(source);
      if (mesh.world().rank() == 0) warn_of_answers(source);
      TokenBatchesOptions options;
      options.rank = mesh.data_rank();
      options.ranks = mesh.data_size();
      batches_ = std::make_unique<TokenBatches>(source, std::move(plan), options, pool_);
      prompts_ = text_prompts(config_.sample);
    }
    if (config_.validation.enable) validation_ = validation_source(config_, encoder_);
    if (validation_ && purpose == TaskPurpose::kTrain && config_.finetune.cache_tokens == TokenCaching::kDisk) {
      keep_tokens(config_, *validation_, "validation");
    }
    FlatParametersOptions placement = configured_placement(config_, device_);
    placement.training = purpose == TaskPurpose::kTrain;
    placement.mesh = &mesh_;
    placement.maps_weights = config_.lora() != nullptr;
    const auto seed = static_cast<uint64_t>(config_.training.seed.value_or(0));
    trainee_ = make_llama_trainee(config_, sizes_, placement, placement.training ? std::optional(seed) : std::nullopt);
  }

  ~LlamaTask() override {
    if (mesh_.world().rank() != 0) return;
    if (bad_rows_) bad_rows_->log_count();
    if (validation_) validation_->bad_rows->log_count();
  }

  FlatParameters& parameters() override { return trainee_->parameters(); }
  std::vector<RateGroup> rate_groups() const override { return trainee_->rate_groups(); }
  void weights_changed() override { trainee_->weights_changed(); }

  // Every token that is trained weighs 1; how many there are, only the data knows.
  double expected_weight() const override {
    return tokens_per_sample_ * static_cast<double>(config_.training.local_batch_size * mesh_.data_size());
  }
  const char* weight_name() const override { return "trained_tokens"; }

  void next_microbatch() override {
    const double start = now_seconds();
    microbatch_ = batches_->next();
    data_seconds_ = now_seconds() - start;
    epoch_ = microbatch_->epoch + 1;
  }
  std::optional<double> arrived_weight() const override {
    double weight = 0;
    for (const TokenPass& pass : microbatch_->passes) weight += static_cast<double>(share_of(pass.documents).counted);
    return weight;
  }
  int64_t epoch() const override { return epoch_; }
  std::optional<int64_t> epoch_to_save(int64_t step) const override {
    const auto after = std::ranges::upper_bound(epoch_ends_, step);  // of several that are over, the last
    const bool is_end = after != epoch_ends_.begin() && *(after - 1) == step;
    return is_end ? std::optional(after - epoch_ends_.begin() - 1) : std::nullopt;
  }

  MicrobatchResult train_microbatch(double scale) override {
    MILLRACE_CHECK(microbatch_.has_value());
    const TokenMicrobatch microbatch = *std::exchange(microbatch_, std::nullopt);
    MicrobatchResult result;
    result.data_seconds = data_seconds_;
    result.sample_digest = microbatch.digest;
    // The number depends on the position in the data and on the samples, so that a resumed run draws the same numbers.
    const std::string& position = microbatch.position;
    uint64_t pass_number = mix64(static_cast<uint64_t>(config_.training.seed.value_or(0)) ^ microbatch.digest) ^
                           checksum64(position.data(), position.size());
    double sum = 0;
    size_t passes_left = microbatch.passes.size();
    for (const TokenPass& pass : microbatch.passes) {
      --passes_left;
      if (parameters().hands_over_gradients()) parameters().set_last_microbatch(passes_left == 0);
      trainee_->set_pass(pass_number++);
      const LabelledTokens batch = labelled_tokens(pass.documents, device_);
      const PassShare share = share_of(pass.documents);
      const TokenLoss loss = trainee_->train(batch.tokens, batch.labels_T, keep_, scale * share.scale);
      sum += loss.sum * share.scale;
      result.weight += static_cast<double>(share.counted);
      result.num_samples += pass.num_samples;
      if (!pass.documents.empty()) result.num_tokens += batch.tokens.documents.num_tokens();
    }
    result.loss_1 = torch::full({1}, sum * scale, torch::dtype(torch::kFloat64).device(device_));
    return result;
  }

  std::optional<ValidationResult> validate() override {
    if (!validation_) return std::nullopt;
    return validate_llama(*trainee_, *validation_, mesh_, pool_,
                          {config_.validation.local_batch_size, config_.validation.steps, device_});
  }

  bool previews_due(const PreviewMoment& moment) const override {
    const int64_t interval = config_.sample.every_steps;
    return interval > 0 && (moment.last || moment.step % interval == 0);
  }
  void preview(const PreviewMoment& moment, const std::filesystem::path& run_folder) override {
    const std::string text = write_texts(*trainee_, *encoder_, prompts_, text_options(config_.sample));
    if (mesh_.world().rank() != 0) return;
    create_folders(run_folder / "samples");
    write_file_atomically(run_folder / "samples" / (step_file_name(moment.step) + ".txt"), text);
  }

  bool writes_result() const override { return trainee_->is_adapter(); }
  // The adapters as PEFT reads them.
  Files write_result(int64_t /*step*/, const std::filesystem::path& run_folder) override {
    const UnitUse unit = trainee_->parameters().forward_unit(0, /*keep=*/false);
    TensorMap ours;
    for (const ParameterSlice& slice : trainee_->parameters().slices()) {
      ours[slice.name] = whole_of_parts(&mesh_.tp(), slice.part, FlatParameters::view(unit.compute(), slice));
    }
    if (mesh_.world().rank() != 0) return {};
    write_peft_folder(run_folder / "adapter", ours, *adapter_facts_);
    return {run_folder / "adapter"};
  }

  std::string data_position() const override { return batches_->position(); }
  void restore_data_position(const std::string& position) override { batches_->restore(position); }

  double flops_per_sample() const override {
    return llama::train_flops(sizes_, tokens_per_sample_, tokens_per_sample_, /*frozen=*/trainee_->is_adapter());
  }

  uint64_t weights_fingerprint() const override {
    std::vector<uint64_t> sums = {static_cast<uint64_t>(num_rows_)};
    for (const WeightSource& source : weight_sources()) sums.push_back(weight_fingerprint(WeightStore(source.path)));
    return checksum64(sums.data(), sums.size() * sizeof(uint64_t));
  }

  std::vector<WeightSource> weight_sources() const override {
    std::vector<WeightSource> sources;
    const LoraConfig* lora = config_.lora();
    if (lora != nullptr) {
      if (!lora->initial_adapter.empty()) sources.push_back({.path = peft_weights_of(lora->initial_adapter)});
      for (const std::string& path : lora->base_weights) sources.push_back({.path = peft_weights_of(path)});
    }
    if (const std::string& base = config_.checkpoint.initial_load_path; !base.empty()) {
      sources.push_back({.path = base});
      if (lora != nullptr) sources.back().largest = largest_magnitude(base_storage_of(*lora));
    }
    return sources;
  }

  std::vector<std::string> describe() const override {
    const int64_t parameters = trainee_->model().flat_parameters().num_parameters();
    std::vector<std::string> lines = {
        str(sizes_.model_type, ": ", with_thousands(parameters), " parameters, hidden size ", sizes_.hidden_size, ", ",
            sizes_.num_hidden_layers, " layers, ", sizes_.num_attention_heads, " heads, vocabulary ",
            with_thousands(sizes_.vocab_size), ", ",
            trainee_->parameters().compute().scalar_type() == torch::kBFloat16 ? "bfloat16" : "float32", " on ",
            device_.str())};
    if (const LoraConfig* lora = config_.lora()) {
      const std::string kind = lora->kind == AdapterKind::kLora ? "LoRA" : choice_text(lora->kind);
      lines.push_back(str(kind, ": ", with_thousands(trainee_->parameters().num_parameters()), " parameters on ",
                          dynamic_cast<LlamaAdapters&>(*trainee_).num_layers(), " layers, rank ", lora->rank));
    }
    lines.push_back(str("data: ", with_thousands(num_rows_), " rows (", kind_of_rows(), "), packing ",
                        choice_text(config_.finetune.packing), ", about ", std::llround(tokens_per_sample_),
                        " tokens per sample"));
    return lines;
  }

 private:
  // A resumed run has its adapters in the checkpoint: the file that it started from may be gone.
  void forget_start_if_resumed() {
    if (config_.lora() == nullptr || config_.lora()->initial_adapter.empty()) return;
    if (has_earlier_checkpoint(config_, mesh_, device_)) as_llama(*owned_config_).forget_initial_adapter();
  }

  std::string kind_of_rows() const {
    const size_t sets = config_.finetune.data_sets.size();
    return sets == 0 ? choice_text(config_.finetune.rows) : str("of ", sets, " data sets");
  }
  static void warn_of_answers(const TokenSource& source) {
    const CutAnswers cut = count_cut_answers(source, kLookedAt);
    if (cut.rows > 0) {
      log_warning("[", cut.place, "] expected an answer within finetune.max_seq_len = ", source.max_length,
                  " tokens, got a row that is cut before it, as ", cut.rows, " of the first ", cut.checked,
                  " are: nothing of them is trained (try a larger one)");
    }
    if (cut.open > 0) {
      log_warning("[", cut.first_open.place, "] expected answers within finetune.max_seq_len = ", source.max_length,
                  " tokens, got one that is cut, as in ", cut.open, " of the first ", cut.checked,
                  " rows: they are trained without the token that ends them (try a larger one). What is trained stands "
                  "in 【】:\n",
                  cut.first_open.sample);
    }
    const std::optional<OpenAnswer> open = find_open_answer(source, kLookedAt);
    if (!open) return;
    log_warning("[", open->place,
                "] expected the end token of an answer to be trained, got an answer that is trained without one, after "
                "which the model would not learn to stop (try another finetune.chat_layout). What is trained stands in "
                "【】:\n",
                open->sample);
  }
  // Of the first samples; only speeds and scales depend on it.
  double mean_length(const TokenSource& source) const {
    if (config_.finetune.packing != Packing::kNone) return static_cast<double>(config_.finetune.max_seq_len);
    int64_t tokens = 0, samples = 0;
    for (int64_t row = 0; row < std::min(kLookedAt, source.rows->size()); ++row) {
      for (const TokenDocument& document : source.documents({{row, 0, -1}})) {
        tokens += static_cast<int64_t>(document.tokens.tokens.size());
        ++samples;
      }
    }
    return samples == 0 ? 1 : static_cast<double>(std::max(tokens, samples)) / static_cast<double>(samples);
  }

  std::unique_ptr<RunConfig> owned_config_;
  const LlamaRunConfig& config_;
  Mesh& mesh_;
  torch::Device device_;
  Keep keep_;
  llama::LlamaConfig sizes_;
  std::optional<PeftFacts> adapter_facts_;  // of training under LoRA
  std::shared_ptr<const RowEncoder> encoder_;
  ThreadPool pool_;
  std::unique_ptr<TokenBatches> batches_;
  std::shared_ptr<const BadRows> bad_rows_;  // of the rows to train on
  std::optional<TokenMicrobatch> microbatch_;
  std::optional<TokenSource> validation_;
  std::vector<std::string> prompts_;
  std::unique_ptr<LlamaTrainee> trainee_;
  int64_t num_rows_ = 0;
  double data_seconds_ = 0, tokens_per_sample_ = 1;
  int64_t epoch_ = 0;
  std::vector<int64_t> epoch_ends_;  // with finetune.result_folders = "epochs"
};

}  // namespace

LabelledTokens labelled_tokens(const std::vector<TokenDocument>& documents, torch::Device device) {
  std::vector<int64_t> ids, labels, positions, lengths;
  for (const TokenDocument& document : documents) {
    const auto length = static_cast<int64_t>(document.tokens.tokens.size());
    ids.insert(ids.end(), document.tokens.tokens.begin(), document.tokens.tokens.end());
    labels.insert(labels.end(), document.tokens.labels.begin(), document.tokens.labels.end());
    for (int64_t i = 0; i < length; ++i) positions.push_back(document.first_position + i);
    lengths.push_back(length);
  }
  if (ids.empty()) {
    ids = {0};
    labels = {kIgnoredLabel};
    positions = {0};
    lengths = {1};
  }
  const auto on_device = [&](const std::vector<int64_t>& values) {
    return torch::tensor(values, torch::kInt64).to(device);
  };
  return {{on_device(ids), on_device(positions), Documents(std::move(lengths), device)}, on_device(labels)};
}

std::unique_ptr<Task> make_llama_task(const RunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose) {
  return std::make_unique<LlamaTask>(as_llama(config), mesh, device, purpose);
}

}  // namespace millrace
