#include "tasks/flux_lora/flux_lora_results.h"

#include <map>
#include <string>

#include "adapters/configured_adapter.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "diffusion/lora_readers.h"
#include "diffusion/lora_result.h"
#include "models/lora_text_names.h"

namespace millrace {
namespace {

double unix_seconds() {
  return static_cast<double>(unix_milliseconds()) / 1000;
}

}  // namespace

FluxLoraResults::FluxLoraResults(const FluxRunConfig& config, const flux::FluxConfig& sizes, torch::Dtype dtype,
                                 FluxTrainee& trainee, Mesh& mesh, std::function<TrainingFacts()> data_facts)
    : config_(config),
      sizes_(sizes),
      dtype_(dtype),
      trainee_(trainee),
      mesh_(mesh),
      data_facts_(std::move(data_facts)),
      started_at_(unix_seconds()) {}

void FluxLoraResults::before_microbatch() {
  // A resumed run no longer names the file that it started from.
  if (!start_ && !config_.lora()->initial_adapter.empty()) {
    start_ = sums_of(trainee_.parameters().forward_unit(0, /*keep=*/false).compute());
  }
  start_base_hash();
}

FluxLoraResults::Files FluxLoraResults::write(int64_t step, int64_t epochs, const std::filesystem::path& run_folder) {
  const UnitUse whole = trainee_.parameters().forward_unit(0, /*keep=*/false);
  if (!writes()) return {};
  const std::vector<AdapterTensors> adapters = adapters_of(whole.compute());
  const Files files = write_file(run_folder / "lora.safetensors", step, epochs, adapters);
  warn_if_at_start(adapters, step);
  warn_if_unchanged(whole.compute(), step);
  return files;
}

bool FluxLoraResults::keeps(const KohyaMoment& moment) const {
  return !kohya_files(*config_.flux_adapters(), moment).due.empty();
}

FluxLoraResults::Files FluxLoraResults::keep(const KohyaMoment& moment, const std::filesystem::path& run_folder) {
  const UnitUse whole = trainee_.parameters().forward_unit(0, /*keep=*/false);
  if (!writes()) return {};
  const std::vector<AdapterTensors> adapters = adapters_of(whole.compute());
  const KohyaFiles files = kohya_files(*config_.flux_adapters(), moment);
  Files written;
  for (const KohyaFile& file : files.due) {
    const Files both = write_file(run_folder / file.name, moment.step, file.epoch, adapters);
    written.insert(written.end(), both.begin(), both.end());
    log_info("wrote ", (run_folder / file.name).string());
  }
  std::error_code ignored;
  for (const std::string& name : files.outdated) {
    std::filesystem::remove(run_folder / name, ignored);
    std::filesystem::remove(run_folder / diffusers_file_name(name), ignored);
  }
  return written;
}

// whole: all adapters, one after the other as in their layout.
std::vector<AdapterTensors> FluxLoraResults::adapters_of(const torch::Tensor& whole) const {
  TensorMap ours;
  for (const ParameterSlice& slice : trainee_.parameters().slices()) {
    ours[slice.name] = FlatParameters::view(whole, slice);
  }
  return configured_adapters(*config_.lora(), ours);
}

FluxLoraResults::Files FluxLoraResults::write_file(const std::filesystem::path& path, int64_t step, int64_t epoch,
                                                   const std::vector<AdapterTensors>& adapters) {
  const LoraProgress progress = {.step = step, .epoch = epoch, .started_at = started_at_, .now = unix_seconds()};
  const Files files = write_lora_result(path, adapters, config_, sizes_, dtype_, progress, facts());
  if (!std::exchange(said_readers_, true)) {
    log_info(lora_readers(kohya_parts(adapters, config_, sizes_), path.filename().string(), diffusers_file_name(path)));
  }
  return files;
}

// On the rank that writes metadata, where the base is one file.
void FluxLoraResults::start_base_hash() {
  if (base_hash_ || !writes() || config_.lora()->no_metadata) return;
  const std::filesystem::path base = config_.checkpoint.initial_load_path;
  if (std::filesystem::is_regular_file(base)) base_hash_.emplace(base);
}

TrainingFacts FluxLoraResults::facts() {
  TrainingFacts facts = data_facts_();
  start_base_hash();  // of a run that trains no step, but writes what a full disk kept it from writing
  if (!base_hash_) return facts;
  try {
    facts["new_sd_model_hash"] = base_hash_->get();
  } catch (const Error& error) {
    log_warning("the metadata of the adapters lack ss_new_sd_model_hash: ", error.what());
  }
  return facts;
}

FluxLoraResults::Sums FluxLoraResults::sums_of(const torch::Tensor& whole) {
  return {whole.sum(torch::kFloat64).item<double>(),
          at::linalg_vector_norm(whole, 2, at::OptionalIntArrayRef(), false, torch::kFloat64).item<double>()};
}

void FluxLoraResults::warn_if_unchanged(const torch::Tensor& whole, int64_t step) const {
  if (!start_ || *start_ != sums_of(whole)) return;
  log_warning("[lora] expected adapters that have learnt something, got those of lora.initial_adapter after step ",
              step, " (try a larger optimizer.lr)");
}

// Checks each model that has adapters separately.
void FluxLoraResults::warn_if_at_start(const std::vector<AdapterTensors>& adapters, int64_t step) const {
  std::map<std::string, bool> at_start;
  for (const AdapterTensors& adapter : adapters) {
    const auto layer = flux::parse_run_text_layer(adapter.module);
    const char* model = !layer ? "FLUX" : layer->part == flux::LoraPart::kT5 ? "T5" : "CLIP";
    bool& is_so = at_start.try_emplace(model, true).first->second;
    is_so = is_so && is_without_effect(adapter);
  }
  std::vector<std::string> models;
  for (const auto& [model, is_so] : at_start) {
    if (is_so) models.push_back(model);
  }
  if (models.empty()) return;
  const bool are_all = models.size() == at_start.size();
  log_warning("[lora] expected up matrices that have learnt something, got zeros alone after step ", step,
              are_all ? config_.lora()->kind == AdapterKind::kDora
                            ? ": the adapters change no direction (try a larger optimizer.lr)"
                            : ": the adapters change nothing (try a larger optimizer.lr)"
                      : str(": the adapters of ", join(models, " and "), " change nothing (try larger rates)"));
}

}  // namespace millrace
