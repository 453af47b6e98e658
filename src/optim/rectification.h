// RAdam's factor for the first steps of squared averages (Liu et al. 2019, "On the Variance of the Adaptive Learning
// Rate and Beyond").
#pragma once

#include <optional>

namespace millrace {

// Of step k, counted from 1; nullopt while too few gradients are averaged to divide by their root.
std::optional<double> rectification(double beta2, double k);

}  // namespace millrace
