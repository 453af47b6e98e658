// Trains a tiny FLUX of odd sizes for a few steps on any mesh; rank 0 writes whole weights, gradients, losses and
// norms.
//   flux_sharded_tool OUTPUT [name=value ...]   replicate shard tp steps microbatches keep dtype reduce reshard heads
// The ranks come from the environment (comm/world.h). The work is the same on any mesh: the global batch is split.
#include <cstdio>
#include <map>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "comm/communicator.h"
#include "models/flux/model.h"
#include "nn/tensor_io.h"
#include "optim/adam_optimizer.h"
#include "optim/clip.h"
#include "train/parameter_group.h"

namespace millrace {
namespace {

constexpr int64_t kGlobalBatch = 12;  // divides by 1, 2, 3 and 4 data ranks
// As large as in a run: Adam divides small gradients by themselves, which amplifies their last bits.
constexpr double kLearningRate = 1e-3;

class Settings {
 public:
  Settings(int argc, char** argv) {
    for (int i = 2; i < argc; ++i) {
      const std::string text = argv[i];
      const size_t equals = text.find('=');
      if (equals == std::string::npos) throw ConfigError("[" + text + "] expected name=value");
      values_[text.substr(0, equals)] = text.substr(equals + 1);
    }
  }
  std::string text(const std::string& name, const std::string& otherwise) const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : found->second;
  }
  int number(const std::string& name, int otherwise) const { return std::stoi(text(name, std::to_string(otherwise))); }
  torch::Dtype dtype(const std::string& name) const {
    return text(name, "fp32") == "bf16" ? torch::kBFloat16 : torch::kFloat32;
  }

 private:
  std::map<std::string, std::string> values_;
};

flux::FluxConfig odd_config(int heads) {
  flux::FluxConfig config;
  config.in_channels = config.out_channels = 5;
  config.vec_in_dim = 7;
  config.context_in_dim = 9;
  config.num_heads = heads;
  config.hidden_size = 12 * heads;
  config.mlp_ratio = 2.5;
  config.depth = 2;
  config.depth_single_blocks = 3;
  config.axes_dim = {4, 4, 4};
  config.guidance_embed = true;
  return config;
}

void randomize(FlatParameters& flat) {
  torch::manual_seed(5);
  std::map<std::string, torch::Tensor> weights;
  for (const auto& [name, shape] : flat.shapes()) {
    const bool scale = name.find("_norm.scale") != std::string::npos;
    weights[name] = torch::randn(shape) * 0.1 + (scale ? 1.0 : 0.0);
  }
  flat.assign(weights);
}

struct Batch {
  flux::FluxInputs inputs;
  torch::Tensor target_BIC;
};

// Rows [begin, begin + count) of the global batch of a step.
Batch make_batch(const flux::FluxConfig& config, int step, int64_t begin, int64_t count) {
  torch::manual_seed(100 + static_cast<uint64_t>(step));
  const auto rows = [&](const torch::Tensor& all) { return all.narrow(0, begin, count).contiguous(); };
  Batch batch;
  batch.inputs.img_BIC = rows(torch::randn({kGlobalBatch, 6, config.in_channels}));
  batch.inputs.img_ids_BIA = rows(torch::randint(0, 5, {kGlobalBatch, 6, 3}).to(torch::kFloat32));
  batch.inputs.txt_BTX = rows(torch::randn({kGlobalBatch, 5, config.context_in_dim}));
  batch.inputs.txt_ids_BTA = rows(torch::zeros({kGlobalBatch, 5, 3}));
  batch.inputs.timesteps_B = rows(torch::rand({kGlobalBatch}));
  batch.inputs.y_BV = rows(torch::randn({kGlobalBatch, config.vec_in_dim}));
  batch.inputs.guidance_B = rows(torch::rand({kGlobalBatch}));
  batch.target_BIC = rows(torch::randn({kGlobalBatch, 6, config.out_channels}));
  return batch;
}

// Whole tensors out of all ranks' pieces: every rank adds what it speaks for.
void collect(const FlatParameters& flat, Mesh& mesh, const torch::Tensor& own, const std::string& prefix,
             TensorMap& into) {
  std::map<std::string, torch::Tensor> whole;
  for (const auto& [name, shape] : flat.shapes()) whole[name] = torch::zeros(shape);
  for (const ParameterPiece& piece : flat.pieces()) {
    if (!piece.primary || !flat.writes_checkpoint()) continue;
    const torch::Tensor& tensor = whole[piece.name];
    const torch::Tensor region =
        piece.is_box() ? tensor.narrow(0, piece.start[0], piece.shape[0]).narrow(1, piece.start[1], piece.shape[1])
                       : tensor.view({-1}).narrow(0, piece.offset, piece.size);
    region.add_(piece.view(own));
  }
  for (auto& [name, tensor] : whole) {
    mesh.world().all_reduce(tensor).wait();
    into[prefix + name] = tensor;
  }
}

// The norm over all axes, counting elements that several ranks hold once.
torch::Tensor sum_of_squares(const FlatParameters& flat, Mesh& mesh) {
  const torch::Tensor sum_1 = torch::zeros({1}, torch::kFloat64);
  for (const ParameterPiece& piece : flat.pieces()) {
    if (!piece.primary || !flat.writes_checkpoint()) continue;
    sum_1.add_(piece.view(flat.grad()).to(torch::kFloat64).square().sum());
  }
  mesh.world().all_reduce(sum_1).wait();
  return sum_1;
}

int run(int argc, char** argv) {
  const Settings settings(argc, argv);
  const World world = detect_world();
  CommOptions options;
  options.shape = {settings.number("replicate", 1), settings.number("shard", 1), settings.number("tp", 1)};
  options.init_timeout = options.train_timeout = 120;
  const std::shared_ptr<Communicator> ranks = connect(world, options);
  Mesh& mesh = ranks->mesh();

  const flux::FluxConfig config = odd_config(settings.number("heads", 3));
  FlatParametersOptions placement;
  placement.compute_dtype = settings.dtype("dtype");
  placement.reduce_dtype = settings.dtype("reduce");
  placement.training = true;
  placement.mesh = &mesh;
  const std::string reshard = settings.text("reshard", "default");
  placement.reshard = reshard == "never" ? Reshard::kNever : reshard == "always" ? Reshard::kAlways : Reshard::kDefault;
  flux::Flux model(config, placement);
  FlatParameters& flat = model.flat_parameters();
  randomize(flat);
  const Keep keep = keep_of(settings.text("keep", "selective"));

  const FlatGroup group = parameter_group(flat);
  AdamOptimizer optimizer({group}, {.weight_decay = 0.1});

  TensorMap results;
  std::vector<torch::Tensor> losses, norms;
  const int microbatches = settings.number("microbatches", 1);
  const int64_t local = kGlobalBatch / mesh.data_size();
  for (int step = 0; step < settings.number("steps", 3); ++step) {
    const torch::Tensor loss_1 = torch::zeros({1}, torch::kFloat64);
    for (int i = 0; i < microbatches; ++i) {
      const int64_t begin = local * i / microbatches, end = local * (i + 1) / microbatches;
      const Batch batch = make_batch(config, step, mesh.data_rank() * local + begin, end - begin);
      flat.set_last_microbatch(i + 1 == microbatches);
      flux::Flux::Saved saved;
      const torch::Tensor difference = model.forward(batch.inputs, &saved, keep).to(torch::kFloat32) - batch.target_BIC;
      loss_1.add_(difference.to(torch::kFloat64).square().sum() / (2.0 * kGlobalBatch));
      model.backward(saved, difference / static_cast<double>(kGlobalBatch));
    }
    flat.finish_backward();
    mesh.data().all_reduce(loss_1).wait();
    losses.push_back(loss_1);
    const torch::Tensor sum_1 = sum_of_squares(flat, mesh);
    norms.push_back(sum_1.sqrt());
    if (step == 0) collect(flat, mesh, flat.grad(), "grad.", results);
    const GradNorm norm = grad_norm_of_sum(sum_1, /*max_norm=*/1.0);
    optimizer.step(kLearningRate, norm.coefficient_1);
  }
  collect(flat, mesh, flat.master(), "weight.", results);
  // A pass without gradients, with the weights as they are now.
  const Batch batch = make_batch(config, 99, 0, 2);
  results["output"] = model.forward(batch.inputs).to(torch::kFloat32);
  results["loss"] = at::cat(losses);
  results["norm"] = at::cat(norms);
  results["bytes_of_parameters_and_optimizer"] =
      torch::tensor({static_cast<int64_t>(flat.master().nbytes() + flat.grad().nbytes() + 2 * flat.master().nbytes() +
                                          (group.model_copy.defined() ? group.model_copy.nbytes() : 0))});
  if (world.rank == 0) save_tensors(argv[1], results);
  ranks->leave();
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: flux_sharded_tool OUTPUT [name=value ...]\n", stderr);
    return 2;
  }
  try {
    return millrace::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
