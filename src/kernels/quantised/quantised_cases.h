// A matrix of each kind, for tests and `millrace verify`.
#pragma once

#include <string>
#include <vector>

#include "kernels/quantised/dequantise.h"

namespace millrace {

struct QuantisedCase {
  std::string name;  // "nf4", "Q4_K"
  QuantisedTensor matrix;
};

// Every kind and block format, [rows, 512], and those that take any width [rows, 75]: rows that begin within a block,
// and within a byte. The same numbers every time.
std::vector<QuantisedCase> quantised_cases(int64_t rows);

// The number of elements that dequantise() and its reference give different bits, over whole matrices and tiles, in
// fp32 and bf16, on that device.
int64_t differing_elements(const QuantisedTensor& matrix, torch::Device device);

}  // namespace millrace
