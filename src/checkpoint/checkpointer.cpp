#include "checkpoint/checkpointer.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/write_checkpoint.h"

namespace millrace {
namespace {

constexpr double kShutdownTimeout = 30;  // seconds

}  // namespace

Checkpointer::Checkpointer(CheckpointerOptions options) : options_(std::move(options)) {
  const auto open_folder = [this] {
    if (options_.peers->rank() != 0) return std::string();
    create_folders(options_.folder);
    lock_.emplace(options_.folder);
    remove_leftovers(options_.folder);
    return std::string();
  };
  options_.peers->agree("checkpoint/open", open_folder, [](const auto&) { return std::string(); });
}

Checkpointer::~Checkpointer() {
  try {
    options_.peers->wait_at_most(kShutdownTimeout);
    wait();
  } catch (const std::exception& error) {
    log_error(error.what());
  }
}

void Checkpointer::wait() {
  if (under_way_.valid()) under_way_.get();
}

bool Checkpointer::is_over() const {
  return under_way_.valid() && under_way_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

void Checkpointer::reserve(const std::vector<NamedPiece>& pieces) {
  if (!options_.async) return;
  wait();
  const uint64_t needed = HostStaging::bytes_for(pieces) * static_cast<uint64_t>(options_.ranks_on_host);
  const uint64_t available = options_.available_memory();
  const std::string obstacle = options_.peers->agree(
      "checkpoint/reserve",
      [&] {
        if (needed <= available / 10 * 9) return std::string();
        return str("expected ", human_bytes(needed),
                   " of free host memory for copies that are written in the background", ", got ",
                   human_bytes(available));
      },
      [](const std::vector<std::string>& ranks) {
        const auto found =
            std::find_if(ranks.begin(), ranks.end(), [](const std::string& text) { return !text.empty(); });
        return found == ranks.end() ? std::string() : *found;
      });
  if (!obstacle.empty()) {
    options_.async = false;
    if (options_.peers->rank() == 0) log_warning("[checkpoint.async_mode] ", obstacle, ": saves will block training");
    return;
  }
  const bool pins = std::any_of(pieces.begin(), pieces.end(), [](const auto& piece) { return !piece.data.is_cpu(); });
  if (pins && options_.peers->rank() == 0) {
    log_info("checkpoint: copies that are written in the background take ", human_bytes(needed),
             " of pinned host memory on this host");
  }
  under_way_ = writer_.submit([this, pieces] { staging_.reserve(pieces); });
}

void Checkpointer::save(int64_t step, const std::vector<NamedPiece>& pieces, const std::string& state_json) {
  if (!options_.async) return save_and_wait(step, pieces, state_json);
  wait();
  under_way_ = writer_.submit([this, step, copies = staging_.copy(pieces), state_json, number = num_saves_++] {
    write(step, copies, state_json, number);
  });
}

void Checkpointer::save_and_wait(int64_t step, const std::vector<NamedPiece>& pieces, const std::string& state_json) {
  wait();
  write(step, pieces, state_json, num_saves_++);
}

void Checkpointer::write(int64_t step, const std::vector<NamedPiece>& pieces, const std::string& state_json,
                         int number) const {
  const double begin = now_seconds();
  const uint64_t num_bytes =
      write_checkpoint(options_.folder, step, pieces, state_json, *options_.peers, str("checkpoint/save-", number));
  if (options_.peers->rank() != 0) return;
  log_info("checkpoint: ", step_folder_name(step), " saved, ", human_bytes(num_bytes), " in ",
           format_double("%.2f", now_seconds() - begin), " s");
  remove_old_checkpoints(options_.folder, step, options_.keep_latest_k);
}

LoadedCheckpoint Checkpointer::load(int64_t step) {
  return load_checkpoint(options_.folder, step, options_.peers, str("checkpoint/load-", num_loads_++));
}

}  // namespace millrace
