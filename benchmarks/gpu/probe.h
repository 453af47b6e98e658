// The parts of scripts/gpu/first_run.sh that measure and compare single operations. Each prints a line of JSON per
// result, as soon as it has it, so that what was measured before a failure is not lost.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace millrace {

struct ProbeOptions {
  torch::Device device = torch::kCPU;
  bool tiny = false;  // sizes for a rehearsal without a GPU
};

void print_result(const nlohmann::json& result);

void wait_for(torch::Device device);
// The median of several runs of many calls; the calls of a run are not waited for one by one.
double microseconds_per_call(const ProbeOptions& options, const std::function<void()>& call);

// Normal numbers that depend on id and sizes alone.
torch::Tensor noise(const std::vector<int64_t>& sizes, torch::Dtype dtype, const ProbeOptions& options, uint64_t id);
// |got - expected| / |expected|, in fp64 on the CPU.
double error_of(const torch::Tensor& got, const torch::Tensor& expected);

// Time and bandwidth of every kernel of FLUX's step at 16 x 512 tokens of width 3072, and of the optimizer.
void probe_kernels(const ProbeOptions& options);
// The same for Llama's layers at the widths of the 8B model, for quantised bases and the further optimizers.
void probe_llama_kernels(const ProbeOptions& options);
// Products by shape: the blocks' three per layer.
void probe_products(const ProbeOptions& options);
// Forward and backward by shape, bf16.
void probe_attention(const ProbeOptions& options);
// FLUX's shared modulation product at full size, 3.2e9 weights: values against slices computed in fp32, and times.
void probe_modulation(const ProbeOptions& options);
// The same without cutting it: what the libraries do with an operand above 2^31 elements. May crash.
void probe_whole_modulation(const ProbeOptions& options);
// One block of each model, and the autoencoder, at real width, forward and backward, fp32 and bf16, against the CPU.
void probe_models(const ProbeOptions& options);

}  // namespace millrace
