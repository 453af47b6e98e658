// LoHa and LoKr as LoRA that computes the same, for files and programs that know no other kind.
#pragma once

#include <optional>
#include <string>

#include "adapters/adapter_file.h"

namespace millrace {

// An elementwise product of two matrices of rank R is one of rank R^2; a Kronecker product has the product of its
// factors' ranks, where a whole factor counts as many as its shorter side. Values in fp32; names, rows and scale as
// before. LoRA stays as it is. None where the two matrices would hold no fewer numbers than the layer, and for DoRA.
std::optional<AdapterTensors> as_lora(const AdapterTensors& adapter);

// A factor ("w1" or "w2") of a Kronecker product as one matrix, in place of two thin ones; in fp32.
void make_factor_whole(AdapterTensors& lokr, const std::string& factor);

}  // namespace millrace
