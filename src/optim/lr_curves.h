// The learning-rate curves of transformers and diffusers (their get_scheduler), as sd-scripts offers them. Each returns
// the factor of step number `step`, counted from 0. W warm-up steps rise as step / W from 0; then, with T steps in all,
// p = (step - W) / max(1, T - W), which exceeds 1 after the run's end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

struct CurveSteps {
  int64_t total = 0;   // T
  int64_t warmup = 0;  // W
};

double constant_factor(int64_t step, const CurveSteps& steps);  // 1
double linear_factor(int64_t step, const CurveSteps& steps);    // max(0, (T - step) / max(1, T - W))
// (1 + cos(2 pi cycles p)) / 2, between min_factor and 1. Half a cycle is one fall from 1 to the floor.
double cosine_factor(int64_t step, const CurveSteps& steps, double cycles, double min_factor);
// Falls `cycles` times from 1 to 0; 0 after the end.
double cosine_with_restarts_factor(int64_t step, const CurveSteps& steps, double cycles);
// end + (1 - end) (1 - p)^power; `end` after the end.
double polynomial_factor(int64_t step, const CurveSteps& steps, double power, double end_factor);
// 1 / sqrt((step - W + timescale) / timescale)
double inverse_sqrt_factor(int64_t step, const CurveSteps& steps, int64_t timescale);
// Rises from min_factor, stays at 1, and falls over the last `decay_steps` as cosine_factor() does.
double warmup_stable_decay_factor(int64_t step, const CurveSteps& steps, int64_t decay_steps, double cycles,
                                  double min_factor);

// "1:10,0.1:20,0.01:30,0.005": the factor is 1 before step 10, 0.1 before step 20, 0.01 before step 30, 0.005 after it.
class PiecewiseConstant {
 public:
  explicit PiecewiseConstant(const std::string& step_rules);  // throws ConfigError for anything else
  double factor(int64_t step) const;

 private:
  struct Piece {
    int64_t end;
    double factor;
  };
  std::vector<Piece> pieces_;  // ascending
  double last_;
};

}  // namespace millrace
