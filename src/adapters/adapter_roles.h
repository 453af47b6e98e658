// Which tensors of an adapter hold what, by its kind: for those that take adapters apart and put them together.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "adapters/adapter_file.h"

namespace millrace {

// The roles of a left matrix and a right one of which LoRA and DoRA have one product and LoHa two. Not of LoKr.
using ThinProduct = std::pair<std::string, std::string>;
std::vector<ThinProduct> thin_products(AdapterKind kind);

// The tensors whose rows are the outputs'. Not of LoKr.
std::vector<std::string> output_roles(AdapterKind kind);

// The tensor with the rows of a Kronecker factor ("w1" or "w2"): the whole matrix, or the left one of two.
std::string factor_row_role(const AdapterTensors& lokr, const std::string& factor);
int64_t factor_rows(const AdapterTensors& lokr, const std::string& factor);

torch::Tensor& values_of(AdapterTensors& adapter, const std::string& role);
const torch::Tensor& values_of(const AdapterTensors& adapter, const std::string& role);

// tensor x factor, computed in fp32 and rounded to the tensor's dtype.
torch::Tensor times(const torch::Tensor& tensor, double factor);

}  // namespace millrace
