// Every kernel of a FLUX step once. `bytes` is what the operation must at least read and write.
#include <nlohmann/json.hpp>

#include "kernels/adamw/adamw.h"
#include "kernels/gate_residual/gate_residual.h"
#include "kernels/gelu/gelu.h"
#include "kernels/global_norm/global_norm.h"
#include "kernels/norm_modulate/norm_modulate.h"
#include "kernels/qk_norm_rope/qk_norm_rope.h"
#include "probe.h"

namespace millrace {
namespace {

using torch::Tensor;

class KernelTable {
 public:
  explicit KernelTable(const ProbeOptions& options) : options_(options) {}

  void row(const char* name, double bytes, const std::function<void()>& call) {
    const double us = microseconds_per_call(options_, call);
    print_result({{"name", name}, {"us", us}, {"gb_per_s", bytes / us * 1e-3}});
  }

  // Row kernels over the hidden size.
  void row_kernels(int64_t batch, int64_t length, int64_t dim) {
    const auto rows_of = [&](uint64_t id) { return noise({batch, length, dim}, torch::kBFloat16, options_, id); };
    const auto samples_of = [&](uint64_t id) { return noise({batch, dim}, torch::kBFloat16, options_, id); };
    const auto floats = torch::TensorOptions(options_.device).dtype(torch::kFloat32);
    const Tensor x = rows_of(1), y = rows_of(2), out = rows_of(3), normed = rows_of(4), dx = rows_of(5),
                 dy = rows_of(6);
    const Tensor gate = samples_of(7), shift = samples_of(8), scale = samples_of(9), dgate = samples_of(10),
                 dshift = samples_of(11), dscale = samples_of(12);
    const Tensor bias = noise({dim}, torch::kBFloat16, options_, 13),
                 dbias = noise({dim}, torch::kBFloat16, options_, 14);
    const Tensor mean = torch::zeros({batch, length}, floats), rstd = torch::ones({batch, length}, floats);
    const double v = static_cast<double>(x.nbytes());
    row("norm_modulate forward", 2 * v, [&] { norm_modulate_forward(x, shift, scale, 1e-6, y, mean, rstd); });
    row("norm_modulate backward", 4 * v,
        [&] { norm_modulate_backward(dy, x, scale, mean, rstd, dx, /*accumulate_dx=*/true, dshift, dscale); });
    row("gate_residual forward", 3 * v, [&] { gate_residual_forward(x, y, gate, bias, out); });
    row("gate_residual backward", 3 * v,
        [&] { gate_residual_backward(out, y, gate, bias, dy, dgate, dbias, /*accumulate_dbias=*/true); });
    row("gate_residual_norm forward", 4 * v, [&] {
      gate_residual_norm_forward({x, y, gate, bias, shift, scale, 1e-6, out, normed, mean, rstd});
    });
    row("gate_residual_norm backward", 6 * v, [&] {
      gate_residual_norm_backward(
          {normed, out, scale, mean, rstd, y, gate, bias, dx, dshift, dscale, dy, dgate, dbias});
    });
  }

  void gelu_kernels(int64_t batch, int64_t length, int64_t width) {
    const Tensor x = noise({batch, length, width}, torch::kBFloat16, options_, 1), y = torch::empty_like(x),
                 dy = x.clone();
    const Tensor bias = noise({width}, torch::kBFloat16, options_, 2), dbias = bias.clone();
    const double v = static_cast<double>(x.nbytes());
    row("gelu forward", 2 * v, [&] { gelu_forward(x, bias, y); });
    row("gelu backward", 3 * v, [&] { gelu_backward(dy, x, bias, y, dbias, /*accumulate_dbias=*/true); });
  }

  void head_kernels(int64_t batch, int64_t length, int64_t heads, int64_t head_dim) {
    const int64_t width = 3 * heads * head_dim;
    const Tensor qkv = noise({batch, length, width}, torch::kBFloat16, options_, 1), dqkv = torch::empty_like(qkv);
    const Tensor bias = noise({width}, torch::kBFloat16, options_, 2), dbias = bias.clone();
    const auto head = [&](uint64_t id) {
      return noise({batch, heads, length, head_dim}, torch::kBFloat16, options_, id);
    };
    const Tensor q = head(3), k = head(4), v = head(5);
    const Tensor q_scale = noise({head_dim}, torch::kBFloat16, options_, 6), k_scale = q_scale.clone();
    const Tensor dq_scale = q_scale.clone(), dk_scale = q_scale.clone();
    const Tensor angle = noise({length, head_dim / 2}, torch::kFloat32, options_, 7);
    const Tensor cos = angle.cos(), sin = angle.sin();
    const double bytes = 2 * static_cast<double>(qkv.nbytes());
    row("qk_norm_rope forward", bytes, [&] {
      qk_norm_rope_forward({qkv, bias, q_scale, k_scale, cos, sin, 1e-6, 0, q, k, v});
    });
    row("qk_norm_rope backward", 1.5 * bytes, [&] {
      qk_norm_rope_backward({q, k, v, qkv, bias, q_scale, k_scale, cos, sin, 1e-6, 0, dqkv, dq_scale, dk_scale, dbias});
    });
    const Tensor joined = torch::empty({batch, length, heads * head_dim}, qkv.options());
    row("heads merged", 2 * static_cast<double>(joined.nbytes()), [&] {
      joined.view({batch, length, heads, head_dim}).copy_(q.transpose(1, 2));
    });
  }

  // Names say "per 1e9": the times are for that many elements.
  void optimizer_kernels(int64_t elements) {
    AdamWBuffers buffers;
    buffers.param = noise({elements}, torch::kBFloat16, options_, 1);
    buffers.grad = noise({elements}, torch::kBFloat16, options_, 2);
    buffers.exp_avg = noise({elements}, torch::kBFloat16, options_, 3);
    buffers.exp_avg_sq = noise({elements}, torch::kBFloat16, options_, 4).square_();
    const AdamWOptions options = {.stochastic_rounding = true, .zero_grad = false};
    const double scale = 1e9 / static_cast<double>(elements), bytes = 14e9;
    const auto per_billion = [&](const char* name, double all_bytes, const std::function<void()>& call) {
      const double us = microseconds_per_call(options_, call) * scale;
      print_result({{"name", name}, {"us", us}, {"gb_per_s", all_bytes / us * 1e-3}});
    };
    per_billion("adamw bf16 per 1e9", bytes, [&] { adamw_step(buffers, options); });
    const Tensor sum_1 = torch::zeros({1}, torch::TensorOptions(options_.device).dtype(torch::kFloat64));
    per_billion("global_norm per 1e9", 2e9, [&] { add_sum_of_squares(buffers.grad, sum_1); });
  }

 private:
  const ProbeOptions& options_;
};

}  // namespace

void probe_kernels(const ProbeOptions& options) {
  KernelTable table(options);
  const int64_t batch = options.tiny ? 2 : 16, length = options.tiny ? 8 : 512;
  const int64_t head_dim = options.tiny ? 16 : 128, heads = options.tiny ? 2 : 24;
  table.row_kernels(batch, length, heads * head_dim);
  table.gelu_kernels(batch, length, 4 * heads * head_dim);
  table.head_kernels(batch, length, heads, head_dim);
  table.optimizer_kernels(options.tiny ? 4096 : int64_t{1} << 28);
}

}  // namespace millrace
