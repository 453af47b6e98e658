#include "optim/torch_curves.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace millrace {
namespace {

// From 1 at a progress of 0 to 0 at 1, and on.
double half_cosine(double progress) {
  return (1 + std::cos(std::numbers::pi * progress)) / 2;
}

double ratio(int64_t a, int64_t b) {
  return static_cast<double>(a) / static_cast<double>(b);
}

}  // namespace

double cosine_annealing_factor(int64_t step, int64_t half_period, double end_factor) {
  return end_factor + (1 - end_factor) * half_cosine(ratio(step, half_period));
}

double warm_restarts_factor(int64_t step, int64_t first, int64_t growth, double end_factor) {
  int64_t length = first;
  if (growth == 1) {
    step %= first;
  } else {
    while (step >= length) {
      step -= length;
      length *= growth;
    }
  }
  return end_factor + (1 - end_factor) * half_cosine(ratio(step, length));
}

double step_factor(int64_t step, int64_t step_size, double gamma) {
  return std::pow(gamma, static_cast<double>(step / step_size));
}

double multi_step_factor(int64_t step, const std::vector<int64_t>& milestones, double gamma) {
  const auto passed = std::count_if(milestones.begin(), milestones.end(), [&](int64_t at) { return at <= step; });
  return std::pow(gamma, static_cast<double>(passed));
}

double exponential_factor(int64_t step, double gamma) {
  return std::pow(gamma, static_cast<double>(step));
}

double OneCycle::between(int64_t step, const std::vector<double>& values) const {
  const auto total = static_cast<double>(total_steps);
  std::vector<double> ends = {pct_start * total - 1};
  if (three_phase) ends.push_back(2 * pct_start * total - 2);
  ends.push_back(total - 1);
  const auto at = static_cast<double>(step);
  double begin = 0;
  size_t phase = 0;
  while (phase + 1 < ends.size() && at > ends[phase]) begin = ends[phase++];
  const double length = ends[phase] - begin;
  const double progress = length > 0 ? std::min(1.0, (at - begin) / length) : 1;
  const double from = values[phase], to = values[phase + 1];
  return linear ? (to - from) * progress + from : to + (from - to) * half_cosine(progress);
}

double OneCycle::factor(int64_t step) const {
  const double start = max_factor / div_factor, end = start / final_div_factor;
  return between(step, three_phase ? std::vector{start, max_factor, start, end} : std::vector{start, max_factor, end});
}

double OneCycle::momentum(int64_t step) const {
  const double base = base_momentum, most = max_momentum;
  return between(step, three_phase ? std::vector{most, base, most, most} : std::vector{most, base, most});
}

}  // namespace millrace
