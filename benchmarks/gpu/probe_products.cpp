#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "nn/attention.h"
#include "nn/gemm.h"
#include "probe.h"

namespace millrace {
namespace {

using torch::Tensor;

void print_products(const std::string& name, double flops, double us) {
  print_result({{"name", name}, {"us", us}, {"tflops", flops / us * 1e-6}});
}

}  // namespace

void probe_products(const ProbeOptions& options) {
  struct Layer {
    const char* name;
    int64_t in, out;
  };
  const int64_t h = options.tiny ? 64 : 3072;
  for (const int64_t rows : {options.tiny ? int64_t{16} : int64_t{8192}, options.tiny ? int64_t{24} : int64_t{10240}}) {
    for (const Layer& layer : {Layer{"qkv", h, 3 * h},
                               {"proj", h, h},
                               {"mlp up", h, 4 * h},
                               {"mlp down", 4 * h, h},
                               {"linear1", h, 7 * h},
                               {"linear2", 5 * h, h}}) {
      const Tensor x = noise({rows, layer.in}, torch::kBFloat16, options, 1);
      const Tensor weight = noise({layer.out, layer.in}, torch::kBFloat16, options, 2);
      Tensor y = noise({rows, layer.out}, torch::kBFloat16, options, 3);
      Tensor dx = torch::empty_like(x), dweight = torch::zeros_like(weight);
      const double flops = 2.0 * static_cast<double>(rows * layer.in * layer.out);
      const std::string name = str(layer.name, " of ", rows, " rows");
      print_products(name + ", y", flops, microseconds_per_call(options, [&] { gemm(y, x, weight.t()); }));
      print_products(name + ", dx", flops, microseconds_per_call(options, [&] { gemm(dx, y, weight); }));
      print_products(name + ", dw += ", flops, microseconds_per_call(options, [&] { gemm(dweight, y.t(), x, true); }));
      print_products(name + ", dw = ", flops, microseconds_per_call(options, [&] { gemm(dweight, y.t(), x); }));
    }
  }
}

void probe_attention(const ProbeOptions& options) {
  struct Shape {
    int64_t batch, heads, tokens;
  };
  const int64_t head_dim = options.tiny ? 16 : 128;
  const std::vector<Shape> shapes =
      options.tiny ? std::vector<Shape>{{2, 2, 24}} : std::vector<Shape>{{16, 24, 512}, {20, 24, 512}, {4, 24, 4608}};
  for (const Shape& shape : shapes) {
    const auto heads = [&](uint64_t id) {
      return noise({shape.batch, shape.tokens, shape.heads, head_dim}, torch::kBFloat16, options, id).transpose(1, 2);
    };
    const Tensor q = heads(1), k = heads(2), v = heads(3), dout = heads(4);
    const double flops = 4.0 * static_cast<double>(shape.batch * shape.heads * shape.tokens * shape.tokens * head_dim);
    const std::string name = str("attention ", shape.batch, " x ", shape.tokens);
    print_products(name + " forward", flops, microseconds_per_call(options, [&] { attention_forward(q, k, v); }));
    const Attention forward = attention_forward(q, k, v);
    print_products(name + " backward, deterministic", 2.5 * flops,
                   microseconds_per_call(options, [&] { attention_backward(dout, q, k, v, forward); }));
    if (!options.device.is_cuda()) continue;
    // What cuDNN would take: the way that has no deterministic backward pass in libtorch.
    const auto cudnn = [&] {
      return at::_scaled_dot_product_cudnn_attention(q, k, v, std::nullopt, /*compute_log_sumexp=*/true);
    };
    print_products(name + " forward, cuDNN", flops, microseconds_per_call(options, [&] { cudnn(); }));
    const auto [out, lse, seq_q, seq_k, max_q, max_k, seed, offset, mask] = cudnn();
    const Tensor no_bias;
    const auto back = [&, out = out, lse = lse, seed = seed, offset = offset, seq_q = seq_q, seq_k = seq_k] {
      return at::_scaled_dot_product_cudnn_attention_backward(dout, q, k, v, out, lse, seed, offset, no_bias, seq_q,
                                                              seq_k, shape.tokens, shape.tokens, 0.0, false);
    };
    print_products(name + " backward, cuDNN", 2.5 * flops, microseconds_per_call(options, [&] { back(); }));
  }
}

namespace {

// y = x W^T + b, dW += dy^T x and dx = dy W, with W above 2^31 elements.
class Modulation {
 public:
  explicit Modulation(const ProbeOptions& options)
      : options_(options),
        width_(options.tiny ? 4224 : 1'056'768),
        hidden_(options.tiny ? 48 : 3072),
        x_(noise({kBatch, hidden_}, torch::kBFloat16, options, 1)),
        weight_(noise({width_, hidden_}, torch::kBFloat16, options, 2)),
        bias_(noise({width_}, torch::kBFloat16, options, 3)),
        dy_(noise({kBatch, width_}, torch::kBFloat16, options, 4)),
        dweight_(torch::zeros_like(weight_)) {}

  void check_and_time(const std::string& suffix) {
    const Tensor y = matrix_product(x_, weight_.t(), bias_);
    dweight_.zero_();
    gemm(dweight_, dy_.t(), x_, /*accumulate=*/true);
    Tensor dx = torch::empty_like(x_);
    gemm(dx, dy_, weight_);
    // Where 32-bit offsets would wrap, and both ends.
    const int64_t step = std::min<int64_t>(width_ / 4, 4096);
    const auto wide = [](const Tensor& part) { return part.to(torch::kFloat32); };
    for (const int64_t begin : {int64_t{0}, (int64_t{1} << 31) / hidden_ - step / 2, width_ / 2, width_ - step}) {
      if (begin + step > width_) continue;
      const Tensor part = wide(weight_.narrow(0, begin, step));
      const Tensor expected = at::addmm(wide(bias_.narrow(0, begin, step)), wide(x_), part.t());
      report("y", suffix, begin, error_of(y.narrow(1, begin, step), expected));
      const Tensor expected_dw = at::mm(wide(dy_.narrow(1, begin, step)).t(), wide(x_));
      report("dw", suffix, begin, error_of(dweight_.narrow(0, begin, step), expected_dw));
    }
    Tensor expected_dx = torch::zeros({kBatch, hidden_}, x_.options().dtype(torch::kFloat64));
    for (int64_t begin = 0; begin < width_; begin += step) {
      const int64_t size = std::min(step, width_ - begin);
      expected_dx.add_(at::mm(wide(dy_.narrow(1, begin, size)), wide(weight_.narrow(0, begin, size))));
    }
    report("dx", suffix, 0, error_of(dx, expected_dx));
    const auto measure = [&](const char* name, const std::function<void()>& call) {
      print_result({{"name", str("modulation ", name, suffix)}, {"us", microseconds_per_call(options_, call)}});
    };
    measure("forward", [&] { matrix_product(x_, weight_.t(), bias_); });
    measure("dw", [&] { gemm(dweight_, dy_.t(), x_, /*accumulate=*/true); });
    measure("dx", [&] { gemm(dx, dy_, weight_); });
  }

 private:
  static constexpr int64_t kBatch = 16;

  void report(const char* what, const std::string& suffix, int64_t begin, double error) {
    constexpr double kAllowed = 4e-3;  // bf16's unit roundoff is 2^-9; sums in fp32
    print_result({{"name", str("modulation ", what, " from ", begin, suffix)},
                  {"error", error},
                  {"allowed", kAllowed},
                  {"passed", error <= kAllowed}});
  }

  const ProbeOptions& options_;
  int64_t width_, hidden_;
  Tensor x_, weight_, bias_, dy_, dweight_;
};

}  // namespace

void probe_modulation(const ProbeOptions& options) {
  const OperandLimit limit(options.tiny ? 100'000 : kLargestOperand);
  Modulation(options).check_and_time("");
}

void probe_whole_modulation(const ProbeOptions& options) {
  const OperandLimit limit(int64_t{1} << 40);
  Modulation(options).check_and_time(", whole");
}

}  // namespace millrace
