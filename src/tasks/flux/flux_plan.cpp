#include "tasks/flux/flux_plan.h"

#include <algorithm>
#include <map>
#include <optional>

#include "adapters/configured_adapter.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "diffusion/base_adapters.h"
#include "diffusion/flux_objective.h"
#include "diffusion/flux_setup.h"
#include "diffusion/flux_trainee.h"
#include "models/flux/entry.h"
#include "models/flux/flops.h"
#include "tasks/flux/flux_encoders_plan.h"
#include "tasks/flux/flux_pictures_plan.h"
#include "tasks/flux/flux_work.h"
#include "tasks/flux_lora/flux_lora_config.h"
#include "tasks/frozen_matrices.h"

namespace millrace {
namespace {

// The pictures and encodings of one microbatch, and the model to train.
class FluxStepModel : public StepModel {
 public:
  FluxStepModel(const FluxRunConfig& config, const flux::FluxConfig& sizes, const FlatParametersOptions& placement,
                FluxBatch batch, FluxObjective objective, Keep keep, BaseStorage storage, const GgufBase* gguf)
      : encoders_(config),
        trainee_(make_empty_flux_trainee(config, sizes, placement, encoders_.trained(config))),
        batch_(std::move(batch)),
        objective_(std::move(objective)),
        keep_(keep),
        matrix_bytes_(matrix_bytes(trainee_->model(), storage, placement.compute_dtype, gguf)) {}

  FlatParameters& parameters() override { return trainee_->parameters(); }
  FlatParameters* frozen() override { return trainee_->is_adapter() ? &trainee_->model().flat_parameters() : nullptr; }
  int64_t quantised_bytes() override { return sum_of(matrix_bytes_); }
  int64_t quantised_bytes(const QuantisedWeight& one) override { return matrix_bytes_.at(&one); }
  const OffloadedInputs* offloaded_inputs() override { return trainee_->model().offloaded_inputs(); }
  void train_microbatch() override { train_on_batch(*trainee_, batch_, objective_, keep_, /*weight=*/1); }

 private:
  PlannedEncoders encoders_;
  std::unique_ptr<FluxTrainee> trainee_;
  FluxBatch batch_;
  FluxObjective objective_;
  Keep keep_;
  std::map<const QuantisedWeight*, int64_t> matrix_bytes_;  // of the frozen model
};

class FluxPlannedTask : public PlannedTask {
 public:
  FluxPlannedTask(const FluxRunConfig& config, bool on_cpu)
      : owned_config_(config.clone()),
        config_(as_flux(*owned_config_)),
        on_cpu_(on_cpu),
        encoders_(plan_encoders(config)),
        pictures_(plan_pictures(config, encoders_.notes)),
        sizes_(flux_config(config, encoders_.latent_channels)) {
    if (storage() == BaseStorage::kGguf) {
      gguf_.emplace("flux", config.checkpoint.initial_load_path, flux::describe(sizes_)->shapes());
      gguf_->merged = read_base_adapters(*config.lora(), sizes_).transformer;
    }
    const int64_t multiple = encoders_.downscale * patch_size(config);
    for (const int64_t side : {pictures_.width, pictures_.height}) {
      if (side % multiple == 0) continue;
      throw ConfigError(str("[", pictures_.place, "] expected a multiple of ", multiple, " pixels, got ", side));
    }
  }

  std::string describe(int64_t num_parameters) const override {
    const LoraConfig* lora = config_.lora();
    const std::string what = lora != nullptr ? str("LoRA of rank ", lora->rank, " on FLUX, ") : "FLUX, ";
    return str(what, with_thousands(num_parameters), lora != nullptr ? " trained" : "", " parameters, hidden size ",
               sizes_.hidden_size, ", ", sizes_.depth, " double and ", sizes_.depth_single_blocks, " single blocks");
  }
  int64_t num_heads() const override { return sizes_.num_heads; }
  int64_t tokens_per_sample() const override { return image_tokens() + text_tokens(); }
  double model_flops_per_sample() const override {
    return flux::train_flops_per_sample(sizes_, image_tokens(), text_tokens(), config_.lora() != nullptr);
  }

  std::unique_ptr<StepModel> build(const PlannedStep& step, const FlatParametersOptions& placement) const override {
    const auto floats = torch::TensorOptions().dtype(torch::kFloat32).device(torch::kMeta);
    const auto encodings = floats.dtype(placement.compute_dtype);
    FluxBatch batch;
    batch.latent_BZhw = torch::empty({step.batch, encoders_.latent_channels, pictures_.height / encoders_.downscale,
                                      pictures_.width / encoders_.downscale},
                                     floats);
    batch.txt_BTX = torch::empty({step.batch, text_tokens(), sizes_.context_in_dim}, encodings);
    batch.y_BV = torch::empty({step.batch, sizes_.vec_in_dim}, encodings);
    batch.num_samples = batch.global_rows = step.batch;
    batch.sample_ids.assign(static_cast<size_t>(step.batch), 0);
    batch.epochs.assign(static_cast<size_t>(step.batch), 0);
    if (config_.encoder.apply_t5_attn_mask) {
      // One caption that leaves out nothing, so that all tokens are computed, and others that take the longer way.
      batch.text_lengths.assign(static_cast<size_t>(step.batch), std::max<int64_t>(1, text_tokens() - 1));
      batch.text_lengths.front() = text_tokens();
    }
    return std::make_unique<FluxStepModel>(
        config_, sizes_, placement, std::move(batch), FluxObjective{0, patch_size(config_), config_.objective()},
        keep_of(step.recompute, step.offload_inputs), storage(), gguf_ ? &*gguf_ : nullptr);
  }

  std::vector<StageWork> forward_stages(const PlannedStep& step,
                                        const std::vector<ParameterUnit>& units) const override {
    std::vector<StageWork> stages = millrace::forward_stages(work_sizes(step), units);
    for (StageWork& stage : stages) {  // again, of the frozen model
      stage.gemm_flops *= 1 + pictures_.preserved;
      stage.attention_flops *= 1 + pictures_.preserved;
      stage.memory_bytes *= 1 + pictures_.preserved;
      if (pictures_.preserved > 0) stage.launches *= 2;
    }
    return stages;
  }
  std::vector<StageWork> backward_stages(const PlannedStep& step,
                                         const std::vector<ParameterUnit>& units) const override {
    return millrace::backward_stages(work_sizes(step), units);
  }

  FrozenNetworks frozen_networks(const PlannedStep& step) const override {
    const int64_t picture_size = on_cpu_ ? 4 : step.element_size();  // the autoencoder's, see autoencoder_dtype()
    const int64_t autoencoder = encoders_.parameters - encoders_.t5.parameters - encoders_.clip.parameters;
    const int64_t clip_ranks = config_.encoder.shard == EncoderSharding::kTrue ? step.mesh.dp_shard : 1;
    FrozenNetworks frozen;
    const bool on_host = config_.encoder.device == EncoderDevice::kCpu && !on_cpu_;
    const int64_t text = encoders_.t5.held(t5_ranks(step)) + encoders_.clip.held(clip_ranks);
    frozen.weight_bytes = autoencoder * picture_size + (on_host ? 0 : text * step.element_size());
    // The autoencoder's activations are the largest.
    frozen.activation_bytes = encoders_.activations_per_sample * picture_size * step.batch;
    frozen.flops_per_sample = encoders_.flops_per_sample;
    return frozen;
  }

  int64_t batch_of_data(int64_t data_ranks) const override {
    return pictures_.batch_size == 0 ? 0 : (pictures_.batch_size + data_ranks - 1) / data_ranks;
  }

  int64_t frozen_blocks() const override {
    return config_.lora() != nullptr ? sizes_.depth + sizes_.depth_single_blocks : 0;
  }

  std::vector<PlanRemedy> remedies() const override {
    std::vector<PlanRemedy> list;
    const bool has_text_encoders = encoders_.t5.parameters + encoders_.clip.parameters > 0;
    if (has_text_encoders && !on_cpu_ && config_.encoder.device != EncoderDevice::kCpu) {
      list.push_back(
          {"--encoder.device=cpu", [](RunConfig& config) { as_flux(config).encoder.device = EncoderDevice::kCpu; }});
    }
    if (storage() != BaseStorage::kDense || config_.lora() == nullptr) return list;
    for (const char* dtype : {"fp8", "nf4"}) {
      list.push_back({str("--lora.base_dtype=", dtype), [dtype](RunConfig& config) {
                        dynamic_cast<FluxLoraConfig&>(config).lora_options.base_dtype = dtype;
                      }});
    }
    return list;
  }

  std::vector<std::string> notes(const PlannedStep& step) const override {
    std::vector<std::string> notes = encoders_.notes;
    if (config_.encoder.apply_t5_attn_mask) {
      notes.emplace_back(
          "captions are taken to fill encoder.max_t5_encoding_len: with apply_t5_attn_mask shorter ones take less");
    }
    if (encoders_.parameters > 0 && step.mesh.size() > 1 && config_.encoder.device != EncoderDevice::kCpu) {
      notes.emplace_back(t5_ranks(step) > 1 ? str("T5's weights are split over the ", t5_ranks(step),
                                                  " ranks of dp_shard (encoder.shard)")
                                            : "every rank holds all of the encoders; preprocessed data needs none");
    }
    return notes;
  }

 private:
  BaseStorage storage() const {
    return config_.lora() != nullptr ? base_storage_of(*config_.lora()) : BaseStorage::kDense;
  }
  int64_t image_tokens() const {
    const int64_t token = encoders_.downscale * patch_size(config_);
    return (pictures_.width / token) * (pictures_.height / token);
  }
  int64_t text_tokens() const { return config_.encoder.max_t5_encoding_len; }
  int64_t t5_ranks(const PlannedStep& step) const {
    const int64_t bytes = encoders_.t5.parameters * step.element_size();
    return shards_t5(config_.encoder.shard, !on_cpu_, bytes) ? step.mesh.dp_shard : 1;
  }
  FluxWorkSizes work_sizes(const PlannedStep& step) const {
    return {sizes_,       step.batch,          image_tokens(),           text_tokens(), keep_of(step.recompute),
            step.mesh.tp, step.element_size(), config_.lora() != nullptr};
  }

  std::unique_ptr<RunConfig> owned_config_;
  const FluxRunConfig& config_;
  bool on_cpu_;
  EncodersPlan encoders_;
  PicturesPlan pictures_;
  flux::FluxConfig sizes_;
  std::optional<GgufBase> gguf_;
};

}  // namespace

std::unique_ptr<PlannedTask> plan_flux(const RunConfig& config, bool on_cpu) {
  return std::make_unique<FluxPlannedTask>(as_flux(config), on_cpu);
}

}  // namespace millrace
