#include "nn/linear_cross_entropy.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/round_up.h"
#include "nn/select_rows.h"

namespace millrace {
namespace {

constexpr int64_t kChunkElements = int64_t{1} << 26;
constexpr int64_t kMinChunkRows = 128;

void check_labels(const torch::Tensor& labels_R, int64_t vocabulary) {
  if (labels_R.numel() == 0 || labels_R.is_meta()) return;
  const auto [lowest, highest] = labels_R.aminmax();
  const int64_t low = lowest.item<int64_t>(), high = highest.item<int64_t>();
  if (low >= 0 && high < vocabulary) return;
  throw DataError("[labels] expected tokens from 0 to " + std::to_string(vocabulary - 1) + ", or " +
                  std::to_string(kIgnoredLabel) + ", got " + std::to_string(low < 0 ? low : high));
}

// The losses, and the gradients in the logits' place, where each rank has some of the columns. First as if these were
// all: the kernel's softmax of them. From every rank's log of its sum follows the log of the whole sum, and with it the
// factor from the one softmax to the other. The label's own element, a difference of near numbers, is computed anew.
void cross_entropy_of_share(const torch::Tensor& logits_CV, const torch::Tensor& labels_C,
                            const torch::Tensor& losses_C, bool with_gradient, double scale,
                            const VocabularyShare& share) {
  const int64_t rows = logits_CV.size(0), own_classes = logits_CV.size(1);
  const auto fp64 = losses_C.options().dtype(torch::kFloat64);
  const torch::Tensor every_R2C = torch::empty({share.ranks->size(), 2, rows}, fp64);
  if (logits_CV.is_meta()) {  // a planned model: what is sent is all that counts
    share.ranks->all_gather(every_R2C.flatten(), torch::empty({2 * rows}, fp64)).wait();
    return;
  }
  const torch::Tensor moved_C = labels_C - share.begin;
  const torch::Tensor is_own_C = moved_C.ge(0).logical_and_(moved_C.lt(own_classes));
  const torch::Tensor index_C = moved_C.clamp(0, own_classes - 1);
  const torch::Tensor chosen_C = logits_CV.gather(1, index_C.unsqueeze(1)).squeeze(1).to(torch::kFloat64);
  if (with_gradient) {
    cross_entropy_in_place(logits_CV, index_C, losses_C, scale);
  } else {
    cross_entropy_forward(logits_CV, index_C, losses_C);
  }
  const torch::Tensor own_log_C = losses_C.to(torch::kFloat64) + chosen_C;
  const torch::Tensor own_2C = at::stack({own_log_C, chosen_C * is_own_C});
  share.ranks->all_gather(every_R2C.flatten(), own_2C.flatten()).wait();
  const torch::Tensor log_C = every_R2C.select(1, 0).logsumexp(0);
  losses_C.copy_(log_C - every_R2C.select(1, 1).sum(0));
  if (!with_gradient) return;
  logits_CV.mul_((own_log_C - log_C).exp().to(torch::kFloat32).unsqueeze(1));
  const torch::Tensor at_label_C = ((chosen_C - log_C).exp() - is_own_C.to(torch::kFloat64)) * scale;
  logits_CV.scatter_(1, index_C.unsqueeze(1), at_label_C.to(logits_CV.scalar_type()).unsqueeze(1));
}

// trained: the layer, or null where no gradients are wanted.
TokenLoss run(const Linear& layer, Linear* trained, const torch::Tensor& hidden_TD, const torch::Tensor& labels_T,
              double scale, torch::Tensor* dhidden_TD, const VocabularyShare& share, int64_t rows_at_a_time) {
  const torch::NoGradGuard no_grad;
  MILLRACE_CHECK(hidden_TD.dim() == 2 && labels_T.dim() == 1 && labels_T.size(0) == hidden_TD.size(0));
  MILLRACE_CHECK(!layer.bias().defined());
  const int64_t own_classes = layer.out_features(), ranks = share.ranks ? share.ranks->size() : 1;
  const int64_t vocabulary = share.ranks ? share.whole : own_classes;
  // On the meta device, where a model is planned, every token may have a label.
  const torch::Tensor trained_R =
      labels_T.is_meta() ? torch::empty_like(labels_T) : (labels_T != kIgnoredLabel).nonzero().squeeze(1);
  const torch::Tensor labels_R = select_rows(labels_T, trained_R);
  check_labels(labels_R, vocabulary);
  const int64_t rows = labels_R.size(0);
  const int64_t fitting = kChunkElements / ((vocabulary + ranks - 1) / ranks);  // the same on every rank
  // Equal chunks of all tokens, so that a small remainder does not follow large ones.
  const int64_t tokens = std::max<int64_t>(labels_T.size(0), 1), most = std::max(kMinChunkRows, fitting);
  const int64_t chunk = rows_at_a_time > 0 ? rows_at_a_time : ceil_div(tokens, ceil_div(tokens, most));
  const torch::Tensor losses_R = torch::empty({rows}, hidden_TD.options().dtype(torch::kFloat32));
  if (dhidden_TD) *dhidden_TD = torch::zeros_like(hidden_TD);

  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t count = std::min(chunk, rows - begin);
    const torch::Tensor index_C = trained_R.narrow(0, begin, count);
    const torch::Tensor hidden_CD = select_rows(hidden_TD, index_C);
    const torch::Tensor labels_C = labels_R.narrow(0, begin, count), losses_C = losses_R.narrow(0, begin, count);
    torch::Tensor logits_CV = torch::empty({count, own_classes}, hidden_TD.options());
    LinearPass pass;
    layer.forward(logits_CV, hidden_CD, &pass);
    if (share.ranks) {
      cross_entropy_of_share(logits_CV, labels_C, losses_C, /*with_gradient=*/trained != nullptr, scale, share);
    } else if (trained) {
      cross_entropy_in_place(logits_CV, labels_C, losses_C, scale);
    } else {
      cross_entropy_forward(logits_CV, labels_C, losses_C);
    }
    if (!trained) continue;
    torch::Tensor dhidden_CD = torch::empty_like(hidden_CD);
    trained->backward_input(dhidden_CD, logits_CV, /*accumulate=*/false, &pass);
    trained->backward_weight(logits_CV, hidden_CD, &pass);
    dhidden_TD->index_copy_(0, index_C, dhidden_CD);
  }
  if (share.ranks && dhidden_TD) share.ranks->all_reduce(*dhidden_TD).wait();
  if (losses_R.is_meta()) return {0, rows};
  return {losses_R.sum(torch::kFloat64).item<double>(), rows};
}

}  // namespace

TokenLoss linear_cross_entropy(const Linear& head, const torch::Tensor& hidden_TD, const torch::Tensor& labels_T,
                               const VocabularyShare& share, int64_t rows) {
  return run(head, nullptr, hidden_TD, labels_T, 1, nullptr, share, rows);
}

TokenLoss linear_cross_entropy_with_gradients(Linear& head, const torch::Tensor& hidden_TD,
                                              const torch::Tensor& labels_T, double scale, torch::Tensor& dhidden_TD,
                                              const VocabularyShare& share, int64_t rows) {
  return run(head, &head, hidden_TD, labels_T, scale, &dhidden_TD, share, rows);
}

}  // namespace millrace
