// The learning-rate curves of torch.optim.lr_scheduler. Each returns the factor of step number `step`, counted from 0;
// rates that torch takes as numbers are factors here, too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

// CosineAnnealingLR: e + (1 - e) (1 + cos(pi step / half_period)) / 2, which rises again after half a period.
double cosine_annealing_factor(int64_t step, int64_t half_period, double end_factor);
// CosineAnnealingWarmRestarts: falls from 1 to e over `first` steps, then over `growth` times as many, and so on.
double warm_restarts_factor(int64_t step, int64_t first, int64_t growth, double end_factor);
// StepLR: gamma^(step / step_size), rounded down.
double step_factor(int64_t step, int64_t step_size, double gamma);
// MultiStepLR: gamma^(number of milestones passed).
double multi_step_factor(int64_t step, const std::vector<int64_t>& milestones, double gamma);
// ExponentialLR: gamma^step.
double exponential_factor(int64_t step, double gamma);

// OneCycleLR (Smith and Topin 2017, "Super-Convergence"): rises from max / div_factor to max over the first pct_start
// of the steps, then falls to max / div_factor / final_div_factor; with three_phase it falls to the start in as many
// steps as it rose in, and to the end in the rest. The momentum moves the other way: from max_momentum to base_momentum
// and back. Stays at its end afterwards.
struct OneCycle {
  int64_t total_steps = 1;
  double max_factor = 1;
  double pct_start = 0.3;
  double div_factor = 25, final_div_factor = 1e4;
  bool three_phase = false;
  bool linear = false;  // otherwise half a cosine
  double base_momentum = 0.85, max_momentum = 0.95;

  double factor(int64_t step) const;
  double momentum(int64_t step) const;

 private:
  // Between the values of the beginning, the top, the start again (three_phase) and the end.
  double between(int64_t step, const std::vector<double>& values) const;
};

}  // namespace millrace
