#include "nn/linear_cross_entropy.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cross_entropy/cross_entropy.h"
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

// trained: the layer, or null where no gradients are wanted.
TokenLoss run(const Linear& layer, Linear* trained, const torch::Tensor& hidden_TD, const torch::Tensor& labels_T,
              double scale, torch::Tensor* dhidden_TD, int64_t rows_at_a_time) {
  const torch::NoGradGuard no_grad;
  MILLRACE_CHECK(hidden_TD.dim() == 2 && labels_T.dim() == 1 && labels_T.size(0) == hidden_TD.size(0));
  MILLRACE_CHECK(!layer.bias().defined());
  const int64_t vocabulary = layer.out_features();
  // On the meta device, where a model is planned, every token may have a label.
  const torch::Tensor trained_R =
      labels_T.is_meta() ? torch::empty_like(labels_T) : (labels_T != kIgnoredLabel).nonzero().squeeze(1);
  const torch::Tensor labels_R = select_rows(labels_T, trained_R);
  check_labels(labels_R, vocabulary);
  const int64_t rows = labels_R.size(0);
  const int64_t chunk = rows_at_a_time > 0 ? rows_at_a_time : std::max(kMinChunkRows, kChunkElements / vocabulary);
  const torch::Tensor losses_R = torch::empty({rows}, hidden_TD.options().dtype(torch::kFloat32));
  if (dhidden_TD) *dhidden_TD = torch::zeros_like(hidden_TD);

  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t count = std::min(chunk, rows - begin);
    const torch::Tensor index_C = trained_R.narrow(0, begin, count);
    const torch::Tensor hidden_CD = select_rows(hidden_TD, index_C);
    const torch::Tensor labels_C = labels_R.narrow(0, begin, count), losses_C = losses_R.narrow(0, begin, count);
    torch::Tensor logits_CV = torch::empty({count, vocabulary}, hidden_TD.options());
    LinearPass pass;
    layer.forward(logits_CV, hidden_CD, &pass);
    if (!trained) {
      cross_entropy_forward(logits_CV, labels_C, losses_C);
      continue;
    }
    cross_entropy_in_place(logits_CV, labels_C, losses_C, scale);
    torch::Tensor dhidden_CD = torch::empty_like(hidden_CD);
    trained->backward_input(dhidden_CD, logits_CV, /*accumulate=*/false, &pass);
    trained->backward_weight(logits_CV, hidden_CD, &pass);
    dhidden_TD->index_copy_(0, index_C, dhidden_CD);
  }
  if (losses_R.is_meta()) return {0, rows};
  return {losses_R.sum(torch::kFloat64).item<double>(), rows};
}

}  // namespace

TokenLoss linear_cross_entropy(const Linear& head, const torch::Tensor& hidden_TD, const torch::Tensor& labels_T,
                               int64_t rows) {
  return run(head, nullptr, hidden_TD, labels_T, 1, nullptr, rows);
}

TokenLoss linear_cross_entropy_with_gradients(Linear& head, const torch::Tensor& hidden_TD,
                                              const torch::Tensor& labels_T, double scale, torch::Tensor& dhidden_TD,
                                              int64_t rows) {
  return run(head, &head, hidden_TD, labels_T, scale, &dhidden_TD, rows);
}

}  // namespace millrace
