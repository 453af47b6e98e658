#include "tasks/llama_finetune/llama_plan.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "adapters/configured_adapter.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "models/llama/flops.h"
#include "nn/recompute.h"
#include "tasks/frozen_matrices.h"
#include "tasks/llama_finetune/llama_trainee.h"

namespace millrace {
namespace {

// The tokens of one microbatch, and the model to train.
class LlamaStepModel : public StepModel {
 public:
  LlamaStepModel(std::unique_ptr<LlamaTrainee> trainee, int64_t samples, int64_t length, Keep keep,
                 std::map<const QuantisedWeight*, int64_t> matrix_bytes)
      : trainee_(std::move(trainee)),
        samples_(samples),
        length_(length),
        keep_(keep),
        matrix_bytes_(std::move(matrix_bytes)) {}

  FlatParameters& parameters() override { return trainee_->parameters(); }
  FlatParameters* frozen() override { return trainee_->is_adapter() ? &trainee_->model().flat_parameters() : nullptr; }
  int64_t quantised_bytes() override { return sum_of(matrix_bytes_); }
  int64_t quantised_bytes(const QuantisedWeight& one) override { return matrix_bytes_.at(&one); }
  const OffloadedInputs* offloaded_inputs() override { return trainee_->model().offloaded_inputs(); }
  void train_microbatch() override {
    const torch::Tensor ids_T = torch::empty({samples_ * length_}, torch::dtype(torch::kInt64).device(torch::kMeta));
    const std::vector<int64_t> lengths(static_cast<size_t>(samples_), length_);
    trainee_->train({ids_T, torch::empty_like(ids_T), Documents(lengths, torch::kMeta)}, torch::empty_like(ids_T),
                    keep_,
                    /*scale=*/1);
  }

 private:
  std::unique_ptr<LlamaTrainee> trainee_;
  int64_t samples_, length_;
  Keep keep_;
  std::map<const QuantisedWeight*, int64_t> matrix_bytes_;  // of the frozen model
};

// The arithmetic of one unit's passes over a microbatch.
//
// Tensor parallelism divides what belongs to heads, channels and the vocabulary; norms and residuals are whole.
//
// Passes over memory of the fused ops of a layer, in values of a token's hidden size: two norms 2 x 2, rotation of q
// and k 4 kv, SwiGLU 3 m, residuals 2 x 3; backward about twice that. kv: width of q and k over hidden size, m: of the
// MLP.
class LlamaWork {
 public:
  LlamaWork(const llama::LlamaConfig& sizes, const PlannedStep& step, int64_t length, bool frozen)
      : sizes_(sizes),
        frozen_(frozen),
        recomputes_(keep_of(step.recompute) == Keep::kInputs),
        tp_(step.mesh.tp),
        element_size_(static_cast<double>(step.element_size())),
        length_(static_cast<double>(length)),
        tokens_(static_cast<double>(step.batch * length)) {}

  StageWork stage(const ParameterUnit& unit, bool backward) const {
    StageWork work;
    work.name = unit.name;
    // Each product has two gradients, of which frozen weights have none; a recomputed layer runs once more.
    const double products = !backward ? 1 : (frozen_ ? 1 : 2) + (recomputes_ ? 1 : 0);
    const double head = static_cast<double>(sizes_.vocab_size * sizes_.hidden_size);
    if (starts_with(unit.name, "layer ")) {
      const double layer =
          (static_cast<double>(llama::matrix_elements(sizes_)) - head) / static_cast<double>(sizes_.num_hidden_layers);
      const auto width = static_cast<double>(sizes_.num_attention_heads * sizes_.head_dim);
      const double square = 2 * length_ * width * tokens_;  // causal: half of both products
      work.gemm_flops = 2 * layer * tokens_ * products / tp_;
      work.attention_flops = square * (backward ? 2.5 + (recomputes_ ? 1 : 0) : 1) / tp_;
      const auto hidden = static_cast<double>(sizes_.hidden_size);
      const double split = 4 * width / hidden + 3 * static_cast<double>(sizes_.intermediate_size) / hidden;
      const double passes = (10 + split) / tp_;
      work.memory_bytes = passes * hidden * tokens_ * element_size_ * (backward ? 2 : 1);
      work.launches = backward ? 30 : 14;
      return work;
    }
    const bool has_head = unit.name == "lm_head" || sizes_.tie_word_embeddings;
    if (has_head && backward) {
      // Logits are computed here, a chunk at a time, with their loss.
      work.gemm_flops = 2 * head * tokens_ * (frozen_ ? 2 : 3) / tp_;
      work.memory_bytes = 4 * static_cast<double>(sizes_.vocab_size) * tokens_ * element_size_ / tp_;
    } else {
      work.memory_bytes = 2 * static_cast<double>(sizes_.hidden_size) * tokens_ * element_size_ / tp_;
    }
    work.launches = 4;
    return work;
  }

 private:
  const llama::LlamaConfig& sizes_;
  bool frozen_, recomputes_;
  double tp_, element_size_, length_, tokens_;
};

class LlamaPlannedTask : public PlannedTask {
 public:
  explicit LlamaPlannedTask(const LlamaRunConfig& config)
      : owned_config_(config.clone()), config_(as_llama(*owned_config_)), sizes_(llama_sizes(config)) {
    if (config.finetune.max_seq_len == 0) {
      throw ConfigError("[finetune.max_seq_len] expected the length of the samples to plan for, got 0");
    }
    if (storage() == BaseStorage::kGguf) open_gguf();
  }

  std::string describe(int64_t num_parameters) const override {
    const LoraConfig* lora = config_.lora();
    const std::string what = lora != nullptr ? str("LoRA of rank ", lora->rank, " on ") : "";
    return str(what, sizes_.model_type, ", ", with_thousands(num_parameters), lora != nullptr ? " trained" : "",
               " parameters, hidden size ", sizes_.hidden_size, ", ", sizes_.num_hidden_layers, " layers");
  }
  // Every other size that the tp axis must divide is checked with its own name by the model.
  int64_t num_heads() const override { return sizes_.num_attention_heads; }
  int64_t tokens_per_sample() const override { return config_.finetune.max_seq_len; }
  double model_flops_per_sample() const override {
    const auto length = static_cast<double>(tokens_per_sample());
    return llama::train_flops(sizes_, length, length, is_frozen());
  }

  std::unique_ptr<StepModel> build(const PlannedStep& step, const FlatParametersOptions& placement) const override {
    std::unique_ptr<LlamaTrainee> trainee = make_empty_llama_trainee(config_, sizes_, placement);
    auto bytes = matrix_bytes(trainee->model(), storage(), placement.compute_dtype, gguf_ ? &*gguf_ : nullptr);
    return std::make_unique<LlamaStepModel>(std::move(trainee), step.batch, tokens_per_sample(),
                                            keep_of(step.recompute, step.offload_inputs), std::move(bytes));
  }
  std::vector<StageWork> forward_stages(const PlannedStep& step,
                                        const std::vector<ParameterUnit>& units) const override {
    const LlamaWork work(sizes_, step, tokens_per_sample(), is_frozen());
    std::vector<StageWork> stages;
    for (const ParameterUnit& unit : units) stages.push_back(work.stage(unit, /*backward=*/false));
    return stages;
  }
  std::vector<StageWork> backward_stages(const PlannedStep& step,
                                         const std::vector<ParameterUnit>& units) const override {
    const LlamaWork work(sizes_, step, tokens_per_sample(), is_frozen());
    std::vector<StageWork> stages;
    for (auto unit = units.rbegin(); unit != units.rend(); ++unit)
      stages.push_back(work.stage(*unit, /*backward=*/true));
    return stages;
  }
  FrozenNetworks frozen_networks(const PlannedStep&) const override { return {}; }
  int64_t frozen_blocks() const override { return is_frozen() ? sizes_.num_hidden_layers : 0; }
  std::vector<std::string> notes(const PlannedStep&) const override {
    return {str("every sample is planned with finetune.max_seq_len = ", tokens_per_sample(),
                " tokens, all of them trained")};
  }

 private:
  bool is_frozen() const { return config_.lora() != nullptr; }
  void open_gguf() {
    const LoraConfig& lora = *config_.lora();
    const std::string& path = config_.checkpoint.initial_load_path;
    gguf_.emplace("llama", path, find_model("llama").from_json(llama::to_hugging_face_json(sizes_), path)->shapes());
    const std::vector<double> multipliers = base_multipliers(lora);
    for (size_t i = 0; i < multipliers.size(); ++i) {
      gguf_->merged.add(gguf_->weights.model().read_adapters(lora.base_weights[i]), multipliers[i]);
    }
  }
  BaseStorage storage() const { return is_frozen() ? base_storage_of(*config_.lora()) : BaseStorage::kDense; }

  std::unique_ptr<RunConfig> owned_config_;
  const LlamaRunConfig& config_;
  llama::LlamaConfig sizes_;
  std::optional<GgufBase> gguf_;
};

}  // namespace

std::unique_ptr<PlannedTask> plan_llama(const RunConfig& config, bool /*on_cpu*/) {
  return std::make_unique<LlamaPlannedTask>(as_llama(config));
}

}  // namespace millrace
