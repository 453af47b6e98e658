// A frozen FLUX in fewer bits among ranks that hold slices of it: the bits of one rank, and a rank's share of the
// memory.
#include <gtest/gtest.h>
#include <unistd.h>

#include "comm/communicator.h"
#include "comm/socket_ranks_test_support.h"
#include "models/flux/flux_test_support.h"
#include "models/model_table.h"
#include "models/quantised_load.h"
#include "nn/counting_allocator_test_support.h"

namespace millrace {
namespace {

using torch::Tensor;

// Sizes that no number of ranks and no block of 64 divides.
flux::FluxConfig sharded_config() {
  flux::FluxConfig config;
  config.in_channels = config.out_channels = 12;
  config.vec_in_dim = 10;
  config.context_in_dim = 14;
  config.hidden_size = 132;
  config.num_heads = 3;
  config.depth = 2;
  config.depth_single_blocks = 8;
  config.axes_dim = {4, 20, 20};
  return config;
}

class QuantisedShards : public testing::Test {
 protected:
  QuantisedShards() {
    torch::manual_seed(8);
    flux::Flux model(sharded_config(), {});
    TensorMap weights;
    for (const auto& [name, tensor] : parameters_of(model)) weights[name] = torch::randn(tensor.sizes()) * 0.05;
    save_weights(path_, weights);
    inputs_ = flux::random_inputs(sharded_config(), 2);
  }
  ~QuantisedShards() override { std::filesystem::remove(path_); }

  std::shared_ptr<flux::Flux> load(BaseStorage storage, Mesh* mesh, torch::Dtype dtype = torch::kFloat32) const {
    const FlatParametersOptions placement{.compute_dtype = dtype, .mesh = mesh, .base_storage = storage};
    auto model = std::make_shared<flux::Flux>(sharded_config(), placement);
    ModelWeights(find_model("flux"), path_).load_into(*model, placement);
    return model;
  }

  // The output of a forward pass, and the gradient of a backward pass.
  std::pair<Tensor, Tensor> passes(flux::Flux& model) const {
    flux::Flux::Saved saved;
    flux::FluxInputGradients gradients;
    const Tensor output = model.forward(inputs_, &saved);
    model.backward(saved, torch::ones_like(output), &gradients);
    return {output, gradients.img_BIC};
  }

  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("millrace-shards-" + std::to_string(::getpid()) + ".safetensors");
  flux::FluxInputs inputs_;
};

TEST_F(QuantisedShards, EveryRankComputesTheBitsOfOne) {
  using Case = std::pair<BaseStorage, torch::Dtype>;
  for (const auto& [storage, dtype] :
       {Case(BaseStorage::kFp8, torch::kFloat32), Case(BaseStorage::kFp8Unscaled, torch::kFloat32),
        Case(BaseStorage::kInt8, torch::kFloat32), Case(BaseStorage::kNf4, torch::kFloat32),
        Case(BaseStorage::kNf4Torchao, torch::kFloat32), Case(BaseStorage::kNf4Torchao, torch::kBFloat16)}) {
    const auto [output, gradient] = passes(*load(storage, nullptr, dtype));
    for (const int count : {2, 3}) {
      as_ranks(count, {.dp_shard = count},
               [&, storage = storage, dtype = dtype, &output = output, &gradient = gradient](Communicator& ranks) {
                 const auto model = load(storage, &ranks.mesh(), dtype);
                 for (int step = 0; step < 2; ++step) {
                   const auto got = passes(*model);
                   EXPECT_TRUE(at::equal(got.first, output)) << base_storage_name(storage) << ", " << count << " ranks";
                   EXPECT_TRUE(at::equal(got.second, gradient))
                       << base_storage_name(storage) << ", " << count << " ranks";
                 }
               });
    }
  }
}

// While it loads, a rank holds its slices and one tensor; in a pass, its slices and two units beside the activations,
// which are those of one rank.
TEST_F(QuantisedShards, ARankTakesItsShareOfTheMemory) {
  constexpr int kRanks = 4;
  for (const BaseStorage storage : {BaseStorage::kInt8, BaseStorage::kNf4}) {
    CountingAllocator allocator;
    size_t whole = 0, activations = 0, largest_tensor = 0;
    {
      const auto model = load(storage, nullptr);
      whole = allocator.live();
      allocator.begin();
      passes(*model);
      activations = allocator.peak();
      for (const auto& [name, weight] : quantised_weights(*model)) {
        largest_tensor = std::max(largest_tensor, static_cast<size_t>(weight->in_features() * weight->out_features()));
      }
    }
    for (int rank = 0; rank < kRanks; ++rank) {
      const auto ranks = fake(kRanks, rank, {.shape = {.dp_shard = kRanks}});
      const size_t before = allocator.live();
      allocator.begin();
      const auto model = load(storage, &ranks->mesh());
      const size_t held = allocator.live() - before;
      EXPECT_LT(held, whole / kRanks + whole / 50) << base_storage_name(storage);
      // As numbers of fp32, and as it is stored.
      EXPECT_LT(allocator.peak(), held + largest_tensor * 4 * 5 / 4) << base_storage_name(storage);

      FlatParameters& flat = model->flat_parameters();
      int64_t largest_run = 0, largest_unit = 0;  // bytes of quantised and of dense weights
      for (size_t unit = 0; unit < flat.units().size(); ++unit) {
        largest_run = std::max(largest_run, flat.sharded_matrices()->bytes(unit));
        largest_unit = std::max(largest_unit, flat.units()[unit].size * 4);
      }
      allocator.begin();
      passes(*model);
      EXPECT_LT(allocator.peak(), activations + 2 * static_cast<size_t>(largest_run + largest_unit) + activations / 20);
    }
  }
}

}  // namespace
}  // namespace millrace
