#include "train/parameter_group.h"

namespace millrace {

FlatGroup parameter_group(const FlatParameters& parameters) {
  FlatGroup group{"parameters", parameters.master(), parameters.grad(), {}};
  if (!parameters.compute().is_same(parameters.master())) group.model_copy = parameters.compute();
  for (const ParameterPiece& piece : parameters.pieces()) {
    if (piece.is_box()) {
      group.parameters.push_back({piece.name + " (a rank's part)", piece.begin, piece.size});
    } else {
      group.parameters.push_back({piece.name, piece.begin, piece.size, piece.offset});
    }
  }
  return group;
}

}  // namespace millrace
