#include "metrics/report.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <fstream>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "base/text_lines.h"
#include "config/sections/job.h"
#include "config/toml_file.h"
#include "metrics/base64.h"
#include "metrics/report_assets.h"
#include "metrics/report_texts.h"
#include "metrics/run_history.h"
#include "metrics/svg_chart.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Curves = std::map<std::string, Curve>;
using Look = ChartSeries::Look;

constexpr size_t kMaxPoints = 1000;                        // of one curve in a chart
constexpr uint64_t kMaxPictureBytes = uint64_t{24} << 20;  // of all pictures together

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  std::string line, model = "CPU";
  while (std::getline(info, line)) {
    if (starts_with(line, "model name")) {
      model = trim(std::string_view(line).substr(line.find(':') + 1));
      break;
    }
  }
  return str(std::max(1u, std::thread::hardware_concurrency()), " cores of ", model);
}

struct RunFiles {
  std::string config_text;
  std::map<std::string, TomlValue> settings;  // of config.toml, by "section.key", whatever the task; empty: unreadable
  Curves curves;

  // The value of a setting, if config.toml has one.
  const TomlValue* setting(const std::string& name) const {
    const auto found = settings.find(name);
    return found == settings.end() ? nullptr : &found->second;
  }
  double number(const std::string& name) const {
    const TomlValue* value = setting(name);
    if (value == nullptr) return 0;
    return value->kind == TomlValue::Kind::kInteger ? static_cast<double>(value->integer) : value->floating;
  }
  std::string text(const std::string& name) const {
    const TomlValue* value = setting(name);
    return value != nullptr && value->kind == TomlValue::Kind::kText ? value->text : "";
  }
};

RunFiles read_run(const fs::path& folder) {
  RunFiles run;
  run.curves = read_curves(folder / "metrics.jsonl");
  const fs::path path = folder / "config.toml";
  if (!fs::exists(path)) return run;
  try {
    run.config_text = read_file(path, 1 << 20);
    for (const TomlSection& section : read_toml_file(path)) {
      for (const TomlEntry& entry : section.entries) run.settings[section.name + "." + entry.key] = entry.value;
    }
  } catch (const Error& error) {
    log_warning("report without the options of ", path.string(), ": ", error.what());
  }
  return run;
}

const Curve& curve(const Curves& curves, const std::string& key) {
  static const Curve none;
  const auto found = curves.find(key);
  return found == curves.end() ? none : found->second;
}

double median(const Curve& values) {
  if (values.empty()) return NAN;
  std::vector<double> sorted;
  for (const CurvePoint& point : values) sorted.push_back(point.value);
  const auto middle = sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

double smoothing_span(const Curve& values) {
  return std::clamp(static_cast<double>(values.size()) / 60, 1.0, 100.0);
}

// ---- what stands at the top

std::string fact(const std::string& name, const std::string& value, bool is_long = false) {
  return str("<div", is_long ? " class=long" : "", "><dt>", name, "</dt><dd>", html_escape(value), "</dd></div>");
}

std::string target_fact(const Curve& validation, double target) {
  const auto reached = std::find_if(validation.begin(), validation.end(),
                                    [&](const CurvePoint& point) { return point.value <= target; });
  const std::string value = reached == validation.end()
                                ? std::string("not reached")
                                : "at step " + with_thousands(static_cast<int64_t>(reached->step));
  return fact("Target loss " + short_number(target), value);
}

std::string facts(const RunFiles& run, const ReportOptions& options) {
  const RunTotals totals = run_totals(run.curves);
  std::string html = "<dl class=facts>";
  std::string steps = with_thousands(totals.steps);
  if (const TomlValue* wanted = run.setting("training.steps")) steps += " of " + with_thousands(wanted->integer);
  html += fact("Steps", steps);
  if (totals.samples > 0) html += fact("Samples", with_thousands(static_cast<int64_t>(totals.samples)));
  html += fact("Training time", human_duration(totals.seconds));
  const Curve& loss = curve(run.curves, "loss");
  if (!loss.empty()) {
    html += fact("Loss, smoothed", format_double("%.4f", smoothed(loss, smoothing_span(loss)).back().value));
  }
  const Curve& validation = curve(run.curves, "validation_loss");
  if (!validation.empty()) {
    const CurvePoint best = *std::min_element(validation.begin(), validation.end(),
                                              [](const auto& a, const auto& b) { return a.value < b.value; });
    html += fact(str("Best validation loss, step ", with_thousands(static_cast<int64_t>(best.step))),
                 format_double("%.4f", best.value));
  }
  const double target = run.number("validation.target_loss");
  if (target > 0) html += target_fact(validation, target);
  const double speed = median(curve(run.curves, "samples_per_second"));
  if (std::isfinite(speed))
    html += fact("Samples per second, median", format_double(speed < 10 ? "%.2f" : "%.1f", speed));
  const Curve& memory = curve(run.curves, "memory_gib");
  if (!memory.empty()) {
    double peak = 0;
    for (const CurvePoint& point : memory) peak = std::max(peak, point.value);
    html += fact("Peak memory", format_double("%.2f GiB", peak));
  }
  const double mfu = median(curve(run.curves, "mfu"));
  if (std::isfinite(mfu)) html += fact("MFU, median", format_double("%.1f %%", mfu));
  html += fact("Hardware", options.hardware.empty() ? processor_name() : options.hardware, /*is_long=*/true);
  return html + "</dl>";
}

// ---- curves

// The losses at t = 0, 1/n, ... one line each, in colours graded by t.
Chart timestep_chart(const Curves& curves) {
  Chart chart{
      .title = "Validation loss by timestep, from data (0) to noise (1)", .unit = "", .series = {}, .wide = true};
  const std::string prefix = str(kTimestepLosses, ".");
  int count = 0;
  for (const auto& [key, values] : curves) {
    if (!starts_with(key, prefix) || key.size() > prefix.size() + 3) continue;
    count = std::max(count, 1 + std::atoi(key.c_str() + prefix.size()));
  }
  for (int i = 0; i < count; ++i) {
    const std::string t = short_number(static_cast<double>(i) / count);
    chart.series.push_back({"t " + t, thinned(curve(curves, str(prefix, i)), kMaxPoints), Look::kLine,
                            kFirstTimestepColour + i * kTimestepColours / count});
  }
  return chart;
}

std::string charts(const Curves& curves) {
  const auto points = [&](const char* key) { return thinned(curve(curves, key), kMaxPoints); };
  const Curve& loss = curve(curves, "loss");
  std::vector<Chart> all;
  all.push_back({"Loss",
                 "",
                 {{"each step", thinned(loss, kMaxPoints), Look::kFaint, 1},
                  {"smoothed", thinned(smoothed(loss, smoothing_span(loss)), kMaxPoints), Look::kLine, 1},
                  {"validation", points("validation_loss"), Look::kDots, 2}},
                 /*wide=*/true,
                 /*from_zero=*/false,
                 /*may_be_logarithmic=*/true});
  all.push_back(timestep_chart(curves));
  all.push_back({"Samples per second", "", {{"samples/s", points("samples_per_second"), Look::kLine, 3}}, false, true});
  all.push_back({"Seconds per step",
                 "s",
                 {{"all", points("seconds_per_step"), Look::kLine, 3},
                  {"waiting for data", points("data_seconds_per_step"), Look::kLine, 2}},
                 false,
                 true});
  all.push_back({"Learning rate", "", {{"lr", points("lr"), Look::kLine, 4}}, false, true});
  all.push_back({"Gradient norm", "", {{"norm", points("grad_norm"), Look::kLine, 1}}, false, true});
  all.push_back({"Peak memory", "GiB", {{"memory", points("memory_gib"), Look::kLine, 4}}, false, true});
  all.push_back({"Model FLOP/s", "TFLOP/s", {{"TFLOP/s", points("tflops"), Look::kLine, 3}}, false, true});
  std::string html;
  for (const Chart& chart : all) html += to_figure(chart);
  if (html.empty()) return "<p class=soft>Nothing has been logged yet.</p>";
  return "<div class=charts>\n" + html + "</div>";
}

// ---- sample pictures

struct Picture {
  int64_t step = 0;
  fs::path path;
  uint64_t bytes = 0;
};

// Files named step-%08d.png, in the order of their steps.
std::vector<Picture> find_pictures(const fs::path& folder) {
  std::vector<Picture> pictures;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!starts_with(name, "step-") || !ends_with(name, ".png") || name.size() > 24) continue;
    const std::string digits = name.substr(5, name.size() - 9);
    if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    const uint64_t bytes = entry.file_size(error);
    if (!error) pictures.push_back({std::stoll(digits), entry.path(), bytes});
  }
  std::sort(pictures.begin(), pictures.end(), [](const Picture& a, const Picture& b) { return a.step < b.step; });
  return pictures;
}

// Drops every other picture, never the first or the last, until they fit.
std::vector<Picture> within_limit(std::vector<Picture> pictures) {
  const auto total = [&] {
    uint64_t bytes = 0;
    for (const Picture& picture : pictures) bytes += picture.bytes;
    return bytes;
  };
  while (total() > kMaxPictureBytes && pictures.size() > 2) {
    std::vector<Picture> kept;
    for (size_t i = 0; i < pictures.size(); ++i) {
      if (i % 2 == 0 || i + 1 == pictures.size()) kept.push_back(pictures[i]);
    }
    if (kept.size() == pictures.size()) kept.erase(kept.begin() + 1);
    pictures = std::move(kept);
  }
  if (total() > kMaxPictureBytes) pictures.clear();
  return pictures;
}

std::vector<std::string> sample_prompts(const RunFiles& run) {
  const std::string prompts_file = run.text("sample.prompts_file");
  std::vector<std::string> prompts;
  if (prompts_file.empty()) {
    const TomlValue* listed = run.setting("sample.prompts");
    if (listed != nullptr) {
      for (const TomlValue& prompt : listed->items) prompts.push_back(prompt.text);
    }
    return prompts;
  }
  constexpr size_t kShown = 256;
  try {
    for (const TextLine& line : read_text_lines(prompts_file)) {
      if (prompts.size() < kShown) prompts.push_back(line.text);
    }
  } catch (const Error&) {  // it may be on another machine
  }
  return prompts;
}

std::string samples(const fs::path& folder, const RunFiles& run) {
  const std::vector<Picture> found = find_pictures(folder), pictures = within_limit(found);
  std::string strip;
  size_t count = 0;
  for (const Picture& picture : pictures) {
    std::string png;
    try {
      png = read_file(picture.path, kMaxPictureBytes);
    } catch (const StorageError&) {
      continue;  // deleted in between
    }
    if (!starts_with(png, "\x89PNG")) continue;
    const std::string label = "step " + with_thousands(picture.step);
    strip += str("<button type=button data-label='", label, "'><img alt='Samples at ", label,
                 "' src='data:image/png;base64,", to_base64(png), "'>", label, "</button>\n");
    ++count;
  }
  if (count == 0) return "";
  std::string html = "<h2>Samples through time</h2><div class=samples><img class=shown alt=''>";
  html +=
      str("<label class=slide>Step <input type=range min=0 max=", count - 1,
          " value=0 aria-label='Step of the shown samples'><span></span></label><div class=strip>\n", strip, "</div>");
  const std::vector<std::string> prompts = sample_prompts(run);
  if (!prompts.empty()) {
    html += "<p class=soft>Prompts, row by row</p><ol class=prompts>";
    for (const std::string& prompt : prompts) html += "<li>" + html_escape(prompt) + "</li>";
    html += "</ol>";
  }
  if (pictures.size() < found.size()) {
    html += str("<p class=soft>", found.size() - pictures.size(), " pictures in between are left out.</p>");
  }
  return html + "</div>";
}

std::string local_time() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  ::localtime_r(&now, &parts);
  char text[64];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts));
}

std::string title_of(const fs::path& folder, const RunFiles& run) {
  const std::string description = run.text("job.description");
  if (!description.empty() && description != JobConfig{}.description) return description;
  const std::string name = fs::absolute(folder).lexically_normal().filename().string();
  return name.empty() ? fs::absolute(folder).parent_path().filename().string() : name;
}

}  // namespace

void write_report(const std::filesystem::path& run_folder, const ReportOptions& options) {
  const RunFiles run = read_run(run_folder);
  const std::string title = html_escape(title_of(run_folder, run));
  std::string page = "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>";
  page += "<meta name=viewport content='width=device-width, initial-scale=1'>";
  page += str("<title>", title, "</title><style>", kReportStyle, "</style></head><body><main>\n");
  page += str("<header><h1>", title, "</h1><p>", options.finished ? "finished" : "state of", " ", local_time(),
              "</p></header>\n", facts(run, options), samples(run_folder / "samples", run));
  page += report_answers(run_folder / "answers.json");
  page += report_texts(run_folder / "samples", sample_prompts(run));
  page += str("<h2>Curves</h2>\n", charts(run.curves));
  if (!run.config_text.empty()) {
    page += str("<h2>Configuration</h2><details><summary>config.toml</summary><pre>", html_escape(run.config_text),
                "</pre></details>");
  }
  page += "\n<footer>Written by millrace.</footer></main>\n";
  page += str("<script>", kReportScript, "</script></body></html>\n");
  write_file_atomically(run_folder / "report.html", page);
}

}  // namespace millrace
