#include "parallel/unit_gatherer.h"

#include "base/error.h"

namespace millrace {

UnitGatherer::UnitGatherer(const FlatLayout& layout, Group& shard, const torch::Tensor& own, Reshard reshard)
    : layout_(layout),
      shard_(shard),
      own_(own),
      reshard_(reshard),
      pool_(own.options()),
      gathered_(layout.units().size()) {}

void UnitGatherer::start(size_t unit) {
  Gathered& gathered = gathered_[unit];
  if (gathered.whole.defined()) return;
  gathered.whole = pool_.take(layout_.units()[unit].size);
  gathered.work = shard_.all_gather(gathered.whole, layout_.own_part(own_, unit));
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
