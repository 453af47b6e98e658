// Every kernel of a Llama step once, at the widths of the 8B model, those of its quantised bases, and those of the
// further optimizers. `bytes` is what the operation must at least read and write.
#include <nlohmann/json.hpp>

#include "kernels/adamw8bit/adamw8bit.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/flat_update/flat_update.h"
#include "kernels/quantised/quantise_tensor.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rotary/rotary.h"
#include "kernels/swiglu/swiglu.h"
#include "probe.h"

namespace millrace {
namespace {

using torch::Tensor;

struct Sizes {
  int64_t tokens, width, inner, vocabulary, loss_rows, heads, key_heads, head_dim, elements;
};

// factor: the time is for so many times the measured work.
void row(const ProbeOptions& options, const char* name, double bytes, const std::function<void()>& call,
         double factor = 1) {
  const double us = microseconds_per_call(options, call) * factor;
  print_result({{"name", name}, {"us", us}, {"gb_per_s", bytes / us * 1e-3}});
}

void layer_kernels(const ProbeOptions& options, const Sizes& sizes) {
  const auto numbers = [&](std::vector<int64_t> shape, uint64_t id) {
    return noise(std::move(shape), torch::kBFloat16, options, id);
  };
  const auto floats = torch::TensorOptions(options.device).dtype(torch::kFloat32);
  {
    const Tensor x = numbers({1, sizes.tokens, sizes.width}, 1), branch = numbers({1, sizes.tokens, sizes.width}, 2),
                 sum = torch::empty_like(x), y = torch::empty_like(x), weight = numbers({sizes.width}, 3),
                 dweight = weight.clone(), rstd = torch::ones({1, sizes.tokens}, floats);
    const auto v = static_cast<double>(x.nbytes());
    row(options, "add_rms_norm forward", 4 * v, [&] { add_rms_norm_forward(x, branch, weight, 1e-5, sum, y, rstd); });
    row(options, "rms_norm backward", 4 * v, [&] {
      rms_norm_backward(branch, x, weight, rstd, sum, /*accumulate_dx=*/true, dweight, /*accumulate_dweight=*/true);
    });
  }
  {
    const int64_t turned = sizes.heads + sizes.key_heads;
    const Tensor qkv = numbers({sizes.tokens, turned + sizes.key_heads, sizes.head_dim}, 4);
    const Tensor angle = noise({sizes.tokens, sizes.head_dim / 2}, torch::kFloat32, options, 5);
    const Tensor cos = angle.cos(), sin = angle.sin();
    row(options, "rotary", 4.0 * static_cast<double>(sizes.tokens * turned * sizes.head_dim),
        [&] { rotate_in_place(qkv.narrow(1, 0, turned), cos, sin); });
  }
  {
    const Tensor gate = numbers({1, sizes.tokens, sizes.inner}, 6), up = numbers({1, sizes.tokens, sizes.inner}, 7),
                 y = torch::empty_like(up), dgate = torch::empty_like(up), dup = torch::empty_like(up);
    const auto v = static_cast<double>(gate.nbytes());
    row(options, "swiglu forward", 3 * v, [&] { swiglu_forward(gate, up, y); });
    row(options, "swiglu backward", 5 * v, [&] { swiglu_backward(y, gate, up, dgate, dup); });
  }
  const Tensor logits = numbers({sizes.loss_rows, sizes.vocabulary}, 8),
               losses = torch::empty({sizes.loss_rows}, floats),
               labels = torch::arange(sizes.loss_rows, torch::TensorOptions(options.device).dtype(torch::kInt64));
  row(options, "cross_entropy and gradient", 2 * static_cast<double>(logits.nbytes()),
      [&] { cross_entropy_in_place(logits, labels, losses, 1e-3); });
}

void base_kernels(const ProbeOptions& options, const Sizes& sizes) {
  const Tensor weight = noise({sizes.width, sizes.width}, torch::kFloat32, {.device = torch::kCPU}, 9) * 0.02;
  const Tensor out = torch::empty(weight.sizes(), torch::TensorOptions(options.device).dtype(torch::kBFloat16));
  for (const auto& [name, as] :
       {std::pair{"dequantise nf4", QuantisedAs::kNf4}, {"dequantise fp8", QuantisedAs::kFp8}}) {
    const QuantisedTensor matrix = quantise(weight, as).to(options.device);
    row(options, name, static_cast<double>(matrix.bytes() + static_cast<int64_t>(out.nbytes())),
        [&] { dequantise(matrix, 0, 0, out); });
  }
}

// Names say "per 1e9": the times are for that many elements.
void optimizer_kernels(const ProbeOptions& options, int64_t elements) {
  const double factor = 1e9 / static_cast<double>(elements);
  const auto floats = torch::TensorOptions(options.device).dtype(torch::kFloat32);
  FlatUpdateBuffers lion;
  lion.param = noise({elements}, torch::kBFloat16, options, 10);
  lion.grad = noise({elements}, torch::kBFloat16, options, 11);
  lion.states = {torch::zeros({elements}, floats)};
  const FlatUpdateNumbers numbers = {
      .decay = 0.999, .step_size = 1e-4, .beta1 = 0.9, .one_minus_beta1 = 0.1, .beta2 = 0.99, .one_minus_beta2 = 0.01};
  row(
      options, "lion bf16 per 1e9", 16e9, [&] { flat_update(FlatRule::kLion, numbers, lion, {}); }, factor);

  const CodeTables tables(options.device);
  const auto codes = torch::TensorOptions(options.device).dtype(torch::kUInt8);
  AdamW8bitBuffers narrow;
  narrow.param = noise({elements}, torch::kFloat32, options, 12);
  narrow.grad = lion.grad;
  narrow.m_codes = torch::full({elements}, zero_code(true), codes);
  narrow.v_codes = torch::full({elements}, zero_code(false), codes);
  narrow.m_scales = torch::zeros({quantized_blocks(0, elements)}, floats);
  narrow.v_scales = torch::zeros_like(narrow.m_scales);
  narrow.tables = &tables;
  row(
      options, "adamw8bit per 1e9", 16e9, [&] { adamw8bit_step(narrow, {}); }, factor);
}

}  // namespace

void probe_llama_kernels(const ProbeOptions& options) {
  const Sizes sizes = options.tiny ? Sizes{24, 64, 96, 120, 8, 4, 2, 16, 4096}
                                   : Sizes{8192, 4096, 14336, 128256, 512, 32, 8, 128, int64_t{1} << 28};
  layer_kernels(options, sizes);
  base_kernels(options, sizes);
  optimizer_kernels(options, sizes.elements);
}

}  // namespace millrace
