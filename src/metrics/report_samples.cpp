#include "metrics/report_samples.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "config/number_text.h"
#include "metrics/base64.h"
#include "metrics/sample_grid.h"
#include "metrics/step_files.h"
#include "metrics/svg_chart.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxPictureBytes = uint64_t{24} << 20;  // of all pictures together
constexpr size_t kMostGallerySteps = 10;

struct Picture {
  int64_t step = 0;
  std::optional<double> strength;  // of adapters; none: what was trained
  fs::path path;
  uint64_t bytes = 0;
};

// "step-00000200" or "step-00000200-strength-0.5".
std::optional<Picture> parse_stem(const std::string& stem) {
  constexpr std::string_view kStrength = "-strength-";
  const size_t end = std::min(stem.find(kStrength), stem.size());
  const std::optional<int64_t> step = parse_step_name(stem.substr(0, end));
  if (!step) return std::nullopt;
  Picture picture;
  picture.step = *step;
  if (end < stem.size()) {
    picture.strength = parse_floating_point(stem.substr(end + kStrength.size()));
    if (!picture.strength) return std::nullopt;
  }
  return picture;
}

// In the order of steps, and of strengths.
std::vector<Picture> find_pictures(const fs::path& folder) {
  std::vector<Picture> pictures;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".png") continue;
    std::optional<Picture> picture = parse_stem(entry.path().stem().string());
    if (!picture) continue;
    picture->path = entry.path();
    picture->bytes = entry.file_size(error);
    if (!error) pictures.push_back(std::move(*picture));
  }
  std::sort(pictures.begin(), pictures.end(), [](const Picture& a, const Picture& b) {
    return a.step != b.step ? a.step < b.step : a.strength < b.strength;
  });
  return pictures;
}

uint64_t total_bytes(const std::vector<Picture>& pictures) {
  uint64_t bytes = 0;
  for (const Picture& picture : pictures) bytes += picture.bytes;
  return bytes;
}

// Drops every other picture, never the first or the last, until they fit.
std::vector<Picture> within(uint64_t limit, std::vector<Picture> pictures) {
  while (total_bytes(pictures) > limit && pictures.size() > 2) pictures = every_other(pictures);
  if (total_bytes(pictures) > limit) pictures.clear();
  return pictures;
}

// A grid that is shown, with its place among the buttons of its strip.
struct Shown {
  std::string label;
  std::optional<SampleGrid> grid;
};

// The strip of small pictures below the large one. Fills `shown` with those that could be read.
std::string strip(const std::vector<std::pair<std::string, Picture>>& labelled, std::vector<Shown>& shown) {
  std::string html;
  for (const auto& [label, picture] : labelled) {
    std::string png;
    try {
      png = read_file(picture.path, kMaxPictureBytes);
    } catch (const StorageError&) {
      continue;  // deleted in between
    }
    if (!starts_with(png, "\x89PNG")) continue;
    html += str("<button type=button data-label='", label, "'><img alt='Samples at ", label,
                "' src='data:image/png;base64,", to_base64(png), "'>", label, "</button>\n");
    shown.push_back({label, read_sample_grid(fs::path(picture.path).replace_extension(".json"))});
  }
  return html;
}

std::string viewer(const char* name, const char* classes, const std::string& strip_html, size_t count) {
  return str("<div class='samples ", classes, "'><img class=shown alt=''><label class=slide>", name,
             " <input type=range min=0 max=", count - 1, " value=0 aria-label='", name,
             " of the shown samples'><span></span></label><div class=strip>\n", strip_html, "</div>");
}

// The prompt's place in a grid, if it was drawn there: usually the same number.
std::optional<size_t> place_of(const std::string& prompt, size_t number, const SampleGrid& grid) {
  if (number < grid.prompts.size() && grid.prompts[number] == prompt) return number;
  const auto found = std::find(grid.prompts.begin(), grid.prompts.end(), prompt);
  if (found == grid.prompts.end()) return std::nullopt;
  return static_cast<size_t>(found - grid.prompts.begin());
}

// One row per prompt of the last grid, one column per step. The page's script cuts the pictures out of the strip's.
std::string gallery(const std::vector<Shown>& shown) {
  std::vector<size_t> steps;
  for (size_t i = 0; i < shown.size(); ++i) {
    if (shown[i].grid) steps.push_back(i);
  }
  if (steps.size() < 2) return "";
  std::vector<size_t> columns;
  const size_t count = std::min(steps.size(), kMostGallerySteps);
  for (size_t i = 0; i < count; ++i) columns.push_back(steps[i * (steps.size() - 1) / (count - 1)]);
  std::string html = "<h2>Each prompt through time</h2><div class=gallery><table><thead><tr><th>prompt</th>";
  for (const size_t column : columns) html += "<th>" + shown[column].label + "</th>";
  html += "</tr></thead><tbody>\n";
  const std::vector<std::string>& prompts = shown[columns.back()].grid->prompts;
  for (size_t row = 0; row < prompts.size(); ++row) {
    html += "<tr><th>" + html_escape(prompts[row]) + "</th>";
    for (const size_t column : columns) {
      const SampleGrid& grid = *shown[column].grid;
      const std::optional<size_t> place = place_of(prompts[row], row, grid);
      html += "<td>";
      if (place) {
        const auto [left, top] = grid.corners[*place];
        html += str("<canvas data-picture=", column, " data-cut='[", left, ",", top, ",", grid.width, ",", grid.height,
                    "]' role=img aria-label='", html_escape(prompts[row]), ", ", shown[column].label, "'></canvas>");
      }
      html += "</td>";
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string prompt_list(const std::vector<std::string>& prompts) {
  if (prompts.empty()) return "";
  std::string html = "<p class=soft>Prompts, row by row</p><ol class=prompts>";
  for (const std::string& prompt : prompts) html += "<li>" + html_escape(prompt) + "</li>";
  return html + "</ol>";
}

// The last step that was drawn with several strengths. steps: those of the whole strength, 1.
std::string strengths(const std::vector<Picture>& found, const std::vector<Picture>& steps) {
  if (found.empty()) return "";
  const int64_t last = found.back().step;
  std::vector<Picture> pictures;
  const auto add = [&](const Picture& picture) {
    if (picture.step != last) return;
    pictures.push_back(picture);
    pictures.back().strength = picture.strength.value_or(1);
  };
  for (const Picture& picture : found) add(picture);
  for (const Picture& picture : steps) add(picture);
  std::stable_sort(pictures.begin(), pictures.end(),
                   [](const Picture& a, const Picture& b) { return a.strength < b.strength; });
  std::vector<std::pair<std::string, Picture>> labelled;
  for (const Picture& picture : pictures) {
    labelled.emplace_back("strength " + format_double("%g", *picture.strength), picture);
  }
  std::vector<Shown> shown;
  const std::string html = strip(labelled, shown);
  if (shown.empty()) return "";
  return str("<h2>By strength of the adapters, step ", with_thousands(last), "</h2>",
             viewer("Strength", "strengths", html, shown.size()), "</div>\n");
}

}  // namespace

std::string samples_html(const fs::path& folder, const std::vector<std::string>& prompts) {
  const std::vector<Picture> found = find_pictures(folder);
  std::vector<Picture> steps, with_strength;
  for (const Picture& picture : found) (picture.strength ? with_strength : steps).push_back(picture);
  const bool shows_strengths = total_bytes(with_strength) < kMaxPictureBytes / 2;
  const uint64_t taken = shows_strengths ? total_bytes(with_strength) : 0;
  const std::vector<Picture> kept = within(kMaxPictureBytes - taken, steps);

  std::vector<std::pair<std::string, Picture>> labelled;
  for (const Picture& picture : kept) labelled.emplace_back("step " + with_thousands(picture.step), picture);
  std::vector<Shown> shown;
  const std::string pictures = strip(labelled, shown);
  std::string html;
  if (!shown.empty()) {
    html = "<h2>Samples through time</h2>" + viewer("Step", "steps", pictures, shown.size());
    html += prompt_list(shown.back().grid ? shown.back().grid->prompts : prompts);
    if (kept.size() < steps.size()) {
      html += str("<p class=soft>", steps.size() - kept.size(), " pictures in between are left out.</p>");
    }
    html += "</div>\n" + gallery(shown);
  }
  return shows_strengths ? html + strengths(with_strength, steps) : html;
}

}  // namespace millrace
