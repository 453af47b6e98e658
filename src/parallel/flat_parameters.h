// All parameters of a model in a few flat buffers, on one rank or sharded over many.
//
// Units are consecutive (flat_layout.h); modules hold views. So the optimizer, clipping, collectives and
// checkpoints work on large pieces, on one device as on a thousand.
//
// With a mesh, compute(), master() and grad() are this rank's part of every unit. A model calls forward_unit() and
// backward_unit() before it uses a unit; while their result lives, the unit is whole and modules' tensors have
// memory. Meanwhile the next unit is gathered and the last one reduced. Without a mesh, or on one rank, these calls
// cost nothing.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "nn/base_storage.h"
#include "parallel/flat_layout.h"
#include "parallel/gradient_reducer.h"
#include "parallel/handed_gradients.h"
#include "parallel/offloaded_units.h"
#include "parallel/parameter_piece.h"
#include "parallel/sharded_matrices.h"
#include "parallel/unit_gatherer.h"
#include "parallel/use_order.h"

namespace millrace {

class Mesh;

struct FlatParametersOptions {
  torch::Dtype compute_dtype = torch::kFloat32;
  torch::Device device = torch::kCPU;
  // With gradients, and with fp32 masters if compute_dtype is narrower. Otherwise frozen: forward and backward passes
  // work, but these parameters have no gradients. Trained tensors beside frozen ones need a separate FlatParameters.
  bool training = false;
  bool without_masters = false;  // training updates the narrow weights themselves, with stochastic rounding
  Mesh* mesh = nullptr;          // must outlive this; null: one rank
  torch::Dtype reduce_dtype = torch::kFloat32;  // of gradients in collectives: training.mixed_precision_reduce
  Reshard reshard = Reshard::kDefault;          // parallelism.fsdp_reshard_after_forward
  // With several data ranks: every microbatch is reduced into this rank's gradients, so that the whole model's need not
  // be kept until the last one.
  bool reduce_every_microbatch = false;
  // On one data rank, with a narrow compute_dtype: a unit's gradients are added to grad() after its backward pass,
  // rounded at random (round_sums_at_random()), so that sums of many microbatches need no wider buffer.
  bool narrow_sums = false;
  // On one rank: there is no grad(). A unit's gradients are handed to the receiver of receive_gradients() as soon as
  // its backward pass is over, and their memory is reused.
  bool hands_over_gradients = false;
  // How a frozen model's large matrices are stored. Unless dense, they are not parameters: ModelWeights::load() brings
  // their values. Over the shard axis their bytes are divided like parameters (sharded_matrices.h).
  BaseStorage base_storage = BaseStorage::kDense;
  // A frozen model on the CPU: ModelWeights::load() leaves the values of parameters in the mapped file where it can
  // (FlatParameters::adopt()), so that starting copies nothing. The file must not change meanwhile. For training: its
  // pages are small, so that reading all weights for a single token takes a fifth longer.
  bool maps_weights = false;
  // How many blocks of a frozen model lie in host memory and are fetched for their use; the model chooses which.
  int64_t offload_blocks = 0;
};

class FlatParameters;

// While it lives, the unit's parameters (and in a backward pass their gradients) have memory. Its destructor starts the
// reduction, which may throw PeerLostError, but not while another exception is propagating.
class UnitUse {
 public:
  UnitUse(UnitUse&& other) noexcept;
  UnitUse& operator=(UnitUse&&) = delete;
  ~UnitUse() noexcept(false);

  torch::Tensor compute() const;  // the whole unit, compute_dtype, 1-D
  torch::Tensor grad() const;     // its gradients, the same; in backward passes

 private:
  friend class FlatParameters;
  enum class Pass { kForward, kBackward };
  UnitUse(FlatParameters& owner, size_t unit, Pass pass, bool keep);

  FlatParameters* owner_;  // null: moved from
  size_t unit_;
  Pass pass_;
  bool keep_;
  UseOrder::Use use_;
  int exceptions_;
};

class FlatParameters {
 public:
  // Places every parameter of the units: their tensors become views of compute(), their .grad() views of grad(); in
  // sharded units, views of gathered buffers while in use. On the meta device buffers have sizes only.
  //
  // order: the units in the order of their use in a forward pass, for gathering ahead; empty: each once, as listed. A
  // unit used more than once in a pass is reduced once, after all its gradients have been added.
  FlatParameters(std::vector<UnitSpec> units, const FlatParametersOptions& options, std::vector<size_t> order = {});
  ~FlatParameters();

  // Allocates zero gradients for parameters that were placed without them.
  void allocate_gradients();

  const std::vector<ParameterUnit>& units() const { return layout_.units(); }
  const std::vector<ParameterSlice>& slices() const { return layout_.slices(); }
  int64_t num_parameters() const { return layout_.num_parameters(); }  // of the whole model, without padding
  std::map<std::string, std::vector<int64_t>> shapes() const;          // of the whole model
  const FlatLayout& layout() const { return layout_; }

  // This rank's part: everything on one rank, but for offloaded units and adopted parameters.
  const torch::Tensor& compute() const { return compute_; }  // compute_dtype, 1-D; viewed by the modules, or gathered
  // fp32, 1-D; in fp32 training and without masters, compute() itself.
  const torch::Tensor& master() const { return master_; }
  // 1-D, zero between steps; undefined with hands_over_gradients. The sum over all data ranks once finish_backward()
  // has returned. compute_dtype; fp32 if data ranks are summed into masters.
  const torch::Tensor& grad() const { return grad_; }

  // Which parts of which tensors compute(), master() and grad() hold, ascending.
  std::vector<ParameterPiece> pieces() const;
  // Other indices of dp_replicate hold the same pieces and save nothing.
  bool writes_checkpoint() const;
  const OffloadedUnits* offloaded() const { return offloaded_.get(); }     // null: none are
  ShardedMatrices* sharded_matrices() { return sharded_matrices_.get(); }  // null: every rank holds them whole
  // The unit's matrices that have their values while the unit is in use, and not otherwise.
  std::vector<QuantisedWeight*> matrices_in_use(size_t unit) const;
  bool is_first_rank() const;  // of all ranks: it saves values that are equal on every rank

  // keep: a backward pass follows, so that the last unit may stay gathered.
  UnitUse forward_unit(size_t unit, bool keep) { return {*this, unit, UnitUse::Pass::kForward, keep}; }
  UnitUse backward_unit(size_t unit) { return {*this, unit, UnitUse::Pass::kBackward, false}; }
  // Microbatches before a step's last one add to this rank's gradients and send nothing: the whole model's gradients
  // then stay in memory until the last one. (Not with reduce_every_microbatch and narrow_sums.) Initially true.
  // With hands_over_gradients units are handed over in the backward pass of the last one.
  void set_last_microbatch(bool last) { last_microbatch_ = last; }
  // Whether grad() takes the sum of any number of microbatches as it is: wide, reduced over ranks, or rounded at
  // random.
  bool sums_microbatches() const;
  bool hands_over_gradients() const { return handed_ != nullptr; }
  // With hands_over_gradients; the receiver may change the unit's weights, which the next forward pass uses.
  void receive_gradients(HandedGradients::Receiver receiver);
  bool are_trained() const { return grad_.defined() || handed_ != nullptr; }  // they have gradients
  // For the next microbatch's additions to narrow sums: see gradient_reducer.h.
  void round_sums_at_random(uint64_t seed, int64_t number);
  // Waits for all reductions; call it before reading grad() or changing weights.
  void finish_backward();

  // A parameter's part of a whole layout's buffer, in its shape; only if nothing is sharded.
  static torch::Tensor view(const torch::Tensor& flat, const ParameterSlice& slice);
  std::map<std::string, torch::Tensor> named_views(const torch::Tensor& flat) const;

  // Copies tensors (any dtype, device; whole on every rank) into the masters, or into compute() if there are none,
  // and updates compute(). Names and shapes must match exactly (the caller's responsibility; models/weights.h checks
  // files).
  void assign(const std::map<std::string, torch::Tensor>& tensors);
  // One parameter, without refresh_compute(), so that a model larger than memory can be filled.
  void assign(const ParameterSlice& slice, const torch::Tensor& whole);
  // Instead of assign(): makes a frozen parameter a view of `whole`, whose memory is not written to and lives as long
  // as the parameter; its part of compute() stays untouched, and so takes no memory. False if the values must be
  // copied: those of trained, sharded, split, offloaded or packed parameters, of another type or device.
  bool adopt(const ParameterSlice& slice, const torch::Tensor& whole);
  // False if assign() would copy nothing on this rank, so that its values need not be made.
  bool owns(const ParameterSlice& slice) const;
  // compute() = master(), rounded.
  void refresh_compute();

 private:
  friend class UnitUse;
  UseOrder::Use enter(size_t unit, UnitUse::Pass pass);
  void leave(size_t unit, UnitUse::Pass pass, const UseOrder::Use& use, bool keep);
  // This rank's part of the unit in compute() or master(), or in host memory.
  torch::Tensor own_part(const torch::Tensor& flat, size_t unit) const;
  torch::Tensor unit_compute(size_t unit) const;
  torch::Tensor unit_grad(size_t unit) const;
  void point_parameters(size_t unit, const torch::Tensor& buffer);
  void point_gradients(size_t unit, const torch::Tensor& buffer);

  FlatParametersOptions options_;
  FlatLayout layout_;
  UseOrder order_;
  std::vector<torch::Tensor> parameters_;  // the modules' tensors, one per slice
  std::vector<torch::Tensor> absent_;      // sharded: their values between uses, shapes without memory
  torch::Tensor compute_, master_, grad_;
  std::set<int64_t> adopted_;                          // slices, by their begin
  std::unique_ptr<OffloadedUnits> offloaded_;          // if any units are
  std::unique_ptr<UnitGatherer> gatherer_;             // with more than one rank on the shard axis
  std::unique_ptr<ShardedMatrices> sharded_matrices_;  // the same, if any units have quantised matrices
  std::unique_ptr<GradientReducer> reducer_;           // with more than one data rank
  std::unique_ptr<HandedGradients> handed_;            // with hands_over_gradients
  bool last_microbatch_ = true;
};

}  // namespace millrace
