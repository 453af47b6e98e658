// The pictures that a run draws with its current weights, in grids named after the step: of prompts, and of the
// captions of validation data.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "comm/mesh.h"
#include "diffusion/flux_front_end.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/flux_trainee.h"
#include "diffusion/sample_prompt.h"
#include "models/flux/config.h"
#include "tasks/flux/flux_task_data.h"
#include "train/task.h"

namespace millrace {

class FluxPreviews {
 public:
  // Reads the prompts: what only `millrace sample` draws need not be there. config and mesh must outlive this.
  FluxPreviews(const FluxRunConfig& config, Mesh& mesh, TaskPurpose purpose);

  // Whether the frozen networks are needed to draw, and known.
  bool needs_networks() const;

  // steps_per_epoch: 0 where unknown.
  bool due(const PreviewMoment& moment, int64_t steps_per_epoch) const;

  // What pictures are drawn with.
  struct Models {
    FluxTrainee& trainee;
    FluxFrontEnd& front_end;
    const flux::FluxConfig& sizes;
  };
  // What is due. On all ranks; the first writes into the run's folder.
  void draw(const PreviewMoment& moment, int64_t steps_per_epoch, const Models& models, const FluxTaskData& data,
            const std::filesystem::path& run_folder);

 private:
  enum class ForReport { kNo, kYes };

  bool prompts_due(const PreviewMoment& moment, int64_t steps_per_epoch) const;
  bool validation_captions_due(const PreviewMoment& moment) const;
  bool can_draw();
  void draw_prompts_of_run(const PreviewMoment& moment, const Models& models, const std::filesystem::path& folder);
  void draw_validation_captions(int64_t step, const Models& models, const FluxTaskData& data,
                                const std::filesystem::path& folder);
  void draw_grid(const std::vector<PromptToDraw>& prompts, const std::string& name, const Models& models,
                 const std::filesystem::path& folder, ForReport for_report);

  const FluxRunConfig& config_;
  Mesh& mesh_;
  std::vector<PromptToDraw> prompts_;
  std::vector<std::string> validation_captions_;  // of the data's pictures; empty: not read yet
  bool warned_missing_ = false, warned_no_captions_ = false;
};

}  // namespace millrace
