#include "parallel/unit_gatherer.h"

#include "base/error.h"

namespace millrace {

UnitGatherer::UnitGatherer(std::vector<torch::Tensor> own, Group& shard, Reshard reshard)
    : own_(std::move(own)), shard_(shard), reshard_(reshard), pool_(own_.front().options()), gathered_(own_.size()) {}

void UnitGatherer::start(size_t unit) {
  Gathered& gathered = gathered_[unit];
  if (gathered.whole.defined() || own_[unit].numel() == 0) return;
  gathered.whole = pool_.take(own_[unit].numel() * shard_.size());
  gathered.work = shard_.all_gather(gathered.whole, own_[unit]);
  gathered.arrived = false;
}

const torch::Tensor& UnitGatherer::enter(size_t unit, size_t next) {
  start(unit);
  Gathered& gathered = gathered_[unit];
  if (!gathered.arrived) {
    gathered.work.wait();
    gathered.work = {};
    gathered.arrived = true;
  }
  if (next < gathered_.size()) start(next);
  return gathered.whole;
}

void UnitGatherer::leave_forward(size_t unit, bool keep, bool ends_pass) {
  if (keep && (reshard_ == Reshard::kNever || (reshard_ == Reshard::kDefault && ends_pass))) return;
  release(unit);
}

void UnitGatherer::leave_backward(size_t unit) {
  if (reshard_ != Reshard::kNever) release(unit);
}

void UnitGatherer::release(size_t unit) {
  Gathered& gathered = gathered_[unit];
  if (!gathered.whole.defined()) return;
  if (!gathered.arrived) gathered.work.wait();
  pool_.give_back(std::move(gathered.whole));
  gathered = {};
}

void UnitGatherer::release_all() {
  for (size_t unit = 0; unit < gathered_.size(); ++unit) release(unit);
}

}  // namespace millrace
