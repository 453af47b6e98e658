#include "metrics/svg_chart.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr double kHeight = 240, kLeft = 56, kRight = 14, kTop = 10, kBottom = 26;

struct Axis {
  double low = 0, high = 1, step = 1;  // step: between ticks

  // Ticks at 1, 2 or 5 times a power of ten.
  static Axis around(double low, double high, int ticks) {
    if (!(high > low)) {
      const double pad = std::max(std::abs(low) * 0.1, 1e-12);
      low -= pad;
      high += pad;
    }
    const double raw = (high - low) / ticks;
    const double power = std::pow(10.0, std::floor(std::log10(raw)));
    const double mantissa = raw / power;
    const double nice = mantissa <= 1 ? 1 : mantissa <= 2 ? 2 : mantissa <= 5 ? 5 : 10;
    return {low, high, nice * power};
  }
  double first_tick() const { return std::ceil(low / step - 1e-9) * step; }
};

std::string coordinate(double value) {
  return format_double("%.1f", value);
}

struct Frame {
  double width;
  Axis x, y;
  double px(double step) const { return kLeft + (step - x.low) / (x.high - x.low) * (width - kLeft - kRight); }
  double py(double value) const { return kTop + (1 - (value - y.low) / (y.high - y.low)) * (kHeight - kTop - kBottom); }
};

Frame frame_of(const Chart& chart, bool wide) {
  double first = INFINITY, last = -INFINITY, low = INFINITY, high = -INFINITY;
  for (const ChartSeries& series : chart.series) {
    std::vector<double> values;
    for (const CurvePoint& point : series.curve) {
      first = std::min(first, point.step);
      last = std::max(last, point.step);
      values.push_back(point.value);
    }
    if (values.empty()) continue;
    std::sort(values.begin(), values.end());
    low = std::min(low, values.front());
    const bool whole = series.look != ChartSeries::Look::kFaint;
    high = std::max(high, whole ? values.back() : values[(values.size() - 1) * 99 / 100]);
  }
  if (chart.from_zero) low = std::min(0.0, low);
  const double pad = (high - low) * 0.06;
  const double width = wide ? 1000 : 480;
  Axis x = Axis::around(first, last, wide ? 10 : 5);
  x.step = std::max(x.step, 1.0);
  return {width, x, Axis::around(chart.from_zero ? low : low - pad, high + pad, 5)};
}

std::string grid(const Frame& frame) {
  std::string svg;
  const std::string left = coordinate(kLeft), right = coordinate(frame.width - kRight);
  for (double value = frame.y.first_tick(); value <= frame.y.high + 1e-9 * frame.y.step; value += frame.y.step) {
    // The multiple of the step that sums of steps only come near to.
    const double exact = std::round(value / frame.y.step) * frame.y.step;
    const std::string y = coordinate(frame.py(exact));
    svg += str("<path class=grid d='M", left, " ", y, "H", right, "'/>");
    svg += str("<text class=tick x=", coordinate(kLeft - 7), " y=", coordinate(frame.py(exact) + 4),
               " text-anchor=end>", short_number(exact), "</text>");
  }
  for (double step = frame.x.first_tick(); step <= frame.x.high + 1e-9 * frame.x.step; step += frame.x.step) {
    const double exact = std::round(step / frame.x.step) * frame.x.step;
    svg += str("<text class=tick x=", coordinate(frame.px(exact)), " y=", coordinate(kHeight - 8),
               " text-anchor=middle>", short_number(exact), "</text>");
  }
  return svg;
}

std::string drawing(const Frame& frame, const ChartSeries& series) {
  const std::string colour = str("c", series.colour);
  if (series.look == ChartSeries::Look::kDots || series.curve.size() == 1) {
    std::string dots, path;
    for (const CurvePoint& point : series.curve) {
      const std::string x = coordinate(frame.px(point.step)), y = coordinate(frame.py(point.value));
      path += (path.empty() ? "M" : "L") + x + " " + y;
      dots += str("<circle class='dot ", colour, "' cx=", x, " cy=", y, " r=3.5 />");
    }
    return str("<path class='faint ", colour, "' d='", path, "'/>", dots);
  }
  std::string path;
  for (const CurvePoint& point : series.curve) {
    path += (path.empty() ? "M" : "L") + coordinate(frame.px(point.step)) + " " + coordinate(frame.py(point.value));
  }
  const char* look = series.look == ChartSeries::Look::kFaint ? "faint" : "line";
  return str("<path class='", look, " ", colour, "' d='", path, "'/>");
}

// The points again as numbers, for the pointer's read-out.
std::string points_json(const std::vector<ChartSeries>& series) {
  std::string json = "[";
  for (const ChartSeries& one : series) {
    if (one.curve.empty()) continue;
    json += str(json.size() > 1 ? "," : "", "{\"name\":\"", json_escape(one.name), "\",\"colour\":", one.colour,
                ",\"points\":[");
    for (size_t i = 0; i < one.curve.size(); ++i) {
      json += str(i > 0 ? "," : "", "[", format_double("%.0f", one.curve[i].step), ",",
                  format_double("%.5g", one.curve[i].value), "]");
    }
    json += "]}";
  }
  return json + "]";
}

std::string figure(const Chart& chart, const char* classes, bool wide) {
  const Frame frame = frame_of(chart, wide);
  std::string legend, lines;
  for (const ChartSeries& series : chart.series) {
    if (series.curve.empty()) continue;
    if (chart.series.size() > 1) {
      const char* look = series.look == ChartSeries::Look::kFaint ? "faint " : "";
      legend += str("<span class='key ", look, "k", series.colour, "'>", html_escape(series.name), "</span>");
    }
    lines += drawing(frame, series);
  }
  const std::string left = coordinate(kLeft), right = coordinate(frame.width - kRight);
  const std::string plot_width = coordinate(frame.width - kLeft), height = coordinate(kHeight);
  const auto bound = [](double value) { return format_double("%.10g", value); };
  std::string html = str("<figure class='", classes, "' data-unit='", html_escape(chart.unit), "' data-x='[", left, ",",
                         right, ",", bound(frame.x.low), ",", bound(frame.x.high), "]'>");
  html += str("<figcaption><h3>", html_escape(chart.title), "</h3>", legend, "</figcaption>");
  html += str("<svg viewBox='0 0 ", coordinate(frame.width), " ", height, "' role=img aria-label='",
              html_escape(chart.title), "'>", grid(frame));
  // The inner picture cuts off what leaves the plot.
  html += str("<svg x=", left, " y=0 width=", plot_width, " height=", height, " viewBox='", left, " 0 ", plot_width,
              " ", height, "' overflow=hidden>", lines, "</svg>");
  html += str("<path class=cursor d='M0 ", coordinate(kTop), "V", coordinate(kHeight - kBottom),
              "'/></svg><output></output>");
  return html + str("<script type='application/json'>", points_json(chart.series), "</script></figure>\n");
}

}  // namespace

std::string short_number(double value) {
  const double size = std::abs(value);
  if (size == 0) return "0";
  const auto trimmed = [](std::string text) {
    if (text.find('.') != std::string::npos && text.find('e') == std::string::npos) {
      while (text.back() == '0') text.pop_back();
      if (text.back() == '.') text.pop_back();
    }
    return text;
  };
  if (size >= 1e15 || size < 1e-3) {
    std::string text = format_double("%.2e", value);  // 1.20e-04 -> 1.2e-4
    const size_t e = text.find('e');
    std::string exponent = text.substr(e + 2);
    exponent.erase(0, std::min(exponent.find_first_not_of('0'), exponent.size() - 1));
    return trimmed(text.substr(0, e)) + (text[e + 1] == '-' ? "e-" : "e") + exponent;
  }
  if (size >= 1e12) return trimmed(format_double("%.2f", value / 1e12)) + "T";
  if (size >= 1e9) return trimmed(format_double("%.2f", value / 1e9)) + "G";
  if (size >= 1e6) return trimmed(format_double("%.2f", value / 1e6)) + "M";
  if (size >= 1e4) return trimmed(format_double("%.1f", value / 1e3)) + "k";
  if (size >= 100) return trimmed(format_double("%.0f", value));
  return trimmed(format_double(size >= 1 ? "%.3f" : "%.4f", value));
}

std::string to_figure(const Chart& chart) {
  const bool empty = std::all_of(chart.series.begin(), chart.series.end(),
                                 [](const ChartSeries& series) { return series.curve.empty(); });
  if (empty) return "";
  if (!chart.wide) return figure(chart, "chart", false);
  return figure(chart, "chart wide", true) + figure(chart, "chart phone", false);
}

}  // namespace millrace
