// Links: kernels
// Every fused kernel against the same thing composed of ATen's operations, at a FLUX block's shapes: batch 2, 512
// tokens, hidden 768 in 6 heads of 128, MLP 3072. Rates count the bytes that the operation cannot avoid, for both
// alike.
//
//   build/benchmarks/micro/kernels_benchmark --benchmark_filter=gelu
//
// forward: without a graph. backward: the fused kernel alone; the composed path's forward and backward, less its
// forward, is what it compares to, so both_* times the pair for each.
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <string>

#include "kernels/adamw/adamw.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/gate_residual/gate_residual.h"
#include "kernels/gelu/gelu.h"
#include "kernels/global_norm/global_norm.h"
#include "kernels/norm_modulate/norm_modulate.h"
#include "kernels/philox_fill/philox_fill.h"
#include "kernels/qk_norm_rope/qk_norm_rope.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rotary/rotary.h"
#include "kernels/swiglu/swiglu.h"

namespace millrace {
namespace {

using torch::Tensor;
using Tensors = std::vector<Tensor>;

constexpr int64_t kBatch = 2, kLength = 512, kDim = 768, kHeads = 6, kHeadDim = 128, kMlp = 3072;
constexpr int64_t kParameters = 16 << 20;

void add(const std::string& name, int64_t bytes, const std::function<void()>& run) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 for (auto _ : state) run();
                                 state.SetBytesProcessed(state.iterations() * bytes);
                               })
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
}

// Forward without a graph, then forward and backward of the composed path.
void add_composed(const std::string& name, int64_t forward_bytes, int64_t backward_bytes, const Tensors& inputs,
                  const std::function<Tensors(const Tensors&)>& reference) {
  add(name + "/forward/composed", forward_bytes, [=] {
    const torch::NoGradGuard no_grad;
    benchmark::DoNotOptimize(reference(inputs));
  });
  Tensors leaves, output_gradients;
  for (const Tensor& input : inputs) leaves.push_back(input.clone().requires_grad_(true));
  for (const Tensor& output : reference(inputs)) output_gradients.push_back(torch::randn_like(output));
  add(name + "/both/composed", forward_bytes + backward_bytes,
      [=] { benchmark::DoNotOptimize(torch::autograd::grad(reference(leaves), leaves, output_gradients)); });
}

void add_fused(const std::string& name, int64_t forward_bytes, int64_t backward_bytes,
               const std::function<void()>& forward, const std::function<void()>& backward) {
  add(name + "/forward/fused", forward_bytes, forward);
  add(name + "/backward/fused", backward_bytes, backward);
  add(name + "/both/fused", forward_bytes + backward_bytes, [=] {
    forward();
    backward();
  });
}

struct Shapes {
  torch::ScalarType type;
  std::string suffix;
  int64_t rows_bytes;  // one [B, L, D] tensor

  explicit Shapes(torch::ScalarType t)
      : type(t),
        suffix(t == torch::kFloat32 ? "/fp32" : "/bf16"),
        rows_bytes(kBatch * kLength * kDim * static_cast<int64_t>(torch::elementSize(t))) {}

  Tensor rows(int64_t dim = kDim) const { return torch::randn({kBatch, kLength, dim}).to(type); }
  Tensor per_sample() const { return torch::randn({kBatch, kDim}).to(type); }
  Tensor per_feature(int64_t dim = kDim) const { return torch::randn({dim}).to(type); }
  Tensor stats() const { return torch::empty({kBatch, kLength}); }
};

void add_norm_modulate(const Shapes& s) {
  const std::string name = "norm_modulate" + s.suffix;
  const Tensor x = s.rows(), shift = s.per_sample(), scale = s.per_sample(), dy = s.rows();
  const Tensor y = s.rows(), mean = s.stats(), rstd = s.stats(), dx = s.rows();
  const Tensor dshift = s.per_sample(), dscale = s.per_sample();
  add_fused(
      name, 2 * s.rows_bytes, 3 * s.rows_bytes, [=] { norm_modulate_forward(x, shift, scale, 1e-6, y, mean, rstd); },
      [=] { norm_modulate_backward(dy, x, scale, mean, rstd, dx, false, dshift, dscale); });
  add_composed(name, 2 * s.rows_bytes, 3 * s.rows_bytes, {x, shift, scale},
               [](const Tensors& in) -> Tensors { return {norm_modulate_reference(in[0], in[1], in[2])}; });
}

void add_gate_residual(const Shapes& s) {
  const std::string name = "gate_residual" + s.suffix;
  const Tensor x = s.rows(), y = s.rows(), gate = s.per_sample(), bias = s.per_feature(), out = s.rows();
  const Tensor dout = s.rows(), dy = s.rows(), dgate = s.per_sample(), dbias = s.per_feature();
  add_fused(
      name, 3 * s.rows_bytes, 3 * s.rows_bytes, [=] { gate_residual_forward(x, y, gate, bias, out); },
      [=] { gate_residual_backward(dout, y, gate, bias, dy, dgate, dbias, false); });
  add_composed(name, 3 * s.rows_bytes, 3 * s.rows_bytes, {x, y, gate, bias},
               [](const Tensors& in) -> Tensors { return {gate_residual_reference(in[0], in[1], in[2], in[3])}; });
}

void add_gate_residual_norm(const Shapes& s) {
  const std::string name = "gate_residual_norm" + s.suffix;
  const GateResidualNormForward forward{.x_BLD = s.rows(),
                                        .y_BLD = s.rows(),
                                        .gate_BD = s.per_sample(),
                                        .bias_D = s.per_feature(),
                                        .shift_BD = s.per_sample(),
                                        .scale_BD = s.per_sample(),
                                        .out_BLD = s.rows(),
                                        .n_BLD = s.rows(),
                                        .mean_BL = s.stats(),
                                        .rstd_BL = s.stats()};
  const GateResidualNormBackward backward{.dn_BLD = s.rows(),
                                          .out_BLD = forward.out_BLD,
                                          .scale_BD = forward.scale_BD,
                                          .mean_BL = forward.mean_BL,
                                          .rstd_BL = forward.rstd_BL,
                                          .y_BLD = forward.y_BLD,
                                          .gate_BD = forward.gate_BD,
                                          .bias_D = forward.bias_D,
                                          .dout_BLD = s.rows() * 0,
                                          .dshift_BD = s.per_sample(),
                                          .dscale_BD = s.per_sample(),
                                          .dy_BLD = s.rows(),
                                          .dgate_BD = s.per_sample(),
                                          .dbias_D = s.per_feature(),
                                          .accumulate_dbias = false};
  add_fused(
      name, 4 * s.rows_bytes, 6 * s.rows_bytes, [=] { gate_residual_norm_forward(forward); },
      [=] { gate_residual_norm_backward(backward); });
  add_composed(name, 4 * s.rows_bytes, 6 * s.rows_bytes,
               {forward.x_BLD, forward.y_BLD, forward.gate_BD, forward.bias_D, forward.shift_BD, forward.scale_BD},
               [](const Tensors& in) -> Tensors {
                 const auto [out, n] = gate_residual_norm_reference(in[0], in[1], in[2], in[3], in[4], in[5]);
                 return {out, n};
               });
}

void add_gelu(const Shapes& s) {
  const std::string name = "gelu" + s.suffix;
  const int64_t bytes = s.rows_bytes / kDim * kMlp;
  const Tensor x = s.rows(kMlp), bias = s.per_feature(kMlp), y = s.rows(kMlp), dy = s.rows(kMlp), dx = s.rows(kMlp);
  const Tensor dbias = s.per_feature(kMlp);
  add_fused(
      name, 2 * bytes, 3 * bytes, [=] { gelu_forward(x, bias, y); },
      [=] { gelu_backward(dy, x, bias, dx, dbias, false); });
  add_composed(name, 2 * bytes, 3 * bytes, {x, bias},
               [](const Tensors& in) -> Tensors { return {gelu_reference(in[0], in[1])}; });
}

void add_qk_norm_rope(const Shapes& s) {
  const std::string name = "qk_norm_rope" + s.suffix;
  const Tensor angle = torch::randn({kLength, kHeadDim / 2}), cos = angle.cos(), sin = angle.sin();
  const Tensor qkv = s.rows(3 * kDim), bias = s.per_feature(3 * kDim);
  const Tensor q_scale = s.per_feature(kHeadDim), k_scale = s.per_feature(kHeadDim);
  const auto heads = [&] { return torch::randn({kBatch, kHeads, kLength, kHeadDim}).to(s.type); };
  const QkNormRopeForward forward{qkv, bias, q_scale, k_scale, cos, sin, 1e-6, 0, heads(), heads(), heads()};
  const QkNormRopeBackward backward{.dq_BHTD = heads(),
                                    .dk_BHTD = heads(),
                                    .dv_BHTD = heads(),
                                    .qkv_BLE = qkv,
                                    .bias_E = bias,
                                    .q_scale_D = q_scale,
                                    .k_scale_D = k_scale,
                                    .cos_LP = cos,
                                    .sin_LP = sin,
                                    .dqkv_BLE = s.rows(3 * kDim),
                                    .dq_scale_D = s.per_feature(kHeadDim),
                                    .dk_scale_D = s.per_feature(kHeadDim),
                                    .dbias_E = s.per_feature(3 * kDim),
                                    .accumulate = false};
  add_fused(
      name, 6 * s.rows_bytes, 9 * s.rows_bytes, [=] { qk_norm_rope_forward(forward); },
      [=] { qk_norm_rope_backward(backward); });
  add_composed(name, 6 * s.rows_bytes, 9 * s.rows_bytes, {qkv, bias, q_scale, k_scale},
               [=](const Tensors& in) -> Tensors {
                 const auto [q, k, v] = qk_norm_rope_reference(in[0], in[1], in[2], in[3], cos, sin, kHeads);
                 return {q.contiguous(), k.contiguous(), v.contiguous()};  // as attention needs them
               });
}

void add_rms_norm(const Shapes& s) {
  const std::string name = "add_rms_norm" + s.suffix;
  const Tensor x = s.rows(), branch = s.rows(), weight = s.per_feature(), sum = s.rows(), y = s.rows();
  const Tensor rstd = torch::ones({kBatch, kLength}), dy = s.rows(), dx = s.rows() * 0, dweight = s.per_feature();
  add_fused(
      name, 4 * s.rows_bytes, 4 * s.rows_bytes, [=] { add_rms_norm_forward(x, branch, weight, 1e-5, sum, y, rstd); },
      [=] { rms_norm_backward(dy, sum, weight, rstd, dx, true, dweight, false); });
  add_composed(name, 4 * s.rows_bytes, 4 * s.rows_bytes, {x, branch, weight}, [](const Tensors& in) -> Tensors {
    const auto [added, normed] = add_rms_norm_reference(in[0], in[1], in[2], 1e-5);
    return {added, normed};
  });
}

void add_swiglu(const Shapes& s) {
  const std::string name = "swiglu" + s.suffix;
  const int64_t bytes = s.rows_bytes / kDim * kMlp;
  const Tensor gate = s.rows(kMlp), up = s.rows(kMlp), y = s.rows(kMlp), dy = s.rows(kMlp);
  const Tensor dgate = s.rows(kMlp), dup = s.rows(kMlp);
  add_fused(
      name, 3 * bytes, 5 * bytes, [=] { swiglu_forward(gate, up, y); },
      [=] { swiglu_backward(dy, gate, up, dgate, dup); });
  add_composed(name, 3 * bytes, 5 * bytes, {gate, up},
               [](const Tensors& in) -> Tensors { return {swiglu_reference(in[0], in[1])}; });
}

void add_rotary(const Shapes& s) {
  const std::string name = "rotary" + s.suffix;
  const Tensor angle = torch::randn({kBatch * kLength, kHeadDim / 2}), cos = angle.cos(), sin = angle.sin();
  const Tensor x = s.rows().view({kBatch * kLength, kHeads, kHeadDim});
  add_fused(
      name, 2 * s.rows_bytes, 2 * s.rows_bytes, [=] { rotate_in_place(x, cos, sin); },
      [=] { rotate_in_place(x, cos, sin, /*inverse=*/true); });
  add_composed(name, 2 * s.rows_bytes, 2 * s.rows_bytes, {x},
               [=](const Tensors& in) -> Tensors { return {rotate_reference(in[0], cos, sin)}; });
}

// 64 rows of a vocabulary of 49,152; the gradient comes with the loss.
void add_cross_entropy(const Shapes& s) {
  const std::string name = "cross_entropy" + s.suffix;
  constexpr int64_t kRows = 64, kVocabulary = 49152;
  const int64_t bytes = kRows * kVocabulary * static_cast<int64_t>(torch::elementSize(s.type));
  const Tensor logits = torch::randn({kRows, kVocabulary}).to(s.type), losses = torch::empty({kRows});
  const Tensor labels = torch::randint(0, kVocabulary, {kRows}, torch::kInt64);
  add(name + "/forward/fused", bytes, [=] { cross_entropy_forward(logits, labels, losses); });
  add(name + "/both/fused", 2 * bytes, [=] { cross_entropy_in_place(logits, labels, losses, 1); });
  add_composed(name, bytes, bytes, {logits},
               [=](const Tensors& in) -> Tensors { return {cross_entropy_reference(in[0], labels)}; });
}

AdamWBuffers adamw_buffers(torch::ScalarType type) {
  AdamWBuffers buffers;
  buffers.param = torch::randn({kParameters}).to(type);
  buffers.grad = torch::randn({kParameters}).to(type);
  buffers.exp_avg = torch::zeros({kParameters}, type);
  buffers.exp_avg_sq = torch::ones({kParameters}, type);
  return buffers;
}

void add_optimizer() {
  const AdamWOptions nearest{.stochastic_rounding = false}, stochastic{.stochastic_rounding = true};
  const AdamWBuffers fp32 = adamw_buffers(torch::kFloat32), bf16 = adamw_buffers(torch::kBFloat16);
  AdamWBuffers master = adamw_buffers(torch::kFloat32);
  master.model_copy = torch::empty({kParameters}, torch::kBFloat16);
  const Tensor clip = torch::full({1}, 0.5f);
  add("adamw/fp32/fused", kParameters * 28, [=] { adamw_step(fp32, nearest, clip); });
  add("adamw/fp32/composed", kParameters * 28, [=] { adamw_step_reference(fp32, nearest, clip); });
  add("adamw/fp32_and_bf16_copy/fused", kParameters * 30, [=] { adamw_step(master, nearest, clip); });
  add("adamw/fp32_and_bf16_copy/composed", kParameters * 30, [=] { adamw_step_reference(master, nearest, clip); });
  add("adamw/bf16/fused", kParameters * 14, [=] { adamw_step(bf16, nearest, clip); });
  add("adamw/bf16/composed", kParameters * 14, [=] { adamw_step_reference(bf16, nearest, clip); });
  add("adamw/bf16_stochastic/fused", kParameters * 14, [=] { adamw_step(bf16, stochastic, clip); });

  const Tensor sum = torch::zeros({1}, torch::kFloat64);
  add("global_norm/fp32/fused", kParameters * 4, [=] { add_sum_of_squares(fp32.grad, sum); });
  add("global_norm/fp32/composed", kParameters * 4, [=] { benchmark::DoNotOptimize(fp32.grad.norm()); });
  add("global_norm/bf16/fused", kParameters * 2, [=] { add_sum_of_squares(bf16.grad, sum); });
}

void add_random() {
  const Tensor out = torch::empty({16, 1 << 18});
  std::vector<RandomStream> streams;
  for (uint64_t b = 0; b < 16; ++b) streams.push_back(random_stream(1, RandomPurpose::kNoise, 0, b));
  const int64_t bytes = out.numel() * 4;
  add("philox_fill/normal/fused", bytes, [=] { philox_fill_normal(out, streams); });
  add("philox_fill/normal/torch_randn", bytes, [=] { out.normal_(); });
  add("philox_fill/uniform/fused", bytes, [=] { philox_fill_uniform(out, streams); });
  add("philox_fill/uniform/torch_rand", bytes, [=] { out.uniform_(); });
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  torch::manual_seed(1);
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const Shapes shapes(type);
    add_norm_modulate(shapes);
    add_gate_residual(shapes);
    add_gate_residual_norm(shapes);
    add_rms_norm(shapes);
    add_swiglu(shapes);
    add_rotary(shapes);
    add_cross_entropy(shapes);
    add_gelu(shapes);
    add_qk_norm_rope(shapes);
  }
  add_optimizer();
  add_random();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
