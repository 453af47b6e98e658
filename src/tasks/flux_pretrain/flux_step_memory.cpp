#include "tasks/flux_pretrain/flux_step_memory.h"

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "comm/communicator.h"
#include "diffusion/flow_matching.h"
#include "diffusion/latents.h"
#include "nn/linear.h"
#include "optim/adam_optimizer.h"
#include "optim/clip.h"
#include "train/parameter_group.h"

namespace millrace {
namespace {

int64_t bytes_of(const torch::Tensor& x) {
  return x.defined() ? static_cast<int64_t>(x.nbytes()) : 0;
}

// As FluxPretrainTask::train_microbatch, from a batch of pictures and encodings that are there.
void train_microbatch(flux::Flux& model, const FluxStep& step) {
  const auto floats = torch::TensorOptions().dtype(torch::kFloat32).device(torch::kMeta);
  const int64_t side = step.img_size / step.downscale, batch = step.batch;
  flux::Flux::Saved saved;
  torch::Tensor velocity_BIC, target_BIC;
  {
    const torch::Tensor x0 = torch::empty({batch, step.latent_channels, side, side}, floats);
    const torch::Tensor noise = torch::empty_like(x0);
    flux::FluxInputs inputs;
    inputs.timesteps_B = torch::empty({batch}, floats);
    inputs.img_BIC = pack_patches(interpolate(x0, noise, inputs.timesteps_B), step.patch_size);
    inputs.img_ids_BIA = image_ids(side / step.patch_size, side / step.patch_size, torch::kMeta);
    inputs.txt_BTX = torch::empty({batch, step.text_tokens, step.model.context_in_dim}, floats.dtype(step.dtype));
    inputs.txt_ids_BTA = text_ids(step.text_tokens, torch::kMeta);
    inputs.y_BV = torch::empty({batch, step.model.vec_in_dim}, floats.dtype(step.dtype));
    if (step.model.guidance_embed) inputs.guidance_B = torch::empty_like(inputs.timesteps_B);
    velocity_BIC = model.forward(inputs, &saved, step.keep);
    target_BIC = pack_patches(noise - x0, step.patch_size);
  }
  const VelocityLoss loss = velocity_loss(velocity_BIC, target_BIC, 1);
  model.backward(saved, loss.dprediction);
}

std::vector<GroupTraffic> traffic_of(Mesh& mesh) {
  std::vector<GroupTraffic> result;
  for (const MeshAxis axis :
       {MeshAxis::kReplicate, MeshAxis::kShard, MeshAxis::kTp, MeshAxis::kData, MeshAxis::kWorld}) {
    const Group& group = mesh.group(axis);
    if (group.traffic().total().calls > 0) result.push_back({axis, group.size(), group.traffic()});
  }
  return result;
}

}  // namespace

StepMemory measure_step(const RunConfig& config, const FluxStep& step) {
  MetaMemory memory(step.rounding);
  const MetaParameters on_meta;
  const std::shared_ptr<Communicator> ranks =
      fake(step.mesh.size(), 0, CommOptions{.shape = step.mesh, .device = torch::kMeta});
  FlatParametersOptions options;
  options.compute_dtype = step.dtype;
  options.device = torch::kMeta;
  options.training = true;
  options.without_masters = config.training.dtype == "bfloat16";
  options.mesh = &ranks->mesh();
  options.reduce_dtype = step.reduce_dtype;
  options.reshard = step.reshard;
  const auto model = std::make_shared<flux::Flux>(step.model, options);
  FlatParameters& flat = model->flat_parameters();

  FlatGroup group = parameter_group(flat);
  if (step.microbatches > 1 && group.grad.scalar_type() != torch::kFloat32) {
    group.grad = torch::zeros_like(group.grad, torch::kFloat32);  // the trainer's sum of narrow gradients
  }
  StepMemory result;
  result.parameters = bytes_of(flat.compute()) + bytes_of(group.model_copy.defined() ? flat.master() : torch::Tensor());
  result.gradients = bytes_of(flat.grad()) + (group.grad.is_same(flat.grad()) ? 0 : bytes_of(group.grad));
  AdamOptimizer optimizer({group}, {.ema_decay = config.optimizer.ema_decay});
  for (const auto& [name, tensor] : optimizer.state()) result.optimizer += bytes_of(tensor);

  memory.restart_peak();
  {
    const MetaMemoryLabel label("activations");
    const int64_t microbatches = std::min<int64_t>(step.microbatches, 2);
    for (int64_t i = 0; i < microbatches; ++i) {
      flat.set_last_microbatch(i + 1 == microbatches);
      train_microbatch(*model, step);
    }
    flat.finish_backward();
    optimizer.step(1e-4, global_grad_norm(optimizer.groups(), 1).coefficient_1);
  }
  const MetaMemory::Use peak = memory.peak();
  const auto buffers = peak.by_label.find("collective buffers");
  result.collective_buffers = buffers == peak.by_label.end() ? 0 : buffers->second;
  result.peak = peak.bytes;
  result.num_parameters = flat.num_parameters();
  result.units = flat.units();
  result.traffic = traffic_of(ranks->mesh());
  return result;
}

}  // namespace millrace
