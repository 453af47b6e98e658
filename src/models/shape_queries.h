// Queries on the shapes of a file, for inferring a model's sizes from its tensors.
#pragma once

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "models/weights.h"

namespace millrace {

class ShapeQueries {
 public:
  // what and place: the model's name and the file, for messages. Keeps a reference to shapes.
  ShapeQueries(std::string what, const ShapeMap& shapes, std::string place)
      : what_(std::move(what)), shapes_(shapes), place_(std::move(place)) {}

  bool has(const std::string& name) const { return shapes_.count(name) != 0; }

  // One dimension of a tensor that every such model has; throws ModelError if the file lacks it.
  int64_t size(const std::string& name, size_t dim) const {
    const auto found = shapes_.find(name);
    if (found == shapes_.end()) {
      throw ModelError("[" + place_ + "] expected the tensor " + name + " of " + what_ +
                       ", got a file without it (try another model, or --config)");
    }
    if (found->second.size() <= dim || found->second[dim] < 1) {
      throw ModelError("[" + place_ + ": " + name + "] expected at least " + std::to_string(dim + 1) +
                       " non-empty dimensions, got another shape");
    }
    return found->second[dim];
  }

  // How many numbered children a prefix has: 1 + the largest N below 1000 of "<prefix>N.". Gaps are reported later as
  // missing tensors, larger numbers as unknown ones.
  int64_t count(const std::string& prefix) const {
    int64_t count = 0;
    for (const auto& [name, shape] : shapes_) {
      if (!starts_with(name, prefix)) continue;
      const std::string number = name.substr(prefix.size(), name.find('.', prefix.size()) - prefix.size());
      const bool is_number =
          !number.empty() && number.size() <= 3 && number.find_first_not_of("0123456789") == std::string::npos;
      if (is_number) count = std::max<int64_t>(count, std::stoll(number) + 1);
    }
    return count;
  }

 private:
  std::string what_;
  const ShapeMap& shapes_;
  std::string place_;
};

}  // namespace millrace
