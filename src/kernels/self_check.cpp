#include "kernels/self_check.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/error.h"
#include "kernels/adamw/adamw.h"
#include "kernels/adamw8bit/adamw8bit_cases.h"
#include "kernels/attention_bf16/attention_bf16.h"
#include "kernels/cpu_level.h"
#include "kernels/flat_update/flat_update_cases.h"
#include "kernels/global_norm/global_norm.h"
#include "kernels/linear_bf16/linear_bf16.h"
#include "kernels/op_check.h"
#include "kernels/philox_fill/philox_fill.h"
#include "kernels/quantised/quantised_cases.h"
#include "kernels/rotary/rotary.h"
#include "kernels/winograd/winograd.h"

namespace millrace {
namespace {

using torch::Tensor;

constexpr uint64_t kSeed = 20;
constexpr double kFp32Epsilon = std::numeric_limits<float>::epsilon();

Tensor random_numbers(int64_t n, uint64_t id) {
  const Tensor x = torch::empty({1, n});
  philox_fill_normal_reference(x, {random_stream(kSeed, RandomPurpose::kInit, 0, id)});
  return x.view({-1});
}

AdamWBuffers adamw_buffers(int64_t n, torch::ScalarType type, torch::Device device) {
  AdamWBuffers buffers;
  buffers.param = random_numbers(n, 1).to(type).to(device);
  buffers.grad = random_numbers(n, 2).to(type).to(device);
  buffers.exp_avg = (random_numbers(n, 3) * 0.1).to(type).to(device);
  buffers.exp_avg_sq = random_numbers(n, 4).square().to(type).to(device);
  return buffers;
}

double worst_error(const AdamWBuffers& got, const AdamWBuffers& exact) {
  double worst = 0;
  for (const auto& [x, y] :
       {std::pair{got.param, exact.param}, {got.exp_avg, exact.exp_avg}, {got.exp_avg_sq, exact.exp_avg_sq}}) {
    const double error = relative_error(x.to(torch::kCPU).to(torch::kFloat64), y.to(torch::kFloat64));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

// In bf16 the plain path rounds to nearest; the root mean square error of stochastic rounding is sqrt(2) times larger.
KernelCheckResult check_adamw(torch::ScalarType type, torch::Device device) {
  constexpr int64_t kSize = 10007;
  AdamWOptions options{.lr = 1e-3, .step = 3, .stochastic_rounding = false, .seed = kSeed};
  AdamWBuffers exact = adamw_buffers(kSize, type, torch::kCPU);
  for (Tensor* x : {&exact.param, &exact.grad, &exact.exp_avg, &exact.exp_avg_sq}) *x = x->to(torch::kFloat32);
  adamw_step_reference(exact, options);
  const AdamWBuffers plain = adamw_buffers(kSize, type, device);
  adamw_step_reference(plain, options);
  const AdamWBuffers fused = adamw_buffers(kSize, type, device);
  options.stochastic_rounding = true;
  adamw_step(fused, options);
  return {worst_error(fused, exact), 2 * worst_error(plain, exact) + kFp32Epsilon};
}

// The largest relative error among weights, states and sums, of the worst rule.
KernelCheckResult check_flat_update(torch::ScalarType type, torch::Device device) {
  constexpr int64_t kSize = 10007;
  FlatUpdateOptions options{.step = 3, .stochastic_rounding = false, .seed = kSeed};
  KernelCheckResult worst{0, 1};
  for (const FlatUpdateCase& rule : flat_update_cases()) {
    FlatUpdateBuffers exact = rule.buffers(kSize, type);
    exact.param = exact.param.to(torch::kFloat32);
    const Tensor exact_sums = rule.new_sums();
    flat_update_reference(rule.rule, rule.numbers, exact, options, {}, exact_sums);
    const auto error_of = [&](const FlatUpdateBuffers& got, const Tensor& sums) {
      double error = 0;
      const auto compare = [&](const Tensor& x, const Tensor& y) {
        const double e = relative_error(x.to(torch::kCPU).to(torch::kFloat64), y.to(torch::kFloat64));
        if (!(e <= error)) error = e;
      };
      compare(got.param, exact.param);
      for (size_t i = 0; i < got.states.size(); ++i) compare(got.states[i], exact.states[i]);
      if (sums.defined()) compare(sums, exact_sums);
      return error;
    };
    options.stochastic_rounding = false;
    const FlatUpdateBuffers plain = rule.buffers(kSize, type, device);
    const Tensor plain_sums = rule.new_sums(device);
    flat_update_reference(rule.rule, rule.numbers, plain, options, {}, plain_sums);
    options.stochastic_rounding = true;
    const FlatUpdateBuffers fused = rule.buffers(kSize, type, device);
    const Tensor fused_sums = rule.new_sums(device);
    flat_update(rule.rule, rule.numbers, fused, options, {}, fused_sums);
    // Sums of fp32 products in tiles: a few more roundings than the plain path, which has fp64 products.
    const KernelCheckResult result{error_of(fused, fused_sums), 2 * error_of(plain, plain_sums) + 4 * kFp32Epsilon};
    if (!result.passed()) return result;
    if (result.error / result.tolerance >= worst.error / worst.tolerance) worst = result;
  }
  return worst;
}

// A shard as it is trained on many ranks: it begins inside a group of rounding bits, has fp32 weights with their copy
// in bf16 and their average, and narrow gradients, which are clipped. `type` is that of the gradients.
constexpr uint64_t kFirstElement = 5;

// The copy must be the rounded weights, bit for bit.
double copy_error(const Tensor& copy, const Tensor& param) {
  return torch::equal(copy, param.to(torch::kBFloat16)) ? 0 : std::numeric_limits<double>::infinity();
}

KernelCheckResult check_adamw_shard(torch::ScalarType type, torch::Device device) {
  constexpr int64_t kSize = 10007;
  const AdamWOptions options{.lr = 1e-3, .step = 3, .seed = kSeed, .ema_decay = 0.9, .zero_grad = true};
  const auto after = [&](torch::Device where, auto step) {
    AdamWBuffers buffers = adamw_buffers(kSize, torch::kFloat32, where);
    buffers.grad = buffers.grad.to(type);
    buffers.model_copy = torch::zeros({kSize}, torch::dtype(torch::kBFloat16).device(where));
    buffers.ema = random_numbers(kSize, 6).to(where);
    buffers.first_element = kFirstElement;
    step(buffers, options, torch::full({1}, 0.7F, torch::TensorOptions(where).dtype(torch::kFloat32)));
    return buffers;
  };
  const AdamWBuffers exact = after(torch::kCPU, adamw_step_reference), got = after(device, adamw_step);
  const double of_average = relative_error(got.ema.to(torch::kCPU, torch::kFloat64), exact.ema.to(torch::kFloat64));
  const double left = got.grad.abs().max().to(torch::kCPU, torch::kFloat64).item<double>();
  return {worst_error(got, exact) + of_average + copy_error(got.model_copy, got.param) + left, 4 * kFp32Epsilon};
}

KernelCheckResult check_flat_update_shard(torch::ScalarType type, torch::Device device) {
  constexpr int64_t kSize = 10007;
  const FlatUpdateOptions options{.step = 3, .seed = kSeed, .average_decay = 0.9};
  double worst = 0;
  for (const FlatUpdateCase& rule : flat_update_cases()) {
    const bool writes = writes_weights(rule.rule);
    Tensor sums, exact_sums;
    const auto after = [&](torch::Device where, Tensor& totals, auto update) {
      FlatUpdateBuffers buffers = rule.buffers(kSize, torch::kFloat32, where);
      buffers.grad = buffers.grad.to(type);
      if (writes) {
        buffers.model_copy = torch::zeros({kSize}, torch::dtype(torch::kBFloat16).device(where));
        buffers.average = random_numbers(kSize, 6).to(where);
      }
      buffers.first_element = kFirstElement;
      totals = rule.new_sums(where);
      const Tensor clip = torch::full({1}, 0.7F, torch::TensorOptions(where).dtype(torch::kFloat32));
      update(rule.rule, rule.numbers, buffers, options, clip, totals);
      return buffers;
    };
    const FlatUpdateBuffers exact = after(torch::kCPU, exact_sums, flat_update_reference);
    const FlatUpdateBuffers got = after(device, sums, flat_update);
    const auto compare = [&](const Tensor& x, const Tensor& y) {
      const double error = relative_error(x.to(torch::kCPU).to(torch::kFloat64), y.to(torch::kFloat64));
      if (!(error <= worst)) worst = error;
    };
    compare(got.param, exact.param);
    for (size_t i = 0; i < got.states.size(); ++i) compare(got.states[i], exact.states[i]);
    if (sums.defined()) compare(sums, exact_sums);
    if (writes) {
      compare(got.average, exact.average);
      worst += copy_error(got.model_copy, got.param);
    }
  }
  return {worst, 4 * kFp32Epsilon};
}

// Only weights: a code may fall on the other side of a tie. `type` is that of the gradients. In bf16 a few weights may
// round otherwise, each of which is an error of 5e-5 of the whole.
KernelCheckResult check_adamw8bit(torch::ScalarType type, torch::Device device) {
  const CodeTables tables(device), cpu_tables(torch::kCPU);
  const auto weights_after = [&](const CodeTables& on, torch::ScalarType param_type, auto step) {
    const AdamW8bitBuffers buffers = adamw8bit_case(5003, 77, on, type, param_type);
    step(buffers);
    step(buffers);
    return buffers.param.to(torch::kCPU).to(torch::kFloat64);
  };
  AdamW8bitOptions options{.lr = 1e-2, .step = 3, .stochastic_rounding = false};
  const auto fused = [&](const AdamW8bitBuffers& buffers) { adamw8bit_step(buffers, options); };
  const auto composed = [&](const AdamW8bitBuffers& buffers) { adamw8bit_step_reference(buffers, options); };
  constexpr double kOfBf16 = 100;  // times as much
  double worst = 0;
  for (const auto param_type : {torch::kFloat32, torch::kBFloat16}) {
    const double error =
        relative_error(weights_after(tables, param_type, fused), weights_after(cpu_tables, param_type, composed));
    worst = std::max(worst, param_type == torch::kBFloat16 ? error / kOfBf16 : error);
  }
  options.stochastic_rounding = true;  // with the same bits everywhere
  const double error = relative_error(weights_after(tables, torch::kBFloat16, fused),
                                      weights_after(cpu_tables, torch::kBFloat16, fused));
  return {std::max(worst, error / kOfBf16), 1e-5};
}

// In place, as in Llama: 40 of the 48 heads of a token's row, which holds the values too. Must be equal to a turned
// copy, bit for bit, and leave the values alone.
KernelCheckResult check_rotary_rows(torch::ScalarType type, torch::Device device) {
  constexpr int64_t kTokens = 7, kTurned = 40, kHeads = 48, kSize = 128;
  const Tensor rows = random_numbers(kTokens * kHeads * kSize, 12).view({kTokens, kHeads, kSize}).to(type).to(device);
  const Tensor angle = random_numbers(kTokens * kSize / 2, 13).view({kTokens, kSize / 2});
  const Tensor cos = angle.cos().to(device), sin = angle.sin().to(device);
  const Tensor expected =
      at::cat({rotate(rows.narrow(1, 0, kTurned), cos, sin), rows.narrow(1, kTurned, kHeads - kTurned)}, 1);
  rotate_in_place(rows.narrow(1, 0, kTurned), cos, sin);
  return {static_cast<double>(rows.ne(expected).sum().to(torch::kCPU).item<int64_t>()), 0};
}

KernelCheckResult check_global_norm(torch::ScalarType type, torch::Device device) {
  const Tensor x = random_numbers(100003, 5).to(type);
  const Tensor sum = torch::zeros({1}, torch::TensorOptions(device).dtype(torch::kFloat64));
  add_sum_of_squares(x.to(device), sum);
  return {relative_error(sum.to(torch::kCPU), sum_of_squares_reference(x)), 1e-12};
}

// Must be equal, bit for bit.
KernelCheckResult check_philox(torch::ScalarType type, torch::Device device) {
  const std::vector<RandomStream> streams = {random_stream(kSeed, RandomPurpose::kNoise, 1, 2),
                                             random_stream(kSeed, RandomPurpose::kNoise, 3, 4)};
  const Tensor got = torch::empty({2, 20001}, torch::TensorOptions(device).dtype(type));
  const Tensor expected = torch::empty({2, 20001}, type);
  double worst = 0;
  philox_fill_normal(got, streams, 5);
  philox_fill_normal_reference(expected, streams, 5);
  worst = (got.to(torch::kCPU) - expected).abs().max().item<double>();
  philox_fill_uniform(got, streams, 5);
  philox_fill_uniform_reference(expected, streams, 5);
  return {std::max(worst, (got.to(torch::kCPU) - expected).abs().max().item<double>()), 0};
}

KernelCheckResult check_winograd(torch::Device device) {
  MILLRACE_CHECK(device.is_cpu());
  constexpr int64_t kSide = 37, kChannels = 24, kGroups = 6;
  const Tensor x = random_numbers(kSide * kSide * kChannels, 6).view({kSide, kSide, kChannels});
  const Tensor filters = random_numbers(9 * kChannels * kChannels, 7).view({kChannels, kChannels, 3, 3}) * 0.1;
  const Tensor gamma = random_numbers(kChannels, 8), beta = random_numbers(kChannels, 9),
               bias = random_numbers(kChannels, 10);
  const auto reference = [&](torch::ScalarType type) {
    return winograd_reference(x.to(type), kGroups, 1e-6, gamma.to(type), beta.to(type), filters.to(type), bias.to(type),
                              x.to(type))
        .to(torch::kFloat64);
  };
  const Tensor y = torch::empty_like(x), exact = reference(torch::kFloat64);
  winograd_conv3x3(x, group_norm_scale(x, kGroups, 1e-6, gamma, beta), winograd_filters(filters), bias, x, y);
  return {relative_error(y.to(torch::kFloat64), exact),
          4 * relative_error(reference(torch::kFloat32), exact) + kFp32Epsilon};
}

// Against the composed path in bf16, for which `reference` gets a dtype.
KernelCheckResult check_against_bf16(const Tensor& got, const std::function<Tensor(torch::ScalarType)>& reference) {
  const Tensor exact = reference(torch::kFloat64);
  const double composed = relative_error(reference(torch::kBFloat16).to(torch::kFloat64), exact);
  return {relative_error(got.to(torch::kFloat64), exact), 2 * composed + kFp32Epsilon};
}

KernelCheckResult check_linear_bf16(torch::Device device) {
  MILLRACE_CHECK(device.is_cpu());
  constexpr int64_t kRows = 61, kDepth = 2211, kColumns = 83;
  const auto numbers = [](int64_t rows, int64_t columns, uint64_t id) {
    return random_numbers(rows * columns, id).view({rows, columns}).to(torch::kBFloat16);
  };
  const Tensor x = numbers(kRows, kDepth, 11), weight = numbers(kColumns, kDepth, 12) * 0.02;
  const LinearBf16 added{
      .weight_NK = weight, .bias_N = numbers(1, kColumns, 13)[0], .residual_MN = numbers(kRows, kColumns, 14)};
  const LinearBf16 gated{.weight_NK = weight, .gate_weight_NK = numbers(kColumns, kDepth, 15) * 0.02};
  KernelCheckResult worst{0, 1};
  for (const LinearBf16& layer : {added, gated}) {
    const Tensor y = torch::empty({kRows, kColumns}, torch::kBFloat16);
    linear_bf16(y, x, layer);
    const KernelCheckResult result = check_against_bf16(y, [&](torch::ScalarType type) {
      const auto as = [&](const Tensor& part) { return part.defined() ? part.to(type) : part; };
      return linear_bf16_reference(
          as(x), {as(layer.weight_NK), as(layer.gate_weight_NK), as(layer.bias_N), as(layer.residual_MN)});
    });
    if (!result.passed()) return result;
    if (result.error / result.tolerance >= worst.error / worst.tolerance) worst = result;
  }
  return worst;
}

KernelCheckResult check_attention_bf16(torch::Device device) {
  MILLRACE_CHECK(device.is_cpu());
  constexpr int64_t kHeads = 3, kTokens = 77, kSize = 40;
  const auto numbers = [](at::IntArrayRef shape, uint64_t id) {
    return random_numbers(c10::multiply_integers(shape), id).view(shape).to(torch::kBFloat16);
  };
  const std::vector<int64_t> shape = {2, kHeads, kTokens, kSize};
  const Tensor q = numbers(shape, 16), k = numbers(shape, 17), v = numbers(shape, 18);
  const Tensor bias = numbers({kHeads, kTokens, kTokens}, 19), out = torch::empty_like(q);
  attention_bf16(out, q, k, v, bias, 0.2);
  return check_against_bf16(out, [&](torch::ScalarType type) {
    return attention_bf16_reference(q.to(type), k.to(type), v.to(type), bias.to(type), 0.2);
  });
}

}  // namespace

std::vector<KernelCheck> kernel_checks() {
  std::vector<KernelCheck> checks;
  checks.push_back({"winograd fp32", check_winograd, /*cpu_only=*/true});
  if (has_bf16_dot_products()) {
    checks.push_back({"linear_bf16", check_linear_bf16, /*cpu_only=*/true});
    checks.push_back({"attention_bf16", check_attention_bf16, /*cpu_only=*/true});
  }
  for (const auto& [type, type_name] : {std::pair{torch::kFloat32, "fp32"}, {torch::kBFloat16, "bf16"}}) {
    const std::string suffix = std::string(" ") + type_name;
    const auto add = [&, type = type](const std::string& name, auto check) {
      checks.push_back({name + suffix, [=](torch::Device device) { return check(type, device); }});
    };
    for (const OpCase& op_case : all_op_cases(kSeed)) {
      add(op_case.name,
          [op_case](torch::ScalarType dtype, torch::Device device) { return check_op(op_case, dtype, device); });
    }
    add("adamw", check_adamw);
    add("adamw of a shard", check_adamw_shard);
    add("adamw8bit", check_adamw8bit);
    add("flat_update", check_flat_update);
    add("flat_update of a shard", check_flat_update_shard);
    add("rotary in rows", check_rotary_rows);
    add("global_norm", check_global_norm);
    add("philox_fill", check_philox);
  }
  for (const QuantisedCase& quantised : quantised_cases(/*rows=*/19)) {
    checks.push_back({"quantised " + quantised.name, [=](torch::Device device) {
                        const int64_t differing = differing_elements(quantised.matrix, device);
                        return KernelCheckResult{.error = static_cast<double>(differing), .tolerance = 0};
                      }});
  }
  return checks;
}

}  // namespace millrace
