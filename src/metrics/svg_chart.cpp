#include "metrics/svg_chart.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr double kHeight = 240, kLeft = 56, kRight = 20, kTop = 10, kBottom = 26;

struct Axis {
  double low = 0, high = 1;
  std::vector<double> ticks;
  bool logarithmic = false;

  double place(double value) const {  // 0 at low, 1 at high
    if (!logarithmic) return (value - low) / (high - low);
    return std::log(std::max(value, low * 1e-3) / low) / std::log(high / low);
  }
};

// Ticks at 1, 2 or 5 times a power of ten.
Axis linear_axis(double low, double high, int wanted_ticks, double smallest_step) {
  if (!(high > low)) {
    const double pad = std::max(std::abs(low) * 0.1, 1e-12);
    low -= pad;
    high += pad;
  }
  Axis axis{low, high, {}, false};
  const double raw = (high - low) / wanted_ticks;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double mantissa = raw / power;
  const double step = std::max(smallest_step, power * (mantissa <= 1 ? 1 : mantissa <= 2 ? 2 : mantissa <= 5 ? 5 : 10));
  // Multiples of the step, not sums: those drift.
  for (double k = std::ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; ++k) axis.ticks.push_back(k * step);
  return axis;
}

Axis logarithmic_axis(double low, double high) {
  Axis axis{low, high, {}, true};
  for (double power = std::pow(10.0, std::floor(std::log10(low))); power <= high; power *= 10) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      if (digit * power >= low && digit * power <= high) axis.ticks.push_back(digit * power);
    }
  }
  return axis;
}

std::string coordinate(double value) {
  return format_double("%.1f", value);
}

struct Frame {
  double width;
  Axis x, y;
  double px(double step) const { return kLeft + x.place(step) * (width - kLeft - kRight); }
  double py(double value) const { return kTop + (1 - y.place(value)) * (kHeight - kTop - kBottom); }
};

Axis value_axis(const Chart& chart, double low, double high) {
  if (chart.may_be_logarithmic && low > 1e-300 && high / low >= 8) return logarithmic_axis(low / 1.15, high * 1.15);
  if (chart.from_zero) low = std::min(0.0, low);
  const double pad = (high - low) * 0.06;
  return linear_axis(chart.from_zero ? low : low - pad, high + pad, 5, 0);
}

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
  return {wide ? 1000.0 : 480.0, linear_axis(first, last, wide ? 10 : 5, 1), value_axis(chart, low, high)};
}

std::string grid(const Frame& frame) {
  std::string svg;
  const std::string left = coordinate(kLeft), right = coordinate(frame.width - kRight);
  for (const double value : frame.y.ticks) {
    svg += str("<path class=grid d='M", left, " ", coordinate(frame.py(value)), "H", right, "'/>");
    svg += str("<text class=tick x=", coordinate(kLeft - 7), " y=", coordinate(frame.py(value) + 4),
               " text-anchor=end>", short_number(value), "</text>");
  }
  for (const double step : frame.x.ticks) {
    svg += str("<text class=tick x=", coordinate(frame.px(step)), " y=", coordinate(kHeight - 8),
               " text-anchor=middle>", short_number(step), "</text>");
  }
  return svg;
}

std::string drawing(const Frame& frame, const ChartSeries& series) {
  const std::string colour = str("c", series.colour);
  const bool dotted = series.look == ChartSeries::Look::kDots || series.curve.size() == 1;
  std::string path, dots;
  for (const CurvePoint& point : series.curve) {
    const std::string x = coordinate(frame.px(point.step)), y = coordinate(frame.py(point.value));
    path += (path.empty() ? "M" : "L") + x + " " + y;
    if (dotted) dots += str("<circle class='dot ", colour, "' cx=", x, " cy=", y, " r=3.5 />");
  }
  const bool faint = dotted || series.look == ChartSeries::Look::kFaint;
  return str("<path class='", faint ? "faint " : "line ", colour, "' d='", path, "'/>", dots);
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
  // The inner svg clips the lines to the plot.
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
