#include "parallel/flat_parameters.h"

#include <algorithm>

#include "base/error.h"
#include "comm/mesh.h"
#include "kernels/quantised/dequantise.h"
#include "nn/cpu_allocator.h"

namespace millrace {
namespace {

FlatLayout make_layout(const std::vector<UnitSpec>& units, Mesh* mesh) {
  if (!mesh) return FlatLayout(units, 1, 0, 1, 0);
  const MeshShape& shape = mesh->shape();
  return FlatLayout(units, shape.dp_shard, mesh->shard().rank(), shape.tp, mesh->tp().rank());
}

}  // namespace

FlatParameters::FlatParameters(std::vector<UnitSpec> units, const FlatParametersOptions& options,
                               std::vector<size_t> order)
    : options_(options), layout_(make_layout(units, options.mesh)), order_(std::move(order), units.size()) {
  const torch::NoGradGuard no_grad;
  for (const UnitSpec& unit : units) {
    for (const auto& [name, tensor] : unit.parameters) parameters_.push_back(tensor);
  }
  // A tensor cannot move to the meta device: models made elsewhere keep only shapes.
  if (options.device.is_meta() && !parameters_.empty() && !parameters_.front().is_meta()) return;

  const auto flat_options = torch::TensorOptions().dtype(options.compute_dtype).device(options.device);
  if (std::any_of(units.begin(), units.end(), [](const UnitSpec& unit) { return unit.offloaded; })) {
    MILLRACE_CHECK(!options.training);
    offloaded_ = std::make_unique<OffloadedUnits>(units, layout_, flat_options);
  }
  const int64_t on_host = offloaded_ ? offloaded_->elements_before(units.size()) : 0;
  compute_ = zeros_when_touched({layout_.own_size() - on_host}, flat_options);
  if (options.mesh && options.mesh->shard().size() > 1) {
    std::vector<torch::Tensor> own;
    for (size_t unit = 0; unit < units.size(); ++unit) own.push_back(layout_.own_part(compute_, unit));
    gatherer_ = std::make_unique<UnitGatherer>(std::move(own), options.mesh->shard(), options.reshard);
    if (std::any_of(units.begin(), units.end(), [](const UnitSpec& unit) { return !unit.quantised.empty(); })) {
      sharded_matrices_ =
          std::make_unique<ShardedMatrices>(units, options.mesh->shard(), options.device, options.reshard);
    }
    const torch::Tensor nothing = torch::zeros({1}, flat_options);
    for (const ParameterSlice& slice : layout_.slices()) absent_.push_back(nothing.expand(slice.shape));
    for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].set_data(absent_[i]);
  } else {
    for (size_t unit = 0; unit < units.size(); ++unit) point_parameters(unit, unit_compute(unit));
  }
  if (options.training) {
    const bool one_copy = options.compute_dtype == torch::kFloat32 || options.without_masters;
    master_ = one_copy ? compute_ : zeros_when_touched({layout_.own_size()}, flat_options.dtype(torch::kFloat32));
    allocate_gradients();
  }
}

FlatParameters::~FlatParameters() = default;

void FlatParameters::allocate_gradients() {
  if (are_trained()) return;
  MILLRACE_CHECK(adopted_.empty());
  Mesh* mesh = options_.mesh;
  if (options_.hands_over_gradients) {
    MILLRACE_CHECK(!mesh || mesh->world().size() == 1);
    handed_ = std::make_unique<HandedGradients>(layout_, order_, compute_.options());
    return;
  }
  const bool narrow_sums = mesh && mesh->data_size() == 1 && options_.narrow_sums;
  if (mesh && (mesh->data_size() > 1 || narrow_sums)) {
    const bool is_narrow = options_.without_masters || narrow_sums;
    grad_ = zeros_when_touched(compute_.sizes(),
                               compute_.options().dtype(is_narrow ? compute_.scalar_type() : torch::kFloat32));
    reducer_ =
        std::make_unique<GradientReducer>(layout_, mesh->shard(), mesh->replicate(), grad_, options_.compute_dtype,
                                          narrow_sums ? options_.compute_dtype : options_.reduce_dtype);
  } else {
    grad_ = zeros_when_touched(compute_.sizes(), compute_.options());
    for (size_t unit = 0; unit < units().size(); ++unit) point_gradients(unit, unit_grad(unit));
  }
}

std::map<std::string, std::vector<int64_t>> FlatParameters::shapes() const {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const ParameterSlice& slice : slices()) shapes[slice.name] = slice.part.global_shape(slice.shape);
  return shapes;
}

std::vector<ParameterPiece> FlatParameters::pieces() const {
  std::vector<ParameterPiece> all;
  for (const ParameterSlice& slice : slices()) {
    for (ParameterPiece& piece : pieces_of(layout_, slice)) all.push_back(std::move(piece));
  }
  return all;
}

bool FlatParameters::writes_checkpoint() const {
  return !options_.mesh || options_.mesh->replicate().rank() == 0;
}

bool FlatParameters::is_first_rank() const {
  return !options_.mesh || options_.mesh->world().rank() == 0;
}

std::vector<QuantisedWeight*> FlatParameters::matrices_in_use(size_t unit) const {
  if (sharded_matrices_) return sharded_matrices_->matrices(unit);
  if (offloaded_ && offloaded_->has(unit)) return offloaded_->quantised(unit);
  return {};
}

bool FlatParameters::sums_microbatches() const {
  return reducer_ != nullptr || (grad_.defined() && grad_.scalar_type() == torch::kFloat32);
}

void FlatParameters::receive_gradients(HandedGradients::Receiver receiver) {
  MILLRACE_CHECK(handed_ != nullptr);
  handed_->set_receiver(std::move(receiver));
}

void FlatParameters::round_sums_at_random(uint64_t seed, int64_t number) {
  if (reducer_) reducer_->round_at_random(seed, number);
}

void FlatParameters::finish_backward() {
  const torch::NoGradGuard no_grad;
  if (reducer_) reducer_->finish();
  if (gatherer_) gatherer_->release_all();
  if (sharded_matrices_) sharded_matrices_->release_all();
}

torch::Tensor FlatParameters::view(const torch::Tensor& flat, const ParameterSlice& slice) {
  return flat.narrow(0, slice.begin, slice.size).view(slice.shape);
}

std::map<std::string, torch::Tensor> FlatParameters::named_views(const torch::Tensor& flat) const {
  MILLRACE_CHECK(flat.numel() == layout_.size());
  std::map<std::string, torch::Tensor> views;
  for (const ParameterSlice& slice : slices()) views.emplace(slice.name, view(flat, slice));
  return views;
}

void FlatParameters::assign(const std::map<std::string, torch::Tensor>& tensors) {
  for (const ParameterSlice& slice : slices()) {
    const auto found = tensors.find(slice.name);
    MILLRACE_CHECK(found != tensors.end());
    assign(slice, found->second);
  }
  refresh_compute();
}

bool FlatParameters::owns(const ParameterSlice& slice) const {
  const OwnRange own = layout_.own_range(slice);
  return own.begin < own.end;
}

void FlatParameters::assign(const ParameterSlice& slice, const torch::Tensor& whole) {
  const torch::NoGradGuard no_grad;
  MILLRACE_CHECK(whole.sizes() == c10::IntArrayRef(slice.part.global_shape(slice.shape)));
  MILLRACE_CHECK(!adopted_.contains(slice.begin));
  const OwnRange own = layout_.own_range(slice);
  if (own.begin == own.end) return;
  const torch::Tensor& target = master_.defined() ? master_ : compute_;
  const torch::Tensor part = slice.part.of(whole).reshape({-1}).narrow(0, own.begin, own.end - own.begin);
  torch::Tensor into =
      own_part(target, slice.unit).narrow(0, own.local - layout_.own_begin(slice.unit), own.end - own.begin);
  if (part.scalar_type() == torch::kFloat8_e4m3fn && part.is_cpu()) {
    widen_e4m3(part, into);
  } else {
    into.copy_(part);
  }
}

bool FlatParameters::adopt(const ParameterSlice& slice, const torch::Tensor& whole) {
  const bool in_place = !are_trained() && !gatherer_ && slice.part.is_whole() && !units()[slice.unit].packed &&
                        !(offloaded_ && offloaded_->has(slice.unit));
  const bool fits = whole.is_contiguous() && whole.scalar_type() == compute_.scalar_type() &&
                    whole.device().type() == compute_.device().type();
  if (!in_place || !fits) return false;
  MILLRACE_CHECK(whole.sizes() == c10::IntArrayRef(slice.shape));
  const torch::NoGradGuard no_grad;
  const auto index = static_cast<size_t>(&slice - slices().data());
  parameters_.at(index).set_data(whole);
  adopted_.insert(slice.begin);
  return true;
}

void FlatParameters::refresh_compute() {
  const torch::NoGradGuard no_grad;
  if (gatherer_) gatherer_->release_all();
  if (master_.defined() && !master_.is_same(compute_)) compute_.copy_(master_);
}

UseOrder::Use FlatParameters::enter(size_t unit, UnitUse::Pass pass) {
  const torch::NoGradGuard no_grad;
  const bool backward = pass == UnitUse::Pass::kBackward;
  const UseOrder::Use use = backward ? order_.backward(unit) : order_.forward(unit);
  if (gatherer_) point_parameters(unit, gatherer_->enter(unit, use.next));
  if (sharded_matrices_) sharded_matrices_->enter(unit, use.next);
  if (offloaded_) {
    if (offloaded_->has(unit)) point_parameters(unit, offloaded_->enter(unit));
    offloaded_->fetch_after(unit, backward ? UnitFetcher::Direction::kBackward : UnitFetcher::Direction::kForward);
  }
  if (backward && reducer_) point_gradients(unit, reducer_->enter(unit));
  if (backward && handed_) point_gradients(unit, handed_->enter(unit));
  return use;
}

void FlatParameters::leave(size_t unit, UnitUse::Pass pass, const UseOrder::Use& use, bool keep) {
  const torch::NoGradGuard no_grad;
  const bool backward = pass == UnitUse::Pass::kBackward;
  if (gatherer_) {
    const ParameterUnit& range = units()[unit];
    for (size_t i = range.first_slice; i < range.end_slice; ++i) parameters_[i].set_data(absent_[i]);
    if (backward) {
      gatherer_->leave_backward(unit);
    } else {
      gatherer_->leave_forward(unit, keep, use.ends_pass);
    }
  }
  if (sharded_matrices_) {
    if (backward) {
      sharded_matrices_->leave_backward(unit);
    } else {
      sharded_matrices_->leave_forward(unit, keep, use.ends_pass);
    }
  }
  if (offloaded_ && offloaded_->has(unit)) {
    offloaded_->leave(unit);
    point_parameters(unit, offloaded_->values(unit));
  }
  if (backward && reducer_) {
    point_gradients(unit, {});
    const bool keeps_whole = options_.mesh->data_size() > 1 && !options_.reduce_every_microbatch;
    reducer_->leave(unit, /*complete=*/(last_microbatch_ || !keeps_whole) && use.completes_unit);
  }
  if (backward && handed_) {
    point_gradients(unit, {});
    handed_->leave(unit, /*complete=*/last_microbatch_ && use.completes_unit);
  }
}

torch::Tensor FlatParameters::own_part(const torch::Tensor& flat, size_t unit) const {
  if (!offloaded_) return layout_.own_part(flat, unit);
  if (offloaded_->has(unit)) return offloaded_->values(unit);
  return flat.narrow(0, layout_.own_begin(unit) - offloaded_->elements_before(unit), layout_.own_size(unit));
}

torch::Tensor FlatParameters::unit_compute(size_t unit) const {
  if (gatherer_) return gatherer_->whole(unit);
  return own_part(compute_, unit);
}

torch::Tensor FlatParameters::unit_grad(size_t unit) const {
  if (reducer_) return reducer_->whole(unit);
  if (handed_) return handed_->whole(unit);
  return grad_.defined() ? layout_.own_part(grad_, unit) : torch::Tensor();
}

void FlatParameters::point_parameters(size_t unit, const torch::Tensor& buffer) {
  const ParameterUnit& range = units()[unit];
  for (size_t i = range.first_slice; i < range.end_slice; ++i) {
    const ParameterSlice& slice = slices()[i];
    parameters_[i].set_data(buffer.narrow(0, slice.begin - range.begin, slice.size).view(slice.shape));
  }
}

void FlatParameters::point_gradients(size_t unit, const torch::Tensor& buffer) {
  const ParameterUnit& range = units()[unit];
  for (size_t i = range.first_slice; i < range.end_slice; ++i) {
    const ParameterSlice& slice = slices()[i];
    parameters_[i].mutable_grad() =
        buffer.defined() ? buffer.narrow(0, slice.begin - range.begin, slice.size).view(slice.shape) : torch::Tensor();
  }
}

}  // namespace millrace
