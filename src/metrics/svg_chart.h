// Line charts as inline SVG, coloured by the page's style sheet so that they follow its light or dark theme.
#pragma once

#include <string>
#include <vector>

#include "metrics/run_history.h"

namespace millrace {

struct ChartSeries {
  enum class Look { kFaint, kLine, kDots };
  std::string name;
  Curve curve;
  Look look = Look::kLine;
  int colour = 1;  // class "c1", "c2", ... of the style sheet
};

struct Chart {
  std::string title;
  std::string unit;  // behind values, e.g. "GiB"
  std::vector<ChartSeries> series;
  bool wide = false;                // drawn twice: over the whole width, and for narrow screens
  bool from_zero = false;           // the value axis starts at 0
  bool may_be_logarithmic = false;  // logarithmic value axis if values are positive and span a factor of 8 or more
};

// A <figure> with title, legend and drawing; "" when no series has a point. Values above the 99th percentile may be cut
// off: one spike must not flatten the rest of the curve.
std::string to_figure(const Chart& chart);

// 0.00012 -> "1.2e-4", 1234567 -> "1.23M": short enough for an axis.
std::string short_number(double value);

}  // namespace millrace
