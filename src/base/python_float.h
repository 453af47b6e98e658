// Floating-point numbers as Python writes them, for files that promise to be what Python's json module would have
// written.
#pragma once

#include <string>

namespace millrace {

// Python's repr(value), to the byte: the fewest digits that read back as the same double and, of those, the nearest to
// it; fixed notation from 1e-4 to below 1e16, where a whole number ends with ".0"; otherwise an exponent with a sign
// and at least two digits. 1.0 -> "1.0", 1e-5 -> "1e-05", 1e16 -> "1e+16", -0.0 -> "-0.0"; "inf", "-inf", "nan".
std::string python_float(double value);

}  // namespace millrace
