#include "train/parameter_group.h"

#include "base/log.h"

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
  for (const ParameterSlice& slice : parameters.slices()) {
    const OwnRange own = parameters.layout().own_range(slice);
    if (own.begin == own.end) continue;
    // Ranks that hold the same round alike, whatever the sharding; parts on the tp axis have streams of their own.
    const std::string name = slice.part.is_whole() ? slice.name : str(slice.name, "/", slice.part.index);
    group.rounding.push_back({rounding_stream(name), own.local, own.end - own.begin, own.begin});
  }
  return group;
}

}  // namespace millrace
