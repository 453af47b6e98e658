// The cases of op_check.h: which sizes and layouts every operation is checked with.
#include <array>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/gate_residual/gate_residual.h"
#include "kernels/gelu/gelu.h"
#include "kernels/norm_modulate/norm_modulate.h"
#include "kernels/op_check.h"
#include "kernels/qk_norm_rope/qk_norm_rope.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rotary/rotary.h"
#include "kernels/swiglu/swiglu.h"

namespace millrace {
namespace {

using torch::Tensor;

// Cosine and sine pairs for arbitrary angles, as in a rope table.
std::pair<Tensor, Tensor> rope_table(uint64_t seed, const std::vector<int64_t>& sizes) {
  const Tensor angle = random_tensor(seed, 99, sizes) * 3;
  return {angle.cos().to(torch::kFloat32), angle.sin().to(torch::kFloat32)};
}

struct QkSizes {
  int64_t batch, length, heads, head_dim;
  bool bias = false, table_per_sample = false;
  int64_t more_columns = 0;  // than q, k and v need: a slice of a wider product's output
};

OpCase qk_norm_rope_case(uint64_t seed, const QkSizes& sizes) {
  const int64_t width = 3 * sizes.heads * sizes.head_dim, half = sizes.head_dim / 2;
  const auto [cos, sin] =
      rope_table(seed, sizes.table_per_sample ? std::vector<int64_t>{sizes.batch, sizes.length, half}
                                              : std::vector<int64_t>{sizes.length, half});
  OpCase op_case;
  op_case.name = "qk_norm_rope of " + std::to_string(sizes.head_dim) + (sizes.bias ? " with bias" : "");
  op_case.inputs = {random_tensor(seed, 0, {sizes.batch, sizes.length, width + sizes.more_columns}),
                    random_tensor(seed, 1, {sizes.head_dim}) + 1, random_tensor(seed, 2, {sizes.head_dim}) + 1};
  if (sizes.bias) op_case.inputs.push_back(random_tensor(seed, 3, {width}));
  const auto with = [=, cos = cos, sin = sin](auto op) {
    return [=](const Tensors& in) -> Tensors {
      const auto [q, k, v] = op(in[0], sizes.bias ? in[3] : Tensor(), in[1], in[2], cos.to(in[0].device()),
                                sin.to(in[0].device()), sizes.heads, 1e-6);
      return {q, k, v};
    };
  };
  op_case.fused = with(qk_norm_rope);
  op_case.reference = with(qk_norm_rope_reference);
  return op_case;
}

OpCase rotary_case(uint64_t seed, int64_t tokens, int64_t heads, int64_t head_dim) {
  const auto [cos, sin] = rope_table(seed, {tokens, head_dim / 2});
  const auto with = [cos = cos, sin = sin](auto op) {
    return [=](const Tensors& in) -> Tensors { return {op(in[0], cos.to(in[0].device()), sin.to(in[0].device()))}; };
  };
  return {"rotary of " + std::to_string(heads) + " x " + std::to_string(head_dim),
          {random_tensor(seed, 6, {tokens, heads, head_dim})},
          with(rotate),
          with(rotate_reference)};
}

OpCase cross_entropy_case(const Tensor& logits_RV, const std::string& suffix) {
  const Tensor labels_R = at::arange(logits_RV.size(0)).mul_(7).remainder_(logits_RV.size(1));
  const auto with = [=](auto op) {
    return [=](const Tensors& in) -> Tensors { return {op(in[0], labels_R.to(in[0].device()))}; };
  };
  return {"cross_entropy" + suffix, {logits_RV * 3}, with(cross_entropy), with(cross_entropy_reference)};
}

struct RowSizes {
  int64_t batch, length, dim;
  // Rows that are columns of a wider tensor, and modulations that are columns of one for many: as in a transformer
  // block.
  bool slices = false;
};

// Which operations a width is for.
enum class RowOps { kAll, kRmsNorms, kSwiglu };

// The operations over rows of one width. In a slice case a tensor has a block of columns before the rows' own.
std::vector<OpCase> row_cases(uint64_t seed, const RowSizes& sizes, RowOps ops = RowOps::kAll) {
  const int64_t dim = sizes.dim, width = sizes.slices ? 2 * dim : dim;
  const auto wanted = [=](RowOps of) { return ops == RowOps::kAll || ops == of; };
  const Tensor x = random_tensor(seed, 0, {sizes.batch, sizes.length, width}) + 0.5;
  const Tensor y = random_tensor(seed, 1, {sizes.batch, sizes.length, width});
  const Tensor gate = random_tensor(seed, 2, {sizes.batch, width}),
               shift = random_tensor(seed, 3, {sizes.batch, width});
  const Tensor scale = random_tensor(seed, 4, {sizes.batch, width}), bias = random_tensor(seed, 5, {dim});
  const std::string suffix = " of " + std::to_string(dim) + (sizes.slices ? " in slices" : "");
  const auto own = [=](const Tensor& in) { return in.size(-1) == dim ? in : in.narrow(-1, width - dim, dim); };
  std::vector<OpCase> cases;
  const auto add = [&](const std::string& name, Tensors inputs, auto fused, auto reference) {
    const auto on_slices = [own](auto op) -> TensorFunction {
      return [=](const Tensors& in) -> Tensors {
        Tensors parts;
        for (const Tensor& part : in) parts.push_back(own(part));
        return op(parts);
      };
    };
    cases.push_back({name + suffix, std::move(inputs), on_slices(fused), on_slices(reference)});
  };
  const auto pair = [](const auto& two) -> Tensors { return {std::get<0>(two), std::get<1>(two)}; };

  if (wanted(RowOps::kRmsNorms)) {
    add(
        "rms_norm", {x, bias + 1}, [](const Tensors& in) -> Tensors { return {rms_norm(in[0], in[1], 1e-5)}; },
        [](const Tensors& in) -> Tensors { return {rms_norm_reference(in[0], in[1], 1e-5)}; });
    add(
        "add_rms_norm", {x, y, bias + 1},
        [=](const Tensors& in) { return pair(add_rms_norm(in[0], in[1], in[2], 1e-5)); },
        [=](const Tensors& in) { return pair(add_rms_norm_reference(in[0], in[1], in[2], 1e-5)); });
  }
  if (wanted(RowOps::kSwiglu)) {
    add(
        "swiglu", {x * 2, y}, [](const Tensors& in) -> Tensors { return {swiglu(in[0], in[1])}; },
        [](const Tensors& in) -> Tensors { return {swiglu_reference(in[0], in[1])}; });
  }
  if (ops != RowOps::kAll) return cases;
  add(
      "norm_modulate", {x, shift, scale},
      [](const Tensors& in) -> Tensors { return {norm_modulate(in[0], in[1], in[2])}; },
      [](const Tensors& in) -> Tensors { return {norm_modulate_reference(in[0], in[1], in[2])}; });
  add(
      "gate_residual", {x, y, gate}, [](const Tensors& in) -> Tensors { return {gate_residual(in[0], in[1], in[2])}; },
      [](const Tensors& in) -> Tensors { return {gate_residual_reference(in[0], in[1], in[2])}; });
  add(
      "gate_residual with bias", {x, y, gate, bias},
      [](const Tensors& in) -> Tensors { return {gate_residual(in[0], in[1], in[2], in[3])}; },
      [](const Tensors& in) -> Tensors { return {gate_residual_reference(in[0], in[1], in[2], in[3])}; });
  add(
      "gate_residual_norm", {x, y, gate, bias, shift, scale},
      [=](const Tensors& in) { return pair(gate_residual_norm(in[0], in[1], in[2], in[3], in[4], in[5])); },
      [=](const Tensors& in) { return pair(gate_residual_norm_reference(in[0], in[1], in[2], in[3], in[4], in[5])); });
  add(
      "gelu", {x * 2}, [](const Tensors& in) -> Tensors { return {gelu_tanh(in[0])}; },
      [](const Tensors& in) -> Tensors { return {gelu_reference(in[0])}; });
  add(
      "gelu with bias", {x * 2, bias}, [](const Tensors& in) -> Tensors { return {gelu_tanh(in[0], in[1])}; },
      [](const Tensors& in) -> Tensors { return {gelu_reference(in[0], in[1])}; });
  if (!sizes.slices) cases.push_back(cross_entropy_case(y.flatten(0, 1), suffix));
  return cases;
}

void append(std::vector<OpCase>& cases, std::vector<OpCase> more) {
  for (OpCase& op_case : more) cases.push_back(std::move(op_case));
}

}  // namespace

std::vector<OpCase> standard_op_cases(uint64_t seed) {
  std::vector<OpCase> cases = row_cases(seed, {.batch = 3, .length = 37, .dim = 101});
  cases.push_back(qk_norm_rope_case(seed, {3, 37, 3, 128, false, false, /*more_columns=*/2}));
  cases.push_back(qk_norm_rope_case(seed, {3, 37, 2, 22, true, true, /*more_columns=*/2}));
  cases.push_back(rotary_case(seed, 37, 3, 22));
  return cases;
}

std::vector<OpCase> packed_op_cases(uint64_t seed) {
  std::vector<OpCase> cases;
  // Rows of more packs than a block has threads, and of fewer; more rows than a chunk.
  for (const int64_t dim : {1032, 56}) append(cases, row_cases(seed, {.batch = 2, .length = 19, .dim = dim}));
  append(cases, row_cases(seed, {.batch = 2, .length = 9, .dim = 3072, .slices = true}));
  cases.push_back(qk_norm_rope_case(seed, {2, 35, 3, 128, true}));  // 35: chunks of different lengths
  cases.push_back(qk_norm_rope_case(seed, {2, 35, 2, 24, true}));   // 6 lanes of 32 have something to do
  cases.push_back(qk_norm_rope_case(seed, {1, 9, 24, 128, false, false, /*more_columns=*/4 * 3072}));
  cases.push_back(rotary_case(seed, 35, 3, 64));
  // Llama's widths: 8B, 70B, and 405B, whose sums take 64 KiB; 8B's feed-forward, vocabulary, query and key heads.
  for (const int64_t dim : {4096, 8192, 16384}) {
    append(cases, row_cases(seed, {.batch = 1, .length = 3, .dim = dim}, RowOps::kRmsNorms));
  }
  append(cases, row_cases(seed, {.batch = 1, .length = 5, .dim = 14336, .slices = true}, RowOps::kSwiglu));
  cases.push_back(cross_entropy_case(random_tensor(seed, 7, {3, 128256}), " of 128256"));
  cases.push_back(rotary_case(seed, 5, 40, 128));
  return cases;
}

std::vector<OpCase> all_op_cases(uint64_t seed) {
  std::vector<OpCase> cases = standard_op_cases(seed);
  append(cases, packed_op_cases(seed));
  return cases;
}

}  // namespace millrace
