#include "optim/prodigy_schedule_free.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "optim/option_check.h"
#include "optim/rectification.h"

namespace millrace {
namespace {

constexpr const char* kName = "ProdigyPlusScheduleFree";
constexpr int64_t kSliceStep = 11;
constexpr int64_t kMinFactoredSide = 32;

void check_options(const ProdigyScheduleFreeOptions& options) {
  require_option(options.beta2 >= 0 && options.beta2 < 1, "beta2", "0 to below 1", options.beta2);
  require_option(!options.beta3 || (*options.beta3 >= 0 && *options.beta3 < 1), "beta3", "0 to below 1",
                 options.beta3.value_or(0));
  require_option(options.eps > 0, "eps", "more than 0", options.eps);
  require_option(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay);
  require_option(options.d0 > 0, "d0", "more than 0", options.d0);
  require_option(options.d_coef > 0, "d_coef", "more than 0", options.d_coef);
  require_option(options.prodigy_steps >= 0, "prodigy_steps", "0 or more", static_cast<double>(options.prodigy_steps));
}

torch::Tensor one_per_group(const std::vector<FlatGroup>& groups, double value) {
  return torch::full({static_cast<int64_t>(groups.size())}, value, torch::kFloat64);
}

// abs(), which has no version for the meta device.
torch::Tensor magnitudes(const torch::Tensor& x) {
  return at::maximum(x, x.neg());
}

// What bias correction makes of beta2 and of the step size. is_rectified: the squared averages are known well enough to
// divide by.
struct Rectified {
  double beta2 = 0, factor = 1;
  bool is_rectified = true;
};
Rectified rectified(double beta2, double k) {
  const std::optional<double> factor = rectification(beta2, k);
  return {.beta2 = 1 - (1 - beta2) / (1 - std::pow(beta2, k)),
          .factor = factor.value_or(0),
          .is_rectified = factor.has_value()};
}

}  // namespace

ProdigyScheduleFree::ProdigyScheduleFree(std::vector<FlatGroup> groups, const ProdigyScheduleFreeOptions& options,
                                         const RankSums& ranks)
    : ScheduleFreeOptimizer(std::move(groups), options.rounding, options.beta1, {}),
      options_(options),
      ranks_(ranks),
      parts_(this->groups(), kName,
             {.min_side = options.factored ? kMinFactoredSide : std::numeric_limits<int64_t>::max()}),
      slices_(this->groups(), kSliceStep, torch::kBFloat16),
      d_(one_per_group(this->groups(), options.d0)),
      d_prev_(d_.clone()),
      d_numerator_(torch::zeros_like(d_)),
      weight_sum_(torch::zeros_like(d_)) {
  check_options(options_);
}

void ProdigyScheduleFree::restart() {
  const torch::NoGradGuard no_grad;
  ScheduleFreeOptimizer::restart();
  parts_.restart();
  slices_.restart();
  for (const torch::Tensor& d : {d_, d_prev_}) d.fill_(options_.d0);
  d_numerator_.zero_();
  weight_sum_.zero_();
}

std::vector<StateTensor> ProdigyScheduleFree::state() const {
  std::vector<StateTensor> tensors = FlatRuleOptimizer::state();
  for (StateTensor& state : parts_.state()) tensors.push_back(std::move(state));
  for (StateTensor& state : slices_.state()) tensors.push_back(std::move(state));
  constexpr auto kOptimizer = StateTensor::Extent::kOptimizer;
  tensors.push_back({.name = "d", .tensor = d_, .extent = kOptimizer});
  tensors.push_back({.name = "d_prev", .tensor = d_prev_, .extent = kOptimizer});
  tensors.push_back({.name = "d_numerator", .tensor = d_numerator_, .extent = kOptimizer});
  tensors.push_back({.name = "weight_sum", .tensor = weight_sum_, .extent = kOptimizer});
  return tensors;
}

double ProdigyScheduleFree::effective_lr(double lr) const {
  return lr * d_.max().item<double>();
}

// One step: sums over every part, added up over ranks; the squared averages; the directions and their sums; the
// weights.
class ProdigyScheduleFree::Step {
 public:
  Step(ProdigyScheduleFree& owner, double lr, const torch::Tensor& coefficient_1)
      : owner_(owner),
        options_(owner.options_),
        parts_(owner.parts_),
        lr_(lr),
        coefficient_1_(coefficient_1),
        denominators_(parts_.parameters.size()) {
    const auto k = static_cast<double>(owner.step_count());
    rectified_ = options_.use_bias_correction ? rectified(options_.beta2, k) : Rectified{.beta2 = options_.beta2};
    for (const FlatGroup& group : owner.groups()) {
      // Overwrites fp32 gradients by directions; narrow ones would lose their last bits.
      directions_.push_back(
          group.grad.scalar_type() == torch::kFloat32 ? group.grad : torch::zeros_like(group.grad, torch::kFloat32));
    }
  }

  // The estimate's sums of each parameter: [2, parameters], <g, p0 - y> and |s|.
  torch::Tensor estimate_sums() {
    const auto count = static_cast<int64_t>(parts_.parameters.size());
    torch::Tensor sums = torch::zeros({2, count}, parts_.sums.options().dtype(torch::kFloat64));
    std::map<std::string, int64_t> index_of;
    for (int64_t i = 0; i < count; ++i) index_of[parts_.parameters[static_cast<size_t>(i)].name] = i;
    const double beta3 = options_.beta3.value_or(std::sqrt(options_.beta2));
    for (size_t i = 0; i < owner_.groups().size(); ++i) {
      const FlatGroup& group = owner_.groups()[i];
      for (const ProdigySlices::Slice& slice : owner_.slices_.of(i)) {
        const torch::Tensor y = owner_.slices_.sliced(group.master, slice).to(torch::kFloat32);
        const torch::Tensor g = clipped(owner_.slices_.sliced(group.grad, slice));
        // Two roundings to bfloat16, as in the package.
        slice.s.mul_(beta3).add_(options_.use_speed ? g.sign() : g, share(i));
        if (!slice.range.primary) continue;  // another rank counts them
        const int64_t parameter = index_of.at(slice.range.name);
        sums[0][parameter].add_((g * (slice.p0.to(torch::kFloat32) - y)).sum(torch::kFloat64));
        sums[1][parameter].add_(magnitudes(slice.s).sum(torch::kFloat64));
      }
    }
    owner_.ranks_.add(sums);
    return sums;
  }

  // The squared averages: identical on every rank where they are factored.
  void update_averages() {
    parts_.sums.zero_();
    for (const Part& part : parts_.parts) {
      const Parameter& parameter = parts_.parameters[part.parameter];
      const torch::Tensor square = gradient(part).square_();
      if (!parameter.is_factored) {
        part.exp_avg_sq.mul_(kept(part.group)).add_(square, 1 - rectified_.beta2);
      } else if (part.primary) {
        parts_.add_to_sums(part, square);
      }
    }
    owner_.ranks_.add(parts_.sums);
    for (size_t i = 0; i < parts_.parameters.size(); ++i) {
      const Parameter& parameter = parts_.parameters[i];
      if (!parameter.is_factored) continue;
      const auto rows = static_cast<double>(parameter.shape[0]), columns = static_cast<double>(parameter.shape[1]);
      parameter.row_means.mul_(kept(parameter.group)).add_(parameter.row_sums, (1 - rectified_.beta2) / columns);
      parameter.column_means.mul_(kept(parameter.group)).add_(parameter.column_sums, (1 - rectified_.beta2) / rows);
      denominators_[i] = factors_of(parameter);
    }
  }

  void find_directions() {
    parts_.per_parameter.zero_();
    for (const Part& part : parts_.parts) {
      torch::Tensor direction = gradient(part);
      if (rectified_.is_rectified) direction.div_(denominator(part).add_(options_.eps));
      if (options_.use_stableadamw && part.primary) sum_of(part.parameter).add_(direction.square().sum());
      part.of(directions_[part.group]).copy_(direction);
    }
    if (!options_.use_stableadamw) return;
    owner_.ranks_.add(parts_.per_parameter);
    for (const Part& part : parts_.parts) {
      const auto numel = static_cast<double>(parts_.parameters[part.parameter].numel);
      const bool is_early = !options_.use_speed && d(part.group) <= options_.d0;
      const torch::Tensor rms = (sum_of(part.parameter) / numel).sqrt_();
      part.of(directions_[part.group]).div_(rms.div_(is_early ? 50 : 1).clamp_min_(1));
    }
  }

  void update_weights() {
    double* const weight_sums = owner_.weight_sum_.data_ptr<double>();
    for (size_t i = 0; i < owner_.groups().size(); ++i) {
      const FlatGroup& group = owner_.groups()[i];
      FlatUpdateNumbers numbers;
      numbers.weight_decay = options_.weight_decay;
      numbers.step_size = rate(i) * rectified_.factor;
      const double weight = numbers.step_size * numbers.step_size;
      weight_sums[i] += weight;
      numbers.mix = weight_sums[i] > 0 ? weight / weight_sums[i] : 0;
      numbers.lookahead = -numbers.step_size * (1 - options_.beta1 * (1 - numbers.mix));
      owner_.run_with(directions_[i], FlatRule::kScheduleFreeStep, numbers, i, {kZ});
      group.grad.zero_();
    }
  }

 private:
  using Part = AdafactorParts::Part;
  using Parameter = AdafactorParts::Parameter;

  double d(size_t group) const { return owner_.d_.data_ptr<double>()[group]; }
  double share(size_t group) const { return std::sqrt(d(group)) * (options_.use_speed ? options_.d0 : 1); }
  double kept(size_t group) const {
    const double ratio = owner_.d_prev_.data_ptr<double>()[group] / d(group);
    return rectified_.beta2 * ratio * ratio;
  }
  double rate(size_t group) const {
    const auto count = static_cast<double>(owner_.groups().size());
    const bool is_shared = owner_.splits_groups() && options_.split_groups_mean;
    const double of_group = is_shared ? count / owner_.d_.reciprocal().sum().item<double>() : d(group);
    return of_group * lr_ * owner_.groups()[group].lr_factor;
  }

  torch::Tensor clipped(const torch::Tensor& grad) const {  // a new tensor
    return coefficient_1_.defined() ? grad.to(torch::kFloat32) * coefficient_1_
                                    : grad.to(torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
  }
  torch::Tensor gradient(const Part& part) const { return clipped(part.of(owner_.groups()[part.group].grad)); }

  struct Factors {
    torch::Tensor rows, columns;  // [rows, 1], [columns]
  };
  static Factors factors_of(const Parameter& parameter) {
    const bool is_wide = parameter.shape[0] <= parameter.shape[1];
    // Means of the longer side belong to the shorter one's elements, and are taken relative to their mean.
    const torch::Tensor& relative = is_wide ? parameter.row_means : parameter.column_means;
    const torch::Tensor mean = (is_wide ? relative.mean() : relative) + 1e-30;
    const torch::Tensor factor = (relative / mean).sqrt_();
    return {(is_wide ? factor : parameter.row_means.sqrt()).unsqueeze(1),
            is_wide ? parameter.column_means.sqrt() : factor};
  }
  torch::Tensor denominator(const Part& part) const {
    if (part.exp_avg_sq.defined()) return part.exp_avg_sq.sqrt();
    const Factors& factors = denominators_[part.parameter];
    return factors.rows.narrow(0, part.first_row, part.rows) *
           factors.columns.narrow(0, part.first_column, part.columns);
  }
  torch::Tensor sum_of(size_t parameter) const { return parts_.per_parameter[static_cast<int64_t>(parameter)]; }

  ProdigyScheduleFree& owner_;
  const ProdigyScheduleFreeOptions& options_;
  AdafactorParts& parts_;
  double lr_;
  torch::Tensor coefficient_1_;
  Rectified rectified_;
  std::vector<Factors> denominators_;
  std::vector<torch::Tensor> directions_;  // of each group
};

void ProdigyScheduleFree::update(double lr, const torch::Tensor& coefficient_1) {
  Step step(*this, lr, coefficient_1);
  const bool estimates = options_.prodigy_steps == 0 || step_count() < options_.prodigy_steps;
  torch::Tensor sums;
  if (estimates) sums = step.estimate_sums();
  step.update_averages();
  step.find_directions();
  step.update_weights();
  if (!estimates || sums.is_meta()) return;
  const torch::Tensor on_cpu = sums.to(torch::kCPU);  // waits for the device
  estimate_d(on_cpu[0], on_cpu[1]);
}

// From the sums of each parameter.
void ProdigyScheduleFree::estimate_d(const torch::Tensor& inner_products, const torch::Tensor& denominators) {
  const double beta3 = options_.beta3.value_or(std::sqrt(options_.beta2));
  // The package sums a parameter in bfloat16.
  const torch::Tensor rounded = denominators.to(torch::kBFloat16).to(torch::kFloat64);
  const size_t estimates = splits_groups() ? groups().size() : 1;
  double* const d = d_.data_ptr<double>();
  double* const d_prev = d_prev_.data_ptr<double>();
  double* const d_numerator = d_numerator_.data_ptr<double>();
  for (size_t i = 0; i < estimates; ++i) {
    double numerator = 0, denominator = 0;
    for (size_t parameter = 0; parameter < parts_.parameters.size(); ++parameter) {
      if (estimates > 1 && parts_.parameters[parameter].group != i) continue;
      const auto at = static_cast<int64_t>(parameter);
      const double product = inner_products[at].item<double>();
      const double speed = product > 0 ? 1 : (product < 0 ? -1 : 0);
      numerator += std::sqrt(d[i]) * (options_.use_speed ? options_.d0 * speed : product);
      denominator += rounded[at].item<double>();
    }
    double total = beta3 * d_numerator[i];
    if (numerator >= 0) {
      total += numerator;
    } else if (d[i] > options_.d0) {
      total = std::min(total, numerator);
    }
    const double estimate = std::max(d[i], std::atan2(options_.d_coef * total, denominator));
    d_numerator[i] = total;
    d_prev[i] = d[i];
    d[i] = options_.use_speed ? std::min(estimate, std::pow(d[i], 0.975)) : estimate;
  }
  // As in the package, d_prev of the other groups stays d0.
  for (size_t i = estimates; i < groups().size(); ++i) {
    d[i] = d[0];
    d_numerator[i] = d_numerator[0];
  }
}

}  // namespace millrace
