#include "models/weights.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr size_t kNamesShown = 5;

bool is_ignorable(const std::string& name, const IgnorableNames& ignorable) {
  return std::any_of(ignorable.begin(), ignorable.end(), [&](const std::string& pattern) {
    return ends_with(pattern, ".") ? starts_with(name, pattern) : name == pattern;
  });
}

int64_t rows_of(const std::vector<int64_t>& shape) {
  return shape.empty() ? 1 : shape[0];
}
int64_t row_end(const WeightRule& rule, const std::vector<int64_t>& ours) {
  return rule.row_end < 0 ? rows_of(ours) : rule.row_end;
}
bool is_whole(const WeightRule& rule, const std::vector<int64_t>& ours) {
  return rule.row_begin == 0 && row_end(rule, ours) == rows_of(ours);
}

// The shape that theirs must have to give ours.
std::vector<int64_t> shape_of_theirs(const WeightRule& rule, std::vector<int64_t> shape) {
  MILLRACE_CHECK(rule.row_begin >= 0 && row_end(rule, shape) <= rows_of(shape) &&
                 rule.row_begin < row_end(rule, shape));
  if (!is_whole(rule, shape)) shape[0] = row_end(rule, shape) - rule.row_begin;
  if (rule.squeeze_1x1) {
    MILLRACE_CHECK(shape.size() == 4 && shape[2] == 1 && shape[3] == 1);
    shape.resize(2);
  }
  return shape;
}

torch::Tensor swapped_halves(const torch::Tensor& tensor) {
  MILLRACE_CHECK(tensor.size(0) % 2 == 0);
  const int64_t half = tensor.size(0) / 2;
  return torch::cat({tensor.narrow(0, half, half), tensor.narrow(0, 0, half)}, 0);
}

// Converts their tensor to the rows of ours that it holds.
torch::Tensor as_ours(const WeightRule& rule, torch::Tensor theirs) {
  if (rule.squeeze_1x1) theirs = theirs.reshape({theirs.size(0), theirs.size(1), 1, 1});
  return rule.swap_halves ? swapped_halves(theirs) : theirs;
}

// A few of the names, then the number of further ones.
std::string some_of(std::vector<std::string> names) {
  const size_t count = names.size();
  if (count > kNamesShown) names.resize(kNamesShown);
  std::string text = join(names, ", ");
  if (count > kNamesShown) text += " and " + std::to_string(count - kNamesShown) + " more";
  return text;
}

// Every parameter must be covered by its rules without gap or overlap; anything else is a mistake in weight_names.
void check_rules_cover(const ShapeMap& ours, const WeightRules& rules) {
  std::map<std::string, int64_t> rows;
  for (const WeightRule& rule : rules) {
    const auto found = ours.find(rule.ours);
    MILLRACE_CHECK(found != ours.end());
    rows[rule.ours] += row_end(rule, found->second) - rule.row_begin;
  }
  for (const auto& [name, shape] : ours) MILLRACE_CHECK(rows[name] == rows_of(shape));
}

}  // namespace

std::string_view naming_name(Naming naming) {
  switch (naming) {
    case Naming::kBfl:
      return "bfl";
    case Naming::kDiffusers:
      return "diffusers";
    case Naming::kTorchtitan:
      return "torchtitan";
    case Naming::kHuggingFace:
      return "huggingface";
  }
  return "";
}

Naming parse_naming(std::string_view text) {
  std::vector<std::string> names;
  for (Naming naming : {Naming::kBfl, Naming::kDiffusers, Naming::kTorchtitan, Naming::kHuggingFace}) {
    if (text == naming_name(naming)) return naming;
    names.emplace_back(naming_name(naming));
  }
  const std::string near = nearest(text, names);
  throw ConfigError("[naming] expected " + join(names, ", ") + ", got " + std::string(text) +
                    (near.empty() ? "" : " (try " + near + ")"));
}

ShapeMap shapes_of(const WeightStore& store) {
  ShapeMap shapes;
  for (const TensorView& tensor : store.tensors()) shapes[tensor.name] = tensor.shape;
  return shapes;
}

ShapeMap shapes_of(const TensorMap& tensors) {
  ShapeMap shapes;
  for (const auto& [name, tensor] : tensors) shapes[name] = tensor.sizes().vec();
  return shapes;
}

ShapeMap shapes_of(const torch::nn::Module& module) {
  return shapes_of(parameters_of(module));
}

WeightRules identity_rules(const ShapeMap& ours) {
  WeightRules rules;
  for (const auto& [name, shape] : ours) rules.push_back({name, name});
  return rules;
}

void check_weights(const std::string& what, const ShapeMap& ours, const WeightStore& store, const WeightRules& rules,
                   const IgnorableNames& ignorable) {
  check_rules_cover(ours, rules);
  std::vector<std::string> missing, surplus, misshaped;
  std::set<std::string> known;
  for (const WeightRule& rule : rules) {
    known.insert(rule.theirs);
    const TensorView* found = store.find(rule.theirs);
    if (found == nullptr) {
      missing.push_back(rule.theirs);
      continue;
    }
    const std::vector<int64_t> expected = shape_of_theirs(rule, ours.at(rule.ours));
    if (found->shape != expected) {
      misshaped.push_back(rule.theirs + " (expected " + shape_text(expected) + ", got " + shape_text(found->shape) +
                          ")");
    } else if (!is_floating(found->dtype)) {
      misshaped.push_back(rule.theirs + " (expected floating point, got " + std::string(dtype_name(found->dtype)) +
                          ")");
    }
  }
  for (const TensorView& tensor : store.tensors()) {
    if (!known.count(tensor.name) && !is_ignorable(tensor.name, ignorable)) surplus.push_back(tensor.name);
  }
  if (missing.empty() && surplus.empty() && misshaped.empty()) return;
  std::vector<std::string> problems;
  const auto report = [&](const std::vector<std::string>& names, const std::string& problem) {
    if (!names.empty()) problems.push_back(std::to_string(names.size()) + " " + problem + ": " + some_of(names));
  };
  report(missing, "missing");
  report(surplus, "unknown");
  report(misshaped, "of another shape or type");
  throw ModelError("[" + store.path().string() + "] expected the " + std::to_string(rules.size()) + " tensors of " +
                   what + ", got " + join(problems, "; ") + " (try another model or --config)");
}

void load_weights(torch::nn::Module& module, const WeightStore& store, const WeightRules& rules,
                  const IgnorableNames& ignorable) {
  TensorMap parameters = parameters_of(module);
  check_weights(module.name(), shapes_of(parameters), store, rules, ignorable);
  torch::NoGradGuard no_grad;
  for (const WeightRule& rule : rules) {
    torch::Tensor& parameter = parameters.at(rule.ours);
    const torch::Tensor theirs = as_ours(rule, to_tensor(*store.find(rule.theirs), store.keep_alive()));
    const int64_t end = row_end(rule, parameter.sizes().vec());
    (parameter.dim() == 0 ? parameter : parameter.narrow(0, rule.row_begin, end - rule.row_begin)).copy_(theirs);
  }
}

TensorMap import_weights(const std::string& what, const ShapeMap& ours, const WeightStore& store,
                         const WeightRules& rules, const IgnorableNames& ignorable) {
  check_weights(what, ours, store, rules, ignorable);
  TensorMap result;
  for (const auto& [name, own_rules] : rules_by_parameter(rules)) result[name] = import_tensor(store, own_rules);
  return result;
}

std::map<std::string, WeightRules> rules_by_parameter(const WeightRules& rules) {
  std::map<std::string, WeightRules> result;
  for (const WeightRule& rule : rules) result[rule.ours].push_back(rule);
  return result;
}

torch::Tensor import_tensor(const WeightStore& store, const WeightRules& rules) {
  std::map<int64_t, torch::Tensor> by_row;
  for (const WeightRule& rule : rules) {
    by_row[rule.row_begin] = as_ours(rule, to_tensor(*store.find(rule.theirs), store.keep_alive()));
  }
  std::vector<torch::Tensor> rows;
  for (const auto& [row, piece] : by_row) {
    if (!rows.empty() && piece.dtype() != rows[0].dtype()) {
      throw ModelError("[" + store.path().string() + "] expected one dtype in all pieces of " + rules[0].ours +
                       ", got " + std::string(rows[0].dtype().name()) + " and " + std::string(piece.dtype().name()));
    }
    rows.push_back(piece);
  }
  return rows.size() == 1 ? rows[0] : torch::cat(rows, 0);
}

TensorMap export_weights(const TensorMap& ours, const WeightRules& rules) {
  TensorMap result;
  for (const WeightRule& rule : rules) {
    const auto found = ours.find(rule.ours);
    if (found == ours.end()) continue;
    torch::Tensor tensor = found->second.detach();
    const std::vector<int64_t> shape = tensor.sizes().vec();
    if (!is_whole(rule, shape)) tensor = tensor.narrow(0, rule.row_begin, row_end(rule, shape) - rule.row_begin);
    if (rule.swap_halves) tensor = swapped_halves(tensor);
    if (rule.squeeze_1x1) tensor = tensor.reshape({tensor.size(0), tensor.size(1)});
    result[rule.theirs] = tensor;
  }
  return result;
}

TensorMap parameters_of(const torch::nn::Module& module) {
  TensorMap result;
  for (const auto& parameter : module.named_parameters()) result[parameter.key()] = parameter.value();
  return result;
}

}  // namespace millrace
