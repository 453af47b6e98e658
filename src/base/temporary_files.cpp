#include "base/temporary_files.h"

#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kMark = ".tmp-", kFormerMark = ".part-";

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// A signal handler may neither lock nor allocate, so the names are in a fixed array.
enum SlotState : int { kFree, kBeingWritten, kInUse };
struct Slot {
  std::atomic<int> state{kFree};
  char path[1024];
};
std::array<Slot, 64> slots;
static_assert(std::atomic<int>::is_always_lock_free);

// Only async-signal-safe calls here.
void on_signal(int signal) {
  remove_temporary_files();
  const char* name = signal == SIGINT ? "SIGINT" : signal == SIGTERM ? "SIGTERM" : "SIGHUP";
  const auto part = [](const char* text) { return iovec{const_cast<char*>(text), std::strlen(text)}; };
  const iovec parts[] = {part("\nmillrace: ["), part(name),
                         part("] stopped before the end; half-written files are removed\n")};
  [[maybe_unused]] const auto written = ::writev(STDERR_FILENO, parts, 3);
  ::signal(signal, SIG_DFL);
  ::raise(signal);  // takes effect when this returns
}

}  // namespace

std::filesystem::path temporary_name(const std::filesystem::path& path) {
  static std::atomic<uint64_t> counter{0};
  return path.parent_path() / ("." + path.filename().string() + std::string(kMark) + std::to_string(::getpid()) + "-" +
                               std::to_string(counter++));
}

bool is_temporary_name(std::string_view name) {
  const std::string_view used = name.find(kMark) == std::string_view::npos ? kFormerMark : kMark;
  const size_t mark = name.rfind(used);
  if (mark == std::string_view::npos || !starts_with(name, ".")) return false;
  const std::string_view numbers = name.substr(mark + used.size());
  const size_t dash = numbers.find('-');
  return dash != std::string_view::npos && is_number(numbers.substr(0, dash)) && is_number(numbers.substr(dash + 1));
}

TemporaryFile::TemporaryFile(const std::filesystem::path& path) : slot_(-1) {
  const std::string& name = path.native();
  if (name.size() >= sizeof(Slot::path)) return;
  for (size_t i = 0; i < slots.size(); ++i) {
    int expected = kFree;
    if (!slots[i].state.compare_exchange_strong(expected, kBeingWritten)) continue;
    std::memcpy(slots[i].path, name.c_str(), name.size() + 1);
    slots[i].state = kInUse;
    slot_ = static_cast<int>(i);
    return;
  }
}

TemporaryFile::~TemporaryFile() {
  if (slot_ >= 0) slots[static_cast<size_t>(slot_)].state = kFree;
}

void remove_temporary_files() noexcept {
  for (Slot& slot : slots) {
    if (slot.state.load() == kInUse) ::unlink(slot.path);
  }
}

void remove_temporary_files_on_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction now {};
    if (::sigaction(signal, nullptr, &now) != 0 || now.sa_handler != SIG_DFL) continue;
    struct sigaction ours {};
    ours.sa_handler = on_signal;
    sigemptyset(&ours.sa_mask);
    ::sigaction(signal, &ours, nullptr);
  }
}

}  // namespace millrace
