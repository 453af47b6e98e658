#include "nn/layer_checks.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/op_check.h"
#include "nn/attention.h"
#include "nn/embedding_gradient.h"
#include "nn/gemm.h"
#include "nn/packed_attention.h"

namespace millrace {
namespace {

using torch::Tensor;

constexpr uint64_t kSeed = 21;

Tensor as_exact(const Tensor& x) {
  return x.detach().to(torch::kCPU).to(torch::kFloat64);
}

// A result, the composed path in the same type on the CPU, and the exact one: rule of op_check.h.
class Worst {
 public:
  void compare(const Tensor& got, const Tensor& plain, const Tensor& exact) {
    const double allowed =
        2 * relative_error(as_exact(plain), exact) + 4 * std::numeric_limits<float>::epsilon();  // other order of sums
    const KernelCheckResult result{relative_error(as_exact(got), exact), allowed};
    if (!(result.error / result.tolerance <= worst_.error / worst_.tolerance)) worst_ = result;
  }
  void must_be_equal(const Tensor& a, const Tensor& b) {
    if (!torch::equal(a, b)) worst_ = {std::numeric_limits<double>::infinity(), 0};
  }
  KernelCheckResult result() const { return worst_; }

 private:
  KernelCheckResult worst_{0, 1};
};

struct AttentionSizes {
  int64_t batch, heads, tokens, head_dim;
};

// out, dq, dk and dv.
Tensors composed_attention(const Tensors& qkv_dout) {
  Tensors leaves;
  for (int i = 0; i < 3; ++i) leaves.push_back(qkv_dout[static_cast<size_t>(i)].detach().clone().requires_grad_(true));
  const double scale = 1 / std::sqrt(static_cast<double>(leaves[0].size(3)));
  const Tensor p = torch::softmax(torch::matmul(leaves[0], leaves[1].transpose(2, 3)) * scale, 3);
  const Tensor out = torch::matmul(p, leaves[2]);
  out.backward(qkv_dout[3]);
  return {out.detach(), leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
}

Tensors attention_on(const Tensors& qkv_dout) {
  const Attention forward = attention_forward(qkv_dout[0], qkv_dout[1], qkv_dout[2]);
  const AttentionGradients grads = attention_backward(qkv_dout[3], qkv_dout[0], qkv_dout[1], qkv_dout[2], forward);
  return {forward.out_BHLD, grads.dq_BHLD, grads.dk_BHLD, grads.dv_BHLD};
}

KernelCheckResult check_attention(const AttentionSizes& sizes, torch::ScalarType type, torch::Device device) {
  constexpr int kRepetitions = 3;
  Tensors inputs, exact_inputs, typed_inputs;
  for (uint64_t id = 0; id < 4; ++id) {
    const Tensor x = random_tensor(kSeed, id, {sizes.batch, sizes.tokens, sizes.heads, sizes.head_dim}).transpose(1, 2);
    typed_inputs.push_back(x.to(type));
    exact_inputs.push_back(typed_inputs.back().to(torch::kFloat64));
    inputs.push_back(typed_inputs.back().to(device));
  }
  const Tensors exact = composed_attention(exact_inputs), plain = composed_attention(typed_inputs);
  const Tensors got = attention_on(inputs);
  Worst worst;
  for (size_t i = 0; i < got.size(); ++i) worst.compare(got[i], plain[i], exact[i]);
  for (int n = 1; n < kRepetitions; ++n) {
    const Tensors again = attention_on(inputs);
    for (size_t i = 0; i < got.size(); ++i) worst.must_be_equal(got[i], again[i]);
  }
  return worst.result();
}

// Grouped heads of Llama's size, as columns of one product's output. Each document by itself, key heads repeated.
Tensors composed_packed_attention(const Tensors& qkv_dout, const std::vector<int64_t>& lengths, int64_t window) {
  const int64_t group = qkv_dout[0].size(1) / qkv_dout[1].size(1);
  Tensors leaves, outs;
  for (int i = 0; i < 3; ++i) leaves.push_back(qkv_dout[static_cast<size_t>(i)].detach().clone().requires_grad_(true));
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    const auto heads = [&](const Tensor& x) { return x.narrow(0, begin, length).transpose(0, 1); };
    const auto repeated = [&](const Tensor& x) { return heads(x).repeat_interleave(group, 0); };
    const double scale = 1 / std::sqrt(static_cast<double>(leaves[0].size(2)));
    const Tensor distance = torch::arange(length).unsqueeze(1) - torch::arange(length).unsqueeze(0);
    Tensor hidden = distance < 0;
    if (window > 0) hidden = hidden.logical_or(distance >= window);
    const Tensor scores = torch::matmul(heads(leaves[0]), repeated(leaves[1]).transpose(1, 2)) * scale;
    const Tensor p = torch::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), 2);
    outs.push_back(torch::matmul(p, repeated(leaves[2])).transpose(0, 1));
    begin += length;
  }
  const Tensor out = at::cat(outs);
  out.backward(qkv_dout[3]);
  return {out.detach(), leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
}

KernelCheckResult check_packed_attention(int64_t window, torch::ScalarType type, torch::Device device) {
  constexpr int64_t kHeads = 8, kKeyHeads = 2, kSize = 128;
  const std::vector<int64_t> lengths = {70, 1, 130};
  const int64_t tokens = 201, width = (kHeads + 2 * kKeyHeads) * kSize;
  const Tensor qkv = random_tensor(kSeed, 20, {tokens, width}).to(type),
               dout = random_tensor(kSeed, 21, {tokens, kHeads, kSize}).to(type);
  const auto inputs = [&](const Tensor& all, const Tensor& grad) {
    const auto heads = [&](int64_t first, int64_t count) {
      return all.narrow(1, first * kSize, count * kSize).unflatten(1, {count, kSize});
    };
    return Tensors{heads(0, kHeads), heads(kHeads, kKeyHeads), heads(kHeads + kKeyHeads, kKeyHeads), grad};
  };
  const Tensors exact =
      composed_packed_attention(inputs(qkv.to(torch::kFloat64), dout.to(torch::kFloat64)), lengths, window);
  const Tensors plain = composed_packed_attention(inputs(qkv, dout), lengths, window);
  const Tensors in = inputs(qkv.to(device), dout.to(device));
  const Documents documents(lengths, device);
  const auto run = [&]() -> Tensors {
    const PackedAttentionOptions options{.causal = true, .window = window};
    const PackedAttention forward = packed_attention_forward(in[0], in[1], in[2], documents, options);
    const PackedAttentionGradients grads =
        packed_attention_backward(in[3], in[0], in[1], in[2], forward, documents, options);
    return {forward.out_THD, grads.dq_THD, grads.dk_TKD, grads.dv_TKD};
  };
  const Tensors got = run(), again = run();
  Worst worst;
  for (size_t i = 0; i < got.size(); ++i) {
    worst.compare(got[i], plain[i], exact[i]);
    worst.must_be_equal(got[i], again[i]);
  }
  return worst.result();
}

// Tokens that come many times, whose rows a GPU must not add in any order.
KernelCheckResult check_embedding_gradient(torch::ScalarType type, torch::Device device) {
  constexpr int64_t kVocabulary = 50, kTokens = 700, kWidth = 264;
  const Tensor ids = torch::arange(kTokens).square().remainder(kVocabulary);
  const Tensor dx = random_tensor(kSeed, 22, {kTokens, kWidth}).to(type),
               before = random_tensor(kSeed, 23, {kVocabulary, kWidth}).to(type);
  const Tensor sums = torch::zeros({kVocabulary, kWidth}, torch::kFloat64).index_add_(0, ids, dx.to(torch::kFloat64));
  const auto run = [&] {
    Tensor gradient = before.to(device, type, /*non_blocking=*/false, /*copy=*/true);
    add_embedding_gradient(gradient, ids.to(device), dx.to(device));
    return gradient;
  };
  const Tensor got = run();
  Worst worst;
  worst.compare(got, before + sums.to(type), before.to(torch::kFloat64) + sums);
  for (int n = 0; n < 2; ++n) worst.must_be_equal(got, run());
  return worst.result();
}

// y = x W^T, dx = dy W and dW += dy^T x: the three products of a linear layer.
KernelCheckResult check_products(int64_t largest, torch::ScalarType type, torch::Device device) {
  constexpr int64_t kRows = 67, kIn = 200, kOut = 136;
  const Tensor x = random_tensor(kSeed, 4, {kRows, kIn}).to(type),
               weight = random_tensor(kSeed, 5, {kOut, kIn}).to(type),
               dy = random_tensor(kSeed, 6, {kRows, kOut}).to(type), bias = random_tensor(kSeed, 7, {kOut}).to(type),
               dweight = random_tensor(kSeed, 8, {kOut, kIn}).to(type);
  const auto products = [](auto y, auto dx, auto dw) { return Tensors{y, dx, dw}; };
  const auto reference = [&](torch::ScalarType as) {
    const auto wide = [&](const Tensor& part) { return part.to(as); };
    return products(at::addmm(wide(bias), wide(x), wide(weight).t()), at::mm(wide(dy), wide(weight)),
                    at::addmm(wide(dweight), wide(dy).t(), wide(x)));
  };
  const auto on_device = [&] {
    const auto there = [&](const Tensor& part) { return part.to(device); };
    Tensor dx = torch::empty({kRows, kIn}, x.options().device(device));
    Tensor dw = dweight.clone().to(device, type, /*non_blocking=*/false, /*copy=*/true);
    gemm(dx, there(dy), there(weight));
    gemm(dw, there(dy).t(), there(x), /*accumulate=*/true);
    return products(matrix_product(there(x), there(weight).t(), there(bias)), dx, dw);
  };
  const Tensors exact = reference(torch::kFloat64), plain = reference(type);
  const OperandLimit limit(largest);
  const Tensors got = on_device(), again = on_device();
  Worst worst;
  for (size_t i = 0; i < got.size(); ++i) {
    worst.compare(got[i], plain[i], exact[i]);
    worst.must_be_equal(got[i], again[i]);
  }
  return worst.result();
}

KernelCheckResult check_convolution(torch::ScalarType type, torch::Device device) {
  MILLRACE_CHECK(type == torch::kFloat32);
  const Tensor x = random_tensor(kSeed, 9, {2, 64, 17, 17}).to(type),
               filters = random_tensor(kSeed, 10, {64, 64, 3, 3}).to(type);
  const auto convolve = [&](torch::ScalarType as, torch::Device where) {
    return at::conv2d(x.to(where, as), filters.to(where, as), {}, /*stride=*/1, /*padding=*/1);
  };
  const torch::Device cpu = torch::kCPU;
  Worst worst;
  worst.compare(convolve(type, device), convolve(type, cpu), as_exact(convolve(torch::kFloat64, cpu)));
  return worst.result();
}

}  // namespace

std::vector<KernelCheck> layer_checks() {
  std::vector<KernelCheck> checks;
  for (const auto& [type, type_name] : {std::pair{torch::kFloat32, "fp32"}, {torch::kBFloat16, "bf16"}}) {
    const std::string suffix = std::string(" ") + type_name;
    const auto add = [&, type = type](const std::string& name, auto check) {
      checks.push_back({name + suffix, [=](torch::Device device) { return check(type, device); }});
    };
    // FLUX's head size, and one that no flash kernel takes; more and fewer heads x samples than multiprocessors.
    for (const AttentionSizes& sizes : {AttentionSizes{2, 3, 77, 128}, {1, 2, 33, 20}, {6, 24, 64, 128}}) {
      add("attention of " + std::to_string(sizes.batch * sizes.heads) + " x " + std::to_string(sizes.head_dim),
          [=](torch::ScalarType dtype, torch::Device device) { return check_attention(sizes, dtype, device); });
    }
    for (const int64_t window : {0, 24}) {
      add(window == 0 ? "attention of packed texts" : "attention of packed texts in a window",
          [=](torch::ScalarType dtype, torch::Device device) { return check_packed_attention(window, dtype, device); });
    }
    add("embedding gradient", check_embedding_gradient);
    for (const int64_t largest : {kLargestOperand, int64_t{5000}}) {
      add(largest == kLargestOperand ? "products" : "products in tiles",
          [=](torch::ScalarType dtype, torch::Device device) { return check_products(largest, dtype, device); });
    }
    if (type == torch::kFloat32) add("convolution", check_convolution);
  }
  return checks;
}

}  // namespace millrace
