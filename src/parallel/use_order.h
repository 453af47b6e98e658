// The order in which a model uses its units, and the position of a pass in it.
//
// A forward pass uses the units in the model's order; a backward pass uses them in reverse. A unit may occur more than
// once: a tied embedding is used first and last in a pass.
#pragma once

#include <cstddef>
#include <vector>

namespace millrace {

class UseOrder {
 public:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  // order: numbers below num_units, each at least once; empty: each once, ascending.
  UseOrder(std::vector<size_t> order, size_t num_units);

  struct Use {
    size_t next = kNone;          // the unit that the pass uses after this one
    bool ends_pass = false;       // nothing follows in this pass
    bool completes_unit = false;  // the pass does not use this unit again
  };
  bool is_used_again(size_t unit) const;  // a pass uses it more than once
  // The pass is at this unit now. A use that does not follow the previous one starts a new pass or, after an aborted
  // pass, continues from the unit's first use.
  Use forward(size_t unit);
  Use backward(size_t unit);

 private:
  std::vector<size_t> order_;
  size_t forward_ = kNone, backward_ = kNone;  // the position of the latest use, in the current pass
};

}  // namespace millrace
