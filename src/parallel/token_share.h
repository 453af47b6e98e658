// How ranks that share layers divide tokens among them between the layers' products: sequence parallelism (Korthikanti
// et al., arXiv 2205.05198). A sum over the ranks then leaves each with its own tokens, of which it computes norms and
// residuals, and the next product gathers them. As much is sent as if every rank got the whole sum, and what is kept of
// norms and residuals takes an n-th of the memory.
//
// Letters: T all tokens, U = ceil(T / n) those of a rank, of which the last ranks' last may be padding; D width.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "comm/group.h"

namespace millrace {

class TokenShare {
 public:
  TokenShare() = default;  // one rank
  // tp: null for one rank, which has all tokens. divides: false where every rank keeps all of them, U = T.
  TokenShare(Group* tp, int64_t tokens, bool divides);

  // The ranks that have different tokens, to sum the gradients of what they apply to them; null: all have the same.
  Group* divided() const { return divides_ ? tp_ : nullptr; }
  Group* ranks() const { return tp_; }  // that share the layers; null: one
  int64_t own_tokens() const { return own_tokens_; }

  class PendingRows {
   public:
    PendingRows(Work work, torch::Tensor rows_UD) : work_(std::move(work)), rows_UD_(std::move(rows_UD)) {}
    torch::Tensor wait() {
      work_.wait();
      return rows_UD_;
    }

   private:
    Work work_;
    torch::Tensor rows_UD_;
  };
  // This rank's rows of the sum of the ranks' part_TD, which must not be touched before wait(). Padding is 0.
  PendingRows start_sum(const torch::Tensor& part_TD) const;
  torch::Tensor sum(const torch::Tensor& part_TD) const { return start_sum(part_TD).wait(); }
  // All ranks' rows, without padding: [T, D], contiguous.
  torch::Tensor gather(const torch::Tensor& rows_UD) const;
  // This rank's rows of what every rank has; padding is 0. May be a view.
  torch::Tensor own_rows(const torch::Tensor& x_TD) const;

 private:
  Group* tp_ = nullptr;
  bool divides_ = false;
  int64_t tokens_ = 0, own_tokens_ = 0;
};

}  // namespace millrace
