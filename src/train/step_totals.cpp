#include "train/step_totals.h"

#include <cmath>

#include "base/error.h"
#include "kernels/global_norm/global_norm.h"
#include "nn/to_device.h"
#include "optim/clip.h"
#include "train/stop_signals.h"

namespace millrace {
namespace {

enum Slot : int64_t {
  kSquares,
  kLoss,
  kWeight,
  kSamples,
  kTokens,
  kDataSeconds,
  kDigest,
  kBadLoss,
  kBadGradient,
  kSaveOver,
  kStop,  // one per signal
  kSlots = kStop + static_cast<int64_t>(kStopSignals.size()),
};

void put_stop(double* slots, int stop_signal) {
  for (const int signal : kStopSignals) *slots++ = signal == stop_signal ? 1 : 0;
}

int stop_of(const double* slots) {
  for (const int signal : kStopSignals) {
    if (*slots++ > 0) return signal;
  }
  return 0;
}

}  // namespace

void StepShare::add(const MicrobatchResult& result) {
  MILLRACE_CHECK(std::isfinite(result.weight) && result.weight >= 0);
  loss_1 = loss_1.defined() ? loss_1 + result.loss_1 : result.loss_1;
  weight += result.weight;
  samples += result.num_samples;
  tokens += result.num_tokens;
  data_seconds += result.data_seconds;
  sample_digest += result.sample_digest;
}

StepTotals exchange(const StepShare& share, Mesh& mesh) {
  const torch::NoGradGuard no_grad;
  const bool counts_samples = mesh.position().tp == 0;
  const bool counts_gradients = mesh.position().replicate == 0;
  const torch::Tensor host = torch::zeros({kSlots}, torch::kFloat64);
  double* slots = host.data_ptr<double>();
  if (counts_samples) {
    slots[kWeight] = share.weight;
    slots[kSamples] = static_cast<double>(share.samples);
    slots[kTokens] = static_cast<double>(share.tokens);
    slots[kDigest] = static_cast<double>(share.sample_digest);
  }
  slots[kDataSeconds] = share.data_seconds / mesh.world().size();
  slots[kSaveOver] = share.save_is_over ? 1 : 0;
  put_stop(slots + kStop, share.stop_signal);

  const torch::Device device = share.squares_1.device();
  const torch::Tensor all = copy_to_device(host, device);
  const auto slot = [&](Slot index) { return all.narrow(0, index, 1); };
  if (counts_gradients) slot(kSquares).copy_(share.squares_1);
  if (counts_samples) slot(kLoss).copy_(share.loss_1);
  slot(kBadLoss).copy_(share.loss_1.isfinite().logical_not());
  slot(kBadGradient).copy_(share.squares_1.isfinite().logical_not());
  mesh.world().all_reduce(all).wait();

  const torch::Tensor sums = all.cpu();
  mesh.world().check();
  const double* sum = sums.data_ptr<double>();
  StepTotals totals;
  totals.squares_1 = slot(kSquares);
  totals.squares = sum[kSquares];
  totals.loss_sum = sum[kLoss];
  totals.weight = sum[kWeight];
  totals.samples = static_cast<int64_t>(sum[kSamples]);
  totals.tokens = static_cast<int64_t>(sum[kTokens]);
  totals.data_seconds = sum[kDataSeconds];
  totals.sample_digest = static_cast<uint64_t>(sum[kDigest]);
  totals.bad_losses = static_cast<int64_t>(sum[kBadLoss]);
  totals.bad_gradients = static_cast<int64_t>(sum[kBadGradient]);
  totals.saves_over = static_cast<int64_t>(sum[kSaveOver]);
  totals.stop_signal = stop_of(sum + kStop);
  return totals;
}

int agree_on_stop(int stop_signal, Mesh& mesh, torch::Device device) {
  const torch::Tensor host = torch::zeros({static_cast<int64_t>(kStopSignals.size())}, torch::kFloat64);
  put_stop(host.data_ptr<double>(), stop_signal);
  const torch::Tensor all = host.to(device);
  mesh.world().all_reduce(all).wait();
  const torch::Tensor sums = all.cpu();
  mesh.world().check();
  return stop_of(sums.data_ptr<double>());
}

std::vector<ElementRange> own_ranges(const FlatParameters& parameters) {
  std::vector<ElementRange> ranges;
  int64_t begin = 0;  // padding is zero and may be counted
  for (const ParameterPiece& piece : parameters.pieces()) {
    if (piece.primary) continue;
    if (piece.begin > begin) ranges.push_back({begin, piece.begin - begin});
    begin = piece.begin + piece.size;
  }
  const int64_t end = parameters.master().numel();
  if (end > begin) ranges.push_back({begin, end - begin});
  return ranges;
}

torch::Tensor own_squares(const torch::Tensor& grad, const std::vector<ElementRange>& ranges) {
  const torch::Tensor sum_1 = torch::zeros({1}, torch::dtype(torch::kFloat64).device(grad.device()));
  for (const ElementRange& range : ranges) add_sum_of_squares(grad.narrow(0, range.begin, range.size), sum_1);
  return sum_1;
}

}  // namespace millrace
