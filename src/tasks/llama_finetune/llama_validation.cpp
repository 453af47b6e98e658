#include "tasks/llama_finetune/llama_validation.h"

#include <algorithm>
#include <cmath>
#include <future>

#include "base/error.h"
#include "tasks/llama_finetune/llama_task.h"

namespace millrace {
namespace {

// This rank's rows of a batch: every rank takes as many batches, some of them perhaps empty.
std::vector<TokenDocument> batch_of_rank(const TokenSource& source, Mesh& mesh, ThreadPool& pool, int64_t begin,
                                         int64_t end) {
  const HeldRows held = source.hold(begin, end);
  std::vector<std::future<std::vector<TokenDocument>>> parts;
  for (int64_t row = begin + mesh.data_rank(); row < end; row += mesh.data_size()) {
    parts.push_back(pool.submit([&source, row] { return source.documents({{row, 0, -1}}); }));
  }
  for (auto& part : parts) part.wait();
  std::vector<TokenDocument> documents;
  for (auto& part : parts) {
    for (TokenDocument& document : part.get()) documents.push_back(std::move(document));
  }
  return documents;
}

}  // namespace

ValidationResult validate_llama(LlamaTrainee& trainee, const TokenSource& source, Mesh& mesh, ThreadPool& pool,
                                const LlamaValidationOptions& options) {
  const torch::NoGradGuard no_grad;
  const int64_t step = options.local_batch_size * mesh.data_size();
  const int64_t rows = source.rows->size();
  int64_t batches = (rows + step - 1) / step;
  if (options.max_batches >= 0) batches = std::min(batches, options.max_batches);
  double sum = 0;
  int64_t tokens = 0, samples = 0;
  for (int64_t batch = 0; batch < batches; ++batch) {
    const std::vector<TokenDocument> documents =
        batch_of_rank(source, mesh, pool, batch * step, std::min(rows, (batch + 1) * step));
    const LabelledTokens labelled = labelled_tokens(documents, options.device);
    const TokenLoss loss = trainee.loss(labelled.tokens, labelled.labels_T);
    sum += loss.sum;
    tokens += loss.count;
    samples += static_cast<int64_t>(documents.size());
  }
  torch::Tensor totals_3 =
      torch::tensor({sum, static_cast<double>(tokens), static_cast<double>(samples)}, torch::kFloat64)
          .to(options.device);
  mesh.data().all_reduce(totals_3).wait();
  totals_3 = totals_3.cpu();
  mesh.data().check();
  const auto total = [&](int64_t i) { return totals_3[i].item<double>(); };
  if (total(1) == 0) throw DataError("[the validation data] expected tokens to predict, got none");
  ValidationResult result;
  result.loss = total(0) / total(1);
  result.perplexity = std::exp(result.loss);
  result.num_samples = std::llround(total(2));
  return result;
}

}  // namespace millrace
