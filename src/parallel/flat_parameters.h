// All parameters of a model in a few flat buffers, on one rank or sharded over many.
//
// Units lie one after the other (flat_layout.h); modules hold views. So the optimizer, clipping, collectives and
// checkpoints work on large pieces, on one device as on a thousand.
//
// With a mesh, compute(), master() and grad() are this rank's part of every unit. A model says where it is by
// forward_unit() and backward_unit(); what they return holds the whole unit while it lives: modules' tensors then have
// memory. Gathers of the next unit and reductions of the last run meanwhile. Without a mesh, or on one rank, all that
// is free.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "nn/base_storage.h"
#include "parallel/flat_layout.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_piece.h"
#include "parallel/unit_gatherer.h"
#include "parallel/use_order.h"

namespace millrace {

class Mesh;

struct FlatParametersOptions {
  torch::Dtype compute_dtype = torch::kFloat32;
  torch::Device device = torch::kCPU;
  // With gradients, and with fp32 masters when compute_dtype is narrower. Otherwise frozen: passes in both directions,
  // and no gradient of these parameters anywhere. Trained tensors beside frozen ones are FlatParameters of their own.
  bool training = false;
  bool without_masters = false;  // training updates the narrow weights themselves, with stochastic rounding
  Mesh* mesh = nullptr;          // must live as long; null: one rank
  torch::Dtype reduce_dtype = torch::kFloat32;  // in which gradients travel: training.mixed_precision_reduce
  Reshard reshard = Reshard::kDefault;          // parallelism.fsdp_reshard_after_forward
  // Of a frozen model's large matrices. Other than dense, these are not parameters: every rank holds them whole, and
  // ModelWeights::load() brings their values.
  BaseStorage base_storage = BaseStorage::kDense;
};

class FlatParameters;

// While it lives, the unit's parameters (and in a backward pass their gradients) have memory. Leaving starts the
// reduction, which may throw PeerLostError; not while another exception is on its way.
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
  // sharded units, views of gathered buffers for the time of use. On the meta device buffers have sizes alone.
  //
  // order: the units as a forward pass uses them, for gathering ahead; empty: each once, as listed. A unit that is used
  // more than once in a pass is reduced once, after all its gradients have been added.
  FlatParameters(std::vector<UnitSpec> units, const FlatParametersOptions& options, std::vector<size_t> order = {});
  ~FlatParameters();

  // Makes zero gradients for parameters that were placed without.
  void allocate_gradients();

  const std::vector<ParameterUnit>& units() const { return layout_.units(); }
  const std::vector<ParameterSlice>& slices() const { return layout_.slices(); }
  int64_t num_parameters() const { return layout_.num_parameters(); }  // of the whole model, without padding
  std::map<std::string, std::vector<int64_t>> shapes() const;          // of the whole model
  const FlatLayout& layout() const { return layout_; }

  // This rank's part: everything on one rank.
  const torch::Tensor& compute() const { return compute_; }  // compute_dtype, 1-D; what the modules see, or is gathered
  // fp32, 1-D; compute() itself in fp32 training and without masters.
  const torch::Tensor& master() const { return master_; }
  // 1-D, zero between steps. The sum over all data ranks once finish_backward() returned. compute_dtype; fp32 where
  // data ranks are summed into masters.
  const torch::Tensor& grad() const { return grad_; }

  // What of which tensor lies in compute(), master() and grad(), ascending.
  std::vector<ParameterPiece> pieces() const;
  // Other indices of dp_replicate hold the same and save nothing.
  bool writes_checkpoint() const;
  bool is_first_rank() const;  // of all: it saves what every rank holds alike

  // keep: a backward pass follows, so that the last unit may stay.
  UnitUse forward_unit(size_t unit, bool keep) { return {*this, unit, UnitUse::Pass::kForward, keep}; }
  UnitUse backward_unit(size_t unit) { return {*this, unit, UnitUse::Pass::kBackward, false}; }
  // Microbatches before a step's last one add to gradients on this rank alone and send nothing: the whole model's
  // gradients then lie in memory until the last. At first: true.
  void set_last_microbatch(bool last) { last_microbatch_ = last; }
  // Waits for all reductions; before anybody reads grad() or changes weights.
  void finish_backward();

  // The part of a whole layout's buffer that belongs to a parameter, in its shape; where nothing is sharded.
  static torch::Tensor view(const torch::Tensor& flat, const ParameterSlice& slice);
  std::map<std::string, torch::Tensor> named_views(const torch::Tensor& flat) const;

  // Copies tensors (any dtype, device; whole on every rank) into the masters, or into compute() when there are none,
  // and brings compute() up to date. Names and shapes must match exactly (programmer's duty; models/weights.h checks
  // files).
  void assign(const std::map<std::string, torch::Tensor>& tensors);
  // One parameter, without refresh_compute(), so that a model larger than memory can be filled.
  void assign(const ParameterSlice& slice, const torch::Tensor& whole);
  // False where assign() would copy nothing: its values need not be made.
  bool owns(const ParameterSlice& slice) const;
  // compute() = master(), rounded.
  void refresh_compute();

 private:
  friend class UnitUse;
  UseOrder::Use enter(size_t unit, UnitUse::Pass pass);
  void leave(size_t unit, UnitUse::Pass pass, const UseOrder::Use& use, bool keep);
  torch::Tensor unit_compute(size_t unit) const;
  torch::Tensor unit_grad(size_t unit) const;
  void point_parameters(size_t unit, const torch::Tensor& buffer);
  void point_gradients(size_t unit, const torch::Tensor& buffer);

  FlatParametersOptions options_;
  FlatLayout layout_;
  UseOrder order_;
  std::vector<torch::Tensor> parameters_;  // the modules' tensors, one per slice
  std::vector<torch::Tensor> absent_;      // sharded: what they are between uses, shapes without memory
  torch::Tensor compute_, master_, grad_;
  std::unique_ptr<UnitGatherer> gatherer_;    // with more than one rank on the shard axis
  std::unique_ptr<GradientReducer> reducer_;  // with more than one data rank
  bool last_microbatch_ = true;
};

}  // namespace millrace
