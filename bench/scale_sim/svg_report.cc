#include <algorithm>
#include <cmath>

#include "bench/scale_sim/print.h"
#include "bench/scale_sim/report.h"

namespace culvert::scale_sim {
namespace {

constexpr double kPlotWidth = 300, kPlotHeight = 230;
constexpr double kLeft = 60, kGap = 64, kTop = 64, kRowGap = 112, kRight = 24;
constexpr double kKeyHeight = 18, kCharacterWidth = 6.6;
constexpr double kWidth = kLeft + 3 * kPlotWidth + 2 * kGap + kRight;

// Okabe and Ito's colours, which tell apart for every eye; dashes from the ninth on.
constexpr const char* kColours[] = {"#000000", "#0072b2", "#56b4e9", "#d55e00",
                                    "#e69f00", "#009e73", "#cc79a7", "#8a7f00"};
constexpr size_t kColourCount = std::size(kColours);

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char character : text)
    safe += character == '<'   ? "&lt;"
            : character == '>' ? "&gt;"
            : character == '&' ? "&amp;"
                               : std::string(1, character);
  return safe;
}

std::string text_at(double x, double y, const char* style, const std::string& text) {
  return print("<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, style) + escaped(text) + "</text>\n";
}

std::string stroke_of(size_t curve) {
  return print("stroke=\"%s\"%s", kColours[curve % kColourCount],
               curve < kColourCount ? "" : " stroke-dasharray=\"5 3\"");
}

// "128", "0.2", and powers of two below 1 as "1/8".
std::string short_number(double value, bool logarithmic) {
  return logarithmic && value < 1 ? print("1/%.0f", 1 / value) : print("%.4g", value);
}

// One of the three plots of a mix.
struct Plot {
  const char* title;
  double left, top;
  double low, high;  // of the y axis, both powers of two if it is logarithmic
  bool logarithmic;
  uint32_t most_cores;

  [[nodiscard]] double x(double cores) const {
    return left + kPlotWidth * std::log2(cores) / std::max(1.0, std::log2(most_cores));
  }
  [[nodiscard]] double y(double value) const {
    const double within = std::clamp(value, low, high);
    const double share = logarithmic ? std::log2(within / low) / std::log2(high / low) : (within - low) / (high - low);
    return top + kPlotHeight * (1 - share);
  }
};

std::string frame(const Plot& plot) {
  std::string svg = text_at(plot.left, plot.top - 10, "title", plot.title);
  const auto line = [&](double x1, double y1, double x2, double y2) {
    svg += print("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", x1, y1, x2, y2);
  };
  for (uint32_t cores = 1; cores <= plot.most_cores; cores *= 2) {
    line(plot.x(cores), plot.top, plot.x(cores), plot.top + kPlotHeight);
    svg += text_at(plot.x(cores), plot.top + kPlotHeight + 16, "x", short_number(cores, true));
  }
  const long ticks = plot.logarithmic ? std::lround(std::log2(plot.high / plot.low)) : 5;
  for (long i = 0; i <= ticks; ++i) {
    const auto step = static_cast<double>(i);
    const double tick = plot.logarithmic ? plot.low * std::exp2(step)
                                         : plot.low + (plot.high - plot.low) * step / static_cast<double>(ticks);
    line(plot.left, plot.y(tick), plot.left + kPlotWidth, plot.y(tick));
    svg += text_at(plot.left - 6, plot.y(tick) + 4, "y", short_number(tick, plot.logarithmic));
  }
  return svg + text_at(plot.left + kPlotWidth / 2, plot.top + kPlotHeight + 32, "x", "cores of each host");
}

template <typename Value>
std::string line_of(const Plot& plot, const std::vector<uint32_t>& cores, Value value) {
  std::string points;
  for (size_t i = 0; i < cores.size(); ++i) points += print("%.1f,%.1f ", plot.x(cores[i]), plot.y(value(i)));
  return points;
}

// `value(curve, i)` of every curve, and `ideal(cores)` as a grey line of dashes.
template <typename Value, typename Ideal>
std::string draw(const Plot& plot, const Plan& plan, const MixResult& result, Value value, Ideal ideal) {
  std::string svg = frame(plot);
  svg += "<polyline fill=\"none\" stroke=\"#999\" stroke-dasharray=\"2 4\" points=\"" +
         line_of(plot, plan.cores, [&](size_t i) { return ideal(plan.cores[i]); }) + "\"/>\n";
  for (size_t curve = 0; curve < result.curves.size(); ++curve) {
    const auto at = [&](size_t i) { return value(result.curves[curve].points[i]); };
    svg += "<polyline fill=\"none\" stroke-width=\"2\" " + stroke_of(curve) + " points=\"" +
           line_of(plot, plan.cores, at) + "\"/>\n";
    for (size_t i = 0; i < plan.cores.size(); ++i)
      svg += print("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"%s\"/>\n", plot.x(plan.cores[i]), plot.y(at(i)),
                   kColours[curve % kColourCount]);
  }
  return svg;
}

std::string row_of_plots(const Plan& plan, const MixResult& result, double top) {
  const uint32_t cores = plan.cores.back();
  const double one_core = plan.costs.gbps(plan.costs.one_core_rate());
  const double low = std::exp2(std::floor(std::log2(one_core)));
  const double high = std::max(2 * low, std::exp2(std::ceil(std::log2(one_core * cores))));
  const double least_share = std::exp2(-std::max(1.0, std::ceil(std::log2(cores))));
  const auto left = [](int column) { return kLeft + column * (kPlotWidth + kGap); };

  std::string svg =
      text_at(kLeft, top - 34, "mix", print("%s, %u flows", std::string(name_of(result.mix)).c_str(), result.flows));
  svg += draw(
      {"throughput, Gb/s", left(0), top, low, high, true, cores}, plan, result,
      [&](const Point& point) { return plan.costs.gbps(point.packets_per_second); },
      [&](double count) { return one_core * count; });
  svg += draw(
      {"the busiest core's share of the load", left(1), top, least_share, 1, true, cores}, plan, result,
      [](const Point& point) { return point.balance.busiest; }, [](double count) { return 1 / count; });
  svg += draw(
      {"Jain's index of fairness", left(2), top, 0, 1, false, cores}, plan, result,
      [](const Point& point) { return point.balance.jain; }, [](double) { return 1.0; });
  return svg;
}

std::string key(const MixResult& result, double top) {
  std::string svg;
  double x = kLeft, y = top;
  for (size_t curve = 0; curve <= result.curves.size(); ++curve) {
    const bool ideal = curve == result.curves.size();
    const std::string name = ideal ? "perfect" : result.curves[curve].arrangement.name();
    const double width = 40 + kCharacterWidth * static_cast<double>(name.size());
    if (x + width > kWidth - kRight) {
      x = kLeft;
      y += kKeyHeight;
    }
    svg += print("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke-width=\"2\" ", x, y - 4, x + 20, y - 4) +
           (ideal ? "stroke=\"#999\" stroke-dasharray=\"2 4\"" : stroke_of(curve)) + "/>\n" +
           text_at(x + 25, y, "key", name);
    x += width;
  }
  return svg;
}

}  // namespace

std::string svg_report(const Plan& plan, const std::vector<MixResult>& results) {
  const double row = kPlotHeight + kRowGap;
  // The lines of describe() stand above the key.
  std::string lines;
  double y = 24;
  const std::string described = describe(plan);
  for (size_t at = 0; at < described.size(); y += 15) {
    const size_t end = described.find('\n', at);
    lines += text_at(kLeft, y, "key", described.substr(at, end - at));
    at = end + 1;
  }
  const double above = y + 3 * kKeyHeight;
  const double height = above + kTop - kKeyHeight + row * static_cast<double>(results.size()) - kRowGap / 2;
  std::string svg = print(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
      "viewBox=\"0 0 %.0f %.0f\">\n",
      kWidth, height, kWidth, height);
  svg +=
      "<style>text{font:12px sans-serif;fill:#222}.title,.mix{font-weight:bold}.mix{font-size:15px}"
      ".x{text-anchor:middle}.y{text-anchor:end}</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n";
  svg += lines + key(results.front(), y + 8);
  for (size_t i = 0; i < results.size(); ++i)
    svg += row_of_plots(plan, results[i], above + kTop - kKeyHeight - 20 + row * static_cast<double>(i));
  return svg + "</svg>\n";
}

}  // namespace culvert::scale_sim
