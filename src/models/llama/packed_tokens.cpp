#include "models/llama/packed_tokens.h"

#include "base/error.h"

namespace millrace::llama {
namespace {

const int64_t* row_of(const torch::Tensor& x_BL, int64_t row) {
  return x_BL.const_data_ptr<int64_t>() + row * x_BL.size(1);
}

void check_mask_row(const int64_t* mask, int64_t length, int64_t row, const std::string& place) {
  int64_t changes = 0;
  for (int64_t i = 0; i < length; ++i) {
    const bool starts_as_one = i == 0 && mask[0] == 1;
    if (starts_as_one || (i > 0 && mask[i] != mask[i - 1])) ++changes;
    if ((mask[i] != 0 && mask[i] != 1) || changes > 2) {
      throw DataError("[" + place + ": attention_mask] expected one run of ones in each row and zeros beside it, got " +
                      std::to_string(mask[i]) + " at row " + std::to_string(row) + ", column " + std::to_string(i));
    }
  }
}

}  // namespace

PackedTokens pack_tokens(const torch::Tensor& ids_BL, const torch::Tensor& position_ids_BL,
                         const torch::Tensor& attention_mask_BL, const std::string& place) {
  const int64_t batch = ids_BL.size(0), length = ids_BL.size(1);
  const auto on_cpu = [](const torch::Tensor& x) { return x.to(torch::kCPU).contiguous(); };
  const torch::Tensor positions_BL =
      position_ids_BL.defined()
          ? on_cpu(position_ids_BL)
          : torch::arange(length, torch::kInt64).unsqueeze(0).expand({batch, length}).contiguous();
  const torch::Tensor mask_BL = attention_mask_BL.defined() ? on_cpu(attention_mask_BL) : torch::Tensor();
  std::vector<int64_t> lengths;
  for (int64_t row = 0; row < batch; ++row) {
    const int64_t* positions = row_of(positions_BL, row);
    const int64_t* mask = mask_BL.defined() ? row_of(mask_BL, row) : nullptr;
    if (mask != nullptr) check_mask_row(mask, length, row, place);
    int64_t begin = 0;
    for (int64_t i = 0; i < length; ++i) {
      if (positions[i] < 0) {
        throw DataError("[" + place + ": position_ids] expected positions from 0, got " + std::to_string(positions[i]) +
                        " at row " + std::to_string(row) + ", column " + std::to_string(i));
      }
      const bool ends =
          i + 1 == length || positions[i + 1] != positions[i] + 1 || (mask != nullptr && mask[i + 1] != mask[i]);
      if (!ends) continue;
      lengths.push_back(i + 1 - begin);
      begin = i + 1;
    }
  }
  return {ids_BL.reshape({-1}).contiguous(), positions_BL.view({-1}).to(ids_BL.device()),
          Documents(std::move(lengths), ids_BL.device())};
}

}  // namespace millrace::llama
