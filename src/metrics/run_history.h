// metrics.jsonl read back as curves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace millrace {

struct CurvePoint {
  double step = 0;
  double value = 0;
};
using Curve = std::vector<CurvePoint>;

// The key of a diffusion model's mean validation losses at t = 0, 1/n, ... (n - 1)/n: a list, null for a t without
// samples.
inline constexpr const char* kTimestepLosses = "validation_loss_per_timestep";

// One curve per key, steps ascending; for a list, one per item: "key.0", "key.1". Lines other than a JSON object with a
// step, and values other than finite numbers, are skipped: a run that died while writing must still get a
// report.
std::map<std::string, Curve> read_curves(const std::filesystem::path& metrics_jsonl);

// Averages with weights that fall by a factor e every `span` points on both sides, so that the curve does not lag.
Curve smoothed(const Curve& curve, double span);
// At most max_points, each the mean of its neighbours.
Curve thinned(const Curve& curve, size_t max_points);

// Totals over the logged windows.
struct RunTotals {
  int64_t steps = 0;
  double samples = 0;
  double seconds = 0;  // of training, without start-up and waits for checkpoints between steps
};
RunTotals run_totals(const std::map<std::string, Curve>& curves);

}  // namespace millrace
