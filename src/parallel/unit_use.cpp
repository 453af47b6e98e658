#include <exception>

#include "parallel/flat_parameters.h"

namespace millrace {

UnitUse::UnitUse(FlatParameters& owner, size_t unit, Pass pass, bool keep)
    : owner_(&owner), unit_(unit), pass_(pass), keep_(keep), exceptions_(std::uncaught_exceptions()) {
  use_ = owner.enter(unit, pass);
}

UnitUse::UnitUse(UnitUse&& other) noexcept
    : owner_(other.owner_),
      unit_(other.unit_),
      pass_(other.pass_),
      keep_(other.keep_),
      use_(other.use_),
      exceptions_(other.exceptions_) {
  other.owner_ = nullptr;
}

UnitUse::~UnitUse() noexcept(false) {
  if (owner_ && std::uncaught_exceptions() == exceptions_) owner_->leave(unit_, pass_, use_, keep_);
}

torch::Tensor UnitUse::compute() const {
  return owner_->unit_compute(unit_);
}

torch::Tensor UnitUse::grad() const {
  return owner_->unit_grad(unit_);
}

}  // namespace millrace
