#include "tasks/load_run.h"

#include "base/error.h"

namespace millrace {

void load_run(const OpenRunWeights& run, FlatParameters& parameters) {
  const auto shapes = parameters.shapes();
  for (const ParameterSlice& slice : parameters.slices()) {
    const auto found = run.shapes.find(slice.name);
    if (found == run.shapes.end() || found->second.sizes().vec() != shapes.at(slice.name)) {
      throw ModelError("[" + slice.name + "] expected the run's checkpoint to hold it in the size of its config.toml");
    }
    if (parameters.owns(slice)) parameters.assign(slice, run.read(slice.name));
  }
  parameters.refresh_compute();
}

}  // namespace millrace
