#include "metrics/run_history.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/log.h"

namespace millrace {

std::map<std::string, Curve> read_curves(const std::filesystem::path& metrics_jsonl) {
  std::map<std::string, Curve> curves;
  std::ifstream file(metrics_jsonl);
  std::string line;
  while (std::getline(file, line)) {
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number()) continue;
    const double step = object["step"].get<double>();
    const auto add = [&](const std::string& key, const nlohmann::json& value) {
      if (value.is_number() && std::isfinite(value.get<double>())) curves[key].push_back({step, value.get<double>()});
    };
    for (const auto& [key, value] : object.items()) {
      if (key == "step") continue;
      add(key, value);
      if (!value.is_array()) continue;
      for (size_t i = 0; i < value.size(); ++i) add(str(key, ".", i), value[i]);
    }
  }
  for (auto& [key, curve] : curves) {
    std::stable_sort(curve.begin(), curve.end(),
                     [](const CurvePoint& a, const CurvePoint& b) { return a.step < b.step; });
  }
  return curves;
}

Curve smoothed(const Curve& curve, double span) {
  const double keep = std::exp(-1 / std::max(span, 0.1));
  // Two passes: over the points before each point, then over those after it.
  Curve result = curve;
  std::vector<double> weights(curve.size(), 1.0);
  double sum = 0, weight = 0;
  const auto add_neighbours = [&](size_t i) {
    result[i].value += sum;
    weights[i] += weight;
    sum = keep * (sum + curve[i].value);
    weight = keep * (weight + 1);
  };
  for (size_t i = 0; i < curve.size(); ++i) add_neighbours(i);
  sum = weight = 0;
  for (size_t i = curve.size(); i-- > 0;) add_neighbours(i);
  for (size_t i = 0; i < curve.size(); ++i) result[i].value /= weights[i];
  return result;
}

Curve thinned(const Curve& curve, size_t max_points) {
  if (curve.size() <= max_points || max_points == 0) return curve;
  Curve result;
  result.reserve(max_points);
  for (size_t i = 0; i < max_points; ++i) {
    const size_t begin = i * curve.size() / max_points, end = (i + 1) * curve.size() / max_points;
    CurvePoint mean;
    for (size_t k = begin; k < end; ++k) {
      mean.step += curve[k].step;
      mean.value += curve[k].value;
    }
    const auto count = static_cast<double>(end - begin);
    result.push_back({mean.step / count, mean.value / count});
  }
  return result;
}

RunTotals run_totals(const std::map<std::string, Curve>& curves) {
  RunTotals totals;
  const auto find = [&](const char* key) {
    const auto found = curves.find(key);
    return found == curves.end() ? Curve{} : found->second;
  };
  for (const auto& [key, curve] : curves) {
    totals.steps = std::max(totals.steps, static_cast<int64_t>(curve.back().step));
  }
  double before = 0;
  for (const CurvePoint& point : find("seconds_per_step")) {
    totals.seconds += (point.step - before) * point.value;
    before = point.step;
  }
  const Curve samples = find("samples");
  if (!samples.empty()) totals.samples = samples.back().value;
  return totals;
}

}  // namespace millrace
