#include "metrics/metric_logger.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/tensorboard.h"
#include "metrics/console.h"
#include "metrics/metrics_jsonl.h"
#include "metrics/step_files.h"

namespace millrace {
namespace {

constexpr double kBarSeconds = 0.2;  // between two drawings of the bar
constexpr uint64_t kMaxTextBytes = uint64_t{4} << 20;

// Totals since some moment.
struct Tally {
  double start = now_seconds();
  int64_t steps = 0, samples = 0, tokens = 0;
  double data_seconds = 0, weight = 0;

  void add(const StepMetrics& metrics) {
    ++steps;
    samples += metrics.samples;
    tokens += metrics.tokens;
    data_seconds += metrics.data_seconds;
    weight += metrics.weight;
  }
  double seconds() const { return std::max(now_seconds() - start, 1e-9); }
};

}  // namespace

struct MetricLogger::State {
  MetricLoggerOptions options;
  std::optional<MetricsJsonl> jsonl;
  std::optional<EventWriter> tensorboard;
  bool has_bar;
  Tally window, process;
  double bar_drawn = 0;
  double last_loss = 0;
  MemoryUse last_memory;           // of the last window
  std::vector<TaggedNumber> more;  // of the last step

  explicit State(const MetricLoggerOptions& given)
      : options(given), has_bar(given.writes_files && given.config.log_to_console && terminal_columns() > 0) {
    if (!given.writes_files) return;
    jsonl.emplace(given.dump_folder / "metrics.jsonl", given.first_step);
    if (!given.config.enable_tensorboard) return;
    tensorboard.emplace(given.dump_folder / given.config.save_tb_folder);
    tensorboard->start_session(given.first_step);  // also for a new run: its folder may hold an older one's curves
  }

  double ranks() const { return static_cast<double>(options.ranks); }

  MemoryUse memory() const { return options.memory ? options.memory() : process_memory(); }

  void scalar(const std::string& name, double value, int64_t step) {
    if (tensorboard) tensorboard->add_scalar(name, value, step);
  }

  // record: also write it to the files; else only display it.
  void write_window(const StepMetrics& metrics, bool record) {
    const double seconds = window.seconds();
    WindowSpeed speed{.seconds = seconds,
                      .ranks = options.ranks,
                      .tokens_per_second = static_cast<double>(window.tokens) / seconds / ranks(),
                      .trained_per_second = options.weight_name.empty() ? 0 : window.weight / seconds / ranks(),
                      .samples_per_second = static_cast<double>(window.samples) / seconds,
                      .peak_flops = options.peak_flops};
    speed.flops = speed.samples_per_second * options.flops_per_sample / ranks();
    const MemoryUse memory = last_memory = this->memory();
    const std::string line = step_line(metrics.step, metrics.loss, memory, speed);
    if (options.config.log_to_console && !has_bar) {
      log_info(line);
    } else {
      log_to_file_only(line);
    }
    if (!record) return;
    if (jsonl) write_jsonl(metrics, speed, memory);
    write_tensorboard(metrics, speed, memory);
    window = Tally();
  }

  void write_jsonl(const StepMetrics& metrics, const WindowSpeed& speed, const MemoryUse& memory) {
    const auto steps = static_cast<double>(window.steps);
    nlohmann::ordered_json object{{"step", metrics.step},
                                  {"loss", metrics.loss},
                                  {"grad_norm", metrics.grad_norm},
                                  {"lr", metrics.lr},
                                  {"samples", metrics.total_samples},
                                  {"samples_per_second", speed.samples_per_second},
                                  {"tokens_per_second", speed.tokens_per_second * ranks()},
                                  {"tflops", speed.flops / 1e12},
                                  {"seconds_per_step", speed.seconds / steps},
                                  {"data_seconds_per_step", window.data_seconds / steps},
                                  {"memory_gib", static_cast<double>(memory.peak_bytes) / kGiB},
                                  {"sample_digest", metrics.sample_digest}};
    if (metrics.effective_lr) object["effective_lr"] = *metrics.effective_lr;
    if (!options.weight_name.empty()) {
      object["tokens"] = metrics.tokens;
      object[options.weight_name] = static_cast<int64_t>(metrics.weight);
      object[options.weight_name + "_per_second"] = speed.trained_per_second * ranks();
    }
    if (options.ranks > 1) object["ranks"] = options.ranks;
    if (speed.peak_flops > 0) object["mfu"] = 100 * speed.flops / speed.peak_flops;
    jsonl->write(object);
  }

  // torchtitan's names.
  void write_tensorboard(const StepMetrics& metrics, const WindowSpeed& speed, const MemoryUse& memory) {
    const auto steps = static_cast<double>(window.steps);
    const auto peak = static_cast<double>(memory.peak_bytes), total = static_cast<double>(memory.total_bytes);
    const int64_t step = metrics.step;
    scalar("loss_metrics/global_avg_loss", metrics.loss, step);
    scalar("grad_norm", metrics.grad_norm, step);
    scalar("lr", metrics.lr, step);
    if (metrics.effective_lr) scalar("effective_lr", *metrics.effective_lr, step);
    scalar("n_tokens_seen", static_cast<double>(metrics.tokens * step), step);
    scalar("throughput(tps)", speed.tokens_per_second, step);
    if (!options.weight_name.empty()) scalar("throughput(trained tps)", speed.trained_per_second, step);
    scalar("tflops", speed.flops / 1e12, step);
    if (speed.peak_flops > 0) scalar("mfu(%)", 100 * speed.flops / speed.peak_flops, step);
    scalar("time_metrics/end_to_end(s)", speed.seconds / steps, step);
    scalar("time_metrics/data_loading(s)", window.data_seconds / steps, step);
    scalar("time_metrics/data_loading(%)", 100 * window.data_seconds / speed.seconds, step);
    for (const TaggedNumber& number : more) scalar(number.tag, number.value, step);
    scalar("memory/max_reserved(GiB)", peak / kGiB, step);
    if (total > 0) scalar("memory/max_reserved(%)", 100 * peak / total, step);
  }

  void draw_bar(const StepMetrics& metrics, bool last) {
    if (!has_bar) return;
    const double now = now_seconds();
    if (!last && now - bar_drawn < kBarSeconds) return;
    bar_drawn = now;
    const double seconds = process.seconds();
    set_terminal_footer(progress_bar({.step = metrics.step,
                                      .total_steps = options.total_steps,
                                      .epoch = metrics.epoch,
                                      .loss = metrics.loss,
                                      .seconds = seconds,
                                      .seconds_per_step = seconds / static_cast<double>(process.steps),
                                      .samples_per_second = static_cast<double>(process.samples) / seconds,
                                      .tokens_per_second = static_cast<double>(process.tokens) / seconds,
                                      .memory_bytes = last_memory.peak_bytes,
                                      .reads_text = !options.weight_name.empty()},
                                     terminal_columns()));
  }
};

bool logs_step(const MetricsConfig& config, int64_t step, int64_t total_steps) {
  return step == 1 || step % config.log_freq == 0 || step == total_steps;
}

MetricLogger::MetricLogger(const MetricLoggerOptions& options) : state_(std::make_unique<State>(options)) {}

MetricLogger::~MetricLogger() {
  if (state_->has_bar) set_terminal_footer("");
}

void MetricLogger::log_step(const StepMetrics& metrics) {
  State& state = *state_;
  state.window.add(metrics);
  state.process.add(metrics);
  state.last_loss = metrics.loss;
  if (state.options.more) state.more = state.options.more(metrics);
  const bool last = metrics.step == state.options.total_steps;
  const bool regular = logs_step(state.options.config, metrics.step, state.options.total_steps);
  if (regular || metrics.step == state.options.first_step) state.write_window(metrics, /*record=*/regular);
  state.draw_bar(metrics, last);
}

void MetricLogger::log_validation(const ValidationMetrics& metrics) {
  State& state = *state_;
  const int64_t step = metrics.step;
  const double seconds = std::max(metrics.seconds, 1e-9);
  const double tokens_per_second = static_cast<double>(metrics.tokens) / seconds / state.ranks();
  const MemoryUse memory = state.memory();
  log_info(validation_line(step, metrics.loss, memory, tokens_per_second));
  if (state.jsonl) {
    nlohmann::ordered_json object{{"step", step},
                                  {"validation_loss", metrics.loss},
                                  {"samples", metrics.trained_samples},
                                  {"validation_samples", metrics.samples},
                                  {"validation_seconds", metrics.seconds}};
    if (metrics.perplexity) object["validation_perplexity"] = *metrics.perplexity;
    for (const LossBreakdown& parts : metrics.breakdowns) object["validation_loss_per_" + parts.name] = parts.values;
    state.jsonl->write(object);
  }
  state.scalar("val_loss_metrics/avg_loss", metrics.loss, step);
  for (const TaggedNumber& number : state.more) {  // of a run with sd-scripts' tags
    const char* const moment = number.tag == kAverageLossTag ? "step" : number.tag == kEpochLossTag ? "epoch" : nullptr;
    if (moment == nullptr) continue;
    state.scalar(str("loss/validation/", moment, "_average"), metrics.loss, step);
    state.scalar(str("loss/validation/", moment, "_divergence"), metrics.loss - number.value, step);
  }
  if (metrics.perplexity) state.scalar("val_loss_metrics/perplexity", *metrics.perplexity, step);
  for (const LossBreakdown& parts : metrics.breakdowns) {
    for (size_t i = 0; i < parts.values.size(); ++i) {
      if (std::isnan(parts.values[i])) continue;  // no sample: a gap, as in the other curves
      state.scalar(str("val_loss_metrics/", parts.name, "_", i), parts.values[i], step);
    }
  }
  state.scalar("val_throughput(tps)", tokens_per_second, step);
  state.scalar("val_time_metrics/end_to_end(s)", metrics.seconds, step);
  state.scalar("val_memory/max_reserved(GiB)", static_cast<double>(memory.peak_bytes) / kGiB, step);
}

void MetricLogger::log_preview(int64_t step) {
  if (!state_->tensorboard) return;
  const std::filesystem::path path = state_->options.dump_folder / "samples" / (step_file_name(step) + ".txt");
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return;
  // Indented, Markdown shows a text as it is.
  std::string markdown;
  for (const std::string& line : split(read_file(path, kMaxTextBytes), '\n')) markdown += "    " + line + "\n";
  state_->tensorboard->add_text("samples", markdown, step);
}

void MetricLogger::finish() {
  State& state = *state_;
  if (state.has_bar) set_terminal_footer("");
  state.has_bar = false;
  log_info(with_thousands(state.process.steps), state.process.steps == 1 ? " step and " : " steps and ",
           with_thousands(state.process.samples), " samples in ", human_duration(state.process.seconds()),
           state.process.steps > 0 ? ", last loss " + loss_text(state.last_loss) : std::string());
}

}  // namespace millrace
