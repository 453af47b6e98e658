// What an adapter makes of its layer's weight, for files that hold the sum.
#pragma once

#include <torch/types.h>

#include <map>
#include <string>
#include <vector>

#include "adapters/adapter_file.h"

namespace millrace {

// The change of the rows that the adapter is of: scale times its product, fp32. For DoRA, before its magnitude.
torch::Tensor weight_change(const AdapterTensors& adapter);

// weight_NK [N, K], fp32, becomes the adapted layer's. strength: of the change; with a magnitude, of the difference
// that the whole adapter makes. Throws ModelError for an adapter of a layer of another size.
void merge_adapter(torch::Tensor& weight_NK, const AdapterTensors& adapter, double strength = 1);

// Adapters of a model's layers, to be added to its weights one tensor at a time.
class AdapterMerger {
 public:
  // adapters: with modules and rows as the model has them.
  void add(std::vector<AdapterTensors> adapters, double strength);
  // name: "<layer>.weight".
  bool has(const std::string& name) const { return of_weight_.contains(name); }
  // The weight with the adapters of its layer, in its dtype; itself where there are none.
  torch::Tensor merged(const std::string& name, const torch::Tensor& weight) const;
  // "<layer>.weight" of every layer that has some, with the name of one of its tensors in the file.
  std::map<std::string, std::string> weights() const;
  bool is_empty() const { return of_weight_.empty(); }

 private:
  struct Adapter {
    AdapterTensors tensors;
    double strength = 1;
  };
  std::map<std::string, std::vector<Adapter>> of_weight_;
};

}  // namespace millrace
