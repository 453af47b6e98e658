// Checks this machine's kernels against the fp32 reference, for `millrace verify`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <torch/types.h>

namespace millrace {

struct KernelCheckResult {
  double error;      // largest relative error over outputs and gradients: |x - reference| / |reference|, 2-norms
  double tolerance;  // fp32: a multiple of its epsilon; bf16: twice the error of the plain bf16 composed path
  bool passed() const { return error <= tolerance; }
};

struct KernelCheck {
  std::string name;  // "norm_modulate bf16"
  std::function<KernelCheckResult(torch::Device device)> run;
  bool cpu_only = false;  // there is no such kernel for GPUs
};

// Forward and backward of every kernel, fp32 and bf16. Takes milliseconds each.
std::vector<KernelCheck> kernel_checks();

}  // namespace millrace
