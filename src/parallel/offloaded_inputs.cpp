#include "parallel/offloaded_inputs.h"

#include <utility>

#include "base/error.h"
#include "parallel/byte_run.h"

namespace millrace {

void OffloadedInputs::let_go() {
  if (leaving_.empty()) return;
  copies_.let_computation_wait(copied_);
  leaving_.clear();
}

void OffloadedInputs::start_forward() {
  fetcher_.reset();
  let_go();
}

void OffloadedInputs::take(size_t unit, const std::vector<torch::Tensor*>& inputs) {
  let_go();
  leaving_unit_ = unit;
  Kept& kept = kept_[unit];
  kept.bytes = 0;
  kept.shapes.clear();
  for (torch::Tensor* input : inputs) {
    MILLRACE_CHECK(input->is_contiguous());
    kept.bytes += bytes_in_run(*input);
    kept.shapes.push_back({input->sizes().vec(), input->scalar_type()});
    leaving_.push_back(std::exchange(*input, torch::Tensor()));
  }
  // What the pass before kept may be overwritten: copies run in the order in which they are asked for.
  if (!kept.host.defined() || kept.host.numel() < kept.bytes) kept.host = copies_.host_memory(kept.bytes);
  copies_.mark_computed(computed_);
  copies_.let_copies_wait(computed_);
  if (copies_.device().is_meta()) return;  // what has no memory cannot be viewed
  ByteRun run(kept.host);
  for (const torch::Tensor& input : leaving_) copies_.copy(run.next(input.sizes(), input.scalar_type()), input);
  copies_.mark_copied(copied_);
}

void OffloadedInputs::start_backward() {
  let_go();
  std::map<size_t, torch::Tensor> host;
  for (const auto& [unit, kept] : kept_) host[unit] = kept.host.narrow(0, 0, kept.bytes);
  fetcher_ = std::make_unique<UnitFetcher>(std::move(host), copies_);
  fetcher_->fetch_after(kept_.rbegin()->first + 1, UnitFetcher::Direction::kBackward);
}

void OffloadedInputs::enter(size_t unit, const std::vector<torch::Tensor*>& inputs) {
  const Kept& kept = kept_.at(unit);
  MILLRACE_CHECK(fetcher_ && inputs.size() == kept.shapes.size());
  ByteRun run(fetcher_->enter(unit));
  for (size_t i = 0; i < inputs.size(); ++i) *inputs[i] = run.next(kept.shapes[i].sizes, kept.shapes[i].dtype);
  fetcher_->fetch_after(unit, UnitFetcher::Direction::kBackward);
}

void OffloadedInputs::leave() {
  fetcher_->leave();
}

void OffloadedInputs::finish_backward() {
  fetcher_.reset();
}

int64_t OffloadedInputs::host_bytes(size_t unit) const {
  const auto kept = kept_.find(unit);
  return kept == kept_.end() ? 0 : kept->second.bytes;
}

std::vector<size_t> OffloadedInputs::held() const {
  if (fetcher_) return fetcher_->held();
  return leaving_.empty() ? std::vector<size_t>() : std::vector<size_t>{leaving_unit_};
}

}  // namespace millrace
