// The layout of squared averages that are factored, as Adafactor's: the parts of parameters on this rank, and the sums
// over rows and columns of matrices to which every rank adds its part.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "optim/flat_group.h"
#include "optim/optimizer_state.h"

namespace millrace {

class AdafactorParts {
 public:
  struct Averages {
    int64_t min_side = 0;             // factored are matrices with a side of at least this
    std::string name = "exp_avg_sq";  // of the states: exp_avg_sq_row, exp_avg_sq_col
    bool includes_unfactored = true;  // other parameters have an average of every element
  };

  // A rectangle of a factored matrix in a group's buffers, or a run of another parameter (one row).
  struct Part {
    size_t group = 0;
    size_t parameter = 0;  // index into parameters
    bool primary = true;   // this rank adds it to sums
    int64_t begin = 0, row_stride = 0;
    int64_t first_row = 0, rows = 1, first_column = 0, columns = 0;
    torch::Tensor exp_avg_sq;  // state: [rows, columns], for a parameter that is not factored
    int64_t offset = 0;        // start of that run in the parameter

    torch::Tensor of(const torch::Tensor& flat) const;  // [rows, columns], a view
  };
  struct Parameter {
    std::string name;
    std::vector<int64_t> shape;
    size_t group = 0;
    bool is_factored = false;
    int64_t numel = 0;
    torch::Tensor row_means, column_means;  // state: [rows], [columns]
    torch::Tensor row_sums, column_sums;    // views of sums
  };

  // rule: its name, for messages. Throws ConfigError for a parameter of more than two dimensions, and for boxes of a
  // matrix that is not factored.
  AdafactorParts(const std::vector<FlatGroup>& groups, const char* rule, Averages averages);

  void restart();
  std::vector<StateTensor> state() const;

  // 1 / sqrt of a factored matrix's averages, as a product: [rows, 1] and [columns]. Undefined for other parameters.
  struct Factors {
    torch::Tensor rows, columns;
    torch::Tensor scale(const torch::Tensor& x, const Part& part) const;  // x * rows * columns, within the part
  };

  // Adds squares of a factored matrix, [rows, columns] of the part, to sums.
  void add_to_sums(const Part& part, const torch::Tensor& square) const;
  // Moves the averages to the means of sums, which are those of all ranks, identically on every rank: kept * average +
  // (1 - kept) * mean.
  std::vector<Factors> move_averages(double kept) const;

  std::vector<Parameter> parameters;  // all ranks', in the same order on every rank
  std::vector<Part> parts;            // this rank's
  // fp32: row and column sums of all matrices, then one sum per parameter. To be summed over the ranks.
  torch::Tensor sums;
  torch::Tensor per_parameter;  // the last part of sums

 private:
  std::string average_;  // their name
};

}  // namespace millrace
