#include "kernels/adamw8bit/adamw8bit_cases.h"

#include "kernels/philox_fill/philox_fill.h"

namespace millrace {
namespace {

using torch::Tensor;

Tensor normal(int64_t n, uint64_t id) {
  const Tensor x = torch::empty({1, n});
  philox_fill_normal_reference(x, {random_stream(29, RandomPurpose::kInit, 0, id)});
  return x.view({-1});
}

Tensor random_codes(int64_t n, uint64_t id) {
  return normal(n, id).mul_(60).add_(128).clamp_(0, 255).to(torch::kUInt8);
}

}  // namespace

AdamW8bitBuffers adamw8bit_case(int64_t size, int64_t first_element, const CodeTables& tables,
                                torch::ScalarType grad_type, torch::ScalarType param_type) {
  const torch::Device device = tables.m_values.device();
  const int64_t blocks = quantized_blocks(first_element, size);
  AdamW8bitBuffers buffers;
  buffers.param = normal(size, 1).to(param_type).to(device);
  buffers.grad = normal(size, 2).to(grad_type).to(device);
  buffers.model_copy = buffers.param.to(torch::kBFloat16);
  buffers.m_codes = random_codes(size, 3).to(device);
  buffers.v_codes = random_codes(size, 4).to(device);
  buffers.m_scales = normal(blocks, 5).abs().to(device);
  buffers.v_scales = normal(blocks, 6).square().to(device);
  buffers.tables = &tables;
  buffers.first_element = first_element;
  buffers.stream = 5;
  return buffers;
}

AdamW8bitBuffers copy_of(const AdamW8bitBuffers& buffers) {
  AdamW8bitBuffers copy = buffers;
  for (Tensor* x :
       {&copy.param, &copy.grad, &copy.model_copy, &copy.m_codes, &copy.v_codes, &copy.m_scales, &copy.v_scales}) {
    *x = x->clone();
  }
  return copy;
}

AdamW8bitBuffers part_of(const AdamW8bitBuffers& buffers, int64_t begin, int64_t size) {
  AdamW8bitBuffers part = buffers;
  for (Tensor* x : {&part.param, &part.grad, &part.model_copy, &part.m_codes, &part.v_codes}) {
    *x = x->narrow(0, begin, size);
  }
  part.first_element = buffers.first_element + begin;
  const int64_t first_block = part.first_element / kQuantizedBlock - buffers.first_element / kQuantizedBlock;
  for (Tensor* x : {&part.m_scales, &part.v_scales}) {
    *x = x->narrow(0, first_block, quantized_blocks(part.first_element, size));
  }
  return part;
}

}  // namespace millrace
