#include "train/parameter_group.h"

#include "base/log.h"

namespace millrace {

FlatGroup parameter_group(const FlatParameters& parameters) {
  FlatGroup group{"parameters", parameters.master(), parameters.grad(), {}};
  if (!parameters.compute().is_same(parameters.master())) group.model_copy = parameters.compute();
  for (ParameterPiece& piece : parameters.pieces()) {
    group.parameters.push_back({.name = std::move(piece.name),
                                .begin = piece.begin,
                                .size = piece.size,
                                .offset = piece.offset,
                                .global_shape = std::move(piece.global_shape),
                                .start = std::move(piece.start),
                                .shape = std::move(piece.shape),
                                .row_stride = piece.row_stride,
                                .primary = piece.primary});
  }
  for (const ParameterSlice& slice : parameters.slices()) {
    group.whole_parameters.push_back({slice.name, slice.part.global_shape(slice.shape)});
    const OwnRange own = parameters.layout().own_range(slice);
    if (own.begin == own.end) continue;
    // Ranks with the same elements round them the same way, for any sharding; tp parts have their own streams.
    const std::string name = slice.part.is_whole() ? slice.name : str(slice.name, "/", slice.part.index);
    group.rounding.push_back({rounding_stream(name), own.local, own.end - own.begin, own.begin});
  }
  return group;
}

}  // namespace millrace
