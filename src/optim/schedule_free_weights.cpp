#include "optim/schedule_free_weights.h"

#include <utility>

#include "optim/lent_weights.h"
#include "optim/option_check.h"

namespace millrace {
namespace {

std::vector<std::string> with_z(const std::vector<std::string>& other_states) {
  std::vector<std::string> names = {"z"};
  names.insert(names.end(), other_states.begin(), other_states.end());
  return names;
}

}  // namespace

ScheduleFreeOptimizer::ScheduleFreeOptimizer(std::vector<FlatGroup> groups, const RoundingOptions& rounding,
                                             double beta1, const std::vector<std::string>& other_states)
    : FlatRuleOptimizer(std::move(groups), rounding, with_z(other_states)), beta1_(beta1) {
  require_option(beta1 > 0 && beta1 < 1, "beta1", "above 0 and below 1", beta1);
  set_to_weights(kZ);
}

void ScheduleFreeOptimizer::restart() {
  FlatRuleOptimizer::restart();
  set_to_weights(kZ);
}

torch::Tensor ScheduleFreeOptimizer::averaged(size_t group, int64_t begin, int64_t end) const {
  const torch::Tensor y = groups()[group].master.slice(0, begin, end).to(torch::kFloat32);
  return y + (1 - 1 / beta1_) * (state_of(group, kZ).slice(0, begin, end) - y);
}

std::unique_ptr<EvaluationWeights> ScheduleFreeOptimizer::evaluation_weights() {
  return std::make_unique<LentWeights>(
      groups(), [this](size_t group, int64_t begin, int64_t end) { return averaged(group, begin, end); });
}

std::vector<torch::Tensor> ScheduleFreeOptimizer::averaged_weights() const {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> weights;
  for (size_t i = 0; i < groups().size(); ++i) weights.push_back(averaged(i, 0, groups()[i].master.numel()));
  return weights;
}

}  // namespace millrace
