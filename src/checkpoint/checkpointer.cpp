#include "checkpoint/checkpointer.h"

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

const std::filesystem::path& make_folder(const std::filesystem::path& folder) {
  create_folders(folder);
  return folder;
}

}  // namespace

Checkpointer::Checkpointer(CheckpointerOptions options)
    : options_(std::move(options)), lock_(make_folder(options_.folder)) {
  remove_leftovers(options_.folder);
}

Checkpointer::~Checkpointer() {
  try {
    wait();
  } catch (const std::exception& error) {
    log_error(error.what());
  }
}

void Checkpointer::wait() {
  if (under_way_.valid()) under_way_.get();
}

void Checkpointer::throw_if_failed() {
  if (under_way_.valid() && under_way_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) wait();
}

void Checkpointer::save(int64_t step, const std::vector<NamedTensor>& tensors, const std::string& state_json) {
  if (!options_.async) return save_and_wait(step, tensors, state_json);
  wait();
  under_way_ =
      writer_.submit([this, step, copies = staging_.copy(tensors), state_json] { write(step, copies, state_json); });
}

void Checkpointer::save_and_wait(int64_t step, const std::vector<NamedTensor>& tensors, const std::string& state_json) {
  wait();
  write(step, staging_.copy(tensors, /*keep_in_place=*/true), state_json);
}

void Checkpointer::write(int64_t step, const std::vector<NamedTensor>& host_tensors,
                         const std::string& state_json) const {
  const double begin = now_seconds();
  const uint64_t num_bytes = write_checkpoint(options_.folder, step, views_of(host_tensors), state_json);
  log_info("checkpoint: ", step_folder_name(step), " saved, ", human_bytes(num_bytes), " in ",
           format_double("%.2f", now_seconds() - begin), " s");
  remove_old_checkpoints(options_.folder, step, options_.keep_latest_k);
}

}  // namespace millrace
