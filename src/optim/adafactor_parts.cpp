#include "optim/adafactor_parts.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

using Part = AdafactorParts::Part;

// A run of a matrix, as at most three rectangles: the end of a row, whole rows, the start of a row.
std::vector<Part> rectangles_of_run(const ParameterRange& range, int64_t columns) {
  std::vector<Part> parts;
  int64_t at = range.offset;
  const int64_t end = range.offset + range.size;
  while (at < end) {
    Part part;
    part.begin = range.begin + at - range.offset;
    part.row_stride = columns;
    part.first_row = at / columns;
    part.first_column = at % columns;
    const bool whole_rows = part.first_column == 0 && end - at >= columns;
    part.rows = whole_rows ? (end - at) / columns : 1;
    part.columns = whole_rows ? columns : std::min(columns - part.first_column, end - at);
    at += part.rows * part.columns;
    parts.push_back(std::move(part));
  }
  return parts;
}

std::vector<Part> parts_of(const ParameterRange& range, bool is_factored, const char* rule) {
  if (!is_factored) {
    if (range.is_box()) {
      throw ConfigError(
          str("[optimizer.name] expected a rule that takes parts of matrices, with tensor parallelism, "
              "got ",
              rule, ", which does not divide ", range.name));
    }
    Part part;
    part.begin = range.begin;
    part.row_stride = part.columns = range.size;
    part.offset = range.offset;
    return {part};
  }
  if (!range.is_box()) return rectangles_of_run(range, range.global_shape[1]);
  Part part;
  part.begin = range.begin;
  part.row_stride = range.row_stride;
  part.first_row = range.start[0];
  part.rows = range.shape[0];
  part.first_column = range.start[1];
  part.columns = range.shape[1];
  return {part};
}

}  // namespace

torch::Tensor AdafactorParts::Part::of(const torch::Tensor& flat) const {
  return flat.as_strided({rows, columns}, {row_stride, 1}, flat.storage_offset() + begin);
}

AdafactorParts::AdafactorParts(const std::vector<FlatGroup>& groups, const char* rule, Averages averages)
    : average_(std::move(averages.name)) {
  const auto fp32 = torch::dtype(torch::kFloat32).device(groups.at(0).master.device());
  std::map<std::string, size_t> index_of;
  int64_t num_sums = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (const WholeParameter& whole : whole_parameters_of(groups[i])) {
      if (whole.shape.size() > 2) {
        throw ConfigError(str("[optimizer.name] expected matrices and vectors with ", rule, ", got ", whole.name,
                              " with ", whole.shape.size(), " dimensions"));
      }
      Parameter parameter;
      parameter.name = whole.name;
      parameter.shape = whole.shape;
      parameter.group = i;
      parameter.is_factored = whole.shape.size() == 2 && std::max(whole.shape[0], whole.shape[1]) >= averages.min_side;
      parameter.numel = c10::multiply_integers(whole.shape);
      if (parameter.is_factored) num_sums += whole.shape[0] + whole.shape[1];
      index_of[whole.name] = parameters.size();
      parameters.push_back(std::move(parameter));
    }
  }
  const auto count = static_cast<int64_t>(parameters.size());
  sums = torch::zeros({num_sums + count}, fp32);
  per_parameter = sums.narrow(0, num_sums, count);
  int64_t at = 0;
  for (Parameter& parameter : parameters) {
    if (!parameter.is_factored) continue;
    const int64_t rows = parameter.shape[0], columns = parameter.shape[1];
    parameter.row_means = torch::zeros({rows}, fp32);
    parameter.column_means = torch::zeros({columns}, fp32);
    parameter.row_sums = sums.narrow(0, at, rows);
    parameter.column_sums = sums.narrow(0, at + rows, columns);
    at += rows + columns;
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    for (const ParameterRange& range : parameters_or_whole(groups[i])) {
      const size_t index = index_of.at(range.name);
      for (Part& part : parts_of(range, parameters[index].is_factored, rule)) {
        part.group = i;
        part.parameter = index;
        part.primary = range.primary;
        if (averages.includes_unfactored && !parameters[index].is_factored) {
          part.exp_avg_sq = torch::zeros({part.rows, part.columns}, fp32);
        }
        parts.push_back(std::move(part));
      }
    }
  }
}

void AdafactorParts::restart() {
  for (const Parameter& parameter : parameters) {
    if (!parameter.is_factored) continue;
    parameter.row_means.zero_();
    parameter.column_means.zero_();
  }
  for (const Part& part : parts) {
    if (part.exp_avg_sq.defined()) part.exp_avg_sq.zero_();
  }
}

torch::Tensor AdafactorParts::Factors::scale(const torch::Tensor& x, const Part& part) const {
  return x * rows.narrow(0, part.first_row, part.rows) * columns.narrow(0, part.first_column, part.columns);
}

void AdafactorParts::add_to_sums(const Part& part, const torch::Tensor& square) const {
  const Parameter& parameter = parameters[part.parameter];
  parameter.row_sums.narrow(0, part.first_row, part.rows).add_(square.sum(1));
  parameter.column_sums.narrow(0, part.first_column, part.columns).add_(square.sum(0));
}

std::vector<AdafactorParts::Factors> AdafactorParts::move_averages(double kept) const {
  std::vector<Factors> factors(parameters.size());
  for (size_t i = 0; i < factors.size(); ++i) {
    const Parameter& parameter = parameters[i];
    if (!parameter.is_factored) continue;
    const auto rows = static_cast<double>(parameter.shape[0]), columns = static_cast<double>(parameter.shape[1]);
    parameter.row_means.mul_(kept).add_(parameter.row_sums, (1 - kept) / columns);
    parameter.column_means.mul_(kept).add_(parameter.column_sums, (1 - kept) / rows);
    factors[i] = {(parameter.row_means / parameter.row_means.mean()).rsqrt_().unsqueeze(1),
                  parameter.column_means.rsqrt()};
  }
  return factors;
}

std::vector<StateTensor> AdafactorParts::state() const {
  std::vector<StateTensor> tensors;
  StateTensor state;
  state.extent = StateTensor::Extent::kParameter;
  for (const Parameter& parameter : parameters) {
    if (!parameter.is_factored) continue;
    state.parameter = parameter.name;
    state.group = parameter.group;
    state.name = average_ + "_row";
    state.tensor = parameter.row_means;
    tensors.push_back(state);
    state.name = average_ + "_col";
    state.tensor = parameter.column_means;
    tensors.push_back(state);
  }
  state.name = average_;
  for (const Part& part : parts) {
    if (!part.exp_avg_sq.defined()) continue;
    state.parameter = parameters[part.parameter].name;
    state.group = part.group;
    state.tensor = part.exp_avg_sq.view({-1});
    state.global_shape = parameters[part.parameter].shape;
    state.offset = part.offset;
    state.primary = part.primary;
    tensors.push_back(state);
  }
  return tensors;
}

}  // namespace millrace
