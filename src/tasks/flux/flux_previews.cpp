#include "tasks/flux/flux_previews.h"

#include <cstdio>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "diffusion/flux_drawing.h"
#include "diffusion/pictures.h"

namespace millrace {
namespace {

std::string grid_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step-%08lld", static_cast<long long>(step));
  return name;
}

}  // namespace

FluxPreviews::FluxPreviews(const FluxRunConfig& config, Mesh& mesh, TaskPurpose purpose)
    : config_(config), mesh_(mesh) {
  if (config.sample.draws() && purpose == TaskPurpose::kTrain) prompts_ = configured_prompts(config.sample);
}

bool FluxPreviews::needs_networks() const {
  return !prompts_.empty() && missing_for_drawing(config_).empty();
}

bool FluxPreviews::due(const PreviewMoment& moment, int64_t steps_per_epoch) const {
  return prompts_due(moment, steps_per_epoch) || validation_captions_due(moment);
}

bool FluxPreviews::prompts_due(const PreviewMoment& moment, int64_t steps_per_epoch) const {
  const auto is_due = [&](int64_t interval) { return interval > 0 && moment.step % interval == 0; };
  const SampleConfig& sample = config_.sample;
  return sample.draws() && (moment.last || is_due(sample.every_steps) || is_due(sample.every_epochs * steps_per_epoch));
}

bool FluxPreviews::validation_captions_due(const PreviewMoment& moment) const {
  return moment.validated && !config_.validation_pictures.save_img_folder.empty();
}

void FluxPreviews::draw(const PreviewMoment& moment, int64_t steps_per_epoch, const Models& models,
                        const FluxTaskData& data, const std::filesystem::path& run_folder) {
  if (prompts_due(moment, steps_per_epoch)) draw_prompts_of_run(moment, models, run_folder / "samples");
  if (validation_captions_due(moment)) {
    draw_validation_captions(moment.step, models, data, run_folder / config_.validation_pictures.save_img_folder);
  }
}

// At the end of a run of LoRA also without the adapters, and with half of what they add.
void FluxPreviews::draw_prompts_of_run(const PreviewMoment& moment, const Models& models,
                                       const std::filesystem::path& folder) {
  if (!can_draw()) return;
  draw_grid(prompts_, grid_name(moment.step), models, folder, ForReport::kYes);
  if (!moment.last || !models.trainee.is_adapter()) return;
  for (const double strength : {0.0, 0.5}) {
    models.trainee.set_strength(strength);
    const std::string name = grid_name(moment.step) + format_double("-strength-%g", strength);
    draw_grid(prompts_, name, models, folder, ForReport::kYes);
  }
  models.trainee.set_strength(1);
}

void FluxPreviews::draw_validation_captions(int64_t step, const Models& models, const FluxTaskData& data,
                                            const std::filesystem::path& folder) {
  if (!data.validation_has_captions()) {
    if (!std::exchange(warned_no_captions_, true)) {
      log_warning("[validation.save_img_folder] has no effect: encoded validation data has no captions");
    }
    return;
  }
  if (!can_draw()) return;
  if (validation_captions_.empty()) {
    validation_captions_ = data.validation_captions(config_.validation_pictures.save_img_count);
  }
  draw_grid(plain_prompts(validation_captions_), grid_name(step), models, folder, ForReport::kNo);
}

bool FluxPreviews::can_draw() {
  const std::string missing = missing_for_drawing(config_);
  if (missing.empty()) return true;
  if (!std::exchange(warned_missing_, true)) {
    log_info("no sample pictures are drawn: that needs ", missing, ", which is not set");
  }
  return false;
}

// The grid, and for the report where each picture lies.
void FluxPreviews::draw_grid(const std::vector<PromptToDraw>& prompts, const std::string& name, const Models& models,
                             const std::filesystem::path& folder, ForReport for_report) {
  if (prompts.empty()) return;
  MILLRACE_CHECK(models.front_end.can_draw());
  const std::vector<Image> pictures =
      of_one_size(draw_prompts(models.trainee, models.front_end.encoders, *models.front_end.codec, prompts,
                               draw_options(config_, models.sizes), mesh_.data(), /*wants_pictures=*/true));
  if (mesh_.world().rank() != 0) return;
  const std::vector<std::string> texts = texts_of(prompts);
  const Image grid = picture_grid(pictures, texts, config_.sample.grid_columns);
  create_folders(folder);
  if (for_report == ForReport::kYes) {
    write_file_atomically(folder / (name + ".json"),
                          to_json(grid_places(pictures, texts, config_.sample.grid_columns)));
  }
  write_file_atomically(folder / (name + ".png"), encode_picture(grid, join(texts, "\n"), {config_.model.flavor, ""}));
}

}  // namespace millrace
