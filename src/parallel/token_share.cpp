#include "parallel/token_share.h"

#include <algorithm>

#include "base/error.h"

namespace millrace {

TokenShare::TokenShare(Group* tp, int64_t tokens, bool divides)
    : tp_(tp), divides_(divides && tp != nullptr), tokens_(tokens), own_tokens_(tokens) {
  if (divides_) own_tokens_ = (tokens + tp->size() - 1) / tp->size();
}

TokenShare::PendingRows TokenShare::start_sum(const torch::Tensor& part_TD) const {
  MILLRACE_CHECK(part_TD.is_contiguous() && part_TD.size(0) == tokens_);
  if (!divides_) return {tp_ ? tp_->all_reduce(part_TD) : Work(), part_TD};
  const int64_t padding = own_tokens_ * tp_->size() - tokens_;
  const torch::Tensor full = padding == 0 ? part_TD : at::constant_pad_nd(part_TD, {0, 0, 0, padding});
  const torch::Tensor rows_UD = torch::empty({own_tokens_, part_TD.size(1)}, part_TD.options());
  return {tp_->reduce_scatter(rows_UD.view({-1}), full.view({-1})), rows_UD};
}

torch::Tensor TokenShare::gather(const torch::Tensor& rows_UD) const {
  if (!divides_) return rows_UD;
  MILLRACE_CHECK(rows_UD.is_contiguous() && rows_UD.size(0) == own_tokens_);
  const torch::Tensor full = torch::empty({own_tokens_ * tp_->size(), rows_UD.size(1)}, rows_UD.options());
  tp_->all_gather(full.view({-1}), rows_UD.view({-1})).wait();
  return full.narrow(0, 0, tokens_);
}

torch::Tensor TokenShare::own_rows(const torch::Tensor& x_TD) const {
  if (!divides_) return x_TD;
  const int64_t begin = std::min(own_tokens_ * tp_->rank(), tokens_);
  const int64_t count = std::min(own_tokens_, tokens_ - begin);
  const torch::Tensor rows_UD = x_TD.narrow(0, begin, count);
  return count == own_tokens_ ? rows_UD : at::constant_pad_nd(rows_UD, {0, 0, 0, own_tokens_ - count});
}

}  // namespace millrace
