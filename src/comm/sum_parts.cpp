#include "comm/sum_parts.h"

#include <cstring>

#include "base/error.h"

namespace millrace {
namespace {

// A fixed inner length, so that the compiler uses vector instructions at -O2.
constexpr int64_t kBlock = 32;

template <typename Out, typename In, typename Update>
void for_each_element(Out* __restrict__ out, const In* __restrict__ in, int64_t count, Update update) {
  int64_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    for (int64_t j = 0; j < kBlock; ++j) update(out[i + j], in[i + j]);
  }
  for (; i < count; ++i) update(out[i], in[i]);
}

template <typename Out, typename In, typename Update>
void update_all(torch::Tensor& out, const torch::Tensor& in, Update update) {
  for_each_element(out.mutable_data_ptr<Out>(), in.const_data_ptr<In>(), out.numel(), update);
}

template <typename T>
void add_same(torch::Tensor& sum, const torch::Tensor& part) {
  update_all<T, T>(sum, part, [](T& total, T term) { total += term; });
}

// Copies where the dtypes are equal; false where they differ.
bool copy_same(torch::Tensor& out, const torch::Tensor& in) {
  MILLRACE_CHECK(out.numel() == in.numel());
  if (out.scalar_type() != in.scalar_type()) return false;
  if (out.data_ptr() != in.data_ptr()) std::memcpy(out.mutable_data_ptr(), in.const_data_ptr(), in.nbytes());
  return true;
}

}  // namespace

torch::ScalarType sum_dtype(torch::ScalarType dtype) {
  return dtype == torch::kBFloat16 ? torch::kFloat32 : dtype;
}

bool can_sum(torch::ScalarType dtype) {
  return dtype == torch::kFloat32 || dtype == torch::kBFloat16 || dtype == torch::kFloat64 || dtype == torch::kInt32 ||
         dtype == torch::kInt64;
}

void set_sum(torch::Tensor& sum, const torch::Tensor& part) {
  if (copy_same(sum, part)) return;
  update_all<float, at::BFloat16>(sum, part, [](float& total, at::BFloat16 term) { total = static_cast<float>(term); });
}

void add_part(torch::Tensor& sum, const torch::Tensor& part) {
  MILLRACE_CHECK(sum.numel() == part.numel() && sum.scalar_type() == sum_dtype(part.scalar_type()));
  switch (part.scalar_type()) {
    case torch::kFloat32:
      return add_same<float>(sum, part);
    case torch::kFloat64:
      return add_same<double>(sum, part);
    case torch::kInt32:
      return add_same<int32_t>(sum, part);
    case torch::kInt64:
      return add_same<int64_t>(sum, part);
    default:
      update_all<float, at::BFloat16>(sum, part,
                                      [](float& total, at::BFloat16 term) { total += static_cast<float>(term); });
  }
}

void store_sum(torch::Tensor& out, const torch::Tensor& sum) {
  if (copy_same(out, sum)) return;
  update_all<at::BFloat16, float>(out, sum, [](at::BFloat16& rounded, float total) { rounded = total; });
}

}  // namespace millrace
