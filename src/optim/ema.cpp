#include "optim/ema.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

constexpr int64_t kChunk = 1 << 22;  // elements: little memory beside the buffers

// Exchanges the contents of two fp32 buffers.
void swap_contents(const torch::Tensor& a, const torch::Tensor& b) {
  for (int64_t begin = 0; begin < a.numel(); begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, a.numel());
    const torch::Tensor a_part = a.slice(0, begin, end), b_part = b.slice(0, begin, end);
    const torch::Tensor kept = a_part.clone();
    a_part.copy_(b_part);
    b_part.copy_(kept);
  }
}

// Swaps or copies, whichever needs less memory.
class UseAveragedWeights : public EvaluationWeights {
 public:
  UseAveragedWeights(std::vector<FlatGroup> groups, std::vector<torch::Tensor> averages)
      : groups_(std::move(groups)), averages_(std::move(averages)), saved_(groups_.size()) {
    MILLRACE_CHECK(averages_.size() == groups_.size());
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < groups_.size(); ++i) {
      const FlatGroup& group = groups_[i];
      if (group.model_copy.defined()) {
        group.model_copy.copy_(averages_[i]);
      } else if (group.master.scalar_type() == torch::kFloat32) {
        swap_contents(group.master, averages_[i]);
      } else {
        saved_[i] = group.master.clone();
        group.master.copy_(averages_[i]);
      }
    }
  }

  ~UseAveragedWeights() override {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < groups_.size(); ++i) {
      const FlatGroup& group = groups_[i];
      if (group.model_copy.defined()) {
        group.model_copy.copy_(group.master);
      } else if (saved_[i].defined()) {
        group.master.copy_(saved_[i]);
      } else {
        swap_contents(group.master, averages_[i]);
      }
    }
  }

 private:
  std::vector<FlatGroup> groups_;
  std::vector<torch::Tensor> averages_;
  std::vector<torch::Tensor> saved_;  // bf16 weights without a master, which nothing else can restore
};

}  // namespace

double ema_decay_at(double decay, int64_t step) {
  return std::min(decay, static_cast<double>(1 + step) / static_cast<double>(10 + step));
}

MovingAverage::MovingAverage(std::vector<FlatGroup> groups, double decay) : groups_(std::move(groups)), decay_(decay) {
  if (!(decay_ >= 0 && decay_ < 1)) {
    throw ConfigError(str("[optimizer.ema_decay] expected 0 to below 1, got ", decay_));
  }
  for (const FlatGroup& group : groups_) buffers_.push_back(torch::empty_like(group.master, torch::kFloat32));
  restart();
}

void MovingAverage::restart() {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < groups_.size(); ++i) buffers_[i].copy_(groups_[i].master);
}

void MovingAverage::update(int64_t step) {
  const torch::NoGradGuard no_grad;
  const double weight = 1 - decay_at(step);
  for (size_t i = 0; i < groups_.size(); ++i) {
    const torch::Tensor& master = groups_[i].master;
    for (int64_t begin = 0; begin < master.numel(); begin += kChunk) {
      const int64_t end = std::min(begin + kChunk, master.numel());
      buffers_[i].slice(0, begin, end).lerp_(master.slice(0, begin, end).to(torch::kFloat32), weight);
    }
  }
}

std::unique_ptr<EvaluationWeights> MovingAverage::evaluation_weights() const {
  return std::make_unique<UseAveragedWeights>(groups_, buffers_);
}

}  // namespace millrace
